"""Creates jobs: checks, names, and freezes all configurations before the first job starts."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from lenet_exp.addresses import frozen_uri, hide_password
from lenet_exp.amounts import first_of
from lenet_exp.config.class_groups import option_name
from lenet_exp.config.compose import quoted, typed
from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.config.grid import which_job
from lenet_exp.config.own_code import codes, refresh, with_code
from lenet_exp.config.params import job_name, swept_values, text
from lenet_exp.config.schema import HOOK, LENET5, Config, EngineName
from lenet_exp.config.targets import accepted_arguments
from lenet_exp.config.typed_json import to_plain
from lenet_exp.data.images import data_digests, train_count, with_class_names
from lenet_exp.errors import UserError
from lenet_exp.files import user_path
from lenet_exp.folders.code_folder import load_code
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import exact_result_properties
from lenet_exp.folders.run_folder import RunFolder, run_id
from lenet_exp.outputs import outputs_dir
from lenet_exp.package_files import config_groups
from lenet_exp.runs.initial_weights import TrainedWeights, find_weights, with_initial_weights
from lenet_exp.training.check import check_batches, check_config
from lenet_exp.training.engine import choose_engine
from lenet_exp.training.execution import SWEEP_THREADS, choose_device
from lenet_exp.training.optimizer import scheduled_rates

log = logging.getLogger("lenet_exp")

# Flags of the whole sweep that its jobs do not store: the present command sets them.
OF_SWEEP = (HOOK, "sweep.within=", "sweep.most_seeds=", "max_seconds=")

MOST_NAMED = 12  # maximum number of classes in a message


def lone_job(config: Config, name: str | None = None) -> Job:
    """Return the job for a single run, outside a sweep.

    Args:
        config: configuration of the run.
        name: name of the job; by default, the dataset, activation, and optimizer.

    Raises:
        ConfigError: the configuration is invalid.
        DataError: the data is not available.
    """
    refresh()
    # Numbers are converted to the flags' types, so that 1 and 1.0 are the same run.
    config = with_code(typed(to_plain(config)))
    check_each_job([[]], [config])

    (job,) = freeze_jobs([], [[]], [config])
    return replace(job, name=name or job.name)


def check_each_job(jobs: Sequence[Sequence[str]], configs: Sequence[Config]) -> None:
    """Check the configuration of each job, independently of the other jobs.

    Args:
        jobs: overrides of each job.
        configs: configuration of each job.

    Raises:
        ConfigError: a job is invalid; the message contains the overrides of the first invalid job.
            Or the copied code is corrupt, or could have been changed by another user.
    """
    load_code(codes(*configs), outputs_dir())

    for overrides, config in zip(jobs, configs, strict=True):
        try:
            check_config(config)
            choose_device(config.device)
            choose_engine(config)
        except UserError as e:
            raise type(e)(f"{e}{which_job(overrides, jobs)}") from e


def freeze_jobs(
    swept: list[str],
    jobs: Sequence[Sequence[str]],
    configs: Sequence[Config],
    find: Callable[[str, str], TrainedWeights] | None = None,
) -> list[Job]:
    """Return frozen jobs, whose configurations no longer depend on conf/.

    The configurations must have been checked. The datasets of the jobs are read, because
    fingerprints include data digests.

    Args:
        swept: names of the swept flags.
        jobs: overrides of each job.
        configs: configuration of each job.
        find: function that finds the weights for `init_from`; by default, `find_weights`, called
            once for each value.

    Raises:
        DataError, ConfigError: a job's data is not available or does not fit the job; the message
            contains the job's overrides.
    """
    groups = set(config_groups())
    find = find or cache(find_weights)
    frozen_jobs = []
    for number, (overrides, unfrozen_config) in enumerate(zip(jobs, configs, strict=True)):
        try:
            config, digest = _complete(unfrozen_config, find)
        except UserError as e:
            raise type(e)(f"{e}{which_job(overrides, jobs)}") from e

        frozen_overrides = _frozen_overrides(overrides, config)
        values = swept_values(swept, frozen_overrides)
        if "init_from" in values:
            values["init_from"] = text(config.init_from)

        engine_choice = choose_engine(config)
        name = job_name(number, values, groups) if values else _described(config)
        job = Job(
            number=number,
            name=name,
            swept=values,
            overrides=[hide_password(override) for override in frozen_overrides],
            config=_frozen(config),
            fingerprint=digest,
            run="",
            engine=engine_choice.engine,
            engine_why=engine_choice.why,
        )
        frozen_jobs.append(job)

    run_ids = _run_ids(frozen_jobs)
    return [replace(job, run=run) for job, run in zip(frozen_jobs, run_ids, strict=True)]


def _complete(
    unfrozen_config: Config, find: Callable[[str, str], TrainedWeights]
) -> tuple[Config, str]:
    """Add what is read from files to a configuration, and return it with its fingerprint.

    These are absolute paths, class names, and the initial weights.
    """
    config = with_class_names(_with_absolute_paths(unfrozen_config))
    if unfrozen_config.dataset.class_names is None:
        _log_class_order(config.dataset.name, tuple(config.dataset.class_names or ()))

    digests = data_digests(config)
    config = with_initial_weights(config, digests["validation"], find)
    digest = fingerprint(config, digests, scheduled_rates(config))
    check_batches(config, train_count(config))
    return config, digest


def _frozen_overrides(overrides: Sequence[str], config: Config) -> list[str]:
    """Return a job's overrides without the flags of the whole sweep that it must not repeat, and
    with its frozen `init_from`.
    """
    if not config.init_from:
        return [o for o in overrides if not o.lstrip("+").startswith(OF_SWEEP)]

    replaced = (*OF_SWEEP, "init_from=")
    kept = [o for o in overrides if not o.lstrip("+").startswith(replaced)]
    return [*kept, f"init_from={quoted(config.init_from)}"]


@cache
def _log_class_order(dataset: str, names: tuple[str, ...]) -> None:
    """Log the names of classes that were read from files, in the order of their labels.

    They are logged once for each dataset.
    """
    if not all(name.isdecimal() for name in names):
        log.info(
            "classes of %s, in the order of their labels: %s", dataset, first_of(names, MOST_NAMED)
        )


def _described(config: Config) -> str:
    """Return the name of a job without swept flags: its dataset, activation, and optimizer."""
    names = [config.dataset.name]
    model_name = option_name(config.model)
    if model_name != LENET5["name"]:
        names.append(model_name)
    if "activation" in accepted_arguments(config.model):
        names.append(option_name(config.activation))
    names.append(option_name(config.optimizer))
    return " ".join(names)


def _run_ids(jobs: Sequence[Job]) -> list[str]:
    """Return the name of each job's run folder.

    If a sweep trains a fingerprint with several execution settings (device, threads, and engine),
    each combination of settings has its own run. The first combination uses the default folder,
    unless that folder already contains a run with one of the other combinations. The number of
    threads matters only if the exact weights depend on it.

    Example:
        Two jobs differ only in `num_threads=1,2`, and the engine is torch. The first job has the
        default folder, and the second one a folder of its own. If the default folder already has a
        run with two threads, the second job has the default folder, and the first one its own.
    """
    executions = [execution_of(job.executed) for job in jobs]
    executions_per_fingerprint = _count_executions(jobs, executions)

    # for each default folder that several combinations would use: the combination that uses it
    execution_in_default: dict[str, tuple[object, ...]] = {}
    ids = []
    for job, execution in zip(jobs, executions, strict=True):
        experiment = job.config.tracking.experiment
        default = run_id(experiment, job.fingerprint)

        is_shared = executions_per_fingerprint[job.fingerprint] > 1
        if is_shared and default not in execution_in_default:
            execution_in_default[default] = _recorded_execution(default) or execution

        if execution_in_default.get(default, execution) == execution:
            ids.append(default)
        else:
            ids.append(run_id(experiment, job.fingerprint, *execution))
    return ids


def _count_executions(
    jobs: Sequence[Job], executions: Sequence[tuple[object, ...]]
) -> Counter[str]:
    """Count the different execution settings of each fingerprint."""
    combinations = {
        (job.fingerprint, execution) for job, execution in zip(jobs, executions, strict=True)
    }
    return Counter(digest for digest, _ in combinations)


def execution_of(config: Config) -> tuple[object, ...]:
    """Return the execution settings that distinguish the runs of a sweep with equal fingerprints.

    Args:
        config: configuration with the engine already chosen.
    """
    device = choose_device(config.device).type
    # The results of the native engine do not depend on the number of threads.
    if config.engine is EngineName.native:
        return device, *_engine_part(config.engine)

    threads = config.num_threads or SWEEP_THREADS
    return device, threads, *_engine_part(config.engine)


def _recorded_execution(run: str) -> tuple[object, ...] | None:
    """Return the execution settings of the run in a folder, like `execution_of`."""
    begun = RunFolder(outputs_dir() / "runs" / run).begun()
    if begun is None or not {"device", "num_threads"} <= begun.execution.keys():
        return None

    device = begun.execution["device"]
    properties = exact_result_properties(begun.execution, begun.versions)
    if "num_threads" not in properties:
        return device, *_engine_part(begun.engine)
    return device, properties["num_threads"], *_engine_part(begun.engine)


def _engine_part(engine: str) -> list[str]:
    """Return the part of a run's name that specifies the engine.

    It is empty for torch, which used to be the only engine.
    """
    return [] if engine == EngineName.torch else [engine]


def _with_absolute_paths(config: Config) -> Config:
    return replace(
        config,
        data_root=str(_absolute(config.data_root)),
        model_path=_absolute(config.model_path),
        dataset=replace(config.dataset, file=_absolute(config.dataset.file)),
    )


def _absolute(path: str | None) -> str | None:
    if not path:
        return path
    return str(user_path(path).absolute())


def _frozen(config: Config) -> Config:
    """Return a copy of the configuration without passwords and the flags in `OF_SWEEP`."""
    tracking = replace(config.tracking, uri=frozen_uri(config.tracking.uri))
    sweep = replace(config.sweep, on_end=None, within=None, most_seeds=None)
    return replace(config, tracking=tracking, sweep=sweep, max_seconds=None)
