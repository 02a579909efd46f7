"""Unpacks the outputs folder of an earlier commit, and compares what it holds with what the program makes today."""

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

from tests.tools.commands import Done, end, start
from tests.tools.stores import client

HERE = Path(__file__).parent
COMMIT = "cfe5d23"
PLACE = Path(f"/tmp/lenet_exp-{COMMIT}")  # its records name this folder
OUTPUTS = PLACE / "outputs"
EXPECTED: dict[str, Any] = json.loads((HERE / f"{COMMIT}.json").read_text())

# What differs between two executions of one run: clock, machine, versions, ids.
VOLATILE = (
    "command",
    "created_ms",
    "git_",
    "host",
    "mlflow.",
    "version.",
    "sweeps",
    "epoch_seconds",
    "images_per_",
    "owner",
    "seconds",
    "starts",
    "sweep_shown",
)


@contextlib.contextmanager
def unpacked(upgraded: Path) -> Iterator[Path]:
    """The outputs folder at its own place, which one process has at a time; its store as `mlflow db upgrade` leaves it.

    Args:
        upgraded: where all of it is kept for the next time.
    """
    with Path(f"{PLACE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(PLACE, ignore_errors=True)
        if not upgraded.is_dir():
            with tarfile.open(HERE / f"{COMMIT}.tar.xz") as archive:
                archive.extractall(upgraded, filter="data")
            done = CliRunner().invoke(cli, ["db", "upgrade", f"sqlite:///{upgraded}/outputs/mlflow.db"])
            assert done.exit_code == 0, done.output
        shutil.copytree(upgraded, PLACE)
        try:
            yield OUTPUTS
        finally:
            shutil.rmtree(PLACE, ignore_errors=True)


def lenet(program: str, *arguments: str, status: int = 0) -> Done:
    """Runs a command at that place, which has to end with `status`."""
    done = end(start(*arguments, outputs=OUTPUTS, program=program, cwd=PLACE))
    assert done.returncode == status, (arguments, done.stdout, done.stderr)
    return done


def store() -> MlflowClient:
    """A client of a copy of the store: MLflow keeps files open, and the next test has another at this place."""
    copy = Path(tempfile.mkdtemp(dir=PLACE))
    shutil.copy(OUTPUTS / "mlflow.db", copy)
    return client(copy)


def written(program: str, *arguments: str) -> Any:
    """What a command writes with output=."""
    path = PLACE / "written.json"
    lenet(program, *arguments, f"output={path}")
    return json.loads(path.read_text())


def lost(old: Any, new: Any, where: str = "") -> list[str]:
    """Which keys and values of `old` are not in `new`: sentences may change, and there may be more of everything."""
    if isinstance(old, dict) and isinstance(new, dict):
        gone = [f"{where}.{key} is gone" for key in old.keys() - new.keys()]
        return gone + [text for key in old.keys() & new.keys() for text in lost(old[key], new[key], f"{where}.{key}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [text for n, pair in enumerate(zip(old, new, strict=True)) for text in lost(*pair, f"{where}[{n}]")]
    if isinstance(old, str) and isinstance(new, str) and " " in old:
        return []
    if isinstance(old, float) and isinstance(new, int | float) and math.isclose(old, new, rel_tol=1e-9):
        return []
    return [] if old == new else [f"{where}: {old!r} is now {new!r}"]


def keys(value: Any, where: str = "") -> set[str]:
    """The path of each key of JSON, whatever its place in lists."""
    if isinstance(value, dict):
        return {where, *(path for key, part in value.items() for path in keys(part, f"{where}.{key}"))}
    if isinstance(value, list):
        return {where, *(path for part in value for path in keys(part, f"{where}[]"))}
    return {where}


def steady(values: dict[str, Any]) -> dict[str, Any]:
    """Without what differs each time."""
    return {key: value for key, value in values.items() if not key.startswith(VOLATILE)}
