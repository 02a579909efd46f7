"""The runs of one configuration, which differ only in their seed and, if the split was swept, in
their split.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from lenet_exp.comparison.runs import ComparedRun
from lenet_exp.comparison.statistics.intervals import mean_interval
from lenet_exp.comparison.statistics.pairs import Replicate
from lenet_exp.config.metric import Metric
from lenet_exp.config.schema import EpochChoice
from lenet_exp.folders.records import RESULTS, Outcome

ABSENT = "-"  # displayed value of a flag that has no effect in a configuration


@dataclass(frozen=True, eq=False)
class Group:
    """A configuration and its runs. A group is equal only to itself.

    Means are computed over finished runs; they are NaN if no run finished.

    Attributes:
        flags: the flags that all runs share, without the seed.
        runs: the runs of the configuration.
        epoch_choice: the epoch whose validation accuracy, or value of another metric, is compared.
        on_test: whether accuracies are test accuracies, which exist only for runs that
            `lenet-predict` has scored.
    """

    flags: dict[str, str]
    runs: list[ComparedRun]
    epoch_choice: EpochChoice = EpochChoice.best
    on_test: bool = False

    def value(self, flag: str) -> str:
        """Return the value of a flag; `-` if the flag has no effect in this configuration."""
        return self.flags.get(flag, ABSENT)

    @cached_property
    def with_result(self) -> list[ComparedRun]:
        """The finished and diverged runs, one per replicate.

        If a replicate has several such runs, only the last run is included.
        """
        last_run = {run.replicate: run for run in self.runs if run.outcome in RESULTS}
        return [last_run[replicate] for replicate in sorted(last_run)]

    @cached_property
    def finished(self) -> list[ComparedRun]:
        """The finished runs, one per seed and split."""
        return [run for run in self.with_result if run.outcome == Outcome.finished]

    @property
    def best_run(self) -> ComparedRun | None:
        """The finished run with the best value of the metric; None if no run finished."""
        return max(
            self.finished, key=lambda run: self.metric.sign * (run.best or 0.0), default=None
        )

    @property
    def diverged(self) -> int:
        """The number of diverged replicates.

        If any replicate diverged, the others are not a representative sample of the configuration.
        """
        return len(self.with_result) - len(self.finished)

    @property
    def stable(self) -> bool:
        """Whether a replicate finished and none diverged."""
        return self.n > 0 and not self.diverged

    @cached_property
    def collapsed(self) -> int:
        """The number of finished replicates that collapsed after their best epoch; see
        `ComparedRun.collapsed`.
        """
        return sum(run.collapsed for run in self.finished)

    @cached_property
    def missing(self) -> int:
        """The number of replicates that failed, were killed, are running, or have not started.

        Pruned replicates do not count as missing.
        """
        ended = {*RESULTS, Outcome.pruned}
        done = {run.replicate for run in self.runs if run.outcome in ended}
        return self.replicates - len(done)

    @property
    def replicates(self) -> int:
        """The number of replicates, regardless of their outcome."""
        return len({run.replicate for run in self.runs})

    @cached_property
    def accuracy(self) -> dict[Replicate, float]:
        """The value of the metric in the best or last epoch, or the test accuracy, keyed by
        replicate.
        """
        accuracies = {}
        for run in self.finished:
            accuracy = self._accuracy_of(run)
            if accuracy is not None:
                accuracies[run.replicate] = accuracy
        return accuracies

    def _accuracy_of(self, run: ComparedRun) -> float | None:
        if self.on_test:
            return run.test_accuracy()
        if self.epoch_choice is EpochChoice.last:
            return run.last()
        return run.best

    @property
    def metric(self) -> Metric:
        """The metric by which the runs are compared."""
        return Metric() if self.on_test else self.runs[0].metric

    @property
    def scores(self) -> dict[Replicate, float]:
        """The values in `accuracy`, negative if smaller is better."""
        return {replicate: self.metric.sign * value for replicate, value in self.accuracy.items()}

    @property
    def n(self) -> int:
        """The number of finished replicates or, for test accuracies, the number of scored
        replicates.
        """
        return len(self.accuracy)

    @property
    def splits(self) -> int:
        """The number of different splits among the finished replicates."""
        return len({split for _, split in self.accuracy})

    @property
    def images(self) -> int | None:
        """The number of images from which each accuracy was computed; None if unknown, or for
        another metric.
        """
        if "dataset.val_size" not in self.flags or not self.metric.is_accuracy:
            return None
        return int(self.flags["dataset.val_size"])

    @property
    def mean(self) -> float:
        """The mean accuracy."""
        return _mean(self.accuracy.values())

    @property
    def sd(self) -> float:
        """The sample standard deviation of the accuracies; NaN for a single replicate."""
        return statistics.stdev(self.accuracy.values()) if self.n > 1 else float("nan")

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The 95% confidence interval of the mean; NaN for a single replicate. Accuracies limit it
        to 0 to 1.
        """
        return mean_interval(self.accuracy, limited=self.metric.is_accuracy)

    @property
    def best_epoch(self) -> float:
        """The epoch with the best validation accuracy, averaged over runs."""
        return _mean(run.best_epoch for run in self.finished)

    @property
    def seconds_to_best(self) -> float:
        """The mean training time, in seconds, up to the end of the best epoch."""
        return _mean(run.seconds_to_best for run in self.finished)

    @cached_property
    def size(self) -> dict[str, int]:
        """The network's size, keyed by `records.SIZES`; unknown sizes are missing."""
        sizes: dict[str, int] = {}
        for run in self.runs:
            sizes = {**run.size, **sizes}  # all runs that know a size agree
        return sizes

    @property
    def parameters(self) -> int | None:
        """The network's number of parameters, or None if unknown."""
        return self.size.get("parameters")

    @cached_property
    def outcomes(self) -> dict[str, int]:
        """The number of runs, keyed by outcome; outcomes that do not occur are omitted."""
        counts = Counter(run.outcome for run in self.runs)
        in_order = [*Outcome, *counts]
        return {outcome: counts[outcome] for outcome in in_order if counts[outcome]}

    def curves(self) -> list[Sequence[float]]:
        """Return the validation accuracies of each finished run, one per epoch."""
        return [run.curve() for run in self.finished]


