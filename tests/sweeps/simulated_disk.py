"""What lies in a simulated outputs folder: runs with their commits and ends, and the jobs that name them."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome, Progress


@dataclass
class Ended:
    """As much of a `Record` as is needed."""

    outcome: Outcome
    reason: str
    created_ms: int = 0

    @property
    def is_result(self) -> bool:
        return self.outcome.is_result


@dataclass(frozen=True)
class Epoch:
    epoch: int
    val_accuracy: float
    val_loss: float
    epoch_seconds: float = 1.0


@dataclass
class History:
    epochs: list[Epoch]


@dataclass
class Run:
    """A run folder: what survives."""

    name: str
    committed: int = 0
    begun: bool = False
    ended: Ended | None = None
    owner: Any = None  # the process that trains it
    trained: Counter[int] = field(default_factory=Counter)
    interrupted: int = 0

    def record(self) -> Ended | None:
        return self.ended

    def result(self) -> Ended | None:
        return self.ended if self.ended is not None and self.ended.is_result else None

    whole_result = result

    @property
    def path(self) -> Run:
        return self

    def shows_end(self) -> bool:
        return self.ended is not None

    def history(self) -> History:
        return History([self.epoch(n) for n in range(1, self.committed + 1)])

    def progress(self) -> Progress:
        return Progress((0,) * self.committed, None)

    def epoch(self, number: int) -> Epoch:
        """Another curve for each run, always the same."""
        accuracy = random.Random(self.name).random() * (1 - 0.5**number)
        return Epoch(number, accuracy, 1 - accuracy)


@dataclass(frozen=True, kw_only=True)
class SimulatedJob(Job):
    """Attributes:
    fate: how its runs end, whatever happens: "well", "raises" (in training), "refuses" (before) or "diverges".
    """

    disk: Disk = field(compare=False)
    fate: str = "well"

    @property
    def folder(self) -> Run:  # type: ignore[override]
        return self.disk.run(self.run)


class Disk:
    """The outputs folder: run folders, and why jobs failed before they had a record."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.errors: dict[int, str | None] = {}

    def run(self, name: str) -> Run:
        return self.runs.setdefault(name, Run(name))
