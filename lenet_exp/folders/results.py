"""What runs and the jobs of a sweep came to, read from their run folders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenet_exp.folders.commits import seconds_to
from lenet_exp.folders.job import FrozenJob
from lenet_exp.folders.owner import owner_of
from lenet_exp.folders.record import conclude
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        folder: the run folder.
        record: as `record.conclude` makes it; the outcome, the best accuracy and epoch, the digests are there.
        mlflow_run_id: None where the store was away, or where somebody else delivers.
        repeated: it had been trained before, and only its result was returned.
    """

    folder: Path
    record: dict[str, Any]
    mlflow_run_id: str | None
    repeated: bool

    @property
    def outcome(self) -> str:
        """finished, diverged, failed or killed."""
        return self.record["outcome"]

    @property
    def value(self) -> float:
        """Best validation accuracy as a fraction, what a sweep optimises; NaN unless the run finished."""
        return self.record["best_val_accuracy"] if self.outcome == "finished" else math.nan


@dataclass(frozen=True)
class JobResult:
    """What one job came to.

    Attributes:
        outcome: finished, diverged, failed, killed, running, or `not started`.
        reason: why it did not finish, in one line.
        record: the run's, where there is one.
        repeated: it had been trained before, or stands in the sweep a second time.
    """

    job: FrozenJob
    outcome: str
    reason: str
    record: dict[str, Any] | None
    repeated: bool

    @property
    def value(self) -> float:
        """Best validation accuracy, NaN unless it finished."""
        return self.record["best_val_accuracy"] if self.record and self.outcome == "finished" else math.nan

    @property
    def log(self) -> str | None:
        return str(self.job.folder.log_file) if self.record else None


def job_results(sweep: SweepFolder, jobs: Sequence[FrozenJob], since_ms: int) -> list[JobResult]:
    """The present result of each job; `since_ms`: what ended before had been trained before."""
    found, seen = [], set()
    active = set(sweep.active())
    for job in jobs:
        record = job.folder.record()
        error = sweep.error(job.number) if record is None or record["outcome"] not in {"finished", "diverged"} else None
        if record is not None and (error is None or record["outcome"] != "killed"):
            outcome, reason = record["outcome"], record["reason"]
        elif error is not None:
            outcome, reason = "failed", error
        elif job.number in active and owner_of(job.folder.path) is not None:
            outcome, reason = "running", ""
        else:
            outcome, reason = "not started", "the sweep ended before"
        repeated = outcome == "finished" and record is not None and record["ended_ms"] < since_ms
        found.append(JobResult(job, outcome, reason, record, repeated or job.run in seen))
        seen.add(job.run)
    return found


def ended(job: FrozenJob, error: str | None, since_ms: int) -> tuple[str, str]:
    """What a job came to, for the terminal: its outcome and a line."""
    record = job.folder.record()
    if error is not None:
        return "failed", f"failed: {error}"
    if record is None:
        return "failed", "ended without a record"
    if record["outcome"] != "finished":
        return record["outcome"], f"{record['outcome']}: {record['reason']}"
    best = f"{record['best_val_accuracy']:.2%} in epoch {record['best_epoch']}"
    how = "trained before" if record["ended_ms"] < since_ms else f"{record['seconds']:.1f} s"
    return "finished", f"{best}, {how}"


def give_up(folder: RunFolder, outcome: str, reason: str) -> bool:
    """Concludes a run whose process died; whether there was one. The caller owns the folder."""
    job = folder.job()
    if job is None or folder.record() is not None:
        return False
    history = folder.history()
    best = history["best"] or {"epoch": None, "val_accuracy": None}
    record = conclude(
        job,
        outcome,
        epochs=len(history["epochs"]),
        seconds=sum(e["epoch_seconds"] for e in history["epochs"]),
        seconds_to_best=seconds_to(history["epochs"], best["epoch"]),
        resumed=history.get("resumed", 0),
        reason=reason,
    )
    folder.finish(record | {"best_epoch": best["epoch"], "best_val_accuracy": best["val_accuracy"]})
    return True
