"""Results of runs and of a sweep's jobs, read from their run folders."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lenet_exp.config.metric import Metric
from lenet_exp.folders.final_record import final_record
from lenet_exp.folders.job import Job
from lenet_exp.folders.owner import owner_of
from lenet_exp.folders.records import RESULTS, Outcome, Record
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_plan import SweepPlan

COUNTED = (Outcome.finished, Outcome.diverged, Outcome.failed, Outcome.killed)
REUSED = RESULTS | {Outcome.pruned}  # outcomes that a later start reports as "already trained"


@dataclass(frozen=True, repr=False)
class RunResult:
    """The result of a run.

    Attributes:
        folder: path of the run folder.
        record: record of the run, with its outcome, best accuracy, best epoch, and digests.
        mlflow_run_id: ID of the run in MLflow; None if it was not uploaded.
        repeated: whether the run had already been trained, so that its saved result was returned.
    """

    folder: Path
    record: Record
    repeated: bool
    mlflow_run_id: str | None = None

    @property
    def outcome(self) -> Outcome:
        """The outcome: finished, diverged, failed, killed, or pruned; running while the run is
        being trained.
        """
        return self.record.outcome or Outcome.running

    @property
    def value(self) -> float:
        """The best value of the metric, which a sweep optimizes; NaN unless the run finished."""
        return _value(self.record)

    @property
    def best_val_accuracy(self) -> float | None:
        """The validation accuracy in the best epoch, as a fraction; None until the first epoch has
        ended.
        """
        return self.record.best_val_accuracy

    @property
    def best_epoch(self) -> int | None:
        """The number of the best epoch, counted from 1; None until the first epoch has ended."""
        return self.record.best_epoch

    @property
    def seconds(self) -> float:
        """The training time in seconds, including time before interruptions."""
        return self.record.seconds

    def __repr__(self) -> str:
        reached = f" {self.record.reached} in epoch {self.best_epoch}," if self.best_epoch else ""
        how = ", already trained" if self.repeated else ""
        return f"RunResult({self.outcome}:{reached} {self.seconds:.1f} s{how}, {self.folder})"


@dataclass(frozen=True)
class JobResult:
    """The result of a job in a sweep.

    Attributes:
        job: job to which the result belongs.
        outcome: outcome of the job, which can also be "running" or "not started".
        reason: one-line reason why the job did not finish; empty if the job finished.
        record: record of the job's run; None if the run has no record.
        repeated: whether the result existed before this start of the sweep or comes from an earlier
            job with the same run.
        earlier: whether the record is from an earlier start of the sweep.
    """

    job: Job
    outcome: Outcome
    reason: str
    record: Record | None
    repeated: bool
    earlier: bool = False

    @property
    def value(self) -> float:
        """The best value of the metric; NaN unless the job finished."""
        return _value(self.record) if self.outcome is Outcome.finished else math.nan


def job_results(sweep: SweepFolder, jobs: Sequence[Job], since_ms: int) -> list[JobResult]:
    """Return the current result of each job.

    Args:
        since_ms: start time of the sweep in milliseconds since 1970; runs that ended before this
            time count as already trained.
    """
    found, seen = [], set()
    active = set(sweep.active())
    for job in jobs:
        running = job.number in active and owner_of(job.folder.path) is not None
        found.append(job_result(sweep, job, since_ms, running=running, again=job.run in seen))
        seen.add(job.run)
    return found


def job_result(
    sweep: SweepFolder, job: Job, since_ms: int, *, running: bool, again: bool
) -> JobResult:
    """Return the current result of a job.

    Args:
        since_ms: start time of the sweep; see `job_results`.
        running: whether the job is being trained; ignored if the job has a record or an error.
        again: whether an earlier job in the sweep has the same run.
    """
    record = job.folder.record()
    before = record is not None and record.ended_ms < since_ms
    error = sweep.error(job.number) if record is None or not record.is_result or before else None
    if (
        record is not None
        and record.outcome
        and (error is None or not (before or record.outcome == Outcome.killed))
    ):
        outcome, reason = record.outcome, record.reason
    elif error is not None:
        outcome, reason = Outcome.failed, error
    elif running:
        outcome, reason = Outcome.running, ""
    else:
        outcome, reason = Outcome.not_started, "the sweep ended before"
    earlier = before and record is not None and record.outcome is outcome
    return JobResult(
        job,
        outcome,
        reason,
        record,
        repeated=(earlier and outcome in REUSED) or again,
        earlier=earlier,
    )


def counts(plan: SweepPlan, results: Sequence[JobResult]) -> dict[str, float]:
    """Return how many jobs of a sweep ended with each outcome, and the progress of a search."""
    by_outcome = Counter(result.outcome for result in results)
    values: dict[str, float] = {f"runs_{name}": by_outcome[name] for name in COUNTED}
    if by_outcome[Outcome.pruned]:
        values["runs_pruned"] = by_outcome[Outcome.pruned]
    values["runs_missing"] = len(results) - sum(values.values())
    values["runs"] = len(results)
    if plan.search is not None:
        values |= {
            "trials": plan.search.trials,
            "trials_told": plan.search.finished_trials,
            "epochs": plan.search.epochs,
        }
        if plan.search.best_value is not None:
            values["best_value"] = plan.search.best_value
    return values


def best_of(results: Sequence[JobResult]) -> JobResult | None:
    """Return the finished job with the best value of the metric (the first in a tie), or None if no
    job finished.
    """
    finished = [r for r in results if r.outcome is Outcome.finished]
    return max(finished, key=lambda r: r.value * Metric.of(r.job.config.metric).sign, default=None)


def outcome_line(job: Job, error: str | None, since_ms: int) -> str:
    """Return a line that reports a job's outcome in the terminal.

    Args:
        error: reason why the job failed before it had a record; None if there was no such failure.
        since_ms: start time of the sweep; see `job_results`.
    """
    record = job.folder.record()
    if error is not None:
        return f"failed: {error}"
    if record is None or record.outcome is None:
        return "ended without a record"
    if record.outcome is not Outcome.finished:
        known = record.outcome is Outcome.pruned and record.best_epoch is not None
        best = f", best {record.reached} in epoch {record.best_epoch}" if known else ""
        return f"{record.outcome}: {record.reason}{best}"
    how = "already trained" if record.ended_ms < since_ms else f"{record.seconds:.1f} s"
    return f"{record.reached} in epoch {record.best_epoch}, {how}"


def conclude_dead_run(folder: RunFolder, outcome: Outcome, reason: str) -> bool:
    """Write the final record of a run whose process died, and return whether the folder contains a
    run.

    If the folder already has a final record, it is kept, but a killed run can become a failed run.
    The caller must own the folder.
    """
    begun, record = folder.begun(), folder.record()
    if begun is not None and record is None:
        history = folder.history()
        seconds = sum(e.epoch_seconds for e in history.epochs)
        folder.finish(final_record(begun, outcome, history, seconds=seconds, reason=reason))
    elif record is not None and (record.outcome, outcome) == (Outcome.killed, Outcome.failed):
        folder.finish(replace(record, outcome=outcome, reason=reason))
    return begun is not None


def end_killed_run(folder: RunFolder) -> None:
    """If a run's process died, mark the run as killed in its folder."""
    if folder.begun() is not None and folder.record() is None and owner_of(folder.path) is None:
        with folder.claim():
            conclude_dead_run(folder, Outcome.killed, "its process died")


def end_killed_sweep(sweep: SweepFolder) -> bool:
    """Mark a sweep whose process died as killed, together with its unfinished runs.

    Return whether the sweep was still marked as running. The caller must own the sweep.
    """
    plan = sweep.started()
    if plan.outcome is not Outcome.running:
        return False
    jobs = sweep.jobs()
    for job in {job.run: job for job in jobs}.values():
        end_killed_run(job.folder)
    results = job_results(sweep, jobs, plan.started_ms)
    sweep.end(Outcome.killed, counted=counts(plan, results))
    return True


def _value(record: Record | None) -> float:
    """Return the best value of the metric in the record of a finished run; NaN for any other record
    and for None.
    """
    value = record.value if record is not None and record.outcome is Outcome.finished else None
    return math.nan if value is None else value
