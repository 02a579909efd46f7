"""Runs of one configuration that differ in their seed alone."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from lenet_exp.comparison.runs import ComparedRun
from lenet_exp.comparison.statistics import mean_interval
from lenet_exp.folders.records import Outcome


@dataclass(frozen=True)
class Group:
    """A configuration and its runs. Means are over the runs that finished; NaN where there are none.

    Attributes:
        flags: of all its runs; the seed is not among them.
    """

    flags: dict[str, str]
    runs: list[ComparedRun]

    @cached_property
    def finished(self) -> list[ComparedRun]:
        """One a seed: of several with the same seed the last that was given."""
        by_seed = {run.seed: run for run in self.runs if run.outcome == "finished"}
        return [by_seed[seed] for seed in sorted(by_seed)]

    @cached_property
    def accuracy(self) -> dict[int, float]:
        """Best validation accuracy by seed."""
        return {run.seed: run.best_val_accuracy for run in self.finished if run.best_val_accuracy is not None}

    @property
    def n(self) -> int:
        """Seeds that finished."""
        return len(self.accuracy)

    @property
    def mean(self) -> float:
        return _mean(self.accuracy.values())

    @property
    def sd(self) -> float:
        """Sample standard deviation; NaN for one seed."""
        return statistics.stdev(self.accuracy.values()) if self.n > 1 else float("nan")

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the mean, as far as accuracies go; NaN for one seed."""
        low, high = mean_interval(list(self.accuracy.values()))
        return max(low, 0.0), min(high, 1.0)

    @property
    def best_epoch(self) -> float:
        """Mean epoch of the best validation accuracy."""
        return _mean(run.best_epoch for run in self.finished)

    @property
    def seconds_to_best(self) -> float:
        """Mean seconds of training to the end of that epoch."""
        return _mean(run.seconds_to_best for run in self.finished)

    @cached_property
    def outcomes(self) -> dict[str, int]:
        """How many runs ended how; those that are none are left out."""
        counts = Counter(run.outcome for run in self.runs)
        return {outcome: counts[outcome] for outcome in [*Outcome, *counts] if counts[outcome]}

    def curves(self) -> list[Sequence[float]]:
        """Validation accuracy by epoch of each finished run."""
        return [run.curve() for run in self.finished]


def grouped(runs: Sequence[ComparedRun]) -> list[Group]:
    """The groups, best mean first; those of which no run finished are last."""
    found: dict[tuple[tuple[str, str], ...], list[ComparedRun]] = {}
    for run in runs:
        found.setdefault(tuple(sorted(run.flags.items())), []).append(run)
    groups = [Group(members[0].flags, members) for members in found.values()]
    return sorted(groups, key=lambda group: (group.n == 0, -group.mean))


def _mean(values: Iterable[float | None]) -> float:
    known = [v for v in values if v is not None]
    return statistics.fmean(known) if known else float("nan")
