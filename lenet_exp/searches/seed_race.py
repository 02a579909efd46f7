"""Which configuration of a search gets its next seed: those that may still be the best.

A function of what has ended. While new trials are asked for, a configuration goes on to another seed when it is in the
better half of those that have had as many (successive halving over seeds, asynchronous as in Li et al. 2020, A system
for massively parallel hyperparameter tuning, algorithm 2); after that all go on that nothing is ahead of
(`searches.racing`), those with the fewest seeds first.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from lenet_exp.searches.racing import dropped


class SeedRace:
    """Args:
    most: seeds of a configuration.
    sign: 1 where a larger value is better, else -1.
    """

    def __init__(self, most: int, sign: int) -> None:
        self.most = most
        self._sign = sign
        self._values: dict[int, dict[int, float]] = {}  # by trial and number of the seed, larger is better
        self._asked: dict[int, int] = {}
        self._out: set[int] = set()
        self._dropped: set[int] | None = set()  # None: not known since the last end

    def asked(self, trial: int, seed: int) -> None:
        """A configuration is on its way with its seed number `seed` (0: its first)."""
        self._asked[trial] = max(self._asked.get(trial, 0), seed + 1)

    def ended(self, trial: int, seed: int, value: float | None) -> None:
        """How that came out; None: it diverged or failed, and the configuration is out."""
        self.asked(trial, seed)
        if value is None:
            self._out.add(trial)
        else:
            self._values.setdefault(trial, {})[seed] = self._sign * value
        self._dropped = None

    def next(self, asking: bool) -> tuple[int, int] | None:
        """The trial that gets another seed now, and its number; None where none does.

        Args:
            asking: new trials may be asked for instead.
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
        """The trials that can't be excluded as the best; those with the most seeds first, and of these the best."""
        return sorted(self._in(), key=lambda t: (-len(self._whole(t)), -self.mean(t), t))

    def trials(self) -> list[int]:
        """Those whose first seed has ended well."""
        return list(self._values)

    def is_raced(self) -> bool:
        """Whether any has had a second seed."""
        return any(len(values) > 1 for values in self._values.values())

    def mean(self, trial: int) -> float:
        """Over the seeds that it has had; larger is better."""
        return statistics.fmean(self._values[trial].values())

    def values(self, trial: int) -> Mapping[int, float]:
        """By the number of the seed, as they were told."""
        return {seed: self._sign * value for seed, value in self._values[trial].items()}

    def _promoted(self) -> tuple[int, int] | None:
        """From the highest number of seeds that any has, as there."""
        found = {t: self._whole(t) for t in self._values if t not in self._out}
        for had in range(self.most - 1, 0, -1):
            rung = {t: statistics.fmean(v[:had]) for t, v in found.items() if len(v) >= had}
            better = sorted(rung, key=lambda t: (-rung[t], t))[: len(rung) // 2]
            able = [t for t in better if self._asked[t] == had]
            if able:
                gone = self._excluded()
                trial = next((t for t in able if t not in gone), None)
                if trial is not None:
                    return trial, had
        return None

    def _in(self) -> list[int]:
        gone = self._excluded() | self._out
        return [t for t in self._values if t not in gone and self._whole(t)]

    def _excluded(self) -> set[int]:
        if self._dropped is None:
            known = {t: self._whole(t) for t in self._values if t not in self._out}
            self._dropped = dropped(known, seeds=self.most, configurations=len(known)) if self.most > 1 else set()
        return self._dropped

    def _whole(self, trial: int) -> list[float]:
        """The values of its first seeds, up to one that is not there yet."""
        values = self._values[trial]
        found: list[float] = []
        while len(found) in values:
            found.append(values[len(found)])
        return found
