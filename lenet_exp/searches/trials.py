"""Decides which configuration a search tries next, and which trials it prunes.

The decisions depend only on the search space, the search's seed, and the events of trials
(creations, reported epochs, and ends). No clock or file is read, so the same events yield the same
trials in another process, after a kill, or in a simulation. Optuna makes the decisions from an
in-memory study; `searches.study` stores the same events in a database.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import optuna
from optuna.trial import FrozenTrial, TrialState

from lenet_exp.comparison.search.objective import SearchObjective
from lenet_exp.config.metric import Metric
from lenet_exp.config.schema import SamplerName, Search
from lenet_exp.config.space import Flag, size
from lenet_exp.errors import ConfigError
from lenet_exp.folders.records import Outcome
from lenet_exp.searches.sampling import new_pruner, new_sampler, seed_of, suggest
from lenet_exp.searches.trial_attributes import SAMPLER_STATE

# The maximum number of attempts to draw a valid configuration that is new. The sampler makes the
# first ones; later attempts are random, because a sampler can repeat itself.
MOST_ATTEMPTS = 20
SAMPLER_ATTEMPTS = 4

# The number of configurations in a row that are too large, after which the search ends.
MOST_TOO_LARGE = 1000

STATES = {
    Outcome.finished: TrialState.COMPLETE,
    Outcome.diverged: TrialState.COMPLETE,  # with the worst value, so that the sampler avoids it
    Outcome.pruned: TrialState.PRUNED,
    Outcome.failed: TrialState.FAIL,
}

# A system attribute that Optuna's grid sampler sets: the index of a trial's point in the grid.
GRID_POINT = "grid_id"
# The prefix of the system attributes in which Optuna's ASHA pruner stores a trial's rungs.
RUNG_PREFIX = "completed_rung"

Choose = Callable[[Flag], object]
Baseline = dict[str, object]  # values of flags, by name
T = TypeVar("T")


class TooLarge(ConfigError):
    """A configuration's network is too large. The message is for a search in which this is the
    smallest network.
    """

    def __init__(self, max_parameters: int, parameters: int) -> None:
        limit = f"search.max_parameters={max_parameters}"
        super().__init__(f"{limit}: the smallest network found has {parameters:,} parameters")
        self.parameters = parameters


class Trials:
    """Creates and prunes the trials of a search.

    Args:
        name: name of the study, which determines Hyperband's brackets.
        search: the sampler, pruner, and objective.
        flags: the searched flags.
        num_epoch: the maximum number of epochs per trial.
        earlier_trials: trials from earlier sessions, in order.
        first_pruned: the epoch after which the pruner starts, unless an option sets that epoch.
        baseline: values of the first trial; None if the sampler draws them.
        metric: metric of the runs; by default, the accuracy.

    Raises:
        ConfigError: an option of the sampler or pruner is invalid.
    """

    def __init__(
        self,
        name: str,
        search: Search,
        flags: Sequence[Flag],
        num_epoch: int,
        earlier_trials: Sequence[FrozenTrial] = (),
        first_pruned: int = 1,
        baseline: Baseline | None = None,
        metric: Metric | None = None,
    ) -> None:
        self._name = name
        self._search = search
        self._objective = SearchObjective(
            search.objective, search.target, metric=metric or Metric()
        )
        self._flags = flags
        self._pruner = new_pruner(search, num_epoch, first_pruned)
        self._baseline = baseline
        # Whether each report pruned its trial, keyed by trial and epoch.
        self._prune_decisions: dict[int, dict[int, bool]] = {}
        self._too_large_points: set[int] = set()  # points of the grid

        # A run waits for the decision on each report. Therefore, a run was not pruned before the
        # last reported epoch.
        self._last_epochs: dict[int, int] = {}
        for trial in earlier_trials:
            if trial.state is TrialState.RUNNING:
                self._last_epochs[trial.number] = max(trial.intermediate_values, default=0)

        self._rebuild_study([_without_reports(trial) for trial in earlier_trials])
        new_sampler(search, flags, 0)  # checks the options

    def __len__(self) -> int:
        return len(self.all())

    def all(self) -> list[FrozenTrial]:
        """Return all trials."""
        return self._study.get_trials(deepcopy=False)

    def running(self) -> list[int]:
        """Return the numbers of the trials that have not ended."""
        return [trial.number for trial in self.all() if trial.state is TrialState.RUNNING]

    def exhausted(self) -> bool:
        """Return whether the grid sampler has used all points of the grid."""
        if self._search.sampler is not SamplerName.grid:
            return False
        used_points = set(self._too_large_points)
        for trial in self.all():
            used_points |= _grid_points(trial)
        return len(used_points) >= (size(self._flags) or 0)

    def ask(
        self, make: Callable[[Choose], T], is_repeated: Callable[[T], bool] = lambda made: False
    ) -> tuple[T, FrozenTrial]:
        """Create the next trial, and return both the object that `make` builds from its values and
        the trial itself.

        Args:
            make: function that builds an object from values. Its argument is a function that draws
                a value for a flag. If the values are incompatible, `make` raises ConfigError, and
                different values are drawn.
            is_repeated: function that returns whether an equal object was built for an earlier
                trial. If so, different values are drawn, up to a limit, unless the number of trials
                already equals the number of possible configurations.

        Raises:
            ConfigError: the values of the last attempt are incompatible.
            TooLarge: `make` raised TooLarge `MOST_TOO_LARGE` times, or for every remaining point of
                the grid.
        """
        earlier_trials = self.all()
        must_repeat = len(earlier_trials) >= (size(self._flags) or math.inf)
        if self._baseline is not None and not earlier_trials:
            self._study.enqueue_trial(self._baseline)

        too_large = 0
        for attempt in range(MOST_ATTEMPTS + MOST_TOO_LARGE):
            is_last = attempt - too_large == MOST_ATTEMPTS - 1
            self._study.sampler = self._sampler(len(earlier_trials), attempt)
            trial = self._study.ask()
            try:
                made = make(partial(suggest, trial))
            except TooLarge:
                too_large += 1
                self._too_large_points |= _grid_points(self._trial(trial.number))
                if too_large == MOST_TOO_LARGE or self.exhausted():
                    self._rebuild_study(earlier_trials)
                    raise
            except ConfigError:
                if is_last:
                    self._rebuild_study(earlier_trials)
                    raise
            else:
                if is_last or must_repeat or not is_repeated(made):
                    has_rejected_draws = attempt > 0
                    return made, self._accept(trial, earlier_trials, has_rejected_draws)
            self._reject(trial)
        raise AssertionError

    def set_attribute(self, number: int, name: str, value: Any) -> None:
        """Set a user attribute of a running trial."""
        self._storage.set_trial_user_attr(self._trial_id(number), name, value)

    def report(self, number: int, epoch: int, value: float, *, exempt: bool = False) -> bool:
        """Report a trial's value after an epoch, and return whether to prune the trial.

        Repeating a report returns the same decision. With two objectives, no trial is pruned.

        Args:
            exempt: whether to exempt the trial from pruning this time. The pruner still records the
                value to compare it with those of other trials.
        """
        if not self._objective.may_prune:
            return False
        decisions = self._prune_decisions.setdefault(number, {})
        if epoch not in decisions:
            self._study.sampler = optuna.samplers.RandomSampler(0)  # pruners draw no values
            trial = optuna.Trial(self._study, self._trial_id(number))
            trial.report(value, epoch)
            # Optuna also records the trial's rung here, so it must decide on exempt trials too.
            should_prune = bool(trial.should_prune())
            was_decided = epoch < self._last_epochs.get(number, 0)
            decisions[epoch] = should_prune and not exempt and not was_decided
        return decisions[epoch]

    def end(
        self, number: int, outcome: Outcome, value: float | Sequence[float] | None
    ) -> FrozenTrial:
        """Record how a trial ended, and return the trial.

        Args:
            value: value of each objective; used only for a finished trial.
        """
        # The grid sampler would fail after its last trial.
        self._study.sampler = optuna.samplers.RandomSampler(0)
        stored_value = None
        if outcome is Outcome.finished:
            stored_value = value
        elif outcome is Outcome.diverged:
            stored_value = self._objective.worst
        self._study.tell(number, stored_value, state=STATES[outcome])
        return self._trial(number)

    def best(self) -> FrozenTrial | None:
        """Return the best finished trial by the first objective, and by the second in a tie; None
        if no trial finished."""

        def rank(trial: FrozenTrial) -> tuple[float, ...]:
            value, *costs = trial.values
            return self._objective.sign * value, *(-cost for cost in costs), -trial.number

        return max(filter(self._has_values, self.all()), key=rank, default=None)

    def values(self, number: int) -> list[float] | None:
        """Return a trial's value for each objective; None if the trial has no value or diverged."""
        trial = self._trial(number)
        return trial.values if self._has_values(trial) else None

    def front(self) -> list[FrozenTrial]:
        """Return the trials on the Pareto front of two objectives, sorted by the first objective,
        best first.
        """
        if self._objective.may_prune:  # there is a single objective
            return []
        trials = list(filter(self._has_values, self._study.best_trials))
        trials.sort(key=lambda trial: (-trial.values[0], trial.number))

        first_trials: dict[tuple[float, ...], FrozenTrial] = {}  # keyed by their values
        for trial in trials:
            first_trials.setdefault(tuple(trial.values), trial)
        return list(first_trials.values())

    def _rebuild_study(self, trials: Sequence[FrozenTrial]) -> None:
        """Replace the study with one that contains only these trials."""
        self._storage = optuna.storages.InMemoryStorage()
        self._study = optuna.create_study(
            study_name=self._name,
            storage=self._storage,
            directions=self._objective.directions,
            pruner=self._pruner,
            sampler=optuna.samplers.RandomSampler(0),
        )
        self._study_id = self._storage.get_study_id_from_name(self._name)
        for trial in trials:
            self._study.add_trial(trial)

        if trials:
            sampler_state = trials[-1].user_attrs.get(SAMPLER_STATE, {})
            for name, value in sampler_state.items():
                self._storage.set_study_system_attr(self._study_id, name, value)

    def _sampler(self, number: int, attempt: int) -> Any:
        """Return the sampler for an attempt to draw the values of a trial."""
        seed = seed_of(self._search, number, attempt)
        if attempt >= SAMPLER_ATTEMPTS and self._search.sampler is not SamplerName.grid:
            return optuna.samplers.RandomSampler(seed)
        return new_sampler(self._search, self._flags, seed)

    def _accept(
        self, trial: optuna.Trial, earlier_trials: Sequence[FrozenTrial], has_rejected_draws: bool
    ) -> FrozenTrial:
        """Make a drawn trial the next trial, remove rejected draws from the study, and return the
        trial.
        """
        sampler_state = self._storage.get_study_system_attrs(self._study_id)
        trial.set_user_attr(SAMPLER_STATE, sampler_state)
        if has_rejected_draws:
            self._rebuild_study([*earlier_trials, self._trial(trial.number)])
        return self._trial(len(earlier_trials))

    def _reject(self, trial: optuna.Trial) -> None:
        """End a drawn trial whose values are not used."""
        # The grid sampler would fail after its last trial.
        self._study.sampler = optuna.samplers.RandomSampler(0)
        self._study.tell(trial, state=TrialState.FAIL)  # samplers ignore failed trials

    def _has_values(self, trial: FrozenTrial) -> bool:
        """Return whether a trial finished without diverging."""
        return trial.state is TrialState.COMPLETE and trial.values != self._objective.worst

    def _trial(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)


def _grid_points(trial: FrozenTrial) -> set[int]:
    """Return the point of the grid that a trial uses; an empty set without a grid."""
    if GRID_POINT not in trial.system_attrs:
        return set()
    return {trial.system_attrs[GRID_POINT]}


def _without_reports(trial: FrozenTrial) -> FrozenTrial:
    """Prepare a trial from an earlier session for resuming.

    A trial that was running will report its epochs again, so the pruner's data about the trial is
    removed.
    """
    if trial.state is not TrialState.RUNNING:
        return trial
    copied_trial = copy.deepcopy(trial)
    copied_trial.intermediate_values = {}
    copied_trial.system_attrs = {
        name: value
        for name, value in trial.system_attrs.items()
        if not name.startswith(RUNG_PREFIX)
    }
    return copied_trial
