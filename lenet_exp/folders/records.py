"""Records in run and sweep folders: one frozen dataclass per kind of JSON file."""

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
    """The state of a run: its outcome, or running. A sweep is running, finished, failed, or killed.

    A pruned run ended as intended but has no result. Training its configuration again resumes from its checkpoint.
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
        """True if the run counts as trained: repeating it would give the same result."""
        return self in RESULTS

    @property
    def ended_well(self) -> bool:
        """True if the run ended as intended."""
        return self in {Outcome.finished, Outcome.pruned}


RESULTS = frozenset({Outcome.finished, Outcome.diverged})


@dataclass(frozen=True, kw_only=True)
class Record(Stored):
    """The record of a run: `job.json` until the run has ended, then `record.json`.

    Attributes:
        config: the effective configuration (`targets.effective`).
        data_digests: SHA-256 of the images and labels used, by split; `data_files`: SHA-256 of each file read.
        source_digest: digest of the program's own files (`config.source_digest`); informative only.
        execution: device, threads, and everything else that exact results depend on.
        created_ms, ended_ms: start and end of the run, in milliseconds since 1970.
        outcome: how the run ended; None while the run is being trained.
        reason: the reason, in one line, why the run did not finish.
        epochs: number of completed epochs.
        seconds: training time, including time before interruptions; `seconds_to_best`: the part of it until the end of
            the best epoch.
        resumed: number of times the run resumed after an interruption.
        stopped_early: whether `training.patience` ended the run, after `epochs`.
        best_val_accuracy: best validation accuracy, a fraction, which `best_epoch` (counted from 1) reached;
            `weights_digest` is from that epoch.
        confusion_matrix: counts for the validation images; rows are true classes, columns are predicted classes.
        digest, history_digest: digests of the rest of record.json and of history.json (`digests`); None in files
            of older releases.
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
        """The name of the dataset."""
        return self.config.dataset.name

    @property
    def is_result(self) -> bool:
        """True if the run has a result."""
        return self.outcome is not None and self.outcome.is_result

    @property
    def begun(self) -> Record:
        """The record as it was at the start of the run, without an outcome."""
        return Record(**{f.name: getattr(self, f.name) for f in fields(self) if f.name not in FINAL_FIELDS})

    @property
    def engine(self) -> str:
        """The engine that executed the run; torch for records that name no engine."""
        return str(self.execution.get("engine", EngineName.torch))

    def execution_differences(self, other: Record) -> dict[str, tuple[str | int, str | int]]:
        """Return, by name, both values of each property that affects bit-exact results and differs between the records.

        If the result is empty, one run can resume where the other stopped. A property that an older release did not
        record counts as equal.
        """
        mine, theirs = (bits_depend_on(record.execution, record.versions) for record in (self, other))
        if mine["engine"] != theirs["engine"]:
            return {"engine": (mine["engine"], theirs["engine"])}
        return {key: (mine[key], theirs[key]) for key in mine if mine[key] != theirs.get(key, mine[key])}

    def missing_properties(self, other: Record) -> list[str]:
        """Return the properties that this older record lacks and on which the other run's exact results depend."""
        mine, theirs = (bits_depend_on(record.execution, record.versions) for record in (self, other))
        return [key for key in theirs if key not in mine]


_NAMES = [f.name for f in fields(Record)]
FINAL_FIELDS = frozenset(_NAMES[_NAMES.index("outcome") :])  # fields that only an ended run has


@dataclass(frozen=True)
class TestResult(Stored):
    """The content of test.json: a run's test accuracy, from the last `lenet-predict sweep=`.

    Attributes:
        accuracy: test accuracy as a fraction.
        data_digest: SHA-256 of the test set's pixels and labels.
        weights_digest: digest of the scored weights; the result is valid only for these.
    """

    accuracy: float
    data_digest: str
    weights_digest: str | None


@dataclass(frozen=True)
class BestWeights(Stored):
    """The best epoch so far and the file with its weights; entries from older releases have no digest."""

    epoch: int
    val_accuracy: float
    weights: str
    sha256: str = ""

    def __post_init__(self) -> None:
        _check_name(self.weights)


@dataclass(frozen=True)
class Checkpoint(Stored):
    """A state from which training can resume: its file, the best weights, and the training time (s) until then."""

    state: str
    sha256: str
    best: BestWeights | None
    seconds: float

    def __post_init__(self) -> None:
        _check_name(self.state)


