"""Decides when a search creates no more trials, and when it ends."""

from __future__ import annotations

from lenet_exp.searches.plan import PlannedSearch
from lenet_exp.searches.recording import SearchRecorder
from lenet_exp.searches.trials import MOST_TOO_LARGE

# The number of trials in a row without training after which a search ends: nothing is left to try,
# or training always fails.
MOST_WITHOUT_TRAINING = 100

# The fraction of the epochs and seconds for first seeds; the rest is for later seeds.
FIRST_SEEDS_SHARE = 2 / 3


class SearchBudget:
    """The budgets of a search, compared with what the search has used.

    Args:
        planned: the search.
        recorder: the results so far.
    """

    def __init__(self, planned: PlannedSearch, recorder: SearchRecorder) -> None:
        self._plan = planned.plan
        self._max_parameters = planned.search.max_parameters
        self._recorder = recorder
        self._only_too_large = False

    def set_only_too_large(self) -> None:
        """Create no more trials, because too many drawn configurations in a row were too large."""
        self._only_too_large = True

    def why_no_trial(self, repeated_trials: int) -> str:
        """Return the reason why no new trial can be created now; an empty string if a new trial can
        be created.

        Args:
            repeated_trials: number of trials in a row that did not have to be trained.
        """
        plan = self._plan
        trials = self._recorder.trials
        if plan.n_trials is not None and len(trials) >= plan.n_trials:
            return f"n_trials={plan.n_trials}"
        if trials.exhausted():
            return "all configurations in the grid were tried"
        if self._only_too_large:
            limit = f"search.max_parameters={self._max_parameters}"
            return f"{MOST_TOO_LARGE:,} drawn configurations exceeded {limit}"

        without_training = max(repeated_trials, self._recorder.trials_without_training)
        if without_training >= MOST_WITHOUT_TRAINING and plan.n_trials is None:
            return f"the last {MOST_WITHOUT_TRAINING} trials trained no epoch"

        spent_budget = self.spent()
        seed_race = self._recorder.seed_race
        if spent_budget or seed_race.max_seeds == 1:
            return spent_budget
        # The share for later seeds is reserved only while a configuration can use it.
        if seed_race.next_seed(can_create_trial=False) is None:
            return ""
        return self.spent(FIRST_SEEDS_SHARE)

    def spent(self, share: float = 1.0) -> str:
        """Return a budget of which at least the fraction `share` is spent, as text such as
        `max_epochs=100`; an empty string if there is no such budget."""
        max_epochs = self._plan.max_epochs
        if max_epochs is not None:
            recorder = self._recorder
            epochs = recorder.epoch_counts.total(recorder.trials.all())
            if epochs >= share * max_epochs:
                return f"max_epochs={max_epochs}"

        max_seconds = self._plan.max_seconds
        if max_seconds is not None and self._recorder.seconds() >= share * max_seconds:
            return f"max_seconds={max_seconds:g}"
        return ""
