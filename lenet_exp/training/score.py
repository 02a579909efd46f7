"""Accuracy of a network, class by class."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from lenet_exp.files import Json


@dataclass(frozen=True)
class ClassScore:
    """Figures of one class, fractions; `support` is its number of test images."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Score:
    """Results of a model on a test set.

    Attributes:
        data_digest: SHA-256 of its pixels and labels, in their order; `files`: of each file read.
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
        return self.correct / self.total

    def as_json(self) -> dict[str, Json]:
        """All figures as JSON values."""
        return {"accuracy": self.accuracy, **asdict(self)}