@dataclass(frozen=True)
class History(Stored):
    """The content of history.json.

    Attributes:
        epochs: results of the completed epochs, in order; `best`: the best epoch so far.
        commits: the checkpoints, newest first.
        resumed: number of times the run resumed.
        diverged: step losses of the epoch in which the run diverged.
    """

    epochs: list[EpochResult] = field(default_factory=list)
    best: BestWeights | None = None
    commits: list[Checkpoint] = field(default_factory=list)
    resumed: int = 0
    diverged: list[tuple[int, float, int]] = field(default_factory=list)

    def seconds_to(self, epoch: int | None) -> float | None:
        """Return the training time in seconds until the end of an epoch (counted from 1); None without this epoch."""
        if epoch is None or len(self.epochs) < epoch:
            return None
        return sum(e.epoch_seconds for e in self.epochs[:epoch])


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Attributes:
        ends: end of each epoch in a checkpoint, in milliseconds since 1970; `seconds`: duration of each epoch.
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
        store: the store's name (`addresses.store_name`).
        epochs: number of epochs that the store has.
        ended_ms: the end of the run according to the store; None while the store shows the run as running.
        model: whether the store has the best model.
        sweeps: MLflow runs of the sweeps that include this run.
        former: earlier MLflow runs of this run that somebody deleted; they do not count, even if restored.
        begun: whether the store has the data from the run's start: parameters, datasets, and sweeps.
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
    """The content of delivered.json: one entry per store."""

    mlflow_runs: list[DeliveredRun] = field(default_factory=list)

    def run_in(self, store: str) -> DeliveredRun | None:
        """Return the entry of a store, or None."""
        return next((run for run in self.mlflow_runs if run.store == store), None)

    def with_run(self, run: DeliveredRun) -> Delivered:
        """Return a copy with this entry for its store."""
        return replace(self, mlflow_runs=[*self.without(run.store).mlflow_runs, run])

    def without(self, store: str) -> Delivered:
        """Return a copy without the entry of a store."""
        return replace(self, mlflow_runs=[run for run in self.mlflow_runs if run.store != store])


@dataclass(frozen=True, kw_only=True)
class SearchPlan(Stored):
    """The request for a search, and its progress.

    Attributes:
        n_trials, max_epochs, max_seconds: budgets of the search; None means no limit.
        trials: number of trials started; `told`: number of trials that ended.
        epochs: number of epochs trained so far.
        seeds: maximum number of seeds per configuration.
        seconds: total duration of the search over all its starts.
        best_trial, best_value: the best finished trial and its objective, as a mean over its seeds. `best_job` is its
            first job, and `best_seeds` its number of seeds.
        left: first runs of the configurations that may be the best; None if there was no seed race.
        front: trials that no other trial beats in all objectives.
        ended_by: the reason why the search ended, if it did.
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
        """Return this request with the progress of an earlier start of the same search."""
        if had is None:
            return self
        had = replace(had, n_trials=self.n_trials, max_epochs=self.max_epochs, max_seconds=self.max_seconds)
        return replace(had, seeds=self.seeds, ended_by="")


@dataclass(frozen=True, kw_only=True)
class SweepPlan(Stored):
    """The content of sweep.json: the request for a sweep, and its state.

    Attributes:
        created_ms, started_ms: first and last start, in milliseconds since 1970.
        starts: number of times that the sweep was started.
        mlflow_runs: the sweep's own MLflow run, by store.
        forced_ms: runs that ended before this time are retrained (`sweep.force`).
        runs: number of jobs.
        tracking_uri: name of the sweep's store; None means mlflow.db in the outputs folder.
        outcome: running, finished, failed, or killed. `stopped_by`: the signal that stopped it.
        shown: by MLflow run, the digest of its description's content.
        remade: whether a start replaced a corrupt sweep.json.
        ended_ms: time at which the sweep last ended.
        untold: stores that have not yet received the current start or the sweep's end.
        confirms: the sweep whose leader this one tests on new seeds, with the power to detect a difference of `points`
            percentage points; `confirmed`: the result, once all its runs have ended.
        counted: by start, the counts of outcomes at its end, and `ended_ms`.
        directory: the working directory of the command; empty in files of older releases.
        search: the request for a search; None for a grid.
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
    """Return the record that a JSON value holds.

    Raises:
        ValueError: the value is not a valid record.
    """
    return read_as(Record, redacted(value))


def record_to_json(record: Record) -> Any:
    """Return a record as JSON; the outcome and results are left out until the run has ended."""
    value = without_secrets(to_json(record))
    return value if record.outcome is not None else {k: v for k, v in value.items() if k not in FINAL_FIELDS}


def _check_name(name: str) -> None:
    """Check that a name is a plain file name in the run folder.

    Raises:
        ValueError: the name is not a plain file name.
    """
    if not name or name in {".", ".."} or "/" in name or "\0" in name or not name.isascii():
        raise ValueError(f"not a file name: {name!r:.60}")
