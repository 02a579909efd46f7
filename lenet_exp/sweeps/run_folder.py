"""A run on disk: outputs/runs/<run id>/. What isn't committed here does not exist for MLflow.

job.json              frozen configuration, fingerprint, name; written first
history.json          what has been committed: epochs so far, the best one and the file with its weights
best-<epoch>.safetensors
record.json           written last: outcome and all that is needed to rebuild the result
run.log               the run's log, with the traceback if it failed
delivered.json        what MLflow has got
lock                  held (flock) by the process that owns the run; the kernel frees it on kill -9
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from lenet_exp.files import read_json, write_json
from lenet_exp.training.fit import EpochResult
from lenet_exp.training.lane import Best
from lenet_exp.training.weights import load_weights, save_weights

COMMIT_SECONDS = 2.0  # at most so often, so that runs with very short epochs don't spend their time on fsync

log = logging.getLogger("lenet_exp")


def run_id(experiment: str, fingerprint: str) -> str:
    """The name of a run's folder: 32 hex digits."""
    return hashlib.sha256(f"{experiment}\n{fingerprint}".encode()).hexdigest()[:32]


class RunFolder:
    """Reads and writes one run folder. Whoever writes holds the `claim`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._epochs: list[dict[str, Any]] = []
        self._pending: list[dict[str, Any]] = []
        self._committed_at = 0.0

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def log_file(self) -> Path:
        return self.path / "run.log"

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Owns the run; waits while another process of this machine does."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("waiting: another process is training this very run (%s)", self.path)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def start(self, job: dict[str, Any]) -> None:
        """Empties the folder and freezes the job: JSON values; `name`, `config` and `fingerprint` among them."""
        abandoned = (self.delivered() or {}).get("mlflow_runs", [])
        for old in self.path.iterdir():
            if old.name != "lock":
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        if abandoned:  # MLflow runs of an earlier try; delivery closes them
            write_json(self.path / "abandoned.json", abandoned)
        write_json(self.path / "job.json", job)

    def job(self) -> dict[str, Any] | None:
        return read_json(self.path / "job.json")

    def commit(self, result: EpochResult, best: Best, *, final: bool) -> bool:
        """Keeps an epoch's result and the best weights; says whether they are on disk now.

        One atomic step: history.json names the file of the best weights, which is written before it.
        """
        self._pending.append(asdict(result))
        now = time.monotonic()
        if not final and now - self._committed_at < COMMIT_SECONDS:
            return False
        self.flush(best)
        return True

    def flush(self, best: Best | None) -> None:
        """Puts on disk what `commit` still held back."""
        if not self._pending:
            return
        self._epochs += self._pending
        self._pending = []
        history: dict[str, Any] = {"epochs": self._epochs, "best": None}
        if best is not None:
            weights = self.path / f"best-{best.epoch}.safetensors"
            if not weights.exists():
                save_weights(weights, best.weights, {"epoch": str(best.epoch)})
            history["best"] = {"epoch": best.epoch, "val_accuracy": best.val_accuracy, "weights": weights.name}
        write_json(self.path / "history.json", history)
        for old in self.path.glob("best-*.safetensors"):
            if history["best"] is None or old.name != history["best"]["weights"]:
                old.unlink()
        self._committed_at = time.monotonic()

    def history(self) -> dict[str, Any]:
        """`epochs`: the committed epochs' results in order; `best`: epoch, val_accuracy, weights file, or None."""
        return read_json(self.path / "history.json") or {"epochs": [], "best": None}

    def best_weights(self) -> dict[str, Tensor] | None:
        best = self.history()["best"]
        return load_weights(self.path / best["weights"])[0] if best else None

    def finish(self, record: dict[str, Any]) -> None:
        """Ends the run: after this it counts as what `record["outcome"]` says."""
        write_json(self.path / "record.json", record)

    def record(self) -> dict[str, Any] | None:
        return read_json(self.path / "record.json")

    def delivered(self) -> dict[str, Any] | None:
        return read_json(self.path / "delivered.json")

    def set_delivered(self, delivered: dict[str, Any]) -> None:
        write_json(self.path / "delivered.json", delivered)

    def abandoned(self) -> list[dict[str, str]]:
        return read_json(self.path / "abandoned.json") or []
