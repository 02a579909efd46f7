"""Unpacks outputs folders that earlier releases left, and compares their values with those of this
release.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.cli import cli

from tests.tools.commands import Done, end, start
from tests.tools.stores import client, runs

HERE = Path(__file__).parent

# Tags, params, and metrics that differ each time a run is trained, by the start of their names.
OF_TRAINING = (
    "created_ms",
    "epoch_seconds",
    "images_per_",
    "resumed",
    "seconds",
    "starts",
    "sweep_shown",
    "sweeps",
)
VOLATILE = (*OF_TRAINING, "command", "git_", "host", "mlflow.", "owner", "version.")


@dataclass(frozen=True)
class Archive:
    """An outputs folder that an earlier release left, and what the commands of that release printed
    about it.

    Attributes:
        release: the release, such as `0.3`.
        cwd: working folder of all commands, relative to `place`.
    """

    release: str
    cwd: str = "."

    @property
    def name(self) -> str:
        return f"release_{self.release.replace('.', '_')}"

    @property
    def place(self) -> Path:
        """The folder that the store and the records name."""
        return Path(f"/tmp/lenet_exp-{self.name}")

    @property
    def outputs(self) -> Path:
        return self.place / "outputs"

    @cached_property
    def expected(self) -> dict[str, Any]:
        """What the commands of the release printed."""
        return json.loads((HERE / f"{self.name}.json").read_text())

    def extract(self, folder: Path) -> None:
        with tarfile.open(HERE / f"{self.name}.tar.xz") as archive:
            archive.extractall(folder, filter="data")

    @contextlib.contextmanager
    def unpacked(self, upgraded: Path) -> Iterator[Path]:
        """Unpack the archive at its own path, which one process uses at a time, and yield the
        outputs folder.

        Args:
            upgraded: folder that keeps the unpacked archive for later calls, with a store upgraded
                by `mlflow db upgrade`.
        """
        with Path(f"{self.place}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            shutil.rmtree(self.place, ignore_errors=True)
            if not upgraded.is_dir():
                self.extract(upgraded)
                done = CliRunner().invoke(
                    cli, ["db", "upgrade", f"sqlite:///{upgraded}/outputs/mlflow.db"]
                )
                assert done.exit_code == 0, done.output
            shutil.copytree(upgraded, self.place)
            try:
                yield self.outputs
            finally:
                shutil.rmtree(self.place, ignore_errors=True)

    def lenet(self, program: str, *arguments: str, status: int = 0, **environment: str) -> Done:
        """Run a command in the unpacked folder, and check its exit status."""
        environment = {"LENET_EXP_DATA": str(self.place)} | environment
        cwd = self.place / self.cwd
        process = start(*arguments, outputs=self.outputs, program=program, cwd=cwd, env=environment)
        done = end(process)
        assert done.returncode == status, (arguments, done.stdout, done.stderr)
        return done

    def written(self, program: str, *arguments: str) -> Any:
        """Return the JSON that a command writes with output=."""
        path = self.place / "written.json"
        self.lenet(program, *arguments, f"output={path}")
        return json.loads(path.read_text())

    def store(self) -> MlflowClient:
        """Return a client of a copy of the store, because MLflow keeps files open that the next
        test replaces.
        """
        copy = Path(tempfile.mkdtemp(dir=self.place))
        shutil.copy(self.outputs / "mlflow.db", copy)
        return client(copy)

    def texts(self, name: str = "record.json") -> dict[str, str]:
        """Return the text of this file of each run, by the name of the run folder."""
        return {path.parent.name: path.read_text() for path in self.outputs.glob(f"runs/*/{name}")}

    def in_mlflow(self, folder: str) -> Any:
        """Return the MLflow run of a run folder or sweep folder."""
        tags = {"run": "run_folder", "sweep": "sweep"}
        candidates = [(run, tags[kind]) for kind in tags for run in runs(self.store(), kind)]
        (run,) = (run for run, tag in candidates if run.data.tags[tag] == folder)
        return run


def changes(old: Any, new: Any, where: str = "") -> list[str]:
    """Return the keys and values of `old` that `new` lacks. Sentences can differ, and `new` can
    have more keys.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        gone = [f"{where}.{key} is gone" for key in old.keys() - new.keys()]
        return gone + [
            text
            for key in old.keys() & new.keys()
            for text in changes(old[key], new[key], f"{where}.{key}")
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            text
            for n, pair in enumerate(zip(old, new, strict=True))
            for text in changes(*pair, f"{where}[{n}]")
        ]
    if isinstance(old, str) and isinstance(new, str) and " " in old:
        return []
    # PyTorch computes slightly different logits on other CPUs.
    if (
        isinstance(old, float)
        and isinstance(new, int | float)
        and math.isclose(old, new, rel_tol=1e-5, abs_tol=1e-6)
    ):
        return []
    return [] if old == new else [f"{where}: {old!r} is now {new!r}"]


def steady(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that do not differ each time a run is trained."""
    return {key: value for key, value in values.items() if not key.startswith(VOLATILE)}
