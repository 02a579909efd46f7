"""Simulate claims about new seeds and new images, for `benchmarks/verdicts.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import sqrt

import numpy as np
from scipy.stats import norm

from lenet_exp.comparison.statistics.images import image_variances
from lenet_exp.comparison.statistics.leader_tests import pair_tests
from lenet_exp.comparison.statistics.multiplicity import Floats
from lenet_exp.comparison.statistics.pairs import AccuracyTable

NEW_IMAGES = """
## New seeds and new images

How often a claim about new seeds and new images is wrong, and how much it finds. Each sweep draws new seeds and new
images. An image has a difficulty for all configurations (sd 2), one for each configuration (sd 0.7), and one for each
run (sd 1); a run classifies it correctly if the sum of these and of the effects of the seed and the configuration is
positive. Over seeds, the accuracy is normal with a standard deviation of 0.5, 0.2, or 0.04 points at 0.85,
0.98, and 0.995.

"3.0 → 2.0" shows the test over seeds only, which is about these images, and the test over seeds and images.

- **false**: sweeps in which the leader is declared better than a configuration whose true accuracy on new images is at
  least as good; the worst of 12 scenarios: three accuracies; all equal or two best (the others 4 standard deviations
  lower); equal standard deviations, or that of one of the best is three times as large. Goal for the second number: at
  most 5.5
- **found**: share of the truly worse configurations on the ladder (1 to 12 standard deviations lower; for k = 2, 4
  lower) that are behind, at each accuracy

`*` marks a row that was above 5.5 and was repeated with ten times as many sweeps on other random numbers.

| k x n | images | false | found, 0.85 | found, 0.98 | found, 0.995 |
| --- | --- | --- | --- | --- | --- |"""
BEST_EPOCH = """
### The best epoch

The same for accuracies after the last of 10 epochs, and for the best of them, which was chosen by the same images. All
epochs are equally good on new images. Two epochs of the first configuration share half of the variance of a run's
effect on an image, those of the others 95%. There is no goal for the best epoch: no claim about new images is made from
it.

| k x n | images | accuracy | false, last epoch | false, best epoch |
| --- | --- | --- | --- | --- |"""
# standard deviations of an image's difficulty: for all configurations, and for one of them
IMAGE = 2.0
OWN = 0.7
# standard deviation over seeds by accuracy, both as fractions
SD = {0.85: 0.005, 0.98: 0.002, 0.995: 0.0004}
SIZES = (
    (2, 3),
    (2, 5),
    (2, 10),
    (4, 3),
    (4, 5),
    (4, 10),
    (6, 3),
    (6, 5),
    (6, 10),
    (10, 3),
    (10, 5),
    (10, 10),
)
SET_SIZES = (250, 1000, 10_000)
MOST_FALSE = 5.5
REPETITION = 10  # times as many sweeps as for the first simulation
EPOCHS = 10


@dataclass(frozen=True)
class Scenario:
    """A type of simulated sweep.

    Attributes:
        lower: true accuracy of each configuration, in standard deviations below `accuracy`.
        spreads: standard deviation of each configuration over seeds, as a multiple of the usual
            one.
        alike: for sweeps with several epochs, the share of variance that two epochs of each
            configuration have in common; empty if there is one epoch.
    """

    n: int
    images: int
    accuracy: float
    lower: tuple[float, ...]
    spreads: tuple[float, ...]
    alike: tuple[float, ...] = ()

    @property
    def k(self) -> int:
        """The number of configurations."""
        return len(self.lower)

    def draw(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Draw which images are right in one sweep, shape (k, n, images), in the last epoch and, if
        there are several epochs, in the best one."""
        noise = np.array(self.spreads) * rng.normal(size=(self.n, self.k)) - np.array(self.lower)
        accuracy = np.minimum(self.accuracy + noise * SD[self.accuracy], 0.9999).T[..., None]
        sd_over_images = sqrt(IMAGE**2 + OWN**2 + 1)
        level = (norm.ppf(accuracy) * sd_over_images).astype(np.float32)
        shape = (self.k, self.n, self.images)
        level = level + IMAGE * rng.standard_normal(self.images, dtype=np.float32)
        level += OWN * rng.standard_normal((self.k, 1, self.images), dtype=np.float32)
        if not self.alike:
            return [level + rng.standard_normal(shape, dtype=np.float32) > 0]

        alike = np.array(self.alike, dtype=np.float32)[:, None, None]
        level += np.sqrt(alike) * rng.standard_normal(shape, dtype=np.float32)
        sd_of_epoch = np.sqrt(1 - alike)
        right_by_epoch = []
        for _ in range(EPOCHS):
            noise_of_epoch = sd_of_epoch * rng.standard_normal(shape, dtype=np.float32)
            right_by_epoch.append(level + noise_of_epoch > 0)
        epochs = np.stack(right_by_epoch)
        best_epoch = epochs.mean(axis=-1).argmax(axis=0)  # of each run: (k, n)
        right_of_best = np.take_along_axis(epochs, best_epoch[None, ..., None], axis=0)[0]
        return [epochs[-1], right_of_best]

    def claims(self, sweeps: int, seed: tuple[int, ...]) -> Floats:
        """Return the percentages of false claims and of worse configurations found.

        The shape is (2, epochs, 2): false and found, last and best epoch, test over seeds only and
        over both.
        """
        rng = np.random.default_rng(seed)
        drawn = [self.draw(rng) for _ in range(sweeps)]
        return np.stack([self._rates(list(right)) for right in zip(*drawn, strict=True)], axis=1)

    def _rates(self, drawn: list[np.ndarray]) -> Floats:
        """Return the percentages of one epoch, with shape (2, 2).

        Args:
            drawn: which images are right in each sweep, each with shape (k, n, images).
        """
        values = np.stack([right.mean(axis=-1, dtype=np.float64) for right in drawn])
        order = np.argsort(-values.mean(axis=-1), axis=-1, kind="stable")
        variances = []
        for right, best_first in zip(drawn, order, strict=True):
            variances.append(self._variances(right[best_first]))
        table = AccuracyTable(
            values=np.take_along_axis(values, order[..., None], axis=1),
            seeds=np.arange(self.n),
            splits=np.zeros(self.n, dtype=np.int64),
        )
        tests_over_seeds = pair_tests(table, self.images)
        tests_over_both = pair_tests(table, self.images, np.stack(variances))

        lower = np.array(self.lower)[order]
        is_worse = lower[:, 1:] > lower[:, :1]
        best_leads = lower[:, 0] == 0
        worse_of_all_sweeps = (np.array(self.lower) > 0).sum() * len(drawn)
        percentages = []
        for tests in (tests_over_seeds, tests_over_both):
            is_false = (tests.behind & ~is_worse).any(axis=-1)
            worse_behind = tests.behind[best_leads][is_worse[best_leads]].sum()
            share = worse_behind / max(worse_of_all_sweeps, 1)
            percentages.append([100 * is_false.mean(), 100 * share])
        return np.array(percentages).T

    @staticmethod
    def _variances(right: np.ndarray) -> Floats:
        groups = []
        for runs in right:
            groups.append({(seed, 0): images for seed, images in enumerate(runs)})
        return image_variances(groups, leading=False)


