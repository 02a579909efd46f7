"""A run that many tests read, and a real MLflow server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.stores.store import Store, open_store
from tests.tools.commands import SMALL, Done, free_port, lenet_train, mlflow_server
from tests.tools.configs import compose
from tests.tools.faulty_proxy import FaultyProxy
from tests.tools.stores import client, runs

ITERATIONS = 40  # 1,250 training images in batches of 32


@dataclass(frozen=True)
class Tracked:
    """A run and its MLflow run."""

    outputs: Path
    done: Done
    folder: RunFolder
    store: MlflowClient
    run: Run


@pytest.fixture(scope="session")
def tracked(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    """Return a run with three epochs of Adam on digits and user tags; tests must not change it."""
    outputs = tmp_path_factory.mktemp("tracked") / "outputs"
    shutil.copytree(empty_store, outputs)
    flags = (
        "num_epoch=3",
        "optimizer=adam",
        "optimizer.lr=0.002",
        "num_threads=1",
        "num_iter_echo=30",
    )
    tags = ("+tracking.tags.x=1", "tracking.tags.note=first", "tracking.tags.checked=true")

    done = lenet_train(*SMALL, *flags, *tags, outputs=outputs)
    assert done.returncode == 0, done.stderr

    (folder,) = (outputs / "runs").iterdir()
    store = client(outputs)
    (run,) = runs(store)
    return Tracked(outputs, done, RunFolder(folder), store, run)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Yield the folder and address of a real MLflow server; each test uses a separate
    experiment.
    """
    folder = tmp_path_factory.mktemp("server")
    port = free_port()
    with mlflow_server(folder, port) as address:
        yield folder, address


@pytest.fixture
def proxy(server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Yield a faulty proxy in front of the server."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # the machine may be busy
    _, address = server
    proxy = FaultyProxy(address)
    yield proxy
    proxy.set("pass")
    proxy.close()


@pytest.fixture
def store(ready: Path) -> Store:
    return open_store(compose().tracking)


@pytest.fixture
def folder(tracked: Tracked, ready: Path) -> RunFolder:
    """Return the finished run, which is not in this store."""
    copy = Path(shutil.copytree(tracked.folder.path, ready / "runs" / tracked.folder.id))
    (copy / "delivered.json").unlink()
    return RunFolder(copy)
