"""Runs of one configuration that differ in their seed alone (or in their split as well, where that was swept)."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from lenet_exp.comparison.pairs import Replicate
from lenet_exp.comparison.runs import ComparedRun
from lenet_exp.comparison.statistics import mean_interval
from lenet_exp.folders.records import RESULTS, Outcome


class CompareBy(StrEnum):
    """Which epoch's validation accuracy is compared."""

    best = "best"
    last = "last"


@dataclass(frozen=True)
class Group:
    """A configuration and its runs. Means are over the runs that finished; NaN where there are none.

    Attributes:
        flags: of all its runs; the seed is not among them.
        on_test: its accuracy is that on test data, as far as `lenet-predict` has measured it.
    """

    flags: dict[str, str]
    runs: list[ComparedRun]
    by: CompareBy = CompareBy.best
    on_test: bool = False

    @cached_property
    def ended(self) -> list[ComparedRun]:
        """Runs that finished or diverged, one a replicate: of several the last that was given."""
        found = {run.replicate: run for run in self.runs if run.outcome in RESULTS}
        return [found[replicate] for replicate in sorted(found)]

    @cached_property
    def finished(self) -> list[ComparedRun]:
        return [run for run in self.ended if run.outcome == Outcome.finished]

    @property
    def best_run(self) -> ComparedRun | None:
        """The best of the finished runs."""
        return max(self.finished, key=lambda run: run.best_val_accuracy or 0.0, default=None)

    @property
    def diverged(self) -> int:
        """Replicates that diverged. What the others reached is no fair sample of what this configuration does."""
        return len(self.ended) - len(self.finished)

    @cached_property
    def missing(self) -> int:
        """Replicates that are not done: failed, killed, running or not started. Pruned ones are."""
        done = {run.replicate for run in self.runs if run.outcome in {*RESULTS, Outcome.pruned}}
        return len({run.replicate for run in self.runs} - done)

    @property
    def replicates(self) -> int:
        """How many there are, whatever they came to."""
        return len({run.replicate for run in self.runs})

    @cached_property
    def accuracy(self) -> dict[Replicate, float]:
        """Validation accuracy of the best or last epoch, or test accuracy, by replicate."""
        values = {run.replicate: self._accuracy_of(run) for run in self.finished}
        return {replicate: value for replicate, value in values.items() if value is not None}

    def _accuracy_of(self, run: ComparedRun) -> float | None:
        if self.on_test:
            return run.test_accuracy()
        return run.last() if self.by is CompareBy.last else run.best_val_accuracy

    @property
    def n(self) -> int:
        """Replicates that finished; on test data, those that were scored."""
        return len(self.accuracy)

    @property
    def splits(self) -> int:
        """Splits among them."""
        return len({split for _, split in self.accuracy})

    @property
    def images(self) -> int | None:
        """Validation images; None where that is not known."""
        return int(self.flags["dataset.val_size"]) if "dataset.val_size" in self.flags else None

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
        low, high = mean_interval(self.accuracy)
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


def grouped(runs: Sequence[ComparedRun], by: CompareBy = CompareBy.best) -> list[Group]:
    """The groups, best mean first; after them those of which a run diverged, the fewest of its runs first, and those of
    which no run finished."""
    found: dict[tuple[tuple[str, str], ...], list[ComparedRun]] = {}
    for run in runs:
        found.setdefault(tuple(sorted(run.flags.items())), []).append(run)
    groups = [Group(members[0].flags, members, by) for members in found.values()]
    return sorted(groups, key=lambda g: (g.n == 0, g.diverged / len(g.ended) if g.ended else 0.0, -g.mean))


def _mean(values: Iterable[float | None]) -> float:
    known = [v for v in values if v is not None]
    return statistics.fmean(known) if known else float("nan")
