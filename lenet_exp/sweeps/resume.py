"""Resumes sweeps with `sweep.resume=`: grids from their frozen jobs, and searches from their
original commands.
"""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Sequence, Set
from dataclasses import replace

from lenet_exp.config.compose import typed
from lenet_exp.config.fast_compose import Compose
from lenet_exp.config.flags import without_removed
from lenet_exp.config.own_code import unidentified_classes
from lenet_exp.config.schema import Config
from lenet_exp.errors import ConfigError
from lenet_exp.folders.config_dir import RESUMABLE, config_dir_of, resume_command
from lenet_exp.folders.find import find_sweep
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_plan import SweepPlan
from lenet_exp.machine import command_line
from lenet_exp.sweeps.checks import check_jobs
from lenet_exp.sweeps.confirms import is_in_own_outputs
from lenet_exp.sweeps.grid import GridPlan
from lenet_exp.sweeps.race.race_plan import plan_race
from lenet_exp.sweeps.session_start import SweepRequest

log = logging.getLogger("lenet_exp")

LIMIT_OF_RACE = "max_seconds="  # the limit of `sweep.within`, also allowed when a grid is resumed

# Overrides that are also allowed when a search is resumed.
OF_RESUMED_SEARCH = ("n_trials=", "max_epochs=", "max_seconds=", "seeds=", "confirm=")


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
    resumable = [override for override in given if override.startswith(RESUMABLE)]
    config = typed(compose(resumable))
    sweep = find_sweep(str(config.sweep.resume), "sweep.resume")
    if not is_in_own_outputs(sweep):
        raise ConfigError(
            f"sweep.resume={config.sweep.resume}: this sweep is in a different outputs folder; "
            f"to resume it, set LENET_EXP_OUTPUTS={sweep.outputs}"
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
    allowed = (*RESUMABLE, LIMIT_OF_RACE)
    other_overrides = [override for override in given if not override.startswith(allowed)]
    if other_overrides:
        raise ConfigError(
            f"{other_overrides[0]}: remove this flag; a resumed sweep can change only sweep.*, "
            "max_seconds, hydra.*, hydra/launcher, and tracking.uri"
        )

    current = typed(compose(list(given)))
    check_jobs([given], [replace(current, max_seconds=None)])
    jobs = sweep.jobs()
    if not jobs:
        raise ConfigError(
            f"sweep.resume={current.sweep.resume}: this sweep has no jobs; "
            "rerun its command instead"
        )
    for job in jobs:
        for target in unidentified_classes(job.config):
            raise ConfigError(
                f"sweep.resume={current.sweep.resume}: release 0.2 did not store the code of "
                f"{target}; resume this sweep with release 0.3.0, or rerun its command to train "
                "its runs again"
            )

    plan = sweep.started()
    margin = plan.other.get("margin")
    if margin is not None:
        log.info("sweep.margin=%g of an earlier release is ignored", margin)

    config = jobs[0].config
    tracking = replace(config.tracking, uri=_uri(current, plan.tracking_uri))
    config = replace(
        config, sweep=current.sweep, tracking=tracking, max_seconds=current.max_seconds
    )
    race = plan_race(config, sweep, jobs, plan.swept)
    request = SweepRequest(command=command_line(), overrides=[], swept=[], race=race)
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
    allowed_prefixes = (*RESUMABLE, *OF_RESUMED_SEARCH)
    other_overrides = [override for override in now if not override.startswith(allowed_prefixes)]
    if other_overrides:
        raise ConfigError(
            f"{other_overrides[0]}: a resumed search keeps its search space; "
            "only sweep.* flags, budgets, seeds=, and confirm= may change"
        )
    plan = sweep.started()
    if config_dir_of(plan) and not _has_config_dir(sys.argv):
        raise ConfigError(
            f"sweep.resume={given.sweep.resume}: this search needs its --config-dir; "
            f"run: {resume_command(sweep)}"
        )

    current = [override for override in now if _key(override) != "sweep.resume"]
    replaced = {_key(override) for override in current}
    stored = _stored_overrides(plan, replaced)
    uri = _uri(given, plan.tracking_uri)
    if uri is not None and "tracking.uri" not in replaced:
        escaped = uri.replace("'", r"\'")
        stored.append(f"tracking.uri='{escaped}'")

    for override in stored:
        if "***" in override:
            raise ConfigError(
                f"{override}: its password is not stored; "
                f"set {_key(override)}= to the URI with the password"
            )
    return [*stored, *current]


def _has_config_dir(arguments: Sequence[str]) -> bool:
    """Return whether the arguments of a command set Hydra's `--config-dir`."""
    names = {word.partition("=")[0] for word in arguments}
    return bool(names & {"--config-dir", "-cd"})


def _stored_overrides(plan: SweepPlan, replaced: Set[str]) -> list[str]:
    """Return the stored overrides of a search that current overrides do not replace.

    Stored overrides contain no flags of the sweep, unless somebody changed the file.

    Args:
        plan: plan of the search.
        replaced: flags that current overrides set.
    """
    kept = []
    for override in without_removed(plan.overrides):
        key = _key(override)
        if key not in replaced and key != "tracking.uri" and not key.startswith("sweep"):
            kept.append(override)
    return kept


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
            f"sweep.resume={sweep.id}: cannot be resumed, because conf/, the data, or the program "
            f"has changed; to start a new search, run: {sweep.started().command}"
        )


def resumed_command(sweep: SweepFolder, given: Sequence[str]) -> str:
    """Return the command to record for a resumed search: its original command, with the current
    overrides added.
    """
    words = [sweep.started().command]
    for override in given:
        if override.startswith(OF_RESUMED_SEARCH):
            words.append(shlex.quote(override))
    return " ".join(words)


def _key(override: str) -> str:
    """Return the flag that an override sets: `+model.width=2` sets `model.width`."""
    return override.lstrip("+~").partition("=")[0]


def _uri(config: Config, stored_uri: str | None) -> str | None:
    """Return the address of the store in the configuration or, if it is not set there, the stored
    address.
    """
    return config.tracking.uri or stored_uri