def nulls(k: int, n: int, images: int) -> Iterator[Scenario]:
    """Yield the scenarios in which a claim can be false."""
    for accuracy, best, noisy in product(SD, (k, 2), (1.0, 3.0)):
        lower = (0.0,) * best + (4.0,) * (k - best)
        spreads = (noisy, *(1.0,) * (k - 1))
        yield Scenario(n, images, accuracy, lower, spreads=spreads)


def new_image_rows(sweeps: int, seed: int) -> Iterator[tuple[str, bool]]:
    """Yield the rows of the table of new images, each with whether the goal is reached."""
    for (k, n), images in product(SIZES, SET_SIZES):
        count = sweeps // (20 if images > 1000 else 10)
        rates = []
        mark = ""
        for number, scenario in enumerate(dict.fromkeys(nulls(k, n, images))):
            rate = scenario.claims(count, (seed, k, n, images, number))[0, 0]
            if rate[1] > MOST_FALSE:
                mark = "*"
                more = REPETITION * count
                rate = scenario.claims(more, (seed, k, n, images, number, 1))[0, 0]
            rates.append(rate)
        false_over_seeds, false_over_both = np.max(rates, axis=0)

        steps = np.linspace(1, 12, k - 1) if k > 2 else [4.0]
        ladder = Scenario(n=n, images=images, accuracy=0.0, lower=(0.0, *steps), spreads=(1.0,) * k)
        cells = []
        for accuracy in SD:
            claims = replace(ladder, accuracy=accuracy).claims(count // 2, (seed, k, n, images))
            share_over_seeds, share_over_both = claims[1, 0]
            cells.append(f"{share_over_seeds:.0f} → {share_over_both:.0f}")
        row = (
            f"| {k}x{n} | {images:,} | {false_over_seeds:.1f} → {false_over_both:.1f}{mark} "
            f"| {' | '.join(cells)} |"
        )
        yield row, false_over_both <= MOST_FALSE


def best_epoch_rows(sweeps: int, seed: int) -> Iterator[tuple[str, bool]]:
    """Yield the rows of the table of the best epoch, each with whether the goal for the last epoch
    is reached.
    """
    for (k, n), images, accuracy in product(((2, 5), (6, 3)), SET_SIZES, SD):
        scenario = Scenario(
            n=n,
            images=images,
            accuracy=accuracy,
            lower=(0.0,) * k,
            spreads=(1.0,) * k,
            alike=(0.5, *(0.95,) * (k - 1)),
        )
        claims = scenario.claims(sweeps // 5, (seed, k, n, images, 2))
        last, best = claims[0, :, 1]
        row = f"| {k}x{n} | {images:,} | {accuracy} | {last:.1f} | {best:.1f} |"
        yield row, last <= MOST_FALSE
