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

# The outcomes that a later start reports as "already trained".
REUSED = RESULTS | {Outcome.pruned}


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
        """The outcome of the run; `Outcome.running` while it is being trained."""
        return self.record.outcome or Outcome.running

    @property
    def value(self) -> float:
        """The best value of the metric, which a sweep optimizes; NaN unless the run finished."""
        return _value(self.record)

    @property
    def best_val_accuracy(self) -> float | None:
        """The validation accuracy in the best epoch, as a fraction.

        None until the first epoch has ended.
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
        text = f"{self.outcome}:"
        if self.best_epoch:
            text += f" {self.record.reached} in epoch {self.best_epoch},"
        text += f" {self.seconds:.1f} s"
        if self.repeated:
            text += ", already trained"
        return f"RunResult({text}, {self.folder})"


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
        if self.outcome is not Outcome.finished:
            return math.nan
        return _value(self.record)


def job_results(sweep: SweepFolder, jobs: Sequence[Job], since_ms: int) -> list[JobResult]:
    """Return the current result of each job.

    Args:
        since_ms: start time of the sweep in milliseconds since 1970; runs that ended before this
            time count as already trained.
    """
    results = []
    earlier_runs: set[str] = set()
    active_numbers = set(sweep.active())

    for job in jobs:
        running = job.number in active_numbers and owner_of(job.folder.path) is not None
        is_duplicate = job.run in earlier_runs
        result = job_result(sweep, job, since_ms, running=running, is_duplicate=is_duplicate)
        results.append(result)
        earlier_runs.add(job.run)
    return results


def job_result(
    sweep: SweepFolder, job: Job, since_ms: int, *, running: bool, is_duplicate: bool
) -> JobResult:
    """Return the current result of a job.

    Args:
        since_ms: start time of the sweep; see `job_results`.
        running: whether the job is being trained; ignored if the job has a record or an error.
        is_duplicate: whether an earlier job in the sweep has the same run.
    """
    record = job.folder.record()
    ended_before = record is not None and record.ended_ms < since_ms

    error = None
    if record is None or not record.is_result or ended_before:
        error = sweep.error(job.number)

    outcome, reason = _outcome_and_reason(record, error, ended_before=ended_before, running=running)
    earlier = ended_before and record is not None and record.outcome is outcome
    is_reused = earlier and outcome in REUSED
    return JobResult(
        job, outcome, reason, record, repeated=is_reused or is_duplicate, earlier=earlier
    )


def _outcome_and_reason(
    record: Record | None, error: str | None, *, ended_before: bool, running: bool
) -> tuple[Outcome, str]:
    """Return the outcome of a job, and the reason why it did not finish.

    Args:
        record: record of the job's run; None if there is none.
        error: reason why the job failed before it had a record; None if there was no such failure.
        ended_before: whether the record is from before this start of the sweep.
        running: whether the job is being trained.
    """
    if record is not None and record.outcome is not None:
        # The error is newer than a record from an earlier start, or of a run that was killed.
        is_outdated = ended_before or record.outcome is Outcome.killed
        if error is None or not is_outdated:
            return record.outcome, record.reason

    if error is not None:
        return Outcome.failed, error
    if running:
        return Outcome.running, ""
    return Outcome.not_started, "the sweep ended before"


def counts(plan: SweepPlan, results: Sequence[JobResult]) -> dict[str, float]:
    """Return how many jobs of a sweep ended with each outcome, and the progress of a search."""
    by_outcome = Counter(result.outcome for result in results)

    values: dict[str, float] = {f"runs_{name}": by_outcome[name] for name in COUNTED}
    if by_outcome[Outcome.pruned]:
        values["runs_pruned"] = by_outcome[Outcome.pruned]
    values["runs_missing"] = len(results) - sum(values.values())
    values["runs"] = len(results)

    if plan.search is not None:
        values["trials"] = plan.search.trials
        values["trials_told"] = plan.search.finished_trials
        values["epochs"] = plan.search.epochs
        if plan.search.best_value is not None:
            values["best_value"] = plan.search.best_value
    return values


def best_of(results: Sequence[JobResult]) -> JobResult | None:
    """Return the finished job with the best value of the metric; None if no job finished.

    In a tie, the first of these jobs is returned.
    """
    finished = [result for result in results if result.outcome is Outcome.finished]
    return max(finished, key=_value_to_maximize, default=None)


def _value_to_maximize(result: JobResult) -> float:
    return result.value * Metric.of(result.job.config.metric).sign


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

    best = f"{record.reached} in epoch {record.best_epoch}"
    if record.outcome is Outcome.finished:
        is_earlier = record.ended_ms < since_ms
        training = "already trained" if is_earlier else f"{record.seconds:.1f} s"
        return f"{best}, {training}"

    line = f"{record.outcome}: {record.reason}"
    if record.outcome is Outcome.pruned and record.best_epoch is not None:
        line += f", best {best}"
    return line


def conclude_dead_run(folder: RunFolder, outcome: Outcome, reason: str) -> bool:
    """Write the final record of a run whose process died; return whether the folder has a run.

    If the folder already has a final record, it is kept, but a killed run can become a failed run.
    The caller must own the folder.
    """
    begun = folder.begun()
    record = folder.record()

    if record is not None:
        if record.outcome is Outcome.killed and outcome is Outcome.failed:
            folder.finish(replace(record, outcome=outcome, reason=reason))
    elif begun is not None:
        history = folder.history()
        seconds = sum(epoch.epoch_seconds for epoch in history.epochs)
        folder.finish(final_record(begun, outcome, history, seconds=seconds, reason=reason))
    return begun is not None


def end_killed_run(folder: RunFolder) -> None:
    """If a run's process died, mark the run as killed in its folder."""
    if _has_died(folder):
        with folder.claim():
            conclude_dead_run(folder, Outcome.killed, "its process died")


def _has_died(folder: RunFolder) -> bool:
    if folder.begun() is None or folder.record() is not None:
        return False
    return owner_of(folder.path) is None


def end_killed_sweep(sweep: SweepFolder) -> bool:
    """Mark a sweep whose process died as killed, together with its unfinished runs.

    Return whether the sweep was still marked as running. The caller must own the sweep.
    """
    plan = sweep.started()
    if plan.outcome is not Outcome.running:
        return False

    jobs = sweep.jobs()
    job_of_run = {job.run: job for job in jobs}
    for job in job_of_run.values():
        end_killed_run(job.folder)

    results = job_results(sweep, jobs, plan.started_ms)
    sweep.end(Outcome.killed, counted=counts(plan, results))
    return True


def _value(record: Record | None) -> float:
    """Return the best value of the metric in the record of a finished run; otherwise, NaN."""
    if record is None or record.outcome is not Outcome.finished:
        return math.nan
    return math.nan if record.value is None else record.value
