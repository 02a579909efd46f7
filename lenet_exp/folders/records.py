"""Records in run and sweep folders: a frozen dataclass for each kind of JSON file."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from lenet_exp.config.plain import read_as
from lenet_exp.config.schema import Config, EngineName
from lenet_exp.folders.digests import redacted
from lenet_exp.folders.stored import Stored, to_json, without_secrets
from lenet_exp.training.bits import bits_depend_on
from lenet_exp.training.epoch import EpochResult


class Outcome(StrEnum):
    """How a run ended, or that it has not; a sweep's own is running, finished, failed or killed.

    A pruned run ended well, but is no result: who asks for its configuration goes on from its commit.
    """

    finished = "finished"
    diverged = "diverged"
    failed = "failed"
    killed = "killed"
    pruned = "pruned"
    running = "running"
    not_started = "not started"

    @property
    def is_result(self) -> bool:
        """Whether the same configuration would come to it again, so that it is not trained again."""
        return self in RESULTS

    @property
    def ended_well(self) -> bool:
        return self in {Outcome.finished, Outcome.pruned}


RESULTS = frozenset({Outcome.finished, Outcome.diverged})


@dataclass(frozen=True, kw_only=True)
class Record(Stored):
    """The record of a run: `job.json` until it has an outcome, then `record.json`.

    Attributes:
        config: the configuration as it acts (`config.effective`).
        data_digests: SHA-256 of the images and labels used, by split; `data_files`: of each file read.
        source_digest: of the program's own files (`config.source_digest`); decides nothing, tells what differs.
        execution: device, threads and whatever else the bits depend on.
        created_ms, ended_ms: milliseconds since 1970.
        outcome: None while it trains.
        reason: why it did not finish, in one line.
        epochs: how many were trained to their end.
        seconds: of training, those before an interruption as well; `seconds_to_best`: to the end of the best epoch.
        resumed: how often it went on after an interruption.
        stopped_early: whether `training.patience` ended it, after `epochs`.
        best_val_accuracy: a fraction, of `best_epoch` (from 1), whose weights `weights_digest` names.
        confusion_matrix: of the validation images: rows are true classes, columns predicted ones.
        digest, history_digest: of all the rest of record.json, and of history.json (`digests`); None in older releases.
    """

    name: str = ""
    fingerprint: str
    training_version: int = 1
    config: Config
    data_digests: dict[str, str] = field(default_factory=dict)
    data_source: str = ""
    data_files: dict[str, str] = field(default_factory=dict)
    source_digest: str = ""
    execution: dict[str, str | int] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    git: dict[str, str] = field(default_factory=dict)
    host: str = ""
    command: str = ""
    created_ms: int = 0
    outcome: Outcome | None = None
    reason: str = ""
    epochs: int = 0
    seconds: float = 0.0
    seconds_to_best: float | None = None
    resumed: int = 0
    stopped_early: bool = False
    best_epoch: int | None = None
    best_val_accuracy: float | None = None
    weights_digest: str | None = None
    confusion_matrix: list[list[int]] | None = None
    ended_ms: int = 0
    history_digest: str | None = field(default=None, compare=False)
    digest: str | None = field(default=None, compare=False)

    @property
    def dataset(self) -> str:
        return self.config.dataset.name

    @property
    def is_result(self) -> bool:
        return self.outcome is not None and self.outcome.is_result

    @property
    def begun(self) -> Record:
        """This record as it was before the outcome."""
        return Record(**{f.name: getattr(self, f.name) for f in fields(self) if f.name not in CONCLUSION})

    @property
    def engine(self) -> str:
        """The engine that executed its steps; torch in records that name none."""
        return str(self.execution.get("engine", EngineName.torch))

    def execution_differences(self, other: Record) -> dict[str, tuple[str | int, str | int]]:
        """Both values, by name, of everything that the bits depend on and that differs from the other record.

        If it is empty, one run can resume where the other stopped. A property that only one of them has, because an
        older release did not write it, counts as equal.
        """
        mine, theirs = (bits_depend_on(record.execution, record.versions) for record in (self, other))
        if mine["engine"] != theirs["engine"]:
            return {"engine": (mine["engine"], theirs["engine"])}
        return {key: (mine[key], theirs[key]) for key in mine if mine[key] != theirs.get(key, mine[key])}

    def missing_properties(self, other: Record) -> list[str]:
        """The names of properties that the other's bits depend on and that this older record lacks."""
        mine, theirs = (bits_depend_on(record.execution, record.versions) for record in (self, other))
        return [key for key in theirs if key not in mine]


