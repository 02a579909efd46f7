"""One run that many tests look at."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from lenet_exp.api import compose
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.store import Store, open_store
from tests.commands import SMALL, Done, lenet_train
from tests.stores import client, runs

ITERATIONS = 40  # 1,250 training images in batches of 32


@dataclass(frozen=True)
class Tracked:
    """A run and how it stands in MLflow."""

    outputs: Path
    done: Done
    folder: RunFolder
    store: MlflowClient
    run: Run


@pytest.fixture(scope="session")
def tracked(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    """Three epochs of Adam on digits, with tags of one's own. To be read only."""
    outputs = tmp_path_factory.mktemp("tracked") / "outputs"
    shutil.copytree(empty_store, outputs)
    done = lenet_train(
        *SMALL,
        "num_epoch=3",
        "optimizer=adam",
        "optimizer.lr=0.002",
        "num_threads=1",
        "num_iter_echo=30",
        "+tracking.tags.x=1",
        "tracking.tags.note=first",
        "tracking.tags.checked=true",
        outputs=outputs,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (outputs / "runs").iterdir()
    store = client(outputs)
    (run,) = runs(store)
    return Tracked(outputs, done, RunFolder(folder), store, run)


@pytest.fixture
def delivered(tracked: Tracked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that run's outputs folder, to be changed. Its artifacts stay where they are, as MLflow keeps paths."""
    copy = Path(shutil.copytree(tracked.outputs, tmp_path / "outputs"))
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(copy))
    return copy


@pytest.fixture
def store(ready: Path) -> Store:
    return open_store(compose().tracking)


@pytest.fixture
def folder(tracked: Tracked, ready: Path) -> RunFolder:
    """The finished run, of which this store has nothing."""
    copy = Path(shutil.copytree(tracked.folder.path, ready / "runs" / tracked.folder.id))
    (copy / "delivered.json").unlink()
    return RunFolder(copy)
