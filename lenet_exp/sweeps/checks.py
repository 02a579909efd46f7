"""Checks of a sweep's jobs before the first one starts, and lines about flags and engines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lenet_exp.config.class_groups import TARGET, option_name, options_of
from lenet_exp.config.flags import value_of
from lenet_exp.config.metric import Metric
from lenet_exp.config.schema import Config
from lenet_exp.config.targets import accepted_arguments, keywords
from lenet_exp.errors import ConfigError
from lenet_exp.folders.job import Job
from lenet_exp.runs.jobs import check_each_job
from lenet_exp.training.engine import EngineChoice

# Flags that a class might not accept, and the configuration group that selects the class.
IGNORED = {
    "optimizer.momentum": "optimizer",
    "activation": "model",
    "regularization.dropout_rate": "model",
}


def check_jobs(jobs: Sequence[Sequence[str]], configs: Sequence[Config]) -> None:
    """Check all jobs of a sweep, even in a dry run.

    Args:
        jobs: overrides of each job.
        configs: configuration of each job.

    Raises:
        ConfigError: see `check_each_job` and `check_one_sweep`.
    """
    check_each_job(jobs, configs)
    check_one_sweep(configs)


def check_one_sweep(configs: Sequence[Config]) -> None:
    """Check that the flags for the sweep as a whole are the same in all configurations.

    Raises:
        ConfigError: one of these flags differs between configurations.
    """
    first = configs[0]
    for flag in ("tracking.uri", "tracking.experiment", "metric", "sweep"):
        if any(value_of(config, flag) != value_of(first, flag) for config in configs):
            raise ConfigError(f"{flag}: must be the same for all runs of a sweep")

    compared_by_loss = Metric.of(first.metric).name == "loss"
    if compared_by_loss and len({str(config.loss) for config in configs}) > 1:
        raise ConfigError(
            "loss: must be the same for all runs of a sweep that are compared by their loss"
        )

    _check_class_names(configs)
    _check_dataset_names(configs)


def _check_class_names(configs: Sequence[Config]) -> None:
    """Check that different classes of a group have different names."""
    first_targets: dict[tuple[str, str], str] = {}
    for config in configs:
        for group, option in options_of(config).items():
            name = option_name(option)
            target = option[TARGET]
            first_target = first_targets.setdefault((group, name), target)
            if target != first_target:
                raise ConfigError(
                    f"{group}: {first_target} and {target} are both called {name}; "
                    "add name: to one of their option files"
                )


def _check_dataset_names(configs: Sequence[Config]) -> None:
    """Check that datasets from different files or folders have different names."""
    source_of_name: dict[str, tuple[str, str | None]] = {}
    for config in configs:
        dataset = config.dataset
        source = (dataset.folder, dataset.file)
        if source_of_name.setdefault(dataset.name, source) != source:
            flag = "file" if dataset.file else "folder"
            raise ConfigError(
                f"dataset.name={dataset.name}: must differ between datasets; for example, set "
                f"dataset.name=a,b sweep.zip=[dataset.{flag},dataset.name]"
            )


def engine_words(jobs: Sequence[Job]) -> list[str]:
    """Return one line for each engine of a sweep's jobs, with the reason for choosing it."""
    engines = Counter(EngineChoice(job.engine, job.engine_why).words for job in jobs)
    lines = []
    for words, count in engines.items():
        if count < len(jobs):
            lines.append(f"engine for {count} jobs: {words}")
        else:
            lines.append(f"engine: {words}")
    return lines


def without_effect(configs: Sequence[Config]) -> list[str]:
    """Return one line for each swept flag that some of the jobs ignore."""
    lines = []
    for flag, group in IGNORED.items():
        values = {_text_of(config, flag, group) for config in configs}
        ignoring = sorted(_ignoring_options(configs, flag, group))
        if ignoring and len(values) > 1:
            lines.append(f"{flag} has no effect for {', '.join(ignoring)}")
    return lines


def _text_of(config: Config, flag: str, group: str) -> str:
    """Return the value of a flag as text; an optimizer can lack the keyword argument."""
    if group == "optimizer":
        return str(config.optimizer.get(_argument_of(flag)))
    return str(value_of(config, flag))


def _ignoring_options(configs: Sequence[Config], flag: str, group: str) -> list[str]:
    """Return the names of a group's options whose class does not accept a flag."""
    options = {}
    for config in configs:
        option = getattr(config, group)
        if option:
            options[option_name(option)] = option

    argument = _argument_of(flag)
    ignoring = []
    for name, option in options.items():
        accepted = accepted_arguments(option) if group == "model" else keywords(group, option)
        if argument not in accepted:
            ignoring.append(name)
    return ignoring


def _argument_of(flag: str) -> str:
    """Return the keyword argument that a flag sets: `optimizer.momentum` sets `momentum`."""
    return flag.rpartition(".")[2]
