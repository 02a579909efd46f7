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

ATTEMPTS = 20  # maximum number of attempts to draw a valid configuration that is new
MOST_TOO_LARGE = (
    1000  # number of configurations in a row that are too large, after which the search ends
)
# number of attempts by the sampler; later attempts are random, because a sampler can repeat itself
BY_SAMPLER = 4
DRAWN = "drawn"  # user attribute that contains the sampler's state
STATES = {
    Outcome.finished: TrialState.COMPLETE,
    Outcome.diverged: TrialState.COMPLETE,  # with the worst value, so that the sampler avoids it
    Outcome.pruned: TrialState.PRUNED,
    Outcome.failed: TrialState.FAIL,
}

Choose = Callable[[Flag], object]
Baseline = dict[str, object]  # values of flags, by name
T = TypeVar("T")


class TooLarge(ConfigError):
    """A configuration's network is too large. The message is for a search in which this is the
    smallest network.
    """

    def __init__(self, most: int, parameters: int) -> None:
        super().__init__(
            f"search.max_parameters={most}: the smallest network found has {parameters:,} parameters"
        )
        self.parameters = parameters


class Trials:
    """Creates and prunes the trials of a search.

    Args:
        name: name of the study, which determines Hyperband's brackets.
        search: the sampler, pruner, and objective.
        flags: the searched flags.
        num_epoch: the maximum number of epochs per trial.
        known: trials from earlier sessions, in order.
        first: the epoch after which the pruner starts, unless an option sets that epoch.
        baseline: values of the first trial; None if the sampler draws them.

    Raises:
        ConfigError: an option of the sampler or pruner is invalid.
    """

    def __init__(
        self,
        name: str,
        search: Search,
        flags: Sequence[Flag],
        num_epoch: int,
        known: Sequence[FrozenTrial] = (),
        first: int = 1,
        baseline: Baseline | None = None,
        metric: Metric | None = None,
    ) -> None:
        self._name = name
        self._search = search
        self._objective = SearchObjective(
            search.objective, search.target, metric=metric or Metric()
        )
        self._flags = flags
        self._pruner = new_pruner(search, num_epoch, first)
        self._baseline = baseline
        self._decided: dict[int, dict[int, bool]] = {}
        self._too_large: set[int] = set()  # points of the grid
        # A run waits for the decision on each report. Therefore, a run was not pruned before the
        # last reported epoch.
        self._passed = {
            t.number: max(t.intermediate_values, default=0)
            for t in known
            if t.state is TrialState.RUNNING
        }
        self._fill([_fresh(trial) for trial in known])
        new_sampler(search, flags, 0)

    def _fill(self, trials: Sequence[FrozenTrial]) -> None:
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
        for name, value in (trials[-1].user_attrs.get(DRAWN, {}) if trials else {}).items():
            self._storage.set_study_system_attr(self._study_id, name, value)

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
        known = [t.system_attrs["grid_id"] for t in self.all() if "grid_id" in t.system_attrs]
        return len({*known, *self._too_large}) >= (size(self._flags) or 0)

    def ask(
        self, make: Callable[[Choose], T], had: Callable[[T], bool] = lambda made: False
    ) -> tuple[T, FrozenTrial]:
        """Create the next trial, and return both the object that `make` builds from its values and
        the trial itself.

        Args:
            make: function that builds an object from values. Its argument is a function that draws
                a value for a flag. If the values are incompatible, `make` raises ConfigError, and
                different values are drawn.
            had: function that returns whether an equal object was built for an earlier trial. If
                so, different values are drawn, up to a limit, unless the number of trials already
                equals the number of possible configurations.

        Raises:
            ConfigError: the values of the last attempt are incompatible.
            TooLarge: `make` raised TooLarge `MOST_TOO_LARGE` times, or for every remaining point of
                the grid.
        """
        before, refused, too_large = self.all(), False, 0
        all_had = len(before) >= (size(self._flags) or math.inf)
        if self._baseline is not None and not before:
            self._study.enqueue_trial(self._baseline)
        for attempt in range(ATTEMPTS + MOST_TOO_LARGE):
            last = attempt - too_large == ATTEMPTS - 1
            self._study.sampler = self._new_sampler(len(before), attempt)
            trial = self._study.ask()
            try:
                made = make(lambda flag, trial=trial: suggest(trial, flag))  # type: ignore[misc]
            except TooLarge:
                too_large += 1
                self._too_large |= {
                    n
                    for key, n in self._frozen(trial.number).system_attrs.items()
                    if key == "grid_id"
                }
                if too_large == MOST_TOO_LARGE or self.exhausted():
                    self._fill(before)
                    raise
            except ConfigError:
                if last:
                    self._fill(before)
                    raise
            else:
                if last or all_had or not had(made):
                    return made, self._take(before, trial, refused)
            refused = True
            # the grid sampler would fail after its last trial
            self._study.sampler = optuna.samplers.RandomSampler(0)
            self._study.tell(trial, state=TrialState.FAIL)  # samplers ignore failed trials
        raise AssertionError

    def _take(
        self, before: Sequence[FrozenTrial], trial: optuna.Trial, refused: bool
    ) -> FrozenTrial:
        """Make a drawn trial the next trial, remove rejected draws from the study, and return the
        trial.
        """
        trial.set_user_attr(DRAWN, self._storage.get_study_system_attrs(self._study_id))
        if refused:
            self._fill([*before, self._frozen(trial.number)])
        return self._frozen(len(before))

    def _new_sampler(self, number: int, attempt: int) -> Any:
        seed = seed_of(self._search, number, attempt)
        if attempt >= BY_SAMPLER and self._search.sampler is not SamplerName.grid:
            return optuna.samplers.RandomSampler(seed)
        return new_sampler(self._search, self._flags, seed)

    def note(self, number: int, name: str, value: Any) -> None:
        """Set a user attribute of a running trial."""
        self._storage.set_trial_user_attr(self._trial_id(number), name, value)

    def report(self, number: int, epoch: int, value: float, *, spared: bool = False) -> bool:
        """Report a trial's value after an epoch, and return whether to prune the trial.

        Repeating a report returns the same decision. With two objectives, no trial is pruned.

        Args:
            spared: whether to exempt the trial from pruning this time. The pruner still records the
                value to compare it with those of other trials.
        """
        if not self._objective.may_prune:
            return False
        decided = self._decided.setdefault(number, {})
        if epoch not in decided:
            self._study.sampler = optuna.samplers.RandomSampler(0)  # pruners draw no values
            trial = optuna.Trial(self._study, self._trial_id(number))
            trial.report(value, epoch)
            decided[epoch] = (
                bool(trial.should_prune()) and not spared and epoch >= self._passed.get(number, 0)
            )
        return decided[epoch]

    def end(
        self, number: int, outcome: Outcome, value: float | Sequence[float] | None
    ) -> FrozenTrial:
        """Record how a trial ended, and return the trial.

        Args:
            value: value of each objective; used only for a finished trial.
        """
        # the grid sampler would fail after its last trial
        self._study.sampler = optuna.samplers.RandomSampler(0)
        if outcome is Outcome.diverged:
            value = self._objective.worst
        told = value if outcome in {Outcome.finished, Outcome.diverged} else None
        self._study.tell(number, told, state=STATES[outcome])
        return self._frozen(number)

    def best(self) -> FrozenTrial | None:
        """Return the best finished trial by the first objective, and by the second in a tie; None
        if no trial finished."""

        def rank(trial: FrozenTrial) -> tuple[float, ...]:
            first, *costs = trial.values
            return self._objective.sign * first, *(-cost for cost in costs), -trial.number

        return max(filter(self._is_whole, self.all()), key=rank, default=None)

    def value(self, number: int) -> list[float] | None:
        """Return a trial's value for each objective; None if the trial has no value or diverged."""
        trial = self._frozen(number)
        return trial.values if self._is_whole(trial) else None

    def _is_whole(self, trial: FrozenTrial) -> bool:
        return trial.state is TrialState.COMPLETE and trial.values != self._objective.worst

    def front(self) -> list[FrozenTrial]:
        """Return the trials on the Pareto front of two objectives, sorted by the first objective,
        best first.
        """
        whole = [] if self._objective.may_prune else filter(self._is_whole, self._study.best_trials)
        ordered = sorted(whole, key=lambda t: (-t.values[0], t.number))
        # keep the first of equal trials
        return list({tuple(t.values): t for t in reversed(ordered)}.values())[::-1]

    def _frozen(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)


def _fresh(trial: FrozenTrial) -> FrozenTrial:
    """Prepare a trial from an earlier session for resuming.

    A trial that was running will report its epochs again, so the pruner's data about the trial is
    removed.
    """
    if trial.state is not TrialState.RUNNING:
        return trial
    fresh = copy.deepcopy(trial)
    fresh.intermediate_values = {}
    fresh.system_attrs = {
        k: v for k, v in trial.system_attrs.items() if not k.startswith("completed_rung")
    }
    return fresh
