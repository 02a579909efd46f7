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

# The interval between lookups of a run's owner, which can create a file.
OWNER_SECONDS = 10.0

# A sweep's time before the first step plus the time after the last upload. This time and the next
# were measured with digits and MNIST on two cores.
SWEEP_SECONDS = 10.0

# The time that a run spends outside its epochs.
RUN_SECONDS = 0.3

# The maximum fraction of the machine's time for uploads during training.
UPLOAD_SHARE = 0.05

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
        wrong = [r for r in self.results if r.outcome in {Outcome.failed, Outcome.diverged}]
        return sorted(wrong, key=_negative_end_time)

    @property
    def share(self) -> float:
        """The completed fraction of the sweep, from 0 to 1."""
        search = self.plan.search
        if search is not None:
            shares = [spent / budget for spent, budget in _budgets(search)]
            return min(1.0, max(shares, default=0.0))

        epochs = self.done + self.left
        return self.done / epochs if epochs else 1.0

    @property
    def seconds_left(self) -> float | None:
        """The estimated time until all runs are trained, in seconds.

        None if no estimate is possible, as in a search that can add seeds.
        """
        search = self.plan.search
        if search is not None:
            return _search_seconds_left(search)
        if not self.trained:
            return None

        training_seconds = self.left * self.spent / self.trained
        seconds_of_all_runs = training_seconds + self.runs_left * RUN_SECONDS
        return seconds_of_all_runs / max(1, min(self.places, self.runs_left))


def _negative_end_time(result: JobResult) -> int:
    return 0 if result.record is None else -result.record.ended_ms


def _search_seconds_left(search: SearchPlan) -> float | None:
    """Return the estimated time until one of a search's budgets is spent, in seconds.

    For example, after 60 s and 20 of 30 trials, 30 s are left.
    """
    estimates = []
    for spent, budget in _budgets(search):
        if spent > 1:
            estimates.append(search.seconds * (budget - spent) / spent)

    # If trials can get more seeds, a limit of trials alone does not tell when the search ends.
    has_other_limit = search.max_epochs is not None or search.max_seconds is not None
    is_unknown = search.seeds > 1 and not has_other_limit
    if not estimates or is_unknown:
        return None
    return max(0.0, min(estimates))


def sweep_seconds(training: float, runs: int) -> float:
    """Estimate the time of a sweep on all cores, in seconds.

    Args:
        training: sum of the training times of its runs, in seconds.
        runs: number of runs.
    """
    parallel_runs = min(cpu_count(), max(1, runs))
    return SWEEP_SECONDS + (training + runs * RUN_SECONDS) / parallel_runs


def _budgets(search: SearchPlan) -> list[tuple[float, float]]:
    """Return a pair (amount spent, size) for each budget of a search."""
    amounts = [
        (search.finished_trials, search.n_trials),
        (search.epochs, search.max_epochs),
        (search.seconds, search.max_seconds),
    ]
    return [(spent, budget) for spent, budget in amounts if budget]


