"""Content of the JSON files in run folders: one frozen dataclass per kind of file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from lenet_exp.config.image_shape import Normalization
from lenet_exp.config.metric import Metric
from lenet_exp.config.params import params
from lenet_exp.config.schema import Config, EngineName, EpochChoice
from lenet_exp.config.typed_json import read_as
from lenet_exp.folders.digests import redacted, verified
from lenet_exp.folders.stored import Stored, from_stored, to_json, without_secrets
from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.score import accuracy_error, check_packed

# The entries of `execution` that are only descriptions.
DESCRIPTIONS = {"engine_why", "compiled"}


class Outcome(StrEnum):
    """The outcome of a run or sweep, or its current state if it has not ended.

    A sweep can only be running, finished, failed, or killed. A pruned run ended as intended but has
    no result. If its configuration is trained again, the run resumes from its checkpoint.
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
        """True if the run counts as trained, because repeating it would produce the same result."""
        return self in RESULTS

    @property
    def ended_well(self) -> bool:
        """True if the run ended as intended."""
        return self in {Outcome.finished, Outcome.pruned}


RESULTS = frozenset({Outcome.finished, Outcome.diverged})
# Sizes of a network (see `NetworkSize`): fields of a record, params in MLflow, and columns of
# tables.
SIZES = ("parameters", "multiply_adds")


@dataclass(frozen=True, kw_only=True)
class Record(Stored):
    """The record of a run.

    It is stored in `job.json` until the run has ended and in `record.json` afterward.

    Attributes:
        config: effective configuration of the run (see `targets.canonical_config`).
        data_digests: SHA-256 digest of the images and labels in each split.
        data_files: SHA-256 digest of each file from which the images and labels were read.
        user: user who started the run; empty in records from older releases.
        source_digest: digest of lenet_exp's own files (see `package_files.source_digest`), for
            information only.
        execution: device, number of threads, and all other properties that exact results depend on.
        created_ms, ended_ms: start and end times of the run, in milliseconds since 1970.
        continued_from: ID of the run with a smaller `num_epoch` whose final state the run started
            from; empty if none.
        inherited_epochs: number of epochs that this run did not train, because the other run has
            them.
        outcome: outcome of the run; None while the run is being trained.
        reason: one-line reason why the run did not finish; empty if the run finished.
        epochs: number of completed epochs.
        seconds: training time in seconds, including time before interruptions.
        seconds_to_best: training time in seconds until the end of the best epoch.
        normalization: how the pixels were scaled; None if they were scaled to [-1, 1].
        parameters, multiply_adds: size of the network (`NetworkSize`); None in records from older
            releases.
        resumed: number of times the run resumed after an interruption.
        stopped_early: whether `training.patience` ended the run before the last epoch.
        end_state: SHA-256 digest (hex) of end.safetensors, the training state after the last epoch;
            empty if not kept.
        best_epoch: number of the best epoch, counted from 1.
        best_val_accuracy: validation accuracy after the best epoch, as a fraction.
        best_val_metric: value of the metric after the best epoch; None if the metric is accuracy.
        weights_digest: digest of the weights after the best epoch.
        confusion_matrix: counts of validation images; rows are true classes, and columns are
            predicted classes. None for more than 256 classes.
        class_accuracies: accuracy for each class, if there is no confusion matrix; None for a class
            without images.
        best_right, last_right: which validation images the weights after the best epoch and after
            the last epoch classify correctly (see `score.packed`); None if unknown, as in records
            from older releases.
        history_digest: digest of history.json (see `digests`); None in files from older releases.
        digest: digest of all other content of record.json; None in files from older releases.
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
    user: str = ""
    command: str = ""
    normalization: Normalization | None = None
    parameters: int | None = None
    multiply_adds: int | None = None
    created_ms: int = 0
    continued_from: str = ""
    inherited_epochs: int = 0
    outcome: Outcome | None = None
    reason: str = ""
    epochs: int = 0
    seconds: float = 0.0
    seconds_to_best: float | None = None
    resumed: int = 0
    stopped_early: bool = False
    end_state: str = ""
    best_epoch: int | None = None
    best_val_accuracy: float | None = None
    best_val_metric: float | None = None
    weights_digest: str | None = None
    confusion_matrix: list[list[int]] | None = None
    class_accuracies: list[float | None] | None = None
    best_right: str | None = None
    last_right: str | None = None
    ended_ms: int = 0
    history_digest: str | None = field(default=None, compare=False)
    digest: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for text in (self.best_right, self.last_right):
            if text is not None:
                check_packed(text)

    @property
    def dataset(self) -> str:
        """The name of the dataset."""
        return self.config.dataset.name

    @property
    def metric(self) -> Metric:
        """The metric that chose the best epoch."""
        return Metric.of(self.config.metric)

    @property
    def value(self) -> float | None:
        """The value of the metric after the best epoch."""
        if self.best_val_metric is None:
            return self.best_val_accuracy
        return self.best_val_metric

    @property
    def reached(self) -> str:
        """The value of the metric after the best epoch as text, such as `98.04%`.

        `-` if no epoch finished.
        """
        return "-" if self.value is None else self.metric.text(self.value)

    @property
    def size(self) -> dict[str, int]:
        """The network's size, keyed by `SIZES`; records from older releases lack some of them."""
        sizes = {}
        for name in SIZES:
            number = getattr(self, name)
            if number is not None:
                sizes[name] = number
        return sizes

    @property
    def params(self) -> dict[str, str]:
        """The run's params in MLflow: its flags, and the size of its network."""
        return params(self.config) | {name: str(number) for name, number in self.size.items()}

    def selected(self, epochs: Sequence[EpochResult]) -> EpochResult | None:
        """Return the epoch whose weights are the run's model; see `training.select`.

        Args:
            epochs: results of the epochs so far.
        """
        if self.config.training.select is EpochChoice.last:
            return epochs[-1] if epochs else None

        def rank(epoch: EpochResult) -> tuple[float, int]:
            return self.metric.sign * epoch.value, -epoch.epoch  # the earliest in a tie

        return max(epochs, key=rank, default=None)

    @property
    def is_result(self) -> bool:
        """True if the run has a result."""
        return self.outcome is not None and self.outcome.is_result

    @property
    def at_chance(self) -> bool:
        """Whether the run finished with a validation accuracy at chance level.

        Chance level is the accuracy from always predicting the most frequent class, plus two
        standard errors. With 30 of 100 images in that class, it is 0.30 + 2 · 0.046 = 0.39.

        False if this is unknown, as for other metrics.
        """
        matrix = self.confusion_matrix
        accuracy = self.best_val_accuracy
        if self.outcome is not Outcome.finished or self.best_val_metric is not None:
            return False
        if not matrix or accuracy is None:
            return False

        images_of_classes = [sum(row) for row in matrix]
        n = sum(images_of_classes)
        largest_share = max(images_of_classes) / n
        standard_error = math.sqrt(largest_share * (1 - largest_share) / n)
        return accuracy <= largest_share + 2 * standard_error

    @property
    def begun(self) -> Record:
        """A copy of the record as it was at the start of the run, without an outcome."""
        names = [f.name for f in fields(self) if f.name not in FINAL_FIELDS]
        return Record(**{name: getattr(self, name) for name in names})

    @property
    def engine(self) -> str:
        """The name of the engine that executed the run.

        torch if the record does not contain an engine.
        """
        return str(self.execution.get("engine", EngineName.torch))

    def execution_differences(self, other: Record) -> dict[str, tuple[str | int, str | int]]:
        """Return the properties that affect exact results and differ between two records.

        If no properties differ, either run can resume from the other's checkpoint. A property that
        an older release did not record counts as equal.

        Returns:
            for the name of each property, its value in this record and in the other record.
        """
        properties = _exact_result_properties_of(self)
        others = _exact_result_properties_of(other)
        if properties["engine"] != others["engine"]:
            return {"engine": (properties["engine"], others["engine"])}

        differing = {}
        for name, value in properties.items():
            other_value = others.get(name, value)
            if value != other_value:
                differing[name] = (value, other_value)
        return differing

    def missing_properties(self, other: Record) -> list[str]:
        """Return the properties that affect another run's exact results but are missing here.

        This record is then from an older release.
        """
        properties = _exact_result_properties_of(self)
        others = _exact_result_properties_of(other)
        return [name for name in others if name not in properties]


