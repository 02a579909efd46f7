"""What goes on with `sweep.resume=`: a grid with its jobs, whatever conf/ holds now; a search, which makes its jobs as
it goes, by the line that started it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lenet_exp.config.schema import Config
from lenet_exp.errors import ConfigError
from lenet_exp.folders.job import Job
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.sweeps.confirms import lies_here
from lenet_exp.training.trained.trust import foreign_class


def frozen_jobs(sweep: SweepFolder, given: Config) -> tuple[list[Job], Config]:
    """The jobs of a grid, and its configuration with what was given now.

    Raises:
        ConfigError: its store needs a password that was not kept, or it is of another outputs folder and names a class
            that is neither torch's nor this package's.
    """
    jobs = sweep.jobs()
    if not jobs:
        raise ConfigError(f"sweep.resume={given.sweep.resume}: it has no jobs; the line that started it makes them")
    _refuse_foreign(sweep, jobs)
    config = jobs[0].config
    uri = _uri(given, sweep.started().tracking_uri)
    return jobs, replace(config, sweep=given.sweep, tracking=replace(config.tracking, uri=uri))


def search_overrides(sweep: SweepFolder, given: Config, now: Sequence[str]) -> list[str]:
    """The overrides by which a search goes on: those of its line, and what was given now.

    Args:
        now: what was given, `sweep.resume=` among it.

    Raises:
        ConfigError: it is of another outputs folder, or needs a password that was not kept.
    """
    plan = sweep.started()
    if not lies_here(sweep):  # its overrides may name classes of somebody else, and its runs lie there
        raise ConfigError(
            f"sweep.resume={given.sweep.resume}: the search lies in {sweep.outputs}; LENET_EXP_OUTPUTS={sweep.outputs} "
            "goes on with it"
        )
    now = [o for o in now if _key(o) != "sweep.resume"]
    replaced = {_key(o) for o in now}
    kept = [o for o in plan.overrides if _key(o) not in replaced | {"tracking.uri"}]
    if "tracking.uri" not in replaced and (uri := _uri(given, plan.tracking_uri)) is not None:
        kept.append("tracking.uri='" + uri.replace("'", r"\'") + "'")
    hidden = next((o for o in kept if "***" in o), None)
    if hidden is not None:
        raise ConfigError(f"{hidden}: its password was not kept; give {_key(hidden)}= with it")
    return [*kept, *now]


def check_same_search(planned: SweepFolder, sweep: SweepFolder) -> None:
    """Raises:
    ConfigError: by the line that started a search there would be another one now.
    """
    if planned.id != sweep.id:
        raise ConfigError(
            f"sweep.resume={sweep.id}: conf/, the data or the program changed since: it would be another search now; "
            f"to start that one: {sweep.started().command}"
        )


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _uri(given: Config, kept: str | None) -> str | None:
    """The store's, as it is given now, else as it was."""
    uri = given.tracking.uri or kept
    if uri is not None and "***" in uri:
        raise ConfigError(f"tracking.uri={uri}: its password was not kept; give tracking.uri= or MLFLOW_TRACKING_URI")
    return uri


def _refuse_foreign(sweep: SweepFolder, jobs: list[Job]) -> None:
    """In one's own outputs folder, one's own configuration named the classes; elsewhere, somebody else's may have."""
    if lies_here(sweep):
        return
    for job in jobs:
        kept = [job.config, *(r.config for r in (job.folder.begun(), job.folder.record()) if r is not None)]
        foreign = next((target for target in map(foreign_class, kept) if target is not None), None)
        if foreign is not None:
            raise ConfigError(
                f"sweep.resume={sweep.path}: its jobs name {foreign}, neither lenet_exp's nor torch's; to go on runs "
                f"the code of that module: if you trust it, set LENET_EXP_OUTPUTS={sweep.outputs}"
            )
