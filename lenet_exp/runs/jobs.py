"""Creates jobs: checks, names, and freezes all configurations before the first job starts."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from lenet_exp.addresses import frozen_uri, hide_password
from lenet_exp.amounts import first_of
from lenet_exp.config.class_groups import TARGET, option_name, options_of
from lenet_exp.config.compose import quoted, typed
from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.config.grid import which_job
from lenet_exp.config.metric import Metric
from lenet_exp.config.own_code import codes, refresh, with_code
from lenet_exp.config.package_files import config_groups
from lenet_exp.config.params import job_name, swept_values, text
from lenet_exp.config.schema import HOOK, LENET5, Config, EngineName, value_of
from lenet_exp.config.targets import accepted_arguments, keywords
from lenet_exp.config.typed_json import to_plain
from lenet_exp.data.images import data_digests, train_count, with_class_names
from lenet_exp.errors import ConfigError, UserError
from lenet_exp.files import user_path
from lenet_exp.folders.code_folder import load_code
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import exact_result_properties
from lenet_exp.folders.run_folder import RunFolder, run_id
from lenet_exp.outputs import outputs_dir
from lenet_exp.runs.initial_weights import Found, find_weights, with_initial_weights
from lenet_exp.training.check import check_batches, check_config
from lenet_exp.training.engine import EngineChoice, choose_engine
from lenet_exp.training.execution import SWEEP_THREADS, choose_device
from lenet_exp.training.optimizer import scheduled_rates

log = logging.getLogger("lenet_exp")

MOST_NAMED = 12  # maximum number of classes in a message
# Flags that a class might not accept, and the configuration group that selects the class.
IGNORED = {
    "optimizer.momentum": "optimizer",
    "activation": "model",
    "regularization.dropout_rate": "model",
}


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
    config = with_code(
        typed(to_plain(config))
    )  # convert numbers to the flags' types, so that 1 and 1.0 are the same run
    check_jobs([[]], [config])
    (job,) = freeze_jobs([], [[]], [config])
    return replace(job, name=name or job.name)


def check_jobs(jobs: Sequence[Sequence[str]], configs: Sequence[Config]) -> None:
    """Check all jobs of a sweep, even in a dry run.

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
    check_one_sweep(configs)


def check_one_sweep(configs: Sequence[Config]) -> None:
    """Check that the flags for the sweep as a whole are the same in all configurations.

    Raises:
        ConfigError: one of these flags differs between configurations.
    """
    for flag in ("tracking.uri", "tracking.experiment", "metric", "sweep"):
        if any(value_of(c, flag) != value_of(configs[0], flag) for c in configs):
            raise ConfigError(f"{flag}: must be the same for all runs of a sweep")
    if Metric.of(configs[0].metric).name == "loss" and len({str(c.loss) for c in configs}) > 1:
        raise ConfigError(
            "loss: must be the same for all runs of a sweep that are compared by their loss"
        )
    classes: dict[tuple[str, str], str] = {}
    for group, option in (
        (group, option) for c in configs for group, option in options_of(c).items()
    ):
        other = classes.setdefault((group, option_name(option)), option[TARGET])
        if option[TARGET] != other:
            named = f"{group}: {other} and {option[TARGET]} are both called {option_name(option)}"
            raise ConfigError(f"{named}; add name: to one of their option files")
    places: dict[str, tuple[str, str | None]] = {}
    for dataset in (config.dataset for config in configs):
        if places.setdefault(dataset.name, (dataset.folder, dataset.file)) != (
            dataset.folder,
            dataset.file,
        ):
            raise ConfigError(
                f"dataset.name={dataset.name}: must differ between datasets; for example, set "
                f"dataset.name=a,b sweep.zip=[dataset.{'file' if dataset.file else 'folder'},dataset.name]"
            )


def freeze_jobs(
    swept: list[str],
    jobs: Sequence[Sequence[str]],
    configs: Sequence[Config],
    find: Callable[[str, str], Found] | None = None,
) -> list[Job]:
    """Return frozen jobs, whose configurations no longer depend on conf/. The configurations must
    have been checked.

    The datasets of the jobs are read, because fingerprints include data digests.

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
    frozen = []
    find = find or cache(find_weights)
    for number, (overrides, given) in enumerate(zip(jobs, configs, strict=True)):
        try:
            config = with_class_names(_with_absolute_paths(given))
            if given.dataset.class_names is None:
                _log_class_order(config.dataset.name, tuple(config.dataset.class_names or ()))
            digests = data_digests(config)
            config = with_initial_weights(config, digests["validation"], find)
            digest = fingerprint(config, digests, scheduled_rates(config))
            check_batches(config, train_count(config))
        except UserError as e:
            raise type(e)(f"{e}{which_job(overrides, jobs)}") from e
        left_out = (HOOK, "init_from=") if config.init_from else (HOOK,)
        overrides = [o for o in overrides if not o.lstrip("+").startswith(left_out)]
        overrides += [f"init_from={quoted(config.init_from)}"] if config.init_from else []
        values, chosen = swept_values(swept, overrides), choose_engine(config)
        values |= {"init_from": text(config.init_from)} if "init_from" in values else {}
        frozen.append(
            Job(
                number=number,
                name=job_name(number, values, groups) if values else _described(config),
                swept=values,
                overrides=[hide_password(o) for o in overrides],
                config=_frozen(config),
                fingerprint=digest,
                run="",
                engine=chosen.engine,
                engine_why=chosen.why,
            )
        )
    return [replace(job, run=run) for job, run in zip(frozen, _run_ids(frozen), strict=True)]


@cache
def _log_class_order(dataset: str, names: tuple[str, ...]) -> None:
    """Log the names of classes that were read from files, once for each dataset, in the order of
    their labels.
    """
    if not all(name.isdecimal() for name in names):
        log.info(
            "classes of %s, in the order of their labels: %s", dataset, first_of(names, MOST_NAMED)
        )


def engine_words(jobs: Sequence[Job]) -> list[str]:
    """Return one line for each engine of a sweep's jobs, with the reason for choosing the engine."""
    engines = Counter(EngineChoice(job.engine, job.engine_why).words for job in jobs)
    return [
        f"engine{f' for {n} jobs' if n < len(jobs) else ''}: {words}"
        for words, n in engines.items()
    ]


