"""Resumes sweeps with `sweep.resume=`: grids from their frozen jobs, and searches from their
original commands.
"""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace

from lenet_exp.config.compose import typed
from lenet_exp.config.fast_compose import Compose
from lenet_exp.config.own_code import unidentified_classes
from lenet_exp.config.schema import Config, without_removed
from lenet_exp.errors import ConfigError
from lenet_exp.folders.config_dir import RESUMABLE, config_dir_of, resume_command
from lenet_exp.folders.find import find_sweep
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.machine import command_line
from lenet_exp.sweeps.checks import check_jobs
from lenet_exp.sweeps.confirms import is_in_own_outputs
from lenet_exp.sweeps.grid import GridPlan
from lenet_exp.sweeps.session_start import SweepRequest

log = logging.getLogger("lenet_exp")

OF_RESUMED_SEARCH = (
    "n_trials=",
    "max_epochs=",
    "max_seconds=",
    "seeds=",
    "confirm=",
)  # also allowed for a search


def resumed_sweep(given: Sequence[str], compose: Compose) -> tuple[SweepFolder, Config]:
    """Return the sweep that `sweep.resume=` specifies, and the configuration composed from the
    current overrides.

    Args:
        given: current overrides.
        compose: function that composes a configuration from overrides.

    Raises:
        ConfigError: the sweep was not found, or is in another outputs folder, whose files can name
            foreign classes.
    """
    config = typed(compose([o for o in given if o.startswith(RESUMABLE)]))
    sweep = find_sweep(str(config.sweep.resume), "sweep.resume")
    if not is_in_own_outputs(sweep):
        raise ConfigError(
            f"sweep.resume={config.sweep.resume}: this sweep is in a different outputs folder; to resume it, set "
            f"LENET_EXP_OUTPUTS={sweep.outputs}"
        )
    return sweep, config


def plan_resumed(sweep: SweepFolder, given: Sequence[str], compose: Compose) -> GridPlan:
    """Return a plan for resuming a grid sweep with its stored jobs.

    Args:
        sweep: folder of the sweep.
        given: current overrides.
        compose: function that composes a configuration from overrides.

    Raises:
        ConfigError: an override would change the jobs, or the address of the store is invalid.
    """
    if other := [o for o in given if not o.startswith(RESUMABLE)]:
        allowed = (
            "a resumed sweep can change only sweep.*, hydra.*, hydra/launcher, and tracking.uri"
        )
        raise ConfigError(f"{other[0]}: remove this flag; {allowed}")
    now = typed(compose(list(given)))
    check_jobs([given], [now])
    jobs = sweep.jobs()
    if not jobs:
        raise ConfigError(
            f"sweep.resume={now.sweep.resume}: this sweep has no jobs; rerun its command instead"
        )
    targets = [target for job in jobs for target in unidentified_classes(job.config)]
    if targets:
        raise ConfigError(
            f"sweep.resume={now.sweep.resume}: release 0.2 did not store the code of {targets[0]}; resume this sweep "
            "with release 0.3.0, or rerun its command to train its runs again"
        )
    plan = sweep.started()
    margin = plan.other.get("margin")
    if margin is not None:
        log.info("sweep.margin=%g of an earlier release is ignored", margin)

    config = jobs[0].config
    tracking = replace(config.tracking, uri=_uri(now, plan.tracking_uri))
    config = replace(config, sweep=now.sweep, tracking=tracking)
    request = SweepRequest(command=command_line(), overrides=[], swept=[])
    return GridPlan(sweep=sweep, jobs=jobs, config=config, request=request)


def search_overrides(sweep: SweepFolder, given: Config, now: Sequence[str]) -> list[str]:
    """Return the overrides that resume a search: those of its original command, updated with the
    current overrides.

    Args:
        sweep: folder of the search.
        given: configuration composed from the current overrides.
        now: current overrides, including `sweep.resume=`.

    Raises:
        ConfigError: an override would change the search, or a password is required, which is not
            stored.
    """
    if other := [o for o in now if not o.startswith((*RESUMABLE, *OF_RESUMED_SEARCH))]:
        allowed = "sweep.* flags, budgets, seeds=, and confirm="
        raise ConfigError(
            f"{other[0]}: a resumed search keeps its search space; only {allowed} may change"
        )
    plan = sweep.started()
    if config_dir_of(plan) and not {"--config-dir", "-cd"} & {
        word.partition("=")[0] for word in sys.argv
    }:
        raise ConfigError(
            f"sweep.resume={given.sweep.resume}: this search needs its --config-dir; run: {resume_command(sweep)}"
        )
    now = [o for o in now if _key(o) != "sweep.resume"]
    replaced = {_key(o) for o in now}
    # Stored overrides are without flags of the sweep, unless somebody changed the file.
    stored = without_removed(plan.overrides)
    kept = [
        o
        for o in stored
        if _key(o) not in replaced | {"tracking.uri"} and not _key(o).startswith("sweep")
    ]
    if "tracking.uri" not in replaced and (uri := _uri(given, plan.tracking_uri)) is not None:
        kept.append("tracking.uri='" + uri.replace("'", r"\'") + "'")
    hidden = next((o for o in kept if "***" in o), None)
    if hidden is not None:
        raise ConfigError(
            f"{hidden}: its password is not stored; set {_key(hidden)}= to the URI with the password"
        )
    return [*kept, *now]


def check_same_search(planned: SweepFolder, sweep: SweepFolder) -> None:
    """Check that the original command of a search still defines the same search.

    Args:
        planned: folder of the search that the command defines now.
        sweep: folder of the search to resume.

    Raises:
        ConfigError: the command now defines a different search.
    """
    if planned.id != sweep.id:
        raise ConfigError(
            f"sweep.resume={sweep.id}: cannot be resumed, because conf/, the data, or the program has changed; to "
            f"start a new search, run: {sweep.started().command}"
        )


def resumed_command(sweep: SweepFolder, given: Sequence[str]) -> str:
    """Return the command to record for a resumed search: its original command, with the current
    overrides added.
    """
    return " ".join(
        [
            sweep.started().command,
            *(shlex.quote(o) for o in given if o.startswith(OF_RESUMED_SEARCH)),
        ]
    )


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _uri(given: Config, kept: str | None) -> str | None:
    """Return the address of the store in the configuration or, if it is not set there, the stored
    address.
    """
    return given.tracking.uri or kept
