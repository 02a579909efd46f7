"""A session of a sweep: trains the missing runs, and saves the outcome however the session ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from lenet_exp.config.schema import Config, Tracking
from lenet_exp.errors import RunsFailed
from lenet_exp.executors.drive import drive
from lenet_exp.executors.launcher import ExecutorLauncher
from lenet_exp.executors.local.devices import worker_devices
from lenet_exp.executors.work import Ask, JobEnd
from lenet_exp.folders.code_folder import save_code
from lenet_exp.folders.job import Job
from lenet_exp.folders.owner import locked_folder
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import JobResult, conclude_dead_run, job_results
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_plan import SweepPlan
from lenet_exp.folders.sweep_progress import OPEN
from lenet_exp.outputs import check_outputs
from lenet_exp.reports.terminal.log_output import log_to_file
from lenet_exp.reports.terminal.progress import Display
from lenet_exp.stopping import Terminated, signal_from
from lenet_exp.sweeps.end import end_sweep
from lenet_exp.sweeps.hooks import run_hook
from lenet_exp.sweeps.job import one_line
from lenet_exp.sweeps.repair import settle
from lenet_exp.sweeps.session_start import (
    SweepRequest,
    begin_session,
    log_earlier_sweep,
    save_start,
)
from lenet_exp.sweeps.watcher import watching
from lenet_exp.sweeps.workers import work_spec
from lenet_exp.training.engine import compile_ahead, native_shapes
from lenet_exp.training.native.layout import NativeShape

log = logging.getLogger("lenet_exp")


class Follow(Protocol):
    """A function that returns a context in which a sweep is trained and uploaded."""

    def __call__(
        self, sweep: SweepFolder, tracking: Tracking, *, trains: bool = True
    ) -> AbstractContextManager[None]:
        """Return the context.

        Args:
            sweep: folder of the sweep, which may not exist yet.
            tracking: values of the `tracking.*` flags.
            trains: whether any run will be trained; False for a sweep that is complete.
        """


class Session:
    """One session of a sweep, from the start of a command to its end; opened by `sweep_session`.

    Args:
        plan: plan of the sweep at the start of the session.

    Attributes:
        sweep: folder of the sweep.
        jobs: jobs of the sweep so far.
        config: configuration of one job; its `sweep.*` and `tracking.*` flags apply to the sweep.
        display: display that shows the progress on the terminal.
        started_ms: start time of the session, in milliseconds since 1970.
        forced_ms: results of runs that began before this time do not count; see `SweepPlan`.
    """

    def __init__(
        self, sweep: SweepFolder, jobs: list[Job], config: Config, plan: SweepPlan
    ) -> None:
        self.sweep = sweep
        self.jobs = jobs
        self.config = config
        self.display = Display()
        self.started_ms = plan.started_ms
        self.forced_ms = plan.forced_ms
        self._settled = False

    def add(self, job: Job) -> Job:
        """Add a job to the running sweep. Return the job with its assigned number."""
        job = replace(job, number=len(self.jobs))
        save_code([job.config], job.outputs)
        self.sweep.add(job)
        self.jobs.append(job)
        return job

    def train(
        self,
        jobs: Iterable[Job | None],
        launcher: ExecutorLauncher,
        environment: Mapping[str, str],
        *,
        sample_jobs: Sequence[Job],
        answer: Ask | None = None,
        ended: Callable[[int], bool] | None = None,
    ) -> None:
        """Train jobs with the executor of a launcher.

        Args:
            jobs: jobs to train. They are requested one at a time as slots become free, so they can
                be created while the sweep is running. None means that no job is available until
                other jobs have ended.
            launcher: launcher that creates the executor.
            environment: additional environment variables for the launched processes.
            sample_jobs: sample jobs, with the same datasets and numbers of threads as `jobs`;
                `jobs` itself if all jobs are known in advance.
            answer: function called after each epoch of a job to decide whether to prune the run;
                None to never prune.
            ended: function called with the number of each ended job, whose result is in its run
                folder. It returns whether the job counts as failed; by default, diverged runs do.
        """
        all_known = jobs is sample_jobs
        devices: list[int] = []
        jobs_to_train = jobs

        with self.display.sweep():
            if launcher.on_this_machine:
                flags = (job.config.device for job in sample_jobs)
                devices = worker_devices(flags, self.config.sweep.devices)
                if all_known:
                    compile_ahead(native_shapes(job.executed for job in sample_jobs))
                else:
                    jobs_to_train = _compile_as_created(jobs)

            work = work_spec(
                self.sweep,
                sample_jobs,
                environment,
                all_known=all_known,
                answer=answer,
                devices=devices,
            )
            executor = launcher.executor(work)
            on_done = partial(self._on_done, ended)
            with watching(
                self.sweep,
                self.jobs,
                self.display,
                started_ms=self.started_ms,
                logs_ends=True,
            ):
                drive(executor, jobs_to_train, max_failures=launcher.max_failures, on_done=on_done)

    def _on_done(self, ended: Callable[[int], bool] | None, done: JobEnd) -> bool:
        """Save the end of a job, and return whether the job counts as failed."""
        self._save_end(done)
        if ended is not None:
            return ended(done.job)
        if done.error is not None:
            return False
        record = self.jobs[done.job].folder.record()
        return record is not None and record.outcome is Outcome.diverged

    def _save_end(self, done: JobEnd) -> None:
        """Save how a job ended, unless the job itself has saved it."""
        if done.lost is not None:
            # Its process died too often, or the job exceeded the time limit.
            job = self.jobs[done.job]
            with locked_folder(job.folder.path, job.name):
                has_record = conclude_dead_run(job.folder, Outcome.failed, done.lost)
            self.sweep.end_job(done.job, None if has_record else done.lost)
        elif isinstance(done.error, Exception):
            if not self.sweep.has_ended(done.job):
                self.sweep.end_job(done.job, one_line(done.error))
        elif done.error is None:
            self.jobs[done.job].folder.await_record()
        # Any other exception is an interrupt: the job resumes in the next session.

    def results(self) -> list[JobResult]:
        """Return the results of all jobs."""
        return job_results(self.sweep, self.jobs, self.started_ms)

    def settle(self) -> None:
        """Close runs whose process died. Call this after all jobs have ended."""
        if not self._settled:
            self._settled = True
            settle(self.sweep, self.jobs)


@contextmanager
def sweep_session(
    sweep: SweepFolder,
    jobs: list[Job] | Callable[[], list[Job]],
    config: Config,
    request: SweepRequest,
    *,
    follow: Follow,
) -> Iterator[Session]:
    """Start or resume a sweep for the duration of a `with` block, and end it with the block.

    Args:
        sweep: folder of the sweep, whose name identifies the sweep.
        jobs: jobs known at the start, or a function that returns these jobs and is called while
            this process owns the sweep.
        config: configuration of one job; its `sweep.*` and `tracking.*` flags apply to the sweep.
        request: sweep as requested by the user.
        follow: function that returns a context in which the sweep is trained; see `Launching`.

    Raises:
        ConfigError: the outputs folder cannot be written to; nothing has been started.
        RunsFailed: a run did not finish; the sweep has ended.
    """
    check_outputs(sweep.outputs)
    known_jobs = jobs if isinstance(jobs, list) else []
    save_code([config, *(job.config for job in known_jobs)], sweep.outputs)

    # In this order, the command of `sweep.on_end` runs after the context of `follow` has ended.
    with ExitStack() as after, follow(sweep, config.tracking), sweep.claim():
        if not isinstance(jobs, list):
            jobs = jobs()
        earlier_plan = sweep.kept_plan()
        if earlier_plan is None:
            log_earlier_sweep(request, config.tracking.experiment, sweep)
        save_code((job.config for job in jobs), sweep.outputs)
        plan = save_start(sweep, jobs, config, request, earlier_plan=earlier_plan)

        session = Session(sweep, jobs, config, plan)
        end = _SessionEnd(session)
        after.enter_context(log_to_file(sweep.path / "sweep.log"))
        # The hooks run while no process owns the sweep, so that they can start other commands.
        after.callback(end.run_hook)

        start = time.perf_counter()
        try:
            begin_session(sweep, jobs, config, plan, is_resumed=earlier_plan is not None)
            yield session
            session.settle()
            is_unfinished = any(result.outcome in OPEN for result in session.results())
            end.outcome = Outcome.failed if is_unfinished else Outcome.finished
        except Exception:
            end.outcome = Outcome.failed
            raise
        except (KeyboardInterrupt, Terminated) as e:
            end.stopped_by = signal_from(e).name
            raise
        finally:
            session.settle()
            end.seconds = time.perf_counter() - start
            end.results = session.results()
            end.save()

    if not end.all_finished:
        raise RunsFailed


@dataclass
class _SessionEnd:
    """How a session ended. `sweep_session` sets the fields; the hook runs after that.

    Attributes:
        session: the session.
        outcome: outcome of the sweep; killed, until another outcome is known.
        stopped_by: name of the signal that stopped the sweep; empty if no signal stopped it.
        seconds: duration of the session, in seconds.
        results: results of all jobs; empty if they could not be read.
        all_finished: whether all runs ended as intended.
    """

    session: Session
    outcome: Outcome = Outcome.killed
    stopped_by: str = ""
    seconds: float = 0.0
    results: list[JobResult] = field(default_factory=list)
    all_finished: bool = False

    def save(self) -> None:
        """Save and print the results; see `end_sweep`."""
        self.all_finished = end_sweep(
            self.session.sweep,
            self.results,
            outcome=self.outcome,
            stopped_by=self.stopped_by,
            seconds=self.seconds,
        )

    def run_hook(self) -> None:
        """Run the command in `sweep.on_end`, if it is set."""
        run_hook(
            self.session.sweep,
            self.results,
            self.session.config,
            outcome=self.outcome,
            seconds=self.seconds,
        )


def _compile_as_created(jobs: Iterable[Job | None]) -> Iterator[Job | None]:
    """Yield jobs, and start to compile the kernels of each new shape before its first job."""
    compiled: set[NativeShape] = set()
    for job in jobs:
        shapes = native_shapes([job.executed]) if job is not None else []
        compile_ahead([shape for shape in shapes if shape not in compiled])
        compiled.update(shapes)
        yield job
