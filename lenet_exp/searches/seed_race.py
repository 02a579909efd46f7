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

from lenet_exp.searches.racing import dropped


class SeedRace:
    """Assigns additional seeds to the configurations of a search.

    Args:
        most: the maximum number of seeds per configuration.
        sign: 1 if larger values are better; -1 if smaller values are better.
    """

    def __init__(self, most: int, sign: int) -> None:
        self.most = most
        self._sign = sign
        self._values: dict[int, dict[int, float]] = {}  # by trial and seed number; larger is better
        self._asked: dict[int, int] = {}  # number of seeds requested for each trial
        self._out: set[int] = set()  # trials with a diverged or failed run
        # None if a run has ended since the set was last computed
        self._dropped: set[int] | None = set()

    def asked(self, trial: int, seed: int) -> None:
        """Record that a seed of a trial's configuration was requested. The first seed has number 0."""
        self._asked[trial] = max(self._asked.get(trial, 0), seed + 1)

    def ended(self, trial: int, seed: int, value: float | None) -> None:
        """Record the value that a seed's run reached, or None if the run diverged or failed.

        A diverged or failed run eliminates the configuration.
        """
        self.asked(trial, seed)
        if value is None:
            self._out.add(trial)
        else:
            self._values.setdefault(trial, {})[seed] = self._sign * value
        self._dropped = None

    def next(self, asking: bool) -> tuple[int, int] | None:
        """Return the trial that gets another seed now, and the number of that seed; None if no
        trial gets a seed.

        Args:
            asking: whether a new trial can be created instead.
        """
        if asking:
            return self._promoted()
        flying = {t: self._asked[t] - len(values) for t, values in self._values.items()}
        able = [t for t in self._in() if self._asked[t] < self.most]
        if not able:
            return None
        trial = min(able, key=lambda t: (flying[t] > 0, self._asked[t], -self.mean(t), t))
        return trial, self._asked[trial]

    def left(self) -> list[int]:
        """Return the trials that could be the best, sorted by the number of seeds (most first) and
        by the mean (best first)."""
        return sorted(self._in(), key=lambda t: (-len(self._whole(t)), -self.mean(t), t))

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

    def _promoted(self) -> tuple[int, int] | None:
        """Return the trial that successive halving promotes to another seed, and the number of that
        seed; None if no trial is promoted.

        As in Li et al., trials with the most seeds are considered first.
        """
        found = {t: self._whole(t) for t in self._values if t not in self._out}
        for had in range(self.most - 1, 0, -1):
            rung = {t: statistics.fmean(v[:had]) for t, v in found.items() if len(v) >= had}
            for trial in sorted(rung, key=lambda t: (-rung[t], t))[: len(rung) // 2]:
                if self._asked[trial] == had and trial not in self._excluded():
                    return trial, had
        return None

    def _in(self) -> list[int]:
        gone = self._excluded() | self._out
        return [t for t in self._values if t not in gone and self._whole(t)]

    def _excluded(self) -> set[int]:
        if self._dropped is None:
            known = {t: self._whole(t) for t in self._values if t not in self._out}
            self._dropped = (
                dropped(known, seeds=self.most, configurations=len(known))
                if self.most > 1
                else set()
            )
        return self._dropped

    def _whole(self, trial: int) -> list[float]:
        """Return the values of a trial's seeds in order, up to the first missing value."""
        values = self._values[trial]
        found: list[float] = []
        while len(found) in values:
            found.append(values[len(found)])
        return found
