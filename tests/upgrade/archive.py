"""Unpacks the outputs folder that release 0.2.0 left, and compares its values with those of this release."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.cli import cli

from tests.tools.commands import ROOT, Done, end, start
from tests.tools.stores import client

HERE = Path(__file__).parent
ARCHIVE = HERE / "release_0_2.tar.xz"
PLACE = Path("/tmp/lenet_exp-release_0_2")  # the path that the store and the records contain
OUTPUTS = PLACE / "outputs"
EXPECTED: dict[str, Any] = json.loads((HERE / "release_0_2.json").read_text())

# Tags, params, and metrics that differ each time a run is trained, by the start of their names.
OF_TRAINING = ("created_ms", "epoch_seconds", "images_per_", "resumed", "seconds", "starts", "sweep_shown", "sweeps")
VOLATILE = (*OF_TRAINING, "command", "git_", "host", "mlflow.", "owner", "version.")


@contextlib.contextmanager
def unpacked(upgraded: Path) -> Iterator[Path]:
    """Unpack the archive at its own path, which one process uses at a time, and yield the outputs folder.

    Args:
        upgraded: folder that keeps the unpacked archive, with a store upgraded by `mlflow db upgrade`, for later calls.
    """
    with Path(f"{PLACE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(PLACE, ignore_errors=True)
        if not upgraded.is_dir():
            with tarfile.open(ARCHIVE) as archive:
                archive.extractall(upgraded, filter="data")
            done = CliRunner().invoke(cli, ["db", "upgrade", f"sqlite:///{upgraded}/outputs/mlflow.db"])
            assert done.exit_code == 0, done.output
        shutil.copytree(upgraded, PLACE)
        try:
            yield OUTPUTS
        finally:
            shutil.rmtree(PLACE, ignore_errors=True)


def lenet(program: str, *arguments: str, status: int = 0) -> Done:
    """Run a command in the unpacked folder, and check its exit status."""
    environment = {"LENET_EXP_DATA": str(PLACE), "PYTHONPATH": f"{ROOT}:{PLACE}/mine"}
    done = end(start(*arguments, outputs=OUTPUTS, program=program, cwd=PLACE, env=environment))
    assert done.returncode == status, (arguments, done.stdout, done.stderr)
    return done


def written(program: str, *arguments: str) -> Any:
    """Return the JSON that a command writes with output=."""
    path = PLACE / "written.json"
    lenet(program, *arguments, f"output={path}")
    return json.loads(path.read_text())


def store() -> MlflowClient:
    """Return a client of a copy of the store, because MLflow keeps files open that the next test replaces."""
    copy = Path(tempfile.mkdtemp(dir=PLACE))
    shutil.copy(OUTPUTS / "mlflow.db", copy)
    return client(copy)


def changes(old: Any, new: Any, where: str = "") -> list[str]:
    """Return the keys and values of `old` that `new` lacks. Sentences can differ, and `new` can have more keys."""
    if isinstance(old, dict) and isinstance(new, dict):
        gone = [f"{where}.{key} is gone" for key in old.keys() - new.keys()]
        return gone + [
            text for key in old.keys() & new.keys() for text in changes(old[key], new[key], f"{where}.{key}")
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [text for n, pair in enumerate(zip(old, new, strict=True)) for text in changes(*pair, f"{where}[{n}]")]
    if isinstance(old, str) and isinstance(new, str) and " " in old:
        return []
    # PyTorch computes slightly different logits on other CPUs.
    if isinstance(old, float) and isinstance(new, int | float) and math.isclose(old, new, rel_tol=1e-5, abs_tol=1e-6):
        return []
    return [] if old == new else [f"{where}: {old!r} is now {new!r}"]


def steady(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that do not differ each time a run is trained."""
    return {key: value for key, value in values.items() if not key.startswith(VOLATILE)}
