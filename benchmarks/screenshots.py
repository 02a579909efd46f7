"""Take the screenshots for README.md and the documentation: `python -m benchmarks.screenshots`.

The script trains a small sweep on the digits dataset in a folder with a neutral name, starts
`lenet-ui`, and opens its pages in Chromium. To add a screenshot, add an entry to PICTURES with a
function that opens the page.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from tests.browser.conftest import BROWSERS, QUIET, QUIET_ASSISTANT, WAIT
from tests.browser.served import Served, lenet_ui
from tests.tools.commands import ROOT, end, start

if TYPE_CHECKING:
    from playwright.sync_api import Page, ViewportSize

# as in README.md
LINE = "dataset=digits batch_size=32 num_epoch=10 activation=relu,selu,tanh seed=range(5)"
# folder with a neutral name, because MLflow shows it
NEUTRAL = Path(tempfile.gettempdir()) / "lenet_exp"
SIZE: ViewportSize = {"width": 1440, "height": 780}


def table(page: Page, served: Served) -> None:
    """Open MLflow's table of the runs in a sweep, sorted by accuracy."""
    page.goto(served.links["runs"])
    page.locator(".ag-center-cols-container .ag-row").first.wait_for()


def curves(page: Page, served: Served) -> None:
    """Open MLflow's chart of the learning curves, with a band for each configuration."""
    page.goto(served.links["curves"])
    page.locator(".scatterlayer .trace").first.wait_for()


def own_page(page: Page, served: Served) -> None:
    """Open MLflow's page for the run that represents the sweep, down to the tags, which contain a
    path.
    """
    page.set_viewport_size({**SIZE, "height": 700})
    page.goto(served.links["sweep"])
    page.get_by_test_id("note-editor-preview-content").locator("a").first.wait_for()


def report(page: Page, served: Served) -> None:
    """Open the page that `lenet-compare output=report.html` writes, which requires no server."""
    del served
    page.goto((NEUTRAL / "report.html").as_uri())
    page.locator("canvas").first.wait_for()


PICTURES: dict[str, Callable[[Page, Served], None]] = {
    "sweep": table,
    "curves": curves,
    "sweep_page": own_page,
    "report": report,
}


def main() -> None:
    """Take all screenshots and save each as .github/<name>.png."""
    browsers = [path for path in map(shutil.which, BROWSERS) if path is not None]
    # fails if the folder already exists; an existing folder must not be removed at the end
    NEUTRAL.mkdir()
    os.environ["LOGNAME"] = "you"
    try:
        outputs = NEUTRAL / "outputs"
        sweep = start("-m", *LINE.split(), outputs=outputs, cwd=NEUTRAL, cold=True)
        done = end(sweep)
        assert done.returncode == 0, done.stderr
        comparison = start(
            "output=report.html", program="compare", outputs=outputs, cwd=NEUTRAL, cold=True
        )
        done = end(comparison)
        assert done.returncode == 0, done.stderr

        with (
            sync_playwright() as started,
            lenet_ui(outputs=outputs, cwd=NEUTRAL, cold=True) as served,
        ):
            browser = started.chromium.launch(executable_path=browsers[0], args=list(QUIET))
            user, password = served.login
            context = browser.new_context(
                viewport=SIZE, http_credentials={"username": user, "password": password}
            )
            context.set_default_timeout(WAIT)
            context.add_init_script(QUIET_ASSISTANT)
            for name, show in PICTURES.items():
                page = context.new_page()
                show(page, served)
                banner = page.get_by_role("button", name="Hide banner")
                if banner.count():
                    banner.click()  # MLflow's notice that the view is shared
                page.wait_for_timeout(3000)  # some elements fade in or are drawn late
                assert str(ROOT) not in page.content()
                page.screenshot(path=ROOT / ".github" / f"{name}.png")
                page.close()
            browser.close()
    finally:
        shutil.rmtree(NEUTRAL)


if __name__ == "__main__":
    main()
