"""Fixtures that open the pages of a real sweep, served by `lenet-ui`, in Chromium.

Tests save screenshots of the pages in outputs/screenshots of the repository.
"""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.browser.served import Served, lenet_ui
from tests.tools.commands import ROOT, lenet_train
from tests.tools.stores import client, runs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCREENSHOTS = ROOT / "outputs" / "screenshots"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NO_REQUESTS = ("--disable-background-networking", "--disable-component-update", "--disable-sync")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    *NO_REQUESTS,
)
# MLflow opens its assistant's panel over half of the page on a first visit.
QUIET_ASSISTANT = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
LINE = (
    "dataset=digits batch_size=32 num_epoch=2 activation=relu,selu optimizer.lr=0.05,0.1 seed=0,1"
)
SIZE = {"width": 1440, "height": 900}
WAIT = 120_000  # milliseconds, on a busy machine


@dataclass(frozen=True)
class Sweep:
    """A sweep with its store, its parent run, and its runs."""

    outputs: Path
    store: MlflowClient
    parent: Run
    runs: list[Run]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A browser that is installed on this machine."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if executable is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=executable, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def tab(chromium: Browser) -> Iterator[Page]:
    """A page that caches MLflow's UI; it fails if a request leaves the machine."""
    context = chromium.new_context()
    context.set_default_timeout(WAIT)
    context.add_init_script(QUIET_ASSISTANT)
    urls: set[str] = set()
    context.on("request", lambda request: urls.add(request.url))
    page = context.new_page()
    page.on("websocket", lambda socket: urls.add(socket.url))
    yield page
    context.close()
    hosts = {
        urlsplit(url.removeprefix("blob:")).hostname
        for url in urls
        if not url.startswith(("data:", "about:"))
    }
    assert hosts == {"127.0.0.1"}


@pytest.fixture
def page(tab: Page) -> Page:
    """The session's page, empty and of its usual size."""
    tab.goto("about:blank")
    tab.set_viewport_size(SIZE)
    return tab


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Sweep:
    """A small sweep; some runs with a learning rate of 0.1 diverge."""
    outputs = tmp_path_factory.mktemp("browser") / "outputs"
    shutil.copytree(empty_store, outputs)
    done = lenet_train("-m", "hydra/launcher=basic", *LINE.split(), outputs=outputs)
    assert done.returncode in (0, 1), done.stderr
    store = client(outputs)
    (parent,) = runs(store, "sweep")
    return Sweep(outputs, store, parent, runs(store))


@pytest.fixture(scope="session")
def served(sweep: Sweep, tab: Page) -> Iterator[Served]:
    with lenet_ui(outputs=sweep.outputs) as served:
        user, password = served.login
        login = base64.b64encode(f"{user}:{password}".encode()).decode()
        # as after the browser's question
        tab.set_extra_http_headers({"Authorization": f"Basic {login}"})
        tab.goto(f"{served.address}/version")
        yield served


@pytest.fixture
def screenshot(page: Page, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Save a screenshot of the page under a name."""

    def take(name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(500)  # wait for animations
        page.screenshot(path=SCREENSHOTS / f"{re.sub(r'[^a-z0-9_]', '_', name)}.png")

    return take