_NAMES = [f.name for f in fields(Record)]
CONCLUSION = frozenset(_NAMES[_NAMES.index("outcome") :])  # what a run has once it has ended


@dataclass(frozen=True)
class TestResult(Stored):
    """test.json: the test accuracy of a run, as `lenet-predict sweep=` measured it last.

    Attributes:
        accuracy: a fraction.
        data_digest: SHA-256 of the test set's pixels and labels.
        weights_digest: of the weights that were scored; of other weights it says nothing.
    """

    accuracy: float
    data_digest: str
    weights_digest: str | None


@dataclass(frozen=True)
class BestWeights(Stored):
    """The best epoch so far, and the file of its weights; files of older releases have no digest."""

    epoch: int
    val_accuracy: float
    weights: str
    sha256: str = ""

    def __post_init__(self) -> None:
        _check_name(self.weights)


@dataclass(frozen=True)
class Checkpoint(Stored):
    """Where a training can go on: the file of its state, the best weights then, and seconds of training until then."""

    state: str
    sha256: str
    best: BestWeights | None
    seconds: float

    def __post_init__(self) -> None:
        _check_name(self.state)


@dataclass(frozen=True)
class History(Stored):
    """history.json: the committed epochs in order, the best of them, the newest commits first, and of the epoch in
    which the run diverged its step losses."""

    epochs: list[EpochResult] = field(default_factory=list)
    best: BestWeights | None = None
    commits: list[Checkpoint] = field(default_factory=list)
    resumed: int = 0
    diverged: list[tuple[int, float, int]] = field(default_factory=list)

    def seconds_to(self, epoch: int | None) -> float | None:
        """Seconds of training to the end of an epoch (from 1); None where it does not have that epoch."""
        if epoch is None or len(self.epochs) < epoch:
            return None
        return sum(e.epoch_seconds for e in self.epochs[:epoch])


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        ends: of the committed epochs, in milliseconds since 1970; `seconds`: that each took.
    """

    ends: tuple[int, ...]
    best: BestWeights | None
    seconds: tuple[float, ...] = ()

    @property
    def epochs(self) -> int:
        """The number of epochs in checkpoints."""
        return len(self.ends)


@dataclass(frozen=True)
class DeliveredRun(Stored):
    """The part of a run that one store has received.

    Attributes:
        store: its name (`addresses.store_name`).
        epochs: how many it has.
        ended_ms: the end that it knows of; None while it shows the run as running.
        model: whether it has the best model.
        sweeps: the MLflow runs of the sweeps that asked for it.
        former: its MLflow runs that somebody deleted; one that is restored does not count beside this one.
        begun: whether it has what a run begins with: parameters, data sets, the sweeps that it is in.
    """

    store: str
    run_id: str
    epochs: int = 0
    ended_ms: int | None = None
    model: bool = False
    sweeps: list[str] = field(default_factory=list)
    reason: str = ""
    former: list[str] = field(default_factory=list)
    begun: bool = True


@dataclass(frozen=True)
class Delivered(Stored):
    """delivered.json: one entry a store."""

    mlflow_runs: list[DeliveredRun] = field(default_factory=list)

    def run_in(self, store: str) -> DeliveredRun | None:
        return next((run for run in self.mlflow_runs if run.store == store), None)

    def with_run(self, run: DeliveredRun) -> Delivered:
        """With this entry for its store."""
        return replace(self, mlflow_runs=[*self.without(run.store).mlflow_runs, run])

    def without(self, store: str) -> Delivered:
        return replace(self, mlflow_runs=[run for run in self.mlflow_runs if run.store != store])


@dataclass(frozen=True, kw_only=True)
class SearchPlan(Stored):
    """The request of a search, and its progress.

    Attributes:
        n_trials, max_epochs, max_seconds: its budgets; None: any.
        trials: how many have been asked for, and `told` how they ended.
        epochs: trained for them.
        seeds: that a configuration may have.
        seconds: that it has gone on, over all its starts.
        best_trial, best_value: of those that finished, by the objective; the mean over its seeds, where it had
            several. `best_job` is its first job, and `best_seeds` how many it has had.
        left: runs (the first of each configuration) that can't be excluded as the best; None: there was no race.
        front: trials that no other one beats in all objectives.
        ended_by: why it ended, if it did.
    """

    sampler: str
    pruner: str
    objective: str
    n_trials: int | None = None
    max_epochs: int | None = None
    max_seconds: float | None = None
    trials: int = 0
    told: int = 0
    epochs: int = 0
    seconds: float = 0.0
    best_trial: int | None = None
    best_value: float | None = None
    seeds: int = 1
    target: float | None = None
    best_job: int | None = None
    best_seeds: int = 1
    left: list[str] | None = None
    front: list[int] = field(default_factory=list)
    ended_by: str = ""

    def resumed_from(self, had: SearchPlan | None) -> SearchPlan:
        """With these budgets, as far as the same search was before: until it has read its study, that is known."""
        if had is None:
            return self
        had = replace(had, n_trials=self.n_trials, max_epochs=self.max_epochs, max_seconds=self.max_seconds)
        return replace(had, seeds=self.seeds, ended_by="")


@dataclass(frozen=True, kw_only=True)
class SweepPlan(Stored):
    """sweep.json: what was asked for, and how it stands.

    Attributes:
        created_ms, started_ms: its first start and its last one, in milliseconds since 1970.
        starts: how often it was started.
        mlflow_runs: its own MLflow run, by store.
        forced_ms: results from before are trained again (`sweep.force`).
        runs: jobs.
        tracking_uri: the name of its store; None: mlflow.db in the outputs folder.
        outcome: running, finished, failed or killed. `stopped_by`: the signal, if it was asked to stop.
        shown: by MLflow run, a digest of what its description shows.
        remade: it was damaged, and a start made it again.
        ended_ms: when it ended last.
        untold: the stores that were not told yet of its present start or of how it ended.
        confirms: the sweep whose leader it puts to the test on fresh seeds, made to find a difference of `points`, in
            percentage points; `confirmed`: the answer, once all its runs have ended.
        counted: by start, what its runs had come to at its end, and `ended_ms`, when that was.
        directory: the working directory in which it was typed; empty in older releases.
        search: of a search; None: a grid.
    """

    created_ms: int
    starts: int = 0
    mlflow_runs: dict[str, str] = field(default_factory=dict)
    forced_ms: int = 0
    runs: int = 0
    command: str = ""
    overrides: list[str] = field(default_factory=list)
    swept: list[str] = field(default_factory=list)
    experiment: str = ""
    tracking_uri: str | None = None
    started_ms: int = 0
    outcome: Outcome = Outcome.running
    stopped_by: str = ""
    shown: dict[str, str] = field(default_factory=dict)
    remade: bool = False
    ended_ms: int = 0
    untold: list[str] = field(default_factory=list)
    confirms: str | None = None
    points: float | None = None
    confirmed: bool | None = None
    directory: str = ""
    search: SearchPlan | None = None
    counted: dict[str, dict[str, float]] = field(default_factory=dict)


def describe_differences(differing: dict[str, tuple[str | int, str | int]]) -> str:
    """Describe the result of `Record.execution_differences`: `num_threads=1 (now 2)`."""
    return ", ".join(f"{key}={was or 'none'} (now {now or 'none'})" for key, (was, now) in differing.items())


def record_from_json(value: Any) -> Record:
    """Raises:
    ValueError: it is no record.
    """
    return read_as(Record, redacted(value))


def record_to_json(record: Record) -> Any:
    """A run that has not ended has no conclusion."""
    value = without_secrets(to_json(record))
    return value if record.outcome is not None else {k: v for k, v in value.items() if k not in CONCLUSION}


def _check_name(name: str) -> None:
    """Raises:
    ValueError: it names no file of the run folder itself.
    """
    if not name or name in {".", ".."} or "/" in name or "\0" in name or not name.isascii():
        raise ValueError(f"no file name: {name!r:.60}")
