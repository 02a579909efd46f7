"""A session of a sweep: trains the missing runs, and saves the sweep's outcome however the session
ends.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lenet_exp.addresses import frozen_uri
from lenet_exp.amounts import number_of
from lenet_exp.config.schema import Config, Tracking
from lenet_exp.config.tags import flat
from lenet_exp.errors import RunsFailed
from lenet_exp.executors.drive import drive
from lenet_exp.executors.launcher import ExecutorLauncher
from lenet_exp.executors.local.devices import worker_devices
from lenet_exp.executors.work import Ask, JobEnd
from lenet_exp.folders.code_folder import save_code
from lenet_exp.folders.find import find_sweep
from lenet_exp.folders.job import Job
from lenet_exp.folders.owner import locked_folder
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import JobResult, conclude_dead_run, job_results
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.folders.sweep_plan import SearchPlan, SweepPlan
from lenet_exp.folders.sweep_progress import OPEN
from lenet_exp.machine import now_ms, user
from lenet_exp.outputs import check_outputs
from lenet_exp.reports.terminal.progress import Display, log_to_file
from lenet_exp.runs.former_defaults import former_overrides, has_former_defaults
from lenet_exp.stopping import Terminated, signal_from
from lenet_exp.sweeps.end import end_sweep
from lenet_exp.sweeps.hooks import run_hook
from lenet_exp.sweeps.job import one_line
from lenet_exp.sweeps.repair import settle
from lenet_exp.sweeps.watcher import watching
from lenet_exp.sweeps.workers import work_spec
from lenet_exp.training.engine import compile_ahead, native_shapes
from lenet_exp.training.native.layout import NativeShape

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class SweepRequest:
    """A sweep as requested by the user, without its jobs. It is stored in sweep.json.

    Attributes:
        command: command that started the sweep.
        overrides: overrides (`flag=value`) in the command.
        swept: names of the swept flags.
        search: plan of a search; None for a grid.
        code: digest of the copied code of each of the user's classes, by the path of the class.
    """

    command: str
    overrides: list[str]
    swept: list[str]
    search: SearchPlan | None = None
    code: dict[str, str] = field(default_factory=dict)


Follow = Callable[[SweepFolder, Tracking], AbstractContextManager[None]]


class Session:
    """One session of a sweep, from the start of a command to its end; opened by `sweep_session`."""

    def __init__(self, sweep: SweepFolder, jobs: list[Job], config: Config) -> None:
        self.sweep = sweep
        self.jobs = jobs
        self.config = config
        self.display = Display()
        self.started_ms = sweep.started().started_ms
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
            sample_jobs: sample jobs, with the same datasets and numbers of threads as `jobs`; `jobs`
                itself if all jobs are known in advance.
            answer: function called after each epoch of a job to decide whether to prune the run;
                None to never prune.
            ended: function called with the number of each ended job, whose result is in its run
                folder. It returns whether the job counts as failed; by default, diverged runs do.
        """

        def on_done(done: JobEnd) -> bool:
            if (
                done.lost is not None
            ):  # its process died too often, or the job exceeded the time limit
                job = self.jobs[done.job]
                with locked_folder(job.folder.path, job.name):
                    has_record = conclude_dead_run(job.folder, Outcome.failed, done.lost)
                self.sweep.end_job(done.job, None if has_record else done.lost)
            elif isinstance(done.error, Exception):  # any other exception is an interrupt
                if not self.sweep.has_ended(done.job):  # if it has, the job has saved its error
                    self.sweep.end_job(done.job, one_line(done.error))
            elif done.error is None:
                self.jobs[done.job].folder.await_record()
            if ended is not None:
                return ended(done.job)
            record = self.jobs[done.job].folder.record() if done.error is None else None
            return record is not None and record.outcome is Outcome.diverged

        all_known = jobs is sample_jobs
        devices: list[int] = []
        with self.display.sweep():
            if launcher.on_this_machine:
                devices = worker_devices(
                    (job.config.device for job in sample_jobs), self.config.sweep.devices
                )
                if all_known:
                    compile_ahead(native_shapes(job.executed for job in sample_jobs))
                else:
                    jobs = _compile_as_created(jobs)
            work = work_spec(
                self.sweep,
                sample_jobs,
                environment,
                all_known=all_known,
                answer=answer,
                devices=devices,
            )
            executor = launcher.executor(work)
            with watching(self.sweep, self.jobs, self.display, elsewhere=True):
                drive(executor, jobs, max_failures=launcher.max_failures, on_done=on_done)

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
    """Start or resume a sweep for the duration of a `with` block, and end the sweep when the block
    ends.

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
    outputs = sweep.outputs
    check_outputs(outputs)
    save_code([config, *(job.config for job in (jobs if isinstance(jobs, list) else []))], outputs)
    # In this order, the command of `sweep.on_end` runs after the context of `follow` has ended.
    with ExitStack() as after, follow(sweep, config.tracking), sweep.claim():
        jobs = jobs if isinstance(jobs, list) else jobs()
        kept = sweep.kept_plan()
        again = kept is not None
        if not again:
            log_earlier_sweep(request, config.tracking.experiment, sweep)
        save_code((job.config for job in jobs), outputs)
        forced_ms = now_ms() if config.sweep.force else 0
        had = kept is not None and kept.retrained
        retrained = had or (config.sweep.force and any(job.folder.record() for job in jobs))
        fields = _plan_fields(request, config, kept)
        sweep.start(jobs, forced_ms=forced_ms, retrained=retrained, runs=len(jobs), **fields)
        session = Session(sweep, jobs, config)
        after.enter_context(log_to_file(sweep.path / "sweep.log"))
        start, outcome, stopped_by, all_finished = time.perf_counter(), Outcome.killed, "", False
        seconds, results = 0.0, list[JobResult]()
        # The hooks run while no process owns the sweep, so that they can start other commands.
        after.callback(lambda: run_hook(sweep, results, config, outcome=outcome, seconds=seconds))
        try:
            _begin(session, again)
            yield session
            session.settle()
            unfinished = any(result.outcome in OPEN for result in session.results())
            outcome = Outcome.failed if unfinished else Outcome.finished
        except Exception:
            outcome = Outcome.failed
            raise
        except (KeyboardInterrupt, Terminated) as e:
            stopped_by = signal_from(e).name
            raise
        finally:
            session.settle()
            seconds, results = time.perf_counter() - start, session.results()
            all_finished = end_sweep(
                sweep, results, outcome=outcome, stopped_by=stopped_by, seconds=seconds
            )
    if not all_finished:
        raise RunsFailed


def missing_jobs(jobs: Iterable[Job], forced_ms: int) -> list[Job]:
    """Return the jobs without a result, one for each run.

    Args:
        forced_ms: results of runs that began before this time, in milliseconds since 1970, do not
            count.
    """
    found: dict[str, Job] = {}
    for job in jobs:
        record = job.folder.checked_result()
        if record is None or record.created_ms < forced_ms or _lacks_model_file(job):
            found.setdefault(job.run, job)
    return list(found.values())


def _compile_as_created(jobs: Iterable[Job | None]) -> Iterator[Job | None]:
    """Yield jobs, and start to compile the kernels of each shape when the first job that needs them
    is created.
    """
    begun: set[NativeShape] = set()
    for job in jobs:
        shapes = native_shapes([job.executed]) if job is not None else []
        compile_ahead([shape for shape in shapes if shape not in begun])
        begun.update(shapes)
        yield job


def _begin(session: Session, again: bool) -> None:
    done = [job for job in session.jobs if job.folder.checked_result() is not None]
    finished = {job.number for job in done}
    plan = session.sweep.started()
    records = {job.number: job.folder.record() for job in session.jobs if plan.search is not None}
    # Searches count pruned runs as trained; grids train them to the end.
    pruned = {
        number
        for number, its in records.items()
        if its is not None and its.outcome is Outcome.pruned
    }
    before = [job for job in session.jobs if job.number in finished | pruned]
    had = f"; {len(before)} already trained" if before and not session.config.sweep.force else ""
    goes_on = f" (resuming {session.sweep.id})" if again else ""
    what = f"sweep of {number_of(len(session.jobs), 'run')}"
    if plan.search is not None:
        what = "search" + (
            f", {number_of(len(session.jobs), 'run')} so far" if session.jobs else ""
        )
    log.info("%s%s%s; outputs in %s", what, had, goes_on, session.sweep.outputs)
    for job in {job.run: job for job in done}.values():
        if job.folder.needs_cleanup():
            with job.folder.claim():
                job.folder.clean_up()


def _plan_fields(request: SweepRequest, config: Config, kept: SweepPlan | None) -> dict[str, Any]:
    """Return the fields of sweep.json that depend on the request: the command, and the destination
    of the results.

    Args:
        request: sweep as requested by the user.
        config: configuration of one job; its `sweep.*` and `tracking.*` flags apply to the sweep.
        kept: plan at the end of the previous session; None if there was no previous session. With
            `sweep.resume=`, the stored command is not replaced.
    """
    found: dict[str, Any] = {
        "experiment": config.tracking.experiment,
        "tracking_uri": frozen_uri(config.tracking.uri),
    }
    found["users"] = list(dict.fromkeys([*(kept.users if kept is not None else ()), user()]))
    found["tags"] = (kept.tags if kept is not None else {}) | flat(config.tracking.tags)
    if kept is not None and not request.overrides:
        return found
    confirms = config.sweep.confirms and find_sweep(config.sweep.confirms).id
    found |= {"confirms": confirms, "points": config.sweep.points, "directory": str(Path.cwd())}
    found |= {
        "command": request.command,
        "overrides": request.overrides,
        "swept": request.swept,
        "code": request.code,
    }
    if request.search is not None:
        found["search"] = request.search.resumed_from(kept.search if kept is not None else None)
    return found


def log_earlier_sweep(request: SweepRequest, experiment: str, new: SweepFolder) -> None:
    """Log a message if conf/, the data, or the program has changed and the same command now creates
    different jobs.
    """
    former = former_overrides(request.overrides)
    for old in all_sweeps(new.outputs):
        plan = old.started()
        if (
            old.id != new.id
            and plan.experiment == experiment
            and plan.overrides == request.overrides
        ):
            why = (
                "ran different code"
                if plan.code and plan.code != request.code
                else "had different jobs"
            )
            log.info("new sweep, because this command %s in sweep %s", why, old.id)
            if former and any(has_former_defaults(job.config) for job in old.jobs()):
                log.info(
                    "default values changed after release 0.3; to reuse the results of that sweep, add %s",
                    " ".join(former),
                )
            return


def _lacks_model_file(job: Job) -> bool:
    """Return whether a job has finished, but its model still has to be written to `model_path`."""
    path, record = job.config.model_path, job.folder.result()
    if not path or record is None or record.best_epoch is None:
        return False
    return not any(Path(path).glob(f"*_epoch{record.best_epoch}_*_{job.run[:8]}.safetensors"))
