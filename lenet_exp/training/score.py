"""Test scores of a network, their calibration, confusion matrices, and which images are right.

Torch is not imported, because plots do not need it.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lenet_exp.files import Json

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ClassScore:
    """Scores for one class, as fractions; `support` is the number of test images in the class."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class ReliabilityBin:
    """Images whose highest probability is in one interval.

    Attributes:
        images: number of images.
        confidence: mean highest probability.
        accuracy: fraction of correct predictions.
    """

    images: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """How well the probabilities of a model agree with its accuracy.

    Attributes:
        ece: expected calibration error with equal-width bins (Guo et al. 2017, section 2), in [0,
            1].
        nll: mean negative log-likelihood of the true class, in nats.
        brier: mean squared distance between the probabilities of all classes and the true class
            (Brier 1950), in [0, 2].
        bins: non-empty bins, by increasing probability.
    """

    ece: float
    nll: float
    brier: float
    bins: list[ReliabilityBin]


@dataclass(frozen=True)
class Score:
    """Results of a model on a test set.

    Attributes:
        correct: number of correct predictions.
        total: number of test images.
        classes: scores for each class.
        confusion_matrix: image counts by true class (row) and predicted class (column).
        source: source of the test set.
        data_digest: SHA-256 digest of the test set's pixels and labels, in order.
        calibration: calibration of the model's probabilities.
        files: SHA-256 digest of each file that was read.
    """

    correct: int
    total: int
    classes: list[ClassScore]
    confusion_matrix: list[list[int]]
    source: str
    data_digest: str
    calibration: Calibration
    files: dict[str, str] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Fraction of correct predictions."""
        return self.correct / self.total

    @property
    def metrics(self) -> dict[str, float]:
        """The MLflow metrics of the score, such as `test_accuracy`."""
        return {
            "test_accuracy": self.accuracy,
            "test_ece": self.calibration.ece,
            "test_nll": self.calibration.nll,
            "test_brier": self.calibration.brier,
        }

    def as_json(self) -> dict[str, Json]:
        """Return the accuracy and all fields as JSON values."""
        return {"accuracy": self.accuracy, **asdict(self)}


def confusion_matrix(truth: Tensor, predictions: Tensor, num_classes: int = 10) -> list[list[int]]:
    """Return the confusion matrix: image counts by true class (row) and predicted class (column).

    Args:
        truth, predictions: tensors of shape (n,), int64.
        num_classes: number of the network's outputs, which is the number of rows and of columns.
    """
    # The number of each pair (true class, predicted class) is its position in the flat matrix.
    pairs = truth.cpu() * num_classes + predictions
    counts = pairs.bincount(minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).tolist()


def class_accuracies(counts: list[list[int]]) -> list[float | None]:
    """Return the accuracy for each class from a confusion matrix; None for a class without
    images.
    """
    accuracies: list[float | None] = []
    for label, row in enumerate(counts):
        images = sum(row)
        accuracies.append(row[label] / images if images else None)
    return accuracies


def packed(right: Tensor) -> str:
    """Return which images are right as text: their number, and one bit per image in base64.

    Ten images, all right, are `10:/8A=`.

    Args:
        right: whether each image is classified correctly, shape (n,), bool.
    """
    bits = np.packbits(right.cpu().numpy()).tobytes()
    return f"{len(right)}:{base64.b64encode(bits).decode()}"


def check_packed(text: str) -> None:
    """Check that a text has as many bits as its number of images requires.

    Raises:
        ValueError: it does not.
    """
    number, _, bits = text.partition(":")
    images = int(number)
    groups = -(-images // 24)  # base64 writes 24 bits as 4 characters, and fills the last group
    if images < 1 or len(bits) != 4 * groups:
        raise ValueError(f"{text:.20}: must be a number of images and one bit per image in base64")


def unpacked(text: str) -> NDArray[np.bool_]:
    """Return which images were classified correctly from a text that `packed` returned.

    Raises:
        ValueError: the text is not in this format.
    """
    check_packed(text)
    number, _, bits = text.partition(":")
    packed_bits = np.frombuffer(base64.b64decode(bits), np.uint8)
    return np.unpackbits(packed_bits, count=int(number)).astype(bool)


def accuracy_error(
    accuracy: float, right: str | None, matrix: list[list[int]] | None = None
) -> str:
    """Return why a stored accuracy contradicts the stored predictions, or an empty string.

    Args:
        accuracy: accuracy as a fraction.
        right: which images are right, as text that `packed` returned; None if it is not stored.
        matrix: confusion matrix; None if it is not stored.

    Raises:
        ValueError: `right` is not in the format of `packed`.
    """
    if right is not None:
        check_packed(right)
        number, _, bits = right.partition(":")
        correct = int.from_bytes(base64.b64decode(bits), "big").bit_count()
        if correct / int(number) != accuracy:
            return f"its accuracy {accuracy} does not match its correct images"

    if matrix is not None:
        correct = sum(row[label] for label, row in enumerate(matrix))
        total = sum(map(sum, matrix))
        if total == 0 or correct / total != accuracy:
            return f"its accuracy {accuracy} does not match its confusion matrix"
    return ""


def named_matrix(
    counts: list[list[int]], class_names: Sequence[str]
) -> tuple[list[str], list[list[int]]]:
    """Return the class names and a confusion matrix without the rows and columns of unused outputs.

    If a dataset has fewer classes than the network has outputs, an output without a class is kept
    only if it was predicted at least once. A kept output is named, for example, `output 7`.
    """
    used_outputs = []
    names = []
    for output in range(len(counts)):
        if output < len(class_names):
            used_outputs.append(output)
            names.append(class_names[output])
        elif any(row[output] for row in counts):
            used_outputs.append(output)
            names.append(f"output {output}")

    matrix = []
    for label in used_outputs:
        matrix.append([counts[label][output] for output in used_outputs])
    return names, matrix
