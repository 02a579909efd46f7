"""Represents runs from run folders and from MLflow in the form that comparisons require."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from lenet_exp.comparison.statistics.pairs import Replicate
from lenet_exp.config.metric import Metric
from lenet_exp.config.params import params, params_of, text
from lenet_exp.config.schema import (
    ALWAYS,
    EXECUTION_FLAGS,
    NEUTRAL,
    SEED_FLAGS,
    Config,
    all_flags,
)
from lenet_exp.config.targets import canonical_config
from lenet_exp.folders.records import SIZES, Record, TestResult
from lenet_exp.folders.results import JobResult
from lenet_exp.training.score import unpacked
from lenet_exp.training.trained.trust import foreign_class

# the group of recipes; not part of a configuration, but users identify configurations by recipe
RECIPE = "experiment"
# The seed, flags that never distinguish configurations, and params in MLflow that are not flags.
_OMITTED = {"seed", "data_root", "model_path", "num_iter_echo", *SIZES}
COLLAPSE = 0.1  # minimum fall from the best to the last epoch, as a fraction


@dataclass(frozen=True)
class Provenance:
    """The provenance of a run, as recorded in MLflow. The fields are the same as in a `Record`."""

    data_digests: Mapping[str, str]
    execution: Mapping[str, str | int]
    versions: Mapping[str, str]
    git: Mapping[str, str]
    host: str


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """A run's flags and results. A run is equal only to itself.

    Attributes:
        id: ID of the run folder or of the MLflow run.
        flags: flags and their values, as returned by `params`, without the seed. Flags that did not
            exist when the run was trained have their neutral values.
        outcome: outcome of the run, such as finished, diverged, failed, killed, running, or `not
            started`.
        best: best value of the metric; None if no epoch finished.
        best_epoch: number of the epoch with the best value; None if no epoch finished.
        seconds_to_best: training time, in seconds, up to the end of the best epoch; None if
            unknown.
        curve: function that returns the metric's value of each epoch.
        last: function that returns the metric's value of the last epoch, or None if no epoch
            finished.
        data: digests of the data files; empty if unknown.
        split: the split_seed if it distinguishes replicates; 0 if it distinguishes configurations.
        test_result: function that returns the test result, or None if `lenet-predict` has not
            scored the run.
        recipe: recipe from which the run was composed, if recipes were swept (`experiment=a,b`);
            empty if they were not swept.
        mlflow_runs: function that returns the IDs of the corresponding MLflow runs, keyed by store
            name.
        epochs, seconds: number of finished epochs, and training time in seconds; None if unknown.
        size: size of the network, keyed by `records.SIZES`; unknown sizes are missing.
        provenance: provenance of the run; None if unknown.
        metric: metric by which the run is compared.
    """

    id: str
    flags: dict[str, str]
    seed: int
    outcome: str
    best: float | None
    best_epoch: int | None
    seconds_to_best: float | None
    curve: Callable[[], Sequence[float]]
    last: Callable[[], float | None]
    data: str = ""
    split: int = 0
    test_result: Callable[[], TestResult | None] = lambda: None
    recipe: str = ""
    mlflow_runs: Callable[[], Mapping[str, str]] = dict
    epochs: int | None = None
    seconds: float | None = None
    size: Mapping[str, int] = field(default_factory=dict)
    provenance: Provenance | Record | None = None
    metric: Metric = field(default_factory=Metric)

    @property
    def collapsed(self) -> bool:
        """Whether the last epoch is more than 10 percentage points worse than the best; see
        `has_collapsed`.
        """
        return has_collapsed(self.metric, self.best, self.last())

    @property
    def replicate(self) -> Replicate:
        """The seed and the split, which distinguish the runs of a configuration."""
        return self.seed, self.split

    def test_accuracy(self) -> float | None:
        """Return the test accuracy; None if `lenet-predict` has not scored the run."""
        result = self.test_result()
        return result.accuracy if result is not None else None


def has_collapsed(metric: Metric, best: float | None, last: float | None) -> bool:
    """Return whether a run's last epoch is more than 10 percentage points worse than its best
    epoch.

    False if a value is unknown, or if the metric is not a percentage for which larger is better.

    Args:
        best, last: values of the metric after the best and after the last epoch.
    """
    if best is None or last is None or not (metric.percent and metric.larger):
        return False
    return best - last > COLLAPSE


def flags_and_seed(shown: dict[str, str]) -> tuple[dict[str, str], int]:
    """Split a run's flags into the flags of a `ComparedRun` and the seed."""
    missing = {flag: value for flag, value in _neutral().items() if flag not in shown}
    flags = shown | missing
    return {flag: value for flag, value in flags.items() if flag not in _OMITTED}, int(
        shown["seed"]
    )