def grouped(runs: Sequence[ComparedRun], by: EpochChoice = EpochChoice.best) -> list[Group]:
    """Group runs by configuration, and sort the groups by their mean, best first.

    Groups with diverged runs follow, lowest fraction of diverged runs first. Groups without a
    finished run are last, sorted by the best accuracy of any of their runs.
    """
    runs_by_flags: dict[tuple[tuple[str, str], ...], list[ComparedRun]] = {}
    for run in runs:
        key = tuple(sorted(run.flags.items()))
        runs_by_flags.setdefault(key, []).append(run)

    groups = [Group(members[0].flags, members, by) for members in runs_by_flags.values()]
    return sorted(groups, key=_rank)


def _rank(group: Group) -> tuple[bool, float, float]:
    """Return a sort key that is lower for better groups; see `grouped`."""
    diverged = 0.0
    if group.with_result:
        diverged = group.diverged / len(group.with_result)
    return group.n == 0, diverged, -_score(group)


def _score(group: Group) -> float:
    """Return the mean or, if no run finished, the best value of any run, negative if smaller is
    better.
    """
    sign = group.metric.sign
    if group.n:
        return sign * group.mean
    return max((sign * run.best for run in group.runs if run.best is not None), default=-math.inf)


def _mean(values: Iterable[float | None]) -> float:
    """Return the mean of the known values; NaN if none is known."""
    known_values = [value for value in values if value is not None]
    return statistics.fmean(known_values) if known_values else float("nan")
