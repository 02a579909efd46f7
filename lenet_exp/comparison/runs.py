"""One run as a comparison sees it, wherever it was read from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from lenet_exp.comparison.pairs import Replicate
from lenet_exp.config.effective import effective
from lenet_exp.config.params import params, text
from lenet_exp.config.schema import ALWAYS, Config, knobs
from lenet_exp.config.targets import option_name
from lenet_exp.folders.records import Record
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.training.trained.trust import foreign_class

# Flags that no comparison is about: where things lie and how often something is told.
RECIPE = "experiment"  # the group of recipes: no flag of a configuration, yet what its user knows it by
_SILENT = {"data_root", "model_path", "num_iter_echo"}
EXECUTION = {"device", "num_threads", "engine"}


@dataclass(frozen=True)
class Provenance:
    """What MLflow knows of how a run was made: these fields of a `Record`."""

    data_digests: Mapping[str, str]
    execution: Mapping[str, str | int]
    versions: Mapping[str, str]
    git: Mapping[str, str]
    host: str


@dataclass(frozen=True)
class ComparedRun:
    """A run's flags and what it came to.

    Attributes:
        id: of the run folder or of the MLflow run.
        flags: as `params` gives them, without the seed, and with what an older release did not know at its neutral
            value.
        outcome: finished, diverged, failed, killed, running, or `not started`.
        best_val_accuracy: a fraction; None unless an epoch was finished.
        seconds_to_best: of training, to the end of the best epoch; None where that is not known.
        curve: gives the validation accuracy of each epoch.
        last: gives that of the last epoch; None where there is none.
        data: digests of the data files; empty where they are not known.
        split: the split_seed, where it makes replicates and not configurations; else 0.
        test_accuracy: gives it; None where `lenet-predict` has not scored the run.
        recipe: where recipes were swept (`experiment=a,b`), which one it was composed from; else empty.
        mlflow_runs: gives the MLflow runs that it is, by the name of the store.
        epochs: that were trained to their end; None where that is not known.
        provenance: how it was made; None where that is not known.
    """

    id: str
    flags: dict[str, str]
    seed: int
    outcome: str
    best_val_accuracy: float | None
    best_epoch: int | None
    seconds_to_best: float | None
    curve: Callable[[], Sequence[float]]
    last: Callable[[], float | None]
    data: str = ""
    split: int = 0
    test_accuracy: Callable[[], float | None] = lambda: None
    recipe: str = ""
    mlflow_runs: Callable[[], Mapping[str, str]] = dict
    epochs: int | None = None
    provenance: Provenance | Record | None = None

    @property
    def replicate(self) -> Replicate:
        """Seed and split, which distinguish the runs of a configuration."""
        return self.seed, self.split


def flags_and_seed(shown: dict[str, str]) -> tuple[dict[str, str], int]:
    """The flags of a run as `ComparedRun` has them, and the seed."""
    known = shown | {flag: value for flag, value in _neutral().items() if flag not in shown}
    return {k: v for k, v in known.items() if k != "seed" and k not in _SILENT}, int(shown["seed"])


@cache
def _neutral() -> dict[str, str]:
    return {flag: text(f.metadata["neutral"]) for flag, _, f in knobs() if f.metadata["neutral"] is not ALWAYS}


def from_results(results: Iterable[JobResult]) -> list[ComparedRun]:
    """The runs of a sweep, each once, from their run folders."""
    runs = {result.job.run: result for result in results}
    return [_from_result(result) for result in runs.values()]


def _from_result(result: JobResult) -> ComparedRun:
    record = result.record
    config = record.config if record is not None else _acting(result.job.config)
    flags, seed = flags_and_seed(params(config))
    folder = result.job.folder  # now: it depends on the outputs folder

    def curve() -> list[float]:
        return [e.val_accuracy for e in folder.history().epochs]

    return ComparedRun(
        id=result.job.run,
        flags=flags,
        seed=seed,
        outcome=result.outcome,
        best_val_accuracy=record.best_val_accuracy if record is not None else None,
        best_epoch=record.best_epoch if record is not None else None,
        seconds_to_best=_seconds_to_best(record, folder) if record is not None else None,
        curve=curve,
        last=lambda: next(reversed(curve()), None),
        data=_data(record) if record is not None else "",
        test_accuracy=folder.test_accuracy,
        recipe=result.job.swept.get(RECIPE, ""),
        mlflow_runs=lambda: {run.store: run.run_id for run in folder.delivered().mlflow_runs},
        epochs=record.epochs if record is not None else None,
        provenance=record,
    )


def configuration(config: Config) -> dict[str, str]:
    """The flags of a job that make it another configuration: those of a comparison, without seeds and execution."""
    flags, _ = flags_and_seed(params(_acting(config)))
    return {flag: value for flag, value in flags.items() if flag not in EXECUTION | {"split_seed"}}


def _acting(config: Config) -> Config:
    """As it acts; a class of somebody else's module is not asked which keywords it has: a file named it."""
    if foreign_class(config) is None:
        return effective(config)
    named = [{"name": option_name(option)} | option for option in (config.activation, config.optimizer)]
    return replace(config, activation=named[0], optimizer=named[1])


def _data(record: Record) -> str:
    return " ".join(f"{name}={digest}" for name, digest in sorted(record.data_files.items()))


def _seconds_to_best(record: Record, folder: RunFolder) -> float | None:
    if record.seconds_to_best is not None:
        return record.seconds_to_best
    return folder.history().seconds_to(record.best_epoch)  # a record of an older release
