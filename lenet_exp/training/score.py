"""Accuracy of a network, in total and by class."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from lenet_exp.files import Json


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class, as fractions; `support` is its number of test images."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Score:
    """Results of a model on a test set.

    Attributes:
        data_digest: SHA-256 of the test set's pixels and labels, in order; `files`: SHA-256 of each file read.
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
        """The fraction of correct predictions."""
        return self.correct / self.total

    def as_json(self) -> dict[str, Json]:
        """Return all numbers as JSON values."""
        return {"accuracy": self.accuracy, **asdict(self)}