@dataclass(frozen=True)
class _EpochCounts:
    """The epochs of a run.

    Attributes:
        trained: number of epochs trained in this start of the sweep.
        done: number of completed epochs.
        left: number of remaining epochs.
        spent: training time for the `trained` epochs, in seconds.
    """

    trained: int
    done: int
    left: int
    spent: float


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
        self._jobs_of_process = jobs
        self._looks_up_owners = owners
        self._start = -1
        self._reset()

    def _reset(self) -> None:
        """Forget everything about an earlier start of the sweep."""
        jobs = self._jobs_of_process
        self._jobs: Sequence[Job] = [] if jobs is None else jobs
        self._results: list[JobResult] = []
        # numbers of the jobs with each run
        self._numbers_of_run: dict[str, list[int]] = {}
        # numbers of the jobs that ended in this start and whose result was read
        self._read_numbers: set[int] = set()
        # numbers of the jobs that were being trained at the last call
        self._active: set[int] = set()
        self._epochs_of_run: dict[str, _EpochCounts] = {}
        self._places = 1
        self._owners: dict[int, Owner | None] = {}
        self._owners_reset_at = time.monotonic()

    def progress(self) -> SweepProgress:
        """Return the current progress.

        Raises:
            FileNotFoundError: the sweep was never started.
            DamagedError: a file in the sweep folder is corrupt.
        """
        plan = self._sweep.started()
        if plan.starts != self._start:
            self._reset()
            self._start = plan.starts
        if self._jobs_of_process is None and len(self._jobs) != plan.runs:
            self._jobs = self._sweep.jobs()
        if time.monotonic() - self._owners_reset_at > OWNER_SECONDS:
            self._owners = {}
            self._owners_reset_at = time.monotonic()

        # in this order: a job can end in between
        active = set(self._sweep.active())
        ended = set(self._sweep.ended())

        self._add_jobs(plan)
        job_numbers = range(len(self._results))
        for number in (ended - self._read_numbers).intersection(job_numbers):
            self._read_results(self._jobs[number], plan)

        running = []
        for number in sorted((active - ended).intersection(job_numbers)):
            running_job = self._describe_running(self._jobs[number], plan)
            if running_job is not None:
                running.append(running_job)
        self._update_active({running_job.job.number for running_job in running}, plan)
        self._places = max(self._places, len(running))

        epochs = self._epochs_of_run.values()
        return SweepProgress(
            plan=plan,
            results=tuple(self._results),
            running=running,
            trained=sum(run.trained for run in epochs),
            done=sum(run.done for run in epochs),
            left=sum(run.left for run in epochs),
            seconds=max(0.0, time.time() - plan.started_ms / 1000),
            spent=sum(run.spent for run in epochs),
            runs_left=sum(run.left > 0 for run in epochs),
            places=self._places,
        )

    def _add_jobs(self, plan: SweepPlan) -> None:
        """Add the jobs that were created since the last call."""
        for job in self._jobs[len(self._results) :]:
            self._numbers_of_run.setdefault(job.run, []).append(job.number)
            self._results.append(self._result_before(job, plan))
            self._count_epochs(job, plan)

    def _update_active(self, active: set[int], plan: SweepPlan) -> None:
        """Update the numbers of the active jobs, and reset jobs whose process died."""
        for number in self._active - active - self._read_numbers:
            self._results[number] = self._result_before(self._jobs[number], plan)
        self._active = active

    def _is_duplicate(self, job: Job) -> bool:
        """Return whether an earlier job has the same run."""
        return self._numbers_of_run[job.run][0] != job.number

    def _result_before(self, job: Job, plan: SweepPlan) -> JobResult:
        """Return the result of a job that this start has not trained yet.

        It is a valid earlier result, or `not started`.
        """
        is_duplicate = self._is_duplicate(job)
        result = job_result(
            self._sweep, job, plan.started_ms, running=False, is_duplicate=is_duplicate
        )
        if result.record is not None and _stays(result.record, plan):
            return result
        return JobResult(job, Outcome.not_started, "", None, repeated=is_duplicate)

    def _read_results(self, job: Job, plan: SweepPlan) -> None:
        """Read the results of a job that has ended and of all other jobs with the same run.

        A result that a network file system does not show yet is read in a later call.
        """
        numbers = self._numbers_of_run[job.run]
        for number in numbers:
            result = job_result(
                self._sweep,
                self._jobs[number],
                plan.started_ms,
                running=False,
                is_duplicate=number != numbers[0],
            )
            if result.outcome in OPEN:
                continue

            self._results[number] = result
            if number == job.number:
                self._read_numbers.add(number)
        self._count_epochs(job, plan)

    def _describe_running(self, job: Job, plan: SweepPlan) -> RunningJob | None:
        """Update the result of a running job, and describe it; None if its process died."""
        owner = self._owners.get(job.number)
        if self._looks_up_owners and owner is None:
            owner = owner_of(job.folder.path)
            self._owners[job.number] = owner
            if owner is None:
                return None

        if self._results[job.number].outcome is not Outcome.running:
            self._results[job.number] = JobResult(
                job, Outcome.running, "", None, repeated=self._is_duplicate(job)
            )
        self._count_epochs(job, plan)

        progress = job.folder.progress()
        best = ""
        if progress.best is not None:
            best = Metric.of(job.config.metric).text(progress.best.value)
        return RunningJob(job, progress.epochs, best, owner)

    def _count_epochs(self, job: Job, plan: SweepPlan) -> None:
        """Update the numbers of epochs in the job's run."""
        result = self._results[job.number]
        progress = job.folder.progress()

        # A run that will be retrained starts over.
        starts_over = result.outcome is Outcome.not_started and bool(plan.forced_ms)
        end_times = () if starts_over else progress.ends

        seconds_of_trained = []
        for seconds, end_time in zip(progress.seconds, end_times, strict=False):
            if end_time >= plan.started_ms:
                seconds_of_trained.append(seconds)

        left = 0
        if result.outcome in OPEN:
            left = max(0, job.config.num_epoch - len(end_times))
        self._epochs_of_run[job.run] = _EpochCounts(
            trained=len(seconds_of_trained),
            done=len(end_times),
            left=left,
            spent=sum(seconds_of_trained),
        )


def _stays(record: Record, plan: SweepPlan) -> bool:
    """Return whether a run's earlier record remains valid in this sweep.

    If not, the run is retrained.
    """
    if record.created_ms < plan.forced_ms or record.outcome is None:
        return False
    if record.is_result:
        return True
    return plan.search is not None and record.outcome is not Outcome.killed
