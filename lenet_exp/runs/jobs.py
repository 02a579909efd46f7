"""Makes jobs: composed configurations are checked, named and frozen, all before the first one starts."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from lenet_exp.addresses import frozen_uri, hide_password, sqlite_path, store_uri
from lenet_exp.config.compose import typed
from lenet_exp.config.conf_dir import config_groups
from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.config.grid import which_job
from lenet_exp.config.names import job_name, swept_values
from lenet_exp.config.plain import plain
from lenet_exp.config.schema import Config, EngineName, Tracking
from lenet_exp.config.targets import keywords, option_name
from lenet_exp.data.images import data_digests
from lenet_exp.errors import ConfigError, UserError
from lenet_exp.files import user_path
from lenet_exp.folders.job import Job
from lenet_exp.folders.run_folder import RunFolder, run_id
from lenet_exp.outputs import outputs_dir
from lenet_exp.tracking.stores.usable import check_store
from lenet_exp.training.bits import bits_depend_on
from lenet_exp.training.check import check_config
from lenet_exp.training.engine import EngineChoice, choose_engine
from lenet_exp.training.execution import SWEEP_THREADS, choose_device, threads_count

log = logging.getLogger("lenet_exp")


def lone_job(config: Config, name: str | None = None) -> Job:
    """The job of a run that is of no sweep.

    Args:
        name: by default data set, activation and optimizer.

    Raises:
        ConfigError: the configuration is wrong.
        DataError: its data can't be had.
    """
    config = typed(plain(config))  # numbers of the types that the flags have: 1 and 1.0 are the same run
    check_config(config)
    _check_store(config.tracking)
    choose_device(config.device)
    (job,) = freeze_jobs([], [[]], [config])
    described = f"{config.dataset.name} {option_name(config.activation)} {option_name(config.optimizer)}"
    return replace(job, name=name or described)


def check_jobs(jobs: Sequence[Sequence[str]], configs: Sequence[Config]) -> None:
    """Checks all jobs of a sweep, given their overrides and configurations.

    Raises:
        ConfigError: of the first job that is wrong, with its overrides.
    """
    for overrides, config in zip(jobs, configs, strict=True):
        try:
            check_config(config)
            choose_device(config.device)
            choose_engine(config)
        except ConfigError as e:
            raise ConfigError(f"{e}{which_job(overrides, jobs)}") from e
    check_one_sweep(configs)
    _check_store(configs[0].tracking)


def check_one_sweep(configs: Sequence[Config]) -> None:
    """Raises:
    ConfigError: they differ in what is of a sweep as a whole.
    """
    if len({(c.tracking.uri, c.tracking.experiment) for c in configs}) > 1:
        raise ConfigError("tracking.uri, tracking.experiment: a sweep goes to one place; must be one value")
    if any(c.sweep != configs[0].sweep for c in configs):
        raise ConfigError("sweep.*: these flags are of the sweep as a whole; must be one value")


def _check_store(tracking: Tracking) -> None:
    """Also for a dry run. A store of the outputs folder's own that is not there yet can be made if the folder can."""
    uri = store_uri(tracking.uri)
    database = sqlite_path(uri)
    if tracking.uri is not None or database is None or database.exists():
        check_store(uri)


def freeze_jobs(swept: list[str], jobs: Sequence[Sequence[str]], configs: Sequence[Config]) -> list[Job]:
    """Freezes checked jobs. Reads their data sets, whose digests are part of the fingerprints.

    Raises:
        DataError, ConfigError: a job's data can't be had; with the job's overrides.
    """
    fingerprints = []
    for overrides, config in zip(jobs, configs, strict=True):
        try:
            fingerprints.append(fingerprint(config, data_digests(config)))
        except UserError as e:
            raise type(e)(f"{e}{which_job(overrides, jobs)}") from e
    groups, found = set(config_groups()), []
    chosen = [choose_engine(config) for config in configs]
    runs = _run_ids([replace(c, engine=e.engine) for c, e in zip(configs, chosen, strict=True)], fingerprints)
    for number, (overrides, config) in enumerate(zip(jobs, configs, strict=True)):
        values = swept_values(swept, list(overrides))
        found.append(
            Job(
                number=number,
                name=job_name(number, values, groups),
                swept=values,
                overrides=[hide_password(o) for o in overrides],
                config=_frozen(config),
                fingerprint=fingerprints[number],
                run=runs[number],
                engine=chosen[number].engine,
                engine_why=chosen[number].why,
            )
        )
    return found


def engine_words(jobs: Sequence[Job]) -> list[str]:
    """What does the steps of a sweep's jobs, and why."""
    engines = Counter(EngineChoice(job.engine, job.engine_why).words for job in jobs)
    return [f"engine{f' of {n} jobs' if n < len(jobs) else ''}: {words}" for words, n in engines.items()]


def without_momentum(configs: Sequence[Config]) -> list[str]:
    """The optimizers that have no momentum where the sweep gives them one."""
    deaf = {option_name(c.optimizer) for c in configs if "momentum" not in keywords("optimizer", c.optimizer)}
    swept = {c.optimizer.get("momentum") for c in configs}
    return sorted(deaf) if len(swept) > 1 else []


def _run_ids(configs: Sequence[Config], fingerprints: Sequence[str]) -> list[str]:
    """A run folder's name for each job.

    A fingerprint that the sweep asks for under several executions (device, threads, engine) is trained under each:
    the first has the usual folder, unless that holds a run of another of them already; the others have folders of
    their own. Threads are no execution of their own where no bit depends on them.

    Args:
        configs: with the engines that were chosen.
    """
    executions: list[tuple[object, ...]] = [
        (
            choose_device(c.device).type,
            *([c.num_threads or SWEEP_THREADS] if threads_count(c) else []),
            *_named(c.engine),
        )
        for c in configs
    ]
    several = Counter(f for f, _ in set(zip(fingerprints, executions, strict=True)))
    usual: dict[str, tuple[object, ...]] = {}
    found = []
    for config, what, execution in zip(configs, fingerprints, executions, strict=True):
        experiment = config.tracking.experiment
        if several[what] == 1:
            found.append(run_id(experiment, what))
            continue
        if what not in usual:
            usual[what] = _execution_of(run_id(experiment, what)) or execution
        found.append(run_id(experiment, what, *([] if usual[what] == execution else execution)))
    return found


def _execution_of(run: str) -> tuple[object, ...] | None:
    begun = RunFolder(outputs_dir() / "runs" / run).begun()
    if begun is None or not {"device", "num_threads"} <= begun.execution.keys():
        return None
    had = bits_depend_on(begun.execution, begun.versions)
    threads = [had["num_threads"]] if "num_threads" in had else []
    return (begun.execution["device"], *threads, *_named(begun.engine))


def _named(engine: str) -> list[str]:
    """An engine in the name of a run; once there was torch alone, and nothing was named."""
    return [] if engine == EngineName.torch else [engine]


def _frozen(config: Config) -> Config:
    """The configuration, good in any directory, and without a password."""
    return replace(
        config,
        data_root=str(user_path(config.data_root).absolute()),
        model_path=config.model_path and str(user_path(config.model_path).absolute()),
        tracking=replace(config.tracking, uri=frozen_uri(config.tracking.uri)),
    )
