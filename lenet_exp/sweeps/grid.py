"""Plans grid sweeps from their overrides, and trains them with a launcher."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from lenet_exp.addresses import hide_password
from lenet_exp.amounts import number_of
from lenet_exp.config.compose import allow_new_keys, composed, composing, typed
from lenet_exp.config.fast_compose import FastComposer
from lenet_exp.config.flags import with_value
from lenet_exp.config.grid import compose_jobs, expand_grid
from lenet_exp.config.own_code import codes, refresh, with_code
from lenet_exp.config.schema import HOOK, Config
from lenet_exp.errors import ConfigError, RunsFailed
from lenet_exp.executors.queues import cancel, queued
from lenet_exp.folders.code_folder import code_of
from lenet_exp.folders.find import find_sweep
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.sweep_folder import SweepFolder, sweep_of
from lenet_exp.machine import command_line
from lenet_exp.outputs import check_outputs
from lenet_exp.runs.jobs import freeze_jobs
from lenet_exp.sweeps.checks import check_jobs, engine_words, without_effect
from lenet_exp.sweeps.confirms import check_fresh
from lenet_exp.sweeps.end import is_complete, print_complete
from lenet_exp.sweeps.estimate import estimate_lines
from lenet_exp.sweeps.hooks import run_hook
from lenet_exp.sweeps.launching import Launching
from lenet_exp.sweeps.race.added_jobs import GridRace
from lenet_exp.sweeps.race.race_plan import is_race_over, plan_race, with_added_jobs
from lenet_exp.sweeps.session import Follow, Session, sweep_session
from lenet_exp.sweeps.session_start import SweepRequest, log_earlier_sweep, missing_jobs

MAKES_JOBS = ("sweep.zip", "sweep.skip")  # `sweep.*` flags that determine the jobs

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class GridPlan:
    """A grid sweep that is ready to start.

    Attributes:
        sweep: folder of the sweep.
        jobs: all jobs of the grid so far, checked and frozen.
        config: configuration of one job; its `sweep.*` and `tracking.*` flags apply to the sweep.
        request: sweep as requested by the user.
    """

    sweep: SweepFolder
    jobs: list[Job]
    config: Config
    request: SweepRequest

    def current_jobs(self) -> list[Job]:
        """Return all jobs, including those that another process has added since."""
        return with_added_jobs(self.sweep, self.jobs)


def plan_grid(
    overrides: Sequence[Override], jobs: Sequence[Sequence[str]], configs: Sequence[Config]
) -> GridPlan:
    """Check and freeze all jobs of a grid sweep, and return its plan. Log which flags some jobs
    ignore.

    Args:
        overrides: overrides that define the grid.
        jobs: overrides of each job.
        configs: configuration of each job.

    Raises:
        ConfigError, DataError: a job is invalid, or its data cannot be used.
    """
    confirms = configs[0].sweep.confirms
    code = code_of(find_sweep(confirms)) if confirms else {}
    refresh()
    configs = [with_code(config, code) for config in configs]
    check_jobs(jobs, configs)

    swept = [o.get_key_element() for o in overrides if o.is_sweep_override()]
    frozen_jobs = freeze_jobs(swept, jobs, configs)
    check_fresh(configs[0], frozen_jobs)
    for note in without_effect(configs):
        log.info("%s", note)

    lines = [str(o.input_line) for o in overrides]
    config = configs[0]
    # The option files of a confirmation can come from stored overrides, whose command must not run.
    if confirms and not any(line.startswith(f"{HOOK}=") for line in lines):
        config = with_value(config, HOOK, None)

    request = SweepRequest(
        command=command_line(),
        overrides=[hide_password(line) for line in lines if _determines_jobs(line)],
        swept=swept,
        code=codes(*(job.config for job in frozen_jobs)),
    )
    sweep = sweep_of(config.tracking.experiment, frozen_jobs)
    race = plan_race(config, sweep, frozen_jobs, swept)
    return GridPlan(
        sweep=sweep,
        jobs=with_added_jobs(sweep, frozen_jobs),
        config=config,
        request=replace(request, race=race),
    )


def _determines_jobs(override: str) -> bool:
    """Return whether an override determines the jobs; most `sweep.*` flags do not."""
    flag = override.lstrip("+")
    if flag.startswith("max_seconds="):  # it limits the seeds that `sweep.within` adds
        return False
    return not flag.startswith("sweep.") or flag.startswith(MAKES_JOBS)


def train_grid(plan: GridPlan, launching: Launching) -> None:
    """Train the missing runs of a grid.

    With `sweep.dry_run=true`, only print the plan.

    Raises:
        ConfigError, StoreError: the grid cannot be run, or the store cannot be used; nothing has
            been trained.
        RunsFailed: a run failed or diverged; the sweep has ended.
    """
    if plan.config.sweep.dry_run:
        _print_estimate(plan)
        return

    check_outputs(plan.sweep.outputs)
    all_trained = (
        not plan.config.sweep.force
        and not missing_jobs(plan.jobs, 0)
        and is_race_over(plan.sweep, plan.jobs, plan.request.race)
    )
    if not all_trained:
        launching.check(plan.jobs, plan.config)
    if all_trained and is_complete(plan.sweep, plan.jobs, plan.config, plan.request.overrides):
        _show_complete(plan, launching)
        return

    with sweep_session(
        plan.sweep, plan.current_jobs, plan.config, plan.request, follow=launching.follow
    ) as session:
        missing = missing_jobs(session.jobs, session.forced_ms)
        # shorter runs first, because longer runs can continue them
        missing.sort(key=lambda job: job.config.num_epoch)
        # another process may have trained all of them while this one waited for the sweep
        if missing or not is_race_over(plan.sweep, session.jobs, plan.request.race):
            for words in engine_words(missing or session.jobs):
                log.info("%s", words)
            _train_missing(plan, session, missing, launching)
        else:
            _cancel_allocations(plan.sweep)


def _train_missing(
    plan: GridPlan, session: Session, missing: list[Job], launching: Launching
) -> None:
    """Train the missing jobs of a grid and, with `sweep.within`, those that it adds."""
    if plan.request.race is None:
        launching.train(session, missing, missing)
        return
    launching.train(session, GridRace(session).jobs(missing), list(session.jobs))


def _print_estimate(plan: GridPlan) -> None:
    """Print the plan of a grid, without training."""
    if plan.sweep.kept_plan() is None:
        log_earlier_sweep(plan.request, plan.config.tracking.experiment, plan.sweep)
    race = plan.request.race
    print(*estimate_lines(plan.sweep, plan.jobs, plan.config, race), sep="\n")


def _show_complete(plan: GridPlan, launching: Launching) -> None:
    """Print the results of a complete grid, and run the command in `sweep.on_end`.

    Raises:
        RunsFailed: a run failed or diverged in an earlier session.
    """
    log.info(
        "sweep of %s; all already trained; outputs in %s",
        number_of(len(plan.jobs), "run"),
        plan.sweep.outputs,
    )
    with launching.follow(plan.sweep, plan.config.tracking, trains=False):
        results = print_complete(plan.sweep, plan.jobs)
    run_hook(plan.sweep, results, plan.config, outcome=Outcome.finished, seconds=0.0)
    if not all(result.outcome.ended_well for result in results):
        raise RunsFailed


def _cancel_allocations(sweep: SweepFolder) -> None:
    """Cancel the allocations that a session whose process died left in a queue."""
    allocations = queued(sweep.path)
    if allocations:
        cancel(sweep.path, allocations)
        log.info("canceled Slurm jobs %s, which are no longer needed", ", ".join(allocations))


def sweep_here(overrides: Sequence[str], follow: Follow) -> SweepFolder | None:
    """Train the missing runs of a grid in processes on this machine, in the same sweep folder as
    `lenet-train -m`.

    Args:
        overrides: overrides as on the command line, such as `activation=relu,selu` and
            `seed=range(3)`.
        follow: see `Launching`.

    Returns:
        The sweep folder; None with `sweep.dry_run=true`, which only prints the plan.

    Raises:
        ConfigError, DataError, StoreError: the grid is invalid, or the data or the store cannot be
            used; nothing has been trained.
    """
    with composing():
        parsed = OverridesParser.create().parse_overrides(allow_new_keys(list(overrides)))
        fixed_overrides = [str(o.input_line) for o in parsed if not o.is_sweep_override()]
        flags = typed(composed(fixed_overrides)).sweep
        if flags.resume:
            raise ConfigError(
                f"sweep.resume={flags.resume}: not available in Python; use lenet-train -m"
            )

        jobs = expand_grid(parsed, flags.zip, flags.max_jobs, flags.skip)
        configs = compose_jobs(jobs, FastComposer(composed).config)
        plan = plan_grid(parsed, jobs, configs)
        with contextlib.suppress(RunsFailed):  # the comparison shows which runs failed
            train_grid(plan, Launching(follow=follow))
    return None if plan.config.sweep.dry_run else plan.sweep
