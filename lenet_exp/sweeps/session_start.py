"""The start of a session of a sweep: the saved plan, the jobs without a result, and the log
line.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lenet_exp.addresses import frozen_uri
from lenet_exp.amounts import number_of
from lenet_exp.config.schema import Config
from lenet_exp.config.tags import flat
from lenet_exp.folders.find import find_sweep
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.folders.sweep_plan import RacePlan, SearchPlan, SweepPlan
from lenet_exp.machine import now_ms, user
from lenet_exp.runs.former_defaults import former_overrides, has_former_defaults

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class SweepRequest:
    """A sweep as requested by the user, without its jobs. It is stored in sweep.json.

    Attributes:
        command: command that started the sweep.
        overrides: overrides (`flag=value`) in the command.
        swept: names of the swept flags.
        search: plan of a search; None for a grid.
        race: plan of a grid that adds seeds (`sweep.within`); None for other sweeps.
        code: digest of the copied code of each of the user's classes, by the path of the class.
    """

    command: str
    overrides: list[str]
    swept: list[str]
    search: SearchPlan | None = None
    race: RacePlan | None = None
    code: dict[str, str] = field(default_factory=dict)


def missing_jobs(jobs: Iterable[Job], forced_ms: int) -> list[Job]:
    """Return the jobs without a result, one for each run.

    Args:
        forced_ms: results of runs that began before this time, in milliseconds since 1970, do not
            count.
    """
    missing_runs: dict[str, Job] = {}
    for job in jobs:
        record = job.folder.checked_result()
        if record is None or record.created_ms < forced_ms or _lacks_model_file(job):
            missing_runs.setdefault(job.run, job)
    return list(missing_runs.values())


def _lacks_model_file(job: Job) -> bool:
    """Return whether a job has finished, but its model still has to be written to `model_path`."""
    path = job.config.model_path
    record = job.folder.result()
    if not path or record is None or record.best_epoch is None:
        return False
    return not any(Path(path).glob(f"*_epoch{record.best_epoch}_*_{job.run[:8]}.safetensors"))


def save_start(
    sweep: SweepFolder,
    jobs: list[Job],
    config: Config,
    request: SweepRequest,
    earlier_plan: SweepPlan | None,
) -> SweepPlan:
    """Save the start of a session in the sweep folder, and return the plan.

    Args:
        sweep: folder of the sweep, which this process owns.
        jobs: jobs known at the start.
        config: configuration of one job; its `sweep.*` and `tracking.*` flags apply to the sweep.
        request: sweep as requested by the user.
        earlier_plan: plan at the end of the previous session; None if there was none.
    """
    forced_ms = now_ms() if config.sweep.force else 0
    retrained = earlier_plan is not None and earlier_plan.retrained
    if config.sweep.force and not retrained:
        retrained = any(job.folder.record() for job in jobs)

    fields = _plan_fields(request, config, earlier_plan)
    return sweep.start(jobs, forced_ms=forced_ms, retrained=retrained, runs=len(jobs), **fields)


def _plan_fields(
    request: SweepRequest, config: Config, earlier_plan: SweepPlan | None
) -> dict[str, Any]:
    """Return the fields of sweep.json that depend on the request: the command, and the destination
    of the results.

    Args:
        request: sweep as requested by the user.
        config: configuration of one job; its `sweep.*` and `tracking.*` flags apply to the sweep.
        earlier_plan: plan at the end of the previous session; None if there was no previous
            session. With `sweep.resume=`, the stored command is not replaced.
    """
    earlier_users = earlier_plan.users if earlier_plan is not None else []
    earlier_tags = earlier_plan.tags if earlier_plan is not None else {}
    fields: dict[str, Any] = {
        "experiment": config.tracking.experiment,
        "tracking_uri": frozen_uri(config.tracking.uri),
        "users": list(dict.fromkeys([*earlier_users, user()])),
        "tags": earlier_tags | flat(config.tracking.tags),
        "race": request.race,
    }
    if earlier_plan is not None and not request.overrides:
        return fields

    confirms = config.sweep.confirms
    if confirms:
        confirms = find_sweep(confirms).id
    fields |= {
        "confirms": confirms,
        "points": config.sweep.points,
        "directory": str(Path.cwd()),
        "command": request.command,
        "overrides": request.overrides,
        "swept": request.swept,
        "code": request.code,
    }
    if request.search is not None:
        earlier_search = earlier_plan.search if earlier_plan is not None else None
        fields["search"] = request.search.resumed_from(earlier_search)
    return fields


def begin_session(
    sweep: SweepFolder, jobs: Sequence[Job], config: Config, plan: SweepPlan, *, is_resumed: bool
) -> None:
    """Log the start of a session, and clean up the folders of finished runs.

    Args:
        plan: plan at the start of the session, as returned by `save_start`.
        is_resumed: whether the sweep had an earlier session.
    """
    finished_jobs = [job for job in jobs if job.folder.checked_result() is not None]

    is_search = plan.search is not None
    trained_numbers = {job.number for job in finished_jobs}
    if is_search:  # Searches count pruned runs as trained; grids train them to the end.
        trained_numbers |= _pruned_jobs(jobs)

    subject = _subject(len(jobs), is_search=is_search)
    already_trained = ""
    if trained_numbers and not config.sweep.force:
        already_trained = f"; {len(trained_numbers)} already trained"
    resuming = f" (resuming {sweep.id})" if is_resumed else ""
    log.info("%s%s%s; outputs in %s", subject, already_trained, resuming, sweep.outputs)

    job_of_run = {job.run: job for job in finished_jobs}
    for job in job_of_run.values():
        if job.folder.needs_cleanup():
            with job.folder.claim():
                job.folder.clean_up()


def _subject(num_jobs: int, *, is_search: bool) -> str:
    """Return the subject of the line at the start of a session, such as `sweep of 3 runs`."""
    runs = number_of(num_jobs, "run")
    if not is_search:
        return f"sweep of {runs}"
    return f"search, {runs} so far" if num_jobs else "search"


def _pruned_jobs(jobs: Iterable[Job]) -> set[int]:
    """Return the numbers of the jobs whose runs were pruned."""
    numbers = set()
    for job in jobs:
        record = job.folder.record()
        if record is not None and record.outcome is Outcome.pruned:
            numbers.add(job.number)
    return numbers


def log_earlier_sweep(request: SweepRequest, experiment: str, new: SweepFolder) -> None:
    """Log a message if the same command created different jobs in an earlier sweep.

    That happens after a change of conf/, the data, or the program.
    """
    former = former_overrides(request.overrides)
    for old in all_sweeps(new.outputs):
        plan = old.started()
        if old.id == new.id or plan.experiment != experiment or plan.overrides != request.overrides:
            continue

        ran_other_code = plan.code and plan.code != request.code
        why = "ran different code" if ran_other_code else "had different jobs"
        log.info("new sweep, because this command %s in sweep %s", why, old.id)
        if former and any(has_former_defaults(job.config) for job in old.jobs()):
            log.info(
                "default values changed after release 0.3; to reuse the results of that sweep, "
                "add %s",
                " ".join(former),
            )
        return
