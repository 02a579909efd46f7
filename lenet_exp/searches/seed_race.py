"""Decides which configuration of a search gets another seed. Only configurations that could be the
best get more seeds.

The decision depends only on ended runs. While new trials are created, a configuration gets another
seed if it is in the better half of the configurations with at least as many seeds (asynchronous
successive halving over seeds: Li et al. 2020, A system for massively parallel hyperparameter
tuning, algorithm 2). When no more trials are created, every configuration that is not significantly
behind another configuration (`searches.racing`) gets more seeds. Configurations with the fewest
seeds come first.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from lenet_exp.searches.racing import configurations_behind


class SeedRace:
    """Assigns additional seeds to the configurations of a search.

    Configurations are named by the numbers of their trials, and seeds by their numbers; the first
    seed has number 0.

    Args:
        max_seeds: the maximum number of seeds per configuration.
        sign: 1 if larger values are better; -1 if smaller values are better.
    """

    def __init__(self, max_seeds: int, sign: int) -> None:
        self.max_seeds = max_seeds
        self._sign = sign
        # The value of each seed, keyed by trial and seed number; larger is better.
        self._values: dict[int, dict[int, float]] = {}
        self._requested: dict[int, int] = {}  # number of requested seeds, keyed by trial
        self._failed: set[int] = set()  # trials with a diverged or failed run
        # None if a run has ended since the set was last computed.
        self._behind: set[int] | None = set()

    def request(self, trial: int, seed: int) -> None:
        """Record that a seed of a trial's configuration was requested."""
        self._requested[trial] = max(self._requested.get(trial, 0), seed + 1)

    def record(self, trial: int, seed: int, value: float | None) -> None:
        """Record the value that a seed's run reached, or None if the run diverged or failed.

        A diverged or failed run eliminates the configuration.
        """
        self.request(trial, seed)
        if value is None:
            self._failed.add(trial)
        else:
            self._values.setdefault(trial, {})[seed] = self._sign * value
        self._behind = None

    def next_seed(self, *, can_create_trial: bool) -> tuple[int, int] | None:
        """Return the trial that gets another seed now, and the number of that seed; None if no
        trial gets a seed.

        Args:
            can_create_trial: whether a new trial can be created instead.
        """
        if can_create_trial:
            return self._promoted()

        candidates = [
            trial for trial in self._contenders() if self._requested[trial] < self.max_seeds
        ]
        if not candidates:
            return None
        trial = min(candidates, key=self._priority)
        return trial, self._requested[trial]

    def could_be_best(self) -> list[int]:
        """Return the trials that could be the best, sorted by the number of seeds (most first) and
        by the mean (best first)."""

        def rank(trial: int) -> tuple[int, float, int]:
            return -len(self._values_in_order(trial)), -self.mean(trial), trial

        return sorted(self._contenders(), key=rank)

    def trials(self) -> list[int]:
        """Return the trials with at least one finished seed."""
        return list(self._values)

    def is_raced(self) -> bool:
        """Return whether any trial has a second seed."""
        return any(len(values) > 1 for values in self._values.values())

    def mean(self, trial: int) -> float:
        """Return the mean value over a trial's finished seeds; larger is better."""
        return statistics.fmean(self._values[trial].values())

    def values(self, trial: int) -> Mapping[int, float]:
        """Return the objective of each of a trial's finished seeds, keyed by seed number."""
        return {seed: self._sign * value for seed, value in self._values[trial].items()}

    def _priority(self, trial: int) -> tuple[bool, int, float, int]:
        """Return a sort key that is lowest for the trial that gets the next seed: a trial without a
        running seed, with the fewest seeds, with the best mean."""
        has_running_seed = self._requested[trial] > len(self._values[trial])
        return has_running_seed, self._requested[trial], -self.mean(trial), trial

    def _promoted(self) -> tuple[int, int] | None:
        """Return the trial that successive halving promotes to another seed, and the number of that
        seed; None if no trial is promoted.

        As in Li et al., trials with the most seeds are considered first.
        """
        values_by_trial = self._values_by_trial()
        for seeds in range(self.max_seeds - 1, 0, -1):
            means: dict[int, float] = {}  # over the first seeds, for trials that have that many
            for trial, values in values_by_trial.items():
                if len(values) >= seeds:
                    means[trial] = statistics.fmean(values[:seeds])

            trials_by_rank = sorted(means, key=lambda trial: (-means[trial], trial))
            better_half = trials_by_rank[: len(means) // 2]
            for trial in better_half:
                if self._requested[trial] == seeds and trial not in self._trials_behind():
                    return trial, seeds
        return None

    def _contenders(self) -> list[int]:
        """Return the trials that could be the best, in the order of their first results."""
        excluded = self._trials_behind() | self._failed
        return [
            trial
            for trial in self._values
            if trial not in excluded and self._values_in_order(trial)
        ]

    def _trials_behind(self) -> set[int]:
        """Return the trials that are significantly behind another trial."""
        if self._behind is None:
            self._behind = set()
            if self.max_seeds > 1:
                values_by_trial = self._values_by_trial()
                self._behind = configurations_behind(
                    values_by_trial, seeds=self.max_seeds, configurations=len(values_by_trial)
                )
        return self._behind

    def _values_by_trial(self) -> dict[int, list[float]]:
        """Return the values of each trial's seeds in order, without failed trials."""
        return {
            trial: self._values_in_order(trial)
            for trial in self._values
            if trial not in self._failed
        }

    def _values_in_order(self, trial: int) -> list[float]:
        """Return the values of a trial's seeds in order, up to the first missing value."""
        value_by_seed = self._values[trial]
        values: list[float] = []
        while len(values) in value_by_seed:
            values.append(value_by_seed[len(values)])
        return values