@cache
def _neutral() -> dict[str, str]:
    """Return the neutral values of flags, which apply to runs from releases that did not have the
    flag.
    """
    found: dict[str, str] = {}
    for flag, _, f in all_flags():
        neutral = f.metadata["neutral"]
        if flag == "model":  # its keys differ between models
            continue
        if neutral in NEUTRAL:
            found |= params_of(flag, neutral)
        elif neutral is not ALWAYS and neutral != {}:
            found[flag] = text(neutral)
    return found


def from_results(results: Iterable[JobResult]) -> list[ComparedRun]:
    """Read the runs of a sweep from their run folders. A run that several jobs share is read only
    once.
    """
    runs = {result.job.run: result for result in results}
    return [_from_result(result) for result in runs.values()]


def _from_result(result: JobResult) -> ComparedRun:
    record = result.record
    config = record.config if record is not None else _effective(result.job.config)
    flags, seed = flags_and_seed(params(config))
    folder = result.job.folder  # evaluated now, because the path depends on the outputs folder

    def curve() -> list[float]:
        return [e.value for e in folder.history().epochs]

    def last() -> float | None:
        # The record is already in memory. It lacks the bits in older releases and has no other
        # metric's last value.
        if record is not None and record.last_right is not None and record.metric.is_accuracy:
            return float(unpacked(record.last_right).mean())
        return next(reversed(curve()), None)

    return ComparedRun(
        id=result.job.run,
        flags=flags,
        seed=seed,
        outcome=result.outcome,
        best=record.value if record is not None else None,
        best_epoch=record.best_epoch if record is not None else None,
        seconds_to_best=record.seconds_to_best if record is not None else None,
        curve=curve,
        last=last,
        data=_data(record) if record is not None else "",
        test_result=folder.test_result,
        recipe=result.job.swept.get(RECIPE, ""),
        mlflow_runs=lambda: {run.store: run.run_id for run in folder.delivered().mlflow_runs},
        epochs=record.epochs if record is not None else None,
        seconds=record.seconds if record is not None else None,
        size=record.size if record is not None else {},
        provenance=record,
        metric=Metric.of(config.metric),
    )


def configuration(config: Config) -> dict[str, str]:
    """Return the flags that define a job's configuration in a comparison: all except seeds and
    execution flags.
    """
    return configuration_of(_effective(config))


def configuration_of(effective_config: Config) -> dict[str, str]:
    """Return the flags that define a configuration in a comparison, as `configuration` does.

    Args:
        effective_config: configuration as in the record of a run.
    """
    flags, _ = flags_and_seed(params(effective_config))
    omitted = EXECUTION_FLAGS | SEED_FLAGS
    return {flag: value for flag, value in flags.items() if flag not in omitted}


def _effective(config: Config) -> Config:
    """Return the effective configuration without importing a class from a foreign module."""
    return canonical_config(config, imports=foreign_class(config) is None)


def _data(record: Record) -> str:
    return " ".join(f"{name}={digest}" for name, digest in sorted(record.data_files.items()))
