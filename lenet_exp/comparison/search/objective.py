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
    """The objective of a search.

    Attributes:
        objective: the objective. `accuracy` stands for the metric, whatever it is.
        target: target accuracy (a fraction); None if there is no target.
        cost: second objective of a Pareto front.
        metric: metric of the runs.
    """

    objective: Objective
    target: float | None = None
    cost: Cost = Cost.seconds
    metric: Metric = field(default_factory=Metric)

    @property
    def directions(self) -> list[Direction]:
        """Optuna's name for the direction of each objective."""
        if self.objective is Objective.front:
            return ["maximize", "minimize"]
        if self.objective is Objective.accuracy and self.metric.larger:
            return ["maximize"]
        return ["minimize"]

    @property
    def worst(self) -> list[float]:
        """The values of a diverged trial."""
        lowest = 0.0 if self.metric.is_accuracy else -math.inf
        worst_in: dict[Direction, float] = {"maximize": lowest, "minimize": math.inf}
        return [worst_in[direction] for direction in self.directions]

    @property
    def sign(self) -> int:
        """1 if larger values of the first objective are better; -1 if smaller values are better."""
        return 1 if self.directions[0] == "maximize" else -1

    @property
    def may_prune(self) -> bool:
        """Whether trials can be pruned, which Optuna supports only for a single objective."""
        return len(self.directions) == 1

    def at(self, epochs: Sequence[EpochValidation]) -> float:
        """Return the value that a pruner compares after these epochs.

        It is the best value so far or, with a target accuracy, the remaining distance to it. For
        example, it is 0.03 after epochs with the accuracies 0.9, 0.95, and 0.92 if the target is
        0.98.
        """
        if self.objective is Objective.loss:
            return min(epoch.val_loss for epoch in epochs)

        best = max((epoch.value for epoch in epochs), key=lambda value: self.metric.sign * value)
        if self.target is None:
            return best
        return max(0.0, self.target - best)

    def reached(self, epochs: Sequence[EpochValidation]) -> bool:
        """Return whether the target accuracy has been reached, so that training can stop."""
        return self._epochs_to_target(epochs) is not None

    def _epochs_to_target(self, epochs: Sequence[EpochValidation]) -> int | None:
        """Return the number of epochs until the target accuracy was first reached.

        Return None if it was not reached or if there is no target.
        """
        if self.target is None:
            return None
        for number, epoch in enumerate(epochs, 1):
            if epoch.value >= self.target:
                return number
        return None

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
        if outcome not in {Outcome.finished, Outcome.pruned}:
            return outcome, None

        values = self.values(epochs, parameters)
        if self.target is not None:
            reached = values is not None
            return (Outcome.finished if reached else Outcome.pruned), values
        if outcome is Outcome.pruned:
            return outcome, None
        # A run without a history has no result.
        return (Outcome.failed if values is None else outcome), values

    def values(
        self, epochs: Sequence[EpochResult], parameters: int | None = None
    ) -> list[float] | None:
        """Return the values of the objectives after these epochs; None if there are no values yet.

        Epochs and seconds count until the target accuracy was reached or, without a target, until
        the end of the selected epoch.

        Args:
            parameters: as in `trial_result`.
        """
        epochs_to_target = self._epochs_to_target(epochs)
        if not epochs or (self.target is not None and epochs_to_target is None):
            return None

        selected_epoch = _selected_epoch(epochs)
        last_counted_epoch = epochs_to_target or selected_epoch
        best = epochs[selected_epoch - 1].value
        seconds = math.fsum(epoch.epoch_seconds for epoch in epochs[:last_counted_epoch])
        cost = seconds if parameters is None else float(parameters)
        values_of_objective = {
            Objective.accuracy: [best],
            Objective.loss: [min(epoch.val_loss for epoch in epochs)],
            Objective.epochs: [float(last_counted_epoch)],
            Objective.seconds: [seconds],
            Objective.front: [best, cost],
        }
        return values_of_objective[self.objective]


def _selected_epoch(epochs: Sequence[EpochResult]) -> int:
    """Return the number of the epoch whose weights were selected (`training.select`).

    This is the last epoch that improved the value of the metric. With `training.select=last`, no
    epoch counts as improved, and the last epoch is selected.
    """
    improved = [number for number, epoch in enumerate(epochs, 1) if epoch.improved]
    return improved[-1] if improved else len(epochs)
