"""The sweep that goes on with `sweep.resume=`, whatever conf/ holds now."""

from __future__ import annotations

from dataclasses import replace

from lenet_exp.config.schema import Config
from lenet_exp.errors import ConfigError
from lenet_exp.folders.find import find_sweep
from lenet_exp.folders.job import Job
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.outputs import outputs_dir
from lenet_exp.training.trust import foreign_class


def frozen_sweep(given: Config) -> tuple[SweepFolder, list[Job], Config]:
    """The sweep that `given.sweep.resume` names, its jobs, and its configuration with what was given now.

    Raises:
        ConfigError: there is no such sweep, its store needs a password that was not kept, or it is of another outputs
            folder and names a class that is neither torch's nor this package's.
    """
    sweep = find_sweep(str(given.sweep.resume))
    jobs, kept = sweep.jobs(), sweep.started().tracking_uri
    if sweep.started().search is not None:
        raise ConfigError(
            f"sweep.resume={given.sweep.resume}: is a search, which makes its jobs as it goes; the line that started "
            f"it goes on: {sweep.started().command}"
        )
    if not jobs:
        raise ConfigError(f"sweep.resume={given.sweep.resume}: it has no jobs; the line that started it makes them")
    _refuse_foreign(sweep, jobs)
    uri = given.tracking.uri or kept
    if uri is not None and "***" in uri:
        raise ConfigError(f"tracking.uri={uri}: its password was not kept; give tracking.uri= or MLFLOW_TRACKING_URI")
    config = jobs[0].config
    return sweep, jobs, replace(config, sweep=given.sweep, tracking=replace(config.tracking, uri=uri))


def _refuse_foreign(sweep: SweepFolder, jobs: list[Job]) -> None:
    """In one's own outputs folder, one's own configuration named the classes; elsewhere, somebody else's may have."""
    outputs = sweep.path.parent.parent
    if outputs.resolve() == outputs_dir().resolve():
        return
    for job in jobs:
        kept = [job.config, *(r.config for r in (job.folder.begun(), job.folder.record()) if r is not None)]
        foreign = next((target for target in map(foreign_class, kept) if target is not None), None)
        if foreign is not None:
            raise ConfigError(
                f"sweep.resume={sweep.path}: its jobs name {foreign}, neither lenet_exp's nor torch's; to go on runs "
                f"the code of that module: if you trust it, set LENET_EXP_OUTPUTS={outputs}"
            )