_NAMES = [f.name for f in fields(Record)]

# The fields that are set when the run ends.
FINAL_FIELDS = frozenset(_NAMES[_NAMES.index("outcome") :])


@dataclass(frozen=True)
class TestResult(Stored):
    """The content of test.json: the test accuracy that `lenet-predict sweep=` last measured.

    Attributes:
        accuracy: test accuracy as a fraction.
        data_digest: SHA-256 digest of the test set's pixels and labels.
        weights_digest: digest of the weights that were evaluated; the accuracy is valid only for
            these weights.
        right: which test images are right (see `score.packed`); None in files from older releases.
    """

    accuracy: float
    data_digest: str
    weights_digest: str | None
    right: str | None = None


@dataclass(frozen=True)
class BestWeights(Stored):
    """The best epoch so far and the file with its weights.

    Attributes:
        epoch: number of the epoch, counted from 1.
        val_accuracy: validation accuracy after the epoch, as a fraction.
        weights: name of the file.
        sha256: SHA-256 digest (hex) of the file; empty in entries from older releases.
        val_metric: value of the metric after the epoch; None if the metric is accuracy.
    """

    epoch: int
    val_accuracy: float
    weights: str
    sha256: str = ""
    val_metric: float | None = None

    def __post_init__(self) -> None:
        _check_name(self.weights)

    @property
    def value(self) -> float:
        """The value of the metric."""
        return self.val_accuracy if self.val_metric is None else self.val_metric


@dataclass(frozen=True)
class Checkpoint(Stored):
    """A checkpoint from which training can resume.

    Attributes:
        state: name of the file with the training state.
        sha256: SHA-256 digest (hex) of the file.
        best: best weights so far; None until the first epoch has ended.
        seconds: training time in seconds until the checkpoint.
    """

    state: str
    sha256: str
    best: BestWeights | None
    seconds: float

    def __post_init__(self) -> None:
        _check_name(self.state)


