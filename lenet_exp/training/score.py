"""What a network gets right, class by class."""

from __future__ import annotations

from dataclasses import asdict, dataclass


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
    """What a model got right on a test set."""

    correct: int
    total: int
    classes: list[ClassScore]
    confusion_matrix: list[list[int]]
    source: str

    @property
    def accuracy(self) -> float:
        return self.correct / self.total

    def as_json(self) -> dict[str, object]:
        """All figures as JSON values."""
        return {"accuracy": self.accuracy, **asdict(self)}
