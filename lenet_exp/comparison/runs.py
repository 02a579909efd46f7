"""Represents runs from run folders and from MLflow in the form that comparisons require."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from lenet_exp.comparison.statistics.pairs import Replicate
from lenet_exp.config.flags import all_flags
from lenet_exp.config.metric import Metric
from lenet_exp.config.params import params, params_of, text
from lenet_exp.config.schema import ALWAYS, EXECUTION_FLAGS, NEUTRAL, SEED_FLAGS, Config
from lenet_exp.config.targets import canonical_config
from lenet_exp.folders.records import SIZES, Record, TestResult
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.training.score import unpacked
from lenet_exp.training.trained.trust import foreign_class

# The flag of recipes. It is not part of a configuration, but users identify configurations by it.
RECIPE = "experiment"

# The seed, flags that never distinguish configurations, and params in MLflow that are not flags.
_OMITTED = {"seed", "data_root", "model_path", "num_iter_echo", *SIZES}

# The minimum fall from the best to the last epoch of a collapsed run, as a fraction.
COLLAPSE = 0.1


@dataclass(frozen=True)
class Provenance:
    """The provenance of a run, as recorded in MLflow. The fields are the same as in a `Record`."""

    data_digests: Mapping[str, str]
    execution: Mapping[str, str | int]
    versions: Mapping[str, str]
    git: Mapping[str, str]
    host: str


@dataclass(frozen=True, kw_only=True)
class StoredRuns:
    """Runs in an MLflow store that match a filter.

    Attributes:
        runs: the runs, oldest first.
        swept: the flags that their sweeps varied.
        have_added_seeds: whether any of their sweeps added seeds depending on results.
    """

    runs: list[ComparedRun]
    swept: list[str]
    have_added_seeds: bool


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
        weights_digest: digest of the weights after the best epoch; None if unknown.
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
    weights_digest: str | None = None

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
    if best is None or last is None:
        return False
    if not metric.percent or not metric.larger:
        return False
    return best - last > COLLAPSE


def flags_and_seed(params_of_run: dict[str, str]) -> tuple[dict[str, str], int]:
    """Split a run's params into the flags of a `ComparedRun` and the seed."""
    # Runs of releases that did not have a flag behave as with its neutral value.
    with_neutral = dict(params_of_run)
    for flag, neutral_value in _neutral_values().items():
        with_neutral.setdefault(flag, neutral_value)

    flags = {flag: value for flag, value in with_neutral.items() if flag not in _OMITTED}
    return flags, int(params_of_run["seed"])


@cache
def _neutral_values() -> dict[str, str]:
    """Return the neutral values of flags, which apply to runs from releases that did not have the
    flag.
    """
    values: dict[str, str] = {}
    for flag, _, schema_field in all_flags():
        neutral = schema_field.metadata["neutral"]
        if flag == "model":  # Its keys differ between models.
            continue
        if neutral in NEUTRAL:
            values |= params_of(flag, neutral)
        elif neutral is not ALWAYS and neutral != {}:
            values[flag] = text(neutral)
    return values


def from_results(results: Iterable[JobResult]) -> list[ComparedRun]:
    """Read the runs of a sweep from their run folders. A run that several jobs share is read only
    once.
    """
    result_of_run = {result.job.run: result for result in results}
    return [_from_result(result) for result in result_of_run.values()]


@dataclass(frozen=True)
class _StoredRun:
    """Reads the results of a run from its folder, when a comparison needs them.

    Attributes:
        folder: the run folder.
        record: the record in this folder, which is already in memory; None if there is none.
    """

    folder: RunFolder
    record: Record | None

    def curve(self) -> list[float]:
        """Return the metric's value of each epoch."""
        return [epoch.value for epoch in self.folder.history().epochs]

    def last(self) -> float | None:
        """Return the metric's value of the last epoch; None if no epoch finished.

        The record saves reading the history. It lacks the bits in older releases, and has only
        accuracies.
        """
        record = self.record
        if record is not None and record.metric.is_accuracy and record.last_right is not None:
            return float(unpacked(record.last_right).mean())

        values = self.curve()
        return values[-1] if values else None

    def mlflow_runs(self) -> dict[str, str]:
        """Return the IDs of the corresponding MLflow runs, keyed by store name."""
        return {run.store: run.run_id for run in self.folder.delivered().mlflow_runs}


def _from_result(result: JobResult) -> ComparedRun:
    job = result.job
    record = result.record
    config = record.config if record is not None else _effective(job.config)
    flags, seed = flags_and_seed(params(config))
    # The folder is evaluated now, because its path depends on the outputs folder.
    stored = _StoredRun(job.folder, record)

    run = ComparedRun(
        id=job.run,
        flags=flags,
        seed=seed,
        outcome=result.outcome,
        best=None,
        best_epoch=None,
        seconds_to_best=None,
        curve=stored.curve,
        last=stored.last,
        test_result=stored.folder.test_result,
        recipe=job.swept.get(RECIPE, ""),
        mlflow_runs=stored.mlflow_runs,
        metric=Metric.of(config.metric),
    )
    if record is None:
        return run
    return replace(
        run,
        best=record.value,
        best_epoch=record.best_epoch,
        seconds_to_best=record.seconds_to_best,
        data=_data(record),
        epochs=record.epochs,
        seconds=record.seconds,
        size=record.size,
        provenance=record,
        weights_digest=record.weights_digest,
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
    digests = sorted(record.data_files.items())
    return " ".join(f"{name}={digest}" for name, digest in digests)