@dataclass(frozen=True)
class History(Stored):
    """The content of history.json: the results of a run's epochs and the run's checkpoints.

    Attributes:
        epochs: results of the completed epochs, in order.
        best: best epoch so far; None until the first epoch has ended.
        commits: checkpoints from which the run can resume, newest first.
        resumed: number of times the run resumed.
        diverged: step losses of the epoch in which the run diverged.
    """

    epochs: list[EpochResult] = field(default_factory=list)
    best: BestWeights | None = None
    commits: list[Checkpoint] = field(default_factory=list)
    resumed: int = 0
    diverged: list[tuple[int, float, int]] = field(default_factory=list)

    def seconds_to(self, epoch: int | None) -> float | None:
        """Return the training time in seconds until the end of an epoch; None if unknown.

        Args:
            epoch: number of the epoch, counted from 1.
        """
        if epoch is None or len(self.epochs) < epoch:
            return None
        return sum(result.epoch_seconds for result in self.epochs[:epoch])


@dataclass(frozen=True)
class Progress:
    """The progress of a run up to its last checkpoint.

    Attributes:
        ends: end time of each epoch, in milliseconds since 1970.
        best: best epoch so far; None until the first epoch has ended.
        seconds: duration of each epoch in seconds.
    """

    ends: tuple[int, ...]
    best: BestWeights | None
    seconds: tuple[float, ...] = ()

    @property
    def epochs(self) -> int:
        """The number of epochs up to the last checkpoint."""
        return len(self.ends)


def exact_result_properties(
    execution: Mapping[str, str | int], versions: Mapping[str, str]
) -> dict[str, str | int]:
    """Return the entries of a record's `execution` and `versions` that affect exact results.

    Results of the torch engine depend on torch's version and on all entries of `execution` except
    descriptions. Results of the native engine depend only on its kernels' arithmetic.
    """
    # Release 0.1 had only the torch engine.
    entries = {"engine": EngineName.torch.value, **execution}
    if entries["engine"] == EngineName.native:
        names = ("engine", "kernel", "augmentation")
        return {name: entries[name] for name in names if name in entries}

    properties = {name: value for name, value in entries.items() if name not in DESCRIPTIONS}
    if "torch" in versions:
        properties["torch"] = versions["torch"]
    return properties


def _exact_result_properties_of(record: Record) -> dict[str, str | int]:
    return exact_result_properties(record.execution, record.versions)


def describe_differences(differing: dict[str, tuple[str | int, str | int]]) -> str:
    """Format the result of `Record.execution_differences`, such as `num_threads=1 (now 2)`.

    Of `environment`, only the variables that differ are listed.
    """
    texts = []
    for name, (earlier_value, current_value) in differing.items():
        if name == "environment":
            earlier_settings, current_settings = str(earlier_value), str(current_value)
            earlier_value = _settings_without(current_settings, earlier_settings)
            current_value = _settings_without(earlier_settings, current_settings)
        texts.append(f"{name}={earlier_value or 'none'} (now {current_value or 'none'})")
    return ", ".join(texts)


def _settings_without(excluded: str, settings: str) -> str:
    """Return the `NAME=value` pairs of `settings` that are not in `excluded`."""
    excluded_pairs = excluded.split()
    return " ".join(pair for pair in settings.split() if pair not in excluded_pairs)


def record_from_json(value: Any) -> Record:
    """Return the record that a JSON value describes.

    Raises:
        ValueError: the value does not describe a valid record, or its accuracy contradicts its
            correct images.
    """
    record = read_as(Record, redacted(value))
    accuracy = record.best_val_accuracy
    if accuracy is None:
        return record

    error = accuracy_error(accuracy, record.best_right, record.confusion_matrix)
    if error:
        raise ValueError(error)
    return record


def test_result_from_json(value: Any) -> TestResult:
    """Return the test result that a JSON value with a digest describes.

    Raises:
        ValueError: the value was changed, has no digest, or its accuracy contradicts its correct
            images.
    """
    # Every release has written the digest.
    if not isinstance(value, dict) or value.get("digest") is None:
        raise ValueError("its digest is missing")

    result = from_stored(TestResult, verified(value))
    error = accuracy_error(result.accuracy, result.right)
    if error:
        raise ValueError(error)
    return result


def record_to_json(record: Record) -> Any:
    """Return a record as a JSON value.

    Until the run has ended, the outcome and the results are omitted.
    """
    value = without_secrets(to_json(record))
    if record.outcome is not None:
        return value
    return {key: field for key, field in value.items() if key not in FINAL_FIELDS}


def _check_name(name: str) -> None:
    """Check that a name is a file name without a path.

    Raises:
        ValueError: the name contains a path or is not a valid file name.
    """
    has_path = name in {".", ".."} or "/" in name
    has_invalid_characters = "\0" in name or not name.isascii()
    if not name or has_path or has_invalid_characters:
        raise ValueError(f"not a file name: {name!r:.60}")
