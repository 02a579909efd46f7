"""The objectives of a search: their values for epochs and trials, as stored in the study and shown
in reports.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from lenet_exp.config.metric import Metric
from lenet_exp.config.schema import Cost, Objective
from lenet_exp.folders.records import Outcome
from lenet_exp.training.epoch import EpochResult

Direction = Literal["minimize", "maximize"]


class EpochValidation(Protocol):
    """The validation results of an epoch."""

    @property
    def value(self) -> float:
        """The value of the metric, by default the validation accuracy (a fraction)."""

    @property
    def val_loss(self) -> float:
        """The validation loss."""


@dataclass(frozen=True)
class SearchObjective:
    """The objective of a search, with an optional target accuracy (a fraction), the cost of a
    Pareto front, and the metric, which the objective `accuracy` stands for."""

    objective: Objective
    target: float | None = None
    cost: Cost = Cost.seconds
    metric: Metric = field(default_factory=Metric)

    @property
    def directions(self) -> list[Direction]:
        """Optuna's name for the direction of each objective."""
        if self.objective is Objective.front:
            return ["maximize", "minimize"]
        return [
            "maximize"
            if self.objective is Objective.accuracy and self.metric.larger
            else "minimize"
        ]

    @property
    def worst(self) -> list[float]:
        """The values of a diverged trial."""
        lowest = 0.0 if self.metric.is_accuracy else -math.inf
        return [lowest if direction == "maximize" else math.inf for direction in self.directions]

    @property
    def sign(self) -> int:
        """1 if larger values of the first objective are better; -1 if smaller values are better."""
        return 1 if self.directions[0] == "maximize" else -1

    @property
    def may_prune(self) -> bool:
        """Whether trials can be pruned, which Optuna supports only for a single objective."""
        return len(self.directions) == 1

    def at(self, epochs: Sequence[EpochValidation]) -> float:
        """Return the value that a pruner compares after these epochs: the best value so far, or the
        remaining distance to the target accuracy."""
        if self.objective is Objective.loss:
            return min(e.val_loss for e in epochs)
        best = max((e.value for e in epochs), key=lambda value: self.metric.sign * value)
        return best if self.target is None else max(0.0, self.target - best)

    def reached(self, epochs: Sequence[EpochValidation]) -> bool:
        """Return whether the target accuracy has been reached and further training is unnecessary."""
        return self.target is not None and any(e.value >= self.target for e in epochs)

    def trial_result(
        self, outcome: Outcome, epochs: Sequence[EpochResult], parameters: int | None = None
    ) -> tuple[Outcome, list[float] | None]:
        """Return the outcome and values of a trial, given the outcome and epochs of its run.

        With a target accuracy, a trial that reached the target counts as finished, even though its
        run stopped early. A trial that did not reach the target counts as pruned.

        Args:
            parameters: number of parameters of the network, if the search minimizes this number;
                otherwise, None.
        """
        if outcome is Outcome.diverged:
            return outcome, self.worst
        values = self.values(epochs, parameters)
        if outcome in {Outcome.finished, Outcome.pruned} and self.target is not None:
            return (Outcome.pruned if values is None else Outcome.finished), values
        if outcome is Outcome.finished:  # a run without a history has no result
            return (Outcome.failed if values is None else outcome), values
        return outcome, None

    def values(
        self, epochs: Sequence[EpochResult], parameters: int | None = None
    ) -> list[float] | None:
        """Return the values of the objectives after these epochs; None if there are no values yet."""
        if not epochs or (self.target is not None and not self.reached(epochs)):
            return None
        kept = ([n for n, e in enumerate(epochs, 1) if e.improved] or [len(epochs)])[
            -1
        ]  # see `training.select`
        best = epochs[kept - 1].value
        until = next(
            (
                n
                for n, e in enumerate(epochs, 1)
                if self.target is not None and e.value >= self.target
            ),
            kept,
        )
        seconds = math.fsum(e.epoch_seconds for e in epochs[:until])
        return {
            Objective.accuracy: [best],
            Objective.loss: [min(e.val_loss for e in epochs)],
            Objective.epochs: [float(until)],
            Objective.seconds: [seconds],
            Objective.front: [best, seconds if parameters is None else float(parameters)],
        }[self.objective]
