"""A run on disk: outputs/runs/<run id>/. What isn't committed here does not exist for MLflow.

job.json              frozen configuration, fingerprint, name; written first, part of the record in the end
history.json, state-*, best-*   what has been committed (commits.py)
augmentation.png      what augmentation makes of a few training images, if it is on
mistakes.png          the worst mistakes of the best weights on validation images, if there are any
record.json           outcome and all that is needed to rebuild the result; written last
run.log               the run's log, with the traceback if it failed
delivered.json        what MLflow has got
abandoned.json        MLflow runs of tries that were given up; delivery closes them
lock, owner.json      who owns the run now (owner.py)
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from lenet_exp.files import read_json, remove_left_aside, write_atomic, write_json
from lenet_exp.folders.commits import Commits, read_history
from lenet_exp.folders.owner import DELIVERED, own
from lenet_exp.training.weights import load_weights

ENDED = {"finished", "diverged"}  # outcomes that are results: the same configuration would give them again


def run_id(experiment: str, fingerprint: str, *execution: object) -> str:
    """The name of a run's folder: 32 hex digits.

    Args:
        execution: device and threads, where a sweep asks for one fingerprint under several of them.
    """
    return hashlib.sha256("\n".join(map(str, (experiment, fingerprint, *execution))).encode()).hexdigest()[:32]


class RunFolder:
    """Reads and writes one run folder. Whoever writes holds the `claim`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def log_file(self) -> Path:
        return self.path / "run.log"

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Owns the run; waits while another process does."""
        with own(self.path, "this very run"):
            yield

    @contextmanager
    def delivering(self) -> Iterator[None]:
        """One process of this machine at a time delivers; that is not always the one that trains."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            remove_left_aside(self.path, only=DELIVERED)
            yield
        finally:
            os.close(descriptor)

    def start(self, job: dict[str, Any]) -> Commits:
        """Empties the folder but for the log, and freezes the job.

        Args:
            job: JSON values; `name`, `config` and `fingerprint` are among them.
        """
        abandoned = [*self.abandoned(), *(self.delivered() or {}).get("mlflow_runs", [])]
        for old in self.path.iterdir():
            if old.name not in {"lock", "owner.json", "run.log"}:
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        if abandoned:
            write_json(self.path / "abandoned.json", abandoned)
        write_json(self.path / "job.json", job)
        return Commits(self.path)

    def go_on(self) -> Commits:
        """Takes back the end of a run that was killed or failed."""
        record = self.path / "record.json"
        if not (self.path / "job.json").exists() and record.exists():
            write_json(self.path / "job.json", self.record())
        record.unlink(missing_ok=True)
        return Commits(self.path)

    def keep_picture(self, name: str, png: bytes) -> None:
        """Keeps `<name>.png`: it is drawn where the data are, and delivered elsewhere."""
        write_atomic(self.path / f"{name}.png", png)

    def pictures(self) -> list[Path]:
        """The pictures that were kept."""
        return sorted(self.path.glob("*.png"))

    def job(self) -> dict[str, Any] | None:
        return _read(self.path / "job.json") or self.record()

    def history(self) -> dict[str, Any]:
        """`epochs`: the committed epochs' results in order; `best`: epoch, val_accuracy, weights file, or None."""
        return read_history(self.path)

    def best_weights(self) -> dict[str, Tensor] | None:
        best = self.history()["best"]
        return load_weights(self.path / best["weights"])[0] if best else None

    def finish(self, record: dict[str, Any]) -> None:
        """Ends the run: after this it counts as what `record["outcome"]` says."""
        write_json(self.path / "record.json", record)
        self.tidy()

    def untidy(self) -> bool:
        """Whether it has a result, but its process died before it had removed what is not needed any more."""
        return (self.path / "job.json").exists() and self.result() is not None

    def tidy(self) -> None:
        """Removes the commits of a run that has a result."""
        if self.untidy():
            Commits(self.path).clean()
            (self.path / "job.json").unlink()  # last, since it says that there is something to do

    def record(self) -> dict[str, Any] | None:
        return _read(self.path / "record.json")

    def result(self) -> dict[str, Any] | None:
        """The record, if it is a result: finished or diverged."""
        record = self.record()
        return record if record is not None and record["outcome"] in ENDED else None

    def delivered(self) -> dict[str, Any] | None:
        return _read(self.path / DELIVERED)

    def set_delivered(self, delivered: dict[str, Any]) -> None:
        write_json(self.path / DELIVERED, delivered)

    def has_no_points(self) -> bool:
        """Whether MLflow has none of its points yet, so that a new start would draw none twice."""
        return all(entry["epochs"] == 0 for entry in (self.delivered() or {}).get("mlflow_runs", []))

    def abandoned(self) -> list[dict[str, str]]:
        return _read(self.path / "abandoned.json") or []


def _read(path: Path) -> Any:
    """A damaged file counts as none: the run is trained again."""
    try:
        return read_json(path)
    except ValueError:
        return None
