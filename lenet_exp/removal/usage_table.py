"""What `lenet-sweep du` prints, in 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lenet_exp.amounts import megabytes, number_of

NAME, NUMBER = 30, 7  # columns: 79 with seven numbers
TITLES = ("runs", "weight", "states", "pics", "rest", "MLflow", "MB")


@dataclass(frozen=True)
class Part:
    """A sweep, or runs that are in no sweep or in several.

    Attributes:
        runs: how many run folders.
        weights, states, pictures, rest: bytes of them, and among the rest those of the sweep's own folder.
        mlflow: bytes of their artifacts and models, where these lie here.
    """

    experiment: str
    words: str
    runs: int
    weights: int
    states: int
    pictures: int
    rest: int
    mlflow: int

    @property
    def bytes(self) -> tuple[int, ...]:
        """In the order of the columns."""
        return self.weights, self.states, self.pictures, self.rest, self.mlflow

    @property
    def total(self) -> int:
        return sum(self.bytes)


@dataclass(frozen=True)
class Usage:
    """Attributes:
    where: the outputs folder.
    parts: what is of sweeps and runs.
    kinds: bytes of each kind of file.
    removable: what could go, bytes, and by what.
    outside: stores' files on this machine that lie elsewhere, and their bytes; not in the total.
    """

    where: str
    files: int
    total: int
    parts: Sequence[Part]
    kinds: Sequence[tuple[str, int]]
    removable: Sequence[tuple[str, int, str]]
    outside: Sequence[tuple[str, int]]


def print_usage(usage: Usage) -> None:
    """The largest first."""
    print(f"{usage.where}\n{megabytes(usage.total)} MB in {number_of(usage.files, 'file')}")
    if usage.parts:
        print()
        _row("", *TITLES)
    experiments = {part.experiment for part in usage.parts}
    for experiment in sorted(experiments, key=lambda e: -sum(p.total for p in usage.parts if p.experiment == e)):
        parts = [part for part in usage.parts if part.experiment == experiment]
        runs, sizes = sum(part.runs for part in parts), [sum(n) for n in zip(*(p.bytes for p in parts), strict=True)]
        _part(Part(experiment, f"experiment {experiment}", runs, *sizes))
        for part in sorted(parts, key=lambda part: -part.total):
            _part(part, "  ")
    print()
    for words, count in sorted(usage.kinds, key=lambda kind: -kind[1]):
        if count:
            _line(words, count)
    _line("total", usage.total)
    for where, count in usage.outside:
        print(f"outside, not in the total: {megabytes(count)} MB in {where}")
    if usage.removable:
        print("\nwhat could go")
    for words, count, how in sorted(usage.removable, key=lambda part: -part[1]):
        _line(words, count)
        print(f"  {how}")


def _part(part: Part, indent: str = "") -> None:
    _row(indent + part.words, f"{part.runs:,}", *map(megabytes, (*part.bytes, part.total)))


def _line(words: str, count: int) -> None:
    _row(words, *[""] * (len(TITLES) - 1), megabytes(count))


def _row(name: str, *numbers: str) -> None:
    """Empty numbers leave their room to the name."""
    room = NAME + NUMBER * sum(not number for number in numbers)
    shown = name if len(name) < room else f"{name[: room - 4]}..."
    print(f"{shown:<{room}}" + "".join(f"{number:>{NUMBER}}" for number in numbers if number))
