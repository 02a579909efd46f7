"""Test scores of a network, overall and per class."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from lenet_exp.files import Json


@dataclass(frozen=True)
class ClassScore:
    """Scores for one class, as fractions; `support` is the number of test images in the class."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


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
        files: SHA-256 digest of each file that was read.
    """

    correct: int
    total: int
    classes: list[ClassScore]
    confusion_matrix: list[list[int]]
    source: str
    data_digest: str
    files: dict[str, str] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Fraction of correct predictions."""
        return self.correct / self.total

    def as_json(self) -> dict[str, Json]:
        """Return the accuracy and all fields as JSON values."""
        return {"accuracy": self.accuracy, **asdict(self)}
