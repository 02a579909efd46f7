"""The progress of a running sweep, computed only from the sweep folder and the run folders.

Any process can compute the progress, regardless of the executor. Progress is read every second, so
the result of each job that has ended is read only once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lenet_exp.config.metric import Metric
from lenet_exp.folders.job import Job
from lenet_exp.folders.owner import Owner, owner_of
from lenet_exp.folders.records import Outcome, Record
from lenet_exp.folders.results import JobResult, job_result
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_plan import SearchPlan, SweepPlan
from lenet_exp.machine import cpu_count

OWNER_SECONDS = 10.0  # interval between lookups of a run's owner, which can create a file
# Measured with digits and MNIST on two cores: a sweep's time before the first step plus the time
# after the last upload, and the time that a run spends outside its epochs.
SWEEP_SECONDS, RUN_SECONDS = 10.0, 0.3

UPLOAD_SHARE = 0.05  # maximum fraction of the machine's time for uploads during training

OPEN = frozenset({Outcome.running, Outcome.not_started})


@dataclass(frozen=True)
class RunningJob:
    """A job that is being trained.

    Attributes:
        epochs: number of epochs up to the last checkpoint.
        best: best value of the metric so far, as text; empty before the first checkpoint.
        owner: process that trains the job; None if owners are not looked up.
    """

    job: Job
    epochs: int
    best: str
    owner: Owner | None


@dataclass(frozen=True)
class SweepProgress:
    """The progress of a sweep.

    Attributes:
        plan: settings and state of the sweep.
        results: result of each job. A job counts as not started if this start of the sweep will
            retrain it, because the job was killed, it failed, or retraining is forced.
        running: jobs that are being trained.
        trained: number of epochs trained since this start of the sweep.
        done, left: numbers of completed and remaining epochs in all runs, including epochs from
            earlier starts. In a search, only the jobs created so far count.
        seconds: time since this start of the sweep, in seconds.
        spent: training time for the `trained` epochs, in seconds.
        runs_left: number of runs that this start trains and that have epochs left.
        places: maximum number of runs that this start has trained in parallel.
    """

    plan: SweepPlan
    results: Sequence[JobResult]
    running: Sequence[RunningJob]
    trained: int
    done: int
    left: int
    seconds: float
    spent: float = 0.0
    runs_left: int = 0
    places: int = 1

    @cached_property
    def wrong(self) -> list[JobResult]:
        """The results of jobs that failed or diverged, latest first."""
        found = [r for r in self.results if r.outcome in {Outcome.failed, Outcome.diverged}]
        return sorted(found, key=lambda r: -(r.record.ended_ms if r.record is not None else 0))

    @property
    def share(self) -> float:
        """The completed fraction of the sweep, from 0 to 1."""
        search = self.plan.search
        if search is not None:
            return min(
                1.0, max((spent / budget for spent, budget in _budgets(search)), default=0.0)
            )
        return self.done / (self.done + self.left) if self.done + self.left else 1.0

    @property
    def seconds_left(self) -> float | None:
        """The estimated time until all runs are trained, in seconds.

        None if no estimate is possible, as in a search that can add seeds.
        """
        search = self.plan.search
        if search is None:
            if not self.trained:
                return None
            seconds = self.left * self.spent / self.trained + self.runs_left * RUN_SECONDS
            return seconds / max(1, min(self.places, self.runs_left))
        known = [
            search.seconds * (budget - spent) / spent
            for spent, budget in _budgets(search)
            if spent > 1
        ]
        ends_early = search.seeds > 1 and search.max_epochs is None and search.max_seconds is None
        if not known or ends_early:
            return None
        return max(0.0, min(known))


def sweep_seconds(training: float, runs: int) -> float:
    """Estimate the time of a sweep on all cores from the sum of the training times of its runs, in
    seconds.
    """
    return SWEEP_SECONDS + (training + runs * RUN_SECONDS) / min(cpu_count(), max(1, runs))


def _budgets(search: SearchPlan) -> list[tuple[float, float]]:
    """Return a pair (amount spent, size) for each budget of a search."""
    found = [
        (search.finished_trials, search.n_trials),
        (search.epochs, search.max_epochs),
        (search.seconds, search.max_seconds),
    ]
    return [(spent, budget) for spent, budget in found if budget]


class SweepMonitor:
    """Reader of a sweep's progress, for repeated calls.

    Args:
        sweep: folder of the sweep.
        jobs: list of the jobs if this process runs the sweep; the list can grow. By default, the
            jobs in the folder.
        owners: whether to look up the owner of each running job and omit jobs without an owner,
            whose process has died.
    """

    def __init__(
        self, sweep: SweepFolder, jobs: Sequence[Job] | None = None, *, owners: bool = True
    ) -> None:
        self._sweep = sweep
        self._given = jobs
        self._asks = owners
        self._start = -1
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._jobs: Sequence[Job] = self._given if self._given is not None else []
        self._results: list[JobResult] = []
        self._numbers: dict[str, list[int]] = {}  # numbers of the jobs with each run
        self._known: set[int] = (
            set()
        )  # numbers of the jobs that ended in this start and whose result was read
        self._active: set[int] = set()
        # For each run: epochs trained in this start, epochs completed, epochs left, and training
        # time in this start.
        self._done: dict[str, tuple[int, int, int, float]] = {}
        self._places = 1
        self._owners: dict[int, Owner | None] = {}
        self._asked_at = time.monotonic()

    def progress(self) -> SweepProgress:
        """Return the current progress.

        Raises:
            FileNotFoundError: the sweep was never started.
            DamagedError: a file in the sweep folder is corrupt.
        """
        plan = self._sweep.started()
        if plan.starts != self._start:
            self._begin_anew()
            self._start = plan.starts
        if self._given is None and len(self._jobs) != plan.runs:
            self._jobs = self._sweep.jobs()
        if time.monotonic() - self._asked_at > OWNER_SECONDS:
            self._owners, self._asked_at = {}, time.monotonic()
        active, ended = (
            set(self._sweep.active()),
            set(self._sweep.ended()),
        )  # in this order: a job can end in between
        for job in self._jobs[len(self._results) :]:
            self._numbers.setdefault(job.run, []).append(job.number)
            self._results.append(self._before(job, plan))
            self._count(job, plan)
        known = range(len(self._results))
        for number in (ended - self._known).intersection(known):
            self._end(self._jobs[number], plan)
        running = [
            self._running(self._jobs[n], plan) for n in sorted((active - ended).intersection(known))
        ]
        found = [r for r in running if r is not None]
        now = {r.job.number for r in found}
        for number in self._active - now - self._known:  # the job's process died
            self._results[number] = self._before(self._jobs[number], plan)
        self._active = now
        self._places = max(self._places, len(found))
        counted = self._done.values()
        return SweepProgress(
            plan=plan,
            results=tuple(self._results),
            running=found,
            trained=sum(run[0] for run in counted),
            done=sum(run[1] for run in counted),
            left=sum(run[2] for run in counted),
            seconds=max(0.0, time.time() - plan.started_ms / 1000),
            spent=sum(run[3] for run in counted),
            runs_left=sum(run[2] > 0 for run in counted),
            places=self._places,
        )

    def _before(self, job: Job, plan: SweepPlan) -> JobResult:
        """Return the result of a job that this start has not trained yet: a valid earlier result,
        or `not started`.
        """
        again = self._numbers[job.run][0] != job.number
        result = job_result(self._sweep, job, plan.started_ms, running=False, again=again)
        if result.record is not None and _stays(result.record, plan):
            return result
        return JobResult(job, Outcome.not_started, "", None, repeated=again)

    def _end(self, job: Job, plan: SweepPlan) -> None:
        """Read the results of a job that has ended and of all other jobs with the same run.

        A result that a network file system does not show yet is read in a later call.
        """
        for number in self._numbers[job.run]:
            again = number != self._numbers[job.run][0]
            result = job_result(
                self._sweep, self._jobs[number], plan.started_ms, running=False, again=again
            )
            if result.outcome in OPEN:
                continue
            self._results[number] = result
            if number == job.number:
                self._known.add(number)
        self._count(job, plan)

    def _running(self, job: Job, plan: SweepPlan) -> RunningJob | None:
        owner = self._owners.get(job.number)
        if self._asks and owner is None:
            owner = self._owners[job.number] = owner_of(job.folder.path)
            if owner is None:
                return None
        if self._results[job.number].outcome is not Outcome.running:
            again = self._numbers[job.run][0] != job.number
            self._results[job.number] = JobResult(job, Outcome.running, "", None, repeated=again)
        self._count(job, plan)
        progress = job.folder.progress()
        best = (
            Metric.of(job.config.metric).text(progress.best.value)
            if progress.best is not None
            else ""
        )
        return RunningJob(job, progress.epochs, best, owner)

    def _count(self, job: Job, plan: SweepPlan) -> None:
        """Update the numbers of epochs in the job's run."""
        result, progress = self._results[job.number], job.folder.progress()
        forced = result.outcome is Outcome.not_started and bool(plan.forced_ms)
        had = () if forced else progress.ends
        spent = [s for s, end in zip(progress.seconds, had, strict=False) if end >= plan.started_ms]
        left = job.config.num_epoch - len(had) if result.outcome in OPEN else 0
        self._done[job.run] = len(spent), len(had), max(0, left), sum(spent)


def _stays(record: Record, plan: SweepPlan) -> bool:
    """Return whether a run's earlier record remains valid in this sweep; if not, the run is
    retrained.
    """
    if record.created_ms < plan.forced_ms or record.outcome is None:
        return False
    return record.is_result or (plan.search is not None and record.outcome is not Outcome.killed)