def without_effect(configs: Sequence[Config]) -> list[str]:
    """Return one line for each swept flag that some of the jobs ignore."""
    found = []
    for flag, group in IGNORED.items():
        name = flag.rpartition(".")[2]
        values = {
            str(c.optimizer.get(name) if group == "optimizer" else value_of(c, flag))
            for c in configs
        }
        options = {option_name(o): o for config in configs if (o := getattr(config, group))}
        deaf = sorted(
            n
            for n, o in options.items()
            if name not in (accepted_arguments(o) if group == "model" else keywords(group, o))
        )
        if deaf and len(values) > 1:
            found.append(f"{flag} has no effect for {', '.join(deaf)}")
    return found


def _described(config: Config) -> str:
    """Return the name of a job without swept flags: its dataset, activation, and optimizer."""
    model = [option_name(config.model)] if option_name(config.model) != LENET5["name"] else []
    activation = (
        [option_name(config.activation)] if "activation" in accepted_arguments(config.model) else []
    )
    return " ".join([config.dataset.name, *model, *activation, option_name(config.optimizer)])


def _run_ids(jobs: Sequence[Job]) -> list[str]:
    """Return the name of each job's run folder.

    If a sweep trains a fingerprint with several execution settings (device, threads, and engine),
    each combination of settings has its own run. The first combination uses the default folder,
    unless that folder already contains a run with one of the other combinations. The number of
    threads matters only if the exact weights depend on it.
    """
    executions = [execution_of(job.executed) for job in jobs]
    several = Counter(
        f for f, _ in {(job.fingerprint, e) for job, e in zip(jobs, executions, strict=True)}
    )
    usual: dict[str, tuple[object, ...]] = {}
    ids = []
    for job, execution in zip(jobs, executions, strict=True):
        default = run_id(job.config.tracking.experiment, job.fingerprint)
        if several[job.fingerprint] > 1 and default not in usual:
            usual[default] = _execution_of(default) or execution
        own = usual.get(default, execution) != execution
        ids.append(
            run_id(job.config.tracking.experiment, job.fingerprint, *execution) if own else default
        )
    return ids


def execution_of(config: Config) -> tuple[object, ...]:
    """Return the execution settings that distinguish the runs of a sweep with equal fingerprints.

    Args:
        config: configuration with the engine already chosen.
    """
    # The results of the native engine do not depend on the number of threads.
    threads = [] if config.engine is EngineName.native else [config.num_threads or SWEEP_THREADS]
    return choose_device(config.device).type, *threads, *_named(config.engine)


def _execution_of(run: str) -> tuple[object, ...] | None:
    begun = RunFolder(outputs_dir() / "runs" / run).begun()
    if begun is None or not {"device", "num_threads"} <= begun.execution.keys():
        return None
    had = exact_result_properties(begun.execution, begun.versions)
    threads = [had["num_threads"]] if "num_threads" in had else []
    return (begun.execution["device"], *threads, *_named(begun.engine))


def _named(engine: str) -> list[str]:
    """Return the part of a run's name that specifies the engine; empty for torch, which used to be
    the only engine.
    """
    return [] if engine == EngineName.torch else [engine]


def _with_absolute_paths(config: Config) -> Config:
    paths = (config.data_root, config.model_path, config.dataset.file)
    data_root, model_path, file = (path and str(user_path(path).absolute()) for path in paths)
    return replace(
        config,
        data_root=str(data_root),
        model_path=model_path,
        dataset=replace(config.dataset, file=file),
    )


def _frozen(config: Config) -> Config:
    """Return a copy of the configuration without passwords and the command in `sweep.on_end`."""
    tracking = replace(config.tracking, uri=frozen_uri(config.tracking.uri))
    return replace(config, tracking=tracking, sweep=replace(config.sweep, on_end=None))
