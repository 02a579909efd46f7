"""Draw simulated sweeps with known true means."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np

from lenet_exp.comparison.statistics.pairs import AccuracyTable, Floats

ACCURACY, SD, NO_IMAGES = (
    0.9,
    0.002,
    0,
)  # accuracy of a value of 0, standard deviation, number of images (0: unknown)
ROUNDED = {
    "rounded": (0.9, 0.002, 500),
    "250 images": (0.985, 0.004, 250),
    "10,000 images": (0.995, 0.0004, 10_000),
}
SPREADS = ("1", "3^U", "10^U", "one 10", "one 0.1", "half 10", "wild")
WILD, WILD_MEAN = (
    40.0,
    -100.0,
)  # standard deviation of wild configurations, and their mean on a ladder
GRIDS = {6: (3, 2), 10: (5, 2), 18: (3, 3, 2)}  # numbers of values of the flags in a recorded grid
RECORDED = Path(__file__).with_name("search_table.npz")  # written by benchmarks/search_table.py
HISTORIES = RECORDED.with_name("histories")  # written by benchmarks/manifest.py
LENET5 = re.compile(r"channels_\d+_\d+_units_\d+_\d+_kernel_\d_mnist\.csv")  # two convolutions
RECORDED_IMAGES = 10_000


@dataclass(frozen=True)
class Sweeps:
    """Simulated sweeps.

    Attributes:
        table: accuracies as fractions, with shape (sweeps, configurations, replicates).
        means: true means, with shape (sweeps, configurations).
        images: number of images from which each accuracy was computed; None if unknown.
    """

    table: AccuracyTable
    means: Floats
    images: int | None = None

    def comparable(self) -> Iterator[tuple[AccuracyTable, np.ndarray, Floats]]:
        """Yield tables that can be judged together, with the best configuration of each sweep in
        the first row.

        A configuration with fewer than two runs is left out. So is a sweep with fewer than two
        other configurations.

        Yields:
            The table, the number of the configuration in each row (sweeps, rows), and the true
            means (sweeps, k).
        """
        for chosen, order in by_mean(self.table):
            values = np.take_along_axis(self.table.values[chosen], order[..., None], axis=1)
            yield (
                AccuracyTable(values, self.table.seeds, self.table.splits),
                order,
                self.means[chosen],
            )


def by_mean(table: AccuracyTable) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield indices of sweeps that can be judged together, and the order of their configurations,
    best mean first.

    The order contains only configurations with at least two runs.
    """
    has_value = ~np.isnan(table.values)
    runs = has_value.sum(axis=-1)
    mean = np.where(has_value, table.values, 0.0).sum(axis=-1) / np.maximum(runs, 1)
    order = np.argsort(-np.where(runs > 1, mean, -np.inf), axis=-1, kind="stable")
    # Variances are moderated only if a configuration has more than two runs.
    kinds = np.stack([(runs > 1).sum(axis=-1), runs.max(axis=-1) > 2], axis=-1)
    for kind in np.unique(kinds[kinds[:, 0] > 1], axis=0):
        chosen = np.flatnonzero((kinds == kind).all(axis=-1))
        yield chosen, order[chosen, : kind[0]]


class Source(Protocol):
    """Draws sweeps."""

    @property
    def name(self) -> str:
        """The name of the scenario."""

    @property
    def details(self) -> str:
        """A description of the noise; empty if the name includes it."""

    @property
    def goal(self) -> bool:
        """Whether the goals for error rates apply."""

    @property
    def k(self) -> int:
        """The number of configurations in a sweep."""

    @property
    def n(self) -> int:
        """The number of seeds per configuration."""

    @property
    def size(self) -> int:
        """The number of accuracies in a sweep's table."""

    def draw(self, sweeps: int, rng: np.random.Generator) -> Sweeps:
        """Draw sweeps."""


@dataclass(frozen=True)
class Scenario:
    """A type of simulated sweep.

    Attributes:
        name: name of the scenario.
        means: true means of the configurations, in units of a standard deviation over seeds.
        n: number of seeds per configuration.
        spreads: standard deviations of the configurations over seeds; by default, all are 1.
        paired: whether all configurations have the same seeds.
        missing: fraction of runs that are missing at random.
        noise: type of noise:

            - normal: a normal distribution.
            - correlated: normal, with an additional effect of each seed that differs between
              configurations. Therefore, it affects the differences between configurations.
            - skewed: an exponential tail toward lower values.
            - collapse: one run in ten ends lower by `drop`.
            - rounded: accuracies are multiples of a standard deviation, as with few images.
            - 250 images, 10,000 images: accuracies near 100% are multiples of 1 / images and at
              most 1.
            - one skewed, one collapses: only the first configuration is skewed or collapses. All
              runs of a collapsing configuration are better by a constant, so that its mean does not
              change.
        splits: number of splits per seed. Seed, split, and residual have effects of the same size
            on each configuration.
        drop: how far a collapsed run ends below the others, in standard deviations.
        vary: how the standard deviations are drawn for each sweep instead (an entry of SPREADS); U
            is uniform between 0 and 1 for each configuration, "one" and "half" are at random
            positions, and "wild" are the last k / 6.
        correlation: correlation of each two configurations over seeds. By default, each seed has an
            effect with standard deviation 1 on all configurations.
    """

    name: str
    means: tuple[float, ...]
    n: int
    spreads: tuple[float, ...] = ()
    paired: bool = True
    missing: float = 0.0
    noise: str = "normal"
    splits: int = 1
    drop: float = 50.0
    vary: str = ""
    correlation: float | None = None

    @property
    def k(self) -> int:
        """The number of configurations in a sweep."""
        return len(self.means)

    @property
    def details(self) -> str:
        """A description of the noise; empty if the name includes it."""
        if self.correlation is None or "collapse" in self.noise:
            return ""
        parts = [
            f"sd {self.vary or f'a best {self.spreads[0]:g}'}",
            f"correlation {self.correlation:g}",
        ]
        parts += [self.noise] * (self.noise != "normal") + ["other seeds"] * (not self.paired)
        return "; ".join([*parts, f"{self.missing:.0%} missing"] if self.missing else parts)

    @property
    def goal(self) -> bool:
        """Whether the goals apply: not if the noise of one configuration differs from all others,
        or runs collapse.
        """
        return not ("collapse" in self.noise or self.noise.startswith("one "))

    @property
    def size(self) -> int:
        """The number of accuracies in a sweep's table."""
        return self.k * self.n * self.splits * (1 if self.paired else self.k)

    def draw(self, sweeps: int, rng: np.random.Generator) -> Sweeps:
        """Draw sweeps."""
        at, sd, images = ROUNDED.get(self.noise, (ACCURACY, SD, NO_IMAGES))
        draws = simulated(self, sweeps, rng)
        values = at + sd * draws.values
        if images:
            values = np.minimum(np.round(values * images) / images, 1.0)
        means = np.broadcast_to(at + sd * np.array(self.means), (sweeps, self.k))
        return Sweeps(AccuracyTable(values, draws.seeds, draws.splits), means, images or None)


@dataclass(frozen=True)
class Recorded:
    """Sweeps with the means and the spreads of recorded grids (`benchmarks/search_table.py`), or of
    the networks on the frontier (`benchmarks/histories`).

    Attributes:
        k: number of configurations: 6, 10, or 18; 6 on the frontier.
        n: number of seeds per configuration.
        tied: number of configurations whose true means are set to the best one.
        residuals: whether half of the variance comes from recorded residuals, which are drawn by
            seed for all configurations together; otherwise, all noise is normal.
        frontier: whether the configurations are the networks on MNIST's frontier, with ten recorded
            seeds.
    """

    k: int
    n: int
    tied: int
    residuals: bool
    frontier: bool = False
    details = ""
    goal = True

    @property
    def name(self) -> str:
        """The name of the scenario."""
        tied = {1: "recorded means", self.k: "all tied"}.get(self.tied, f"{self.tied} tied")
        return (
            f"{'frontier, ' * self.frontier}{tied}, {'residuals' if self.residuals else 'normal'}"
        )

    @property
    def size(self) -> int:
        """The number of accuracies in a sweep's table."""
        return self.k * self.n

    def draw(self, sweeps: int, rng: np.random.Generator) -> Sweeps:
        """Draw sweeps, each from a random grid. The best configuration is the first one."""
        grids = frontier_grid() if self.frontier else recorded_grids(self.k)
        recorded = grids[rng.integers(len(grids), size=sweeps)]
        means = recorded.mean(axis=-1)
        off = recorded - means[..., None]
        means[:, : self.tied] = means[:, :1]
        spread = np.maximum(recorded.std(axis=-1, ddof=1), 1 / RECORDED_IMAGES)[..., None]
        noise = spread * rng.normal(size=(sweeps, self.k, self.n))
        if self.residuals:
            seed = rng.integers(off.shape[-1], size=(sweeps, 1, self.n))
            seeds = off.shape[-1]  # residuals from the mean of few seeds are too small
            noise = np.sqrt(0.5) * (
                noise + np.sqrt(seeds / (seeds - 1)) * np.take_along_axis(off, seed, axis=-1)
            )
        values = np.round((means[..., None] + noise) * RECORDED_IMAGES) / RECORDED_IMAGES
        return Sweeps(
            AccuracyTable(values, np.arange(self.n), np.zeros(self.n, dtype=np.int64)),
            means,
            RECORDED_IMAGES,
        )


@cache
def recorded_grids(k: int) -> Floats:
    """Return the best accuracies in 2,000 random grids without diverged runs, with shape (grids, k,
    seeds), sorted by mean."""
    with np.load(RECORDED) as file:
        table, flags = file["accuracy"].astype(float), json.loads(str(file["flags"]))
    reached = np.where(np.isnan(table).any(axis=-1), np.nan, table.max(axis=-1))
    shape, rng = tuple(map(len, flags.values())), np.random.default_rng(k)
    grids: list[Floats] = []
    places = np.arange(len(reached)).reshape(shape)
    while len(grids) < 2000:
        varied = rng.permutation(len(shape))[: len(GRIDS[k])]
        sizes = dict(zip(varied.tolist(), GRIDS[k], strict=True))
        if any(sizes.get(i, 1) > most for i, most in enumerate(shape)):
            continue
        values = [rng.permutation(most)[: sizes.get(i, 1)] for i, most in enumerate(shape)]
        grid = reached[places[np.ix_(*values)].ravel()]
        grid = grid[np.argsort(-grid.mean(axis=-1), kind="stable")]
        # If the best recorded means tied, there would be more than `tied` best configurations.
        if not np.isnan(grid).any() and (np.diff(grid[:4].mean(axis=-1)) < 0).all():
            grids.append(grid)
    return np.array(grids)


@cache
def frontier_grid() -> Floats:
    """Return the best accuracies of the six LeNet-5s on MNIST's frontier, with shape (1, networks,
    seeds), best first.
    """
    paths = [path for path in sorted(HISTORIES.iterdir()) if LENET5.fullmatch(path.name)]
    reached = np.array(
        [np.genfromtxt(path, delimiter=",", skip_header=1)[:, 1:].max(axis=0) for path in paths]
    )
    accuracies: Floats = reached[np.argsort(-reached.mean(axis=-1))][None]
    return accuracies


def equal(k: int) -> tuple[float, ...]:
    """Return k means that are all equal to 0."""
    return (0.0,) * k


def spreads(scenario: Scenario, sweeps: int, rng: np.random.Generator) -> Floats:
    """Return the standard deviations of the configurations, with shape (sweeps or 1, k)."""
    k, vary = scenario.k, scenario.vary
    if vary in ("3^U", "10^U"):
        return np.power(float(vary[:-2]), rng.random((sweeps, k)))
    if vary == "wild":
        return np.where(np.arange(k) < k - max(1, k // 6), 1.0, WILD)[None]
    if vary not in ("", "1"):
        number, factor = vary.split()
        place = rng.random((sweeps, k)).argsort(axis=-1)
        return np.where(place < (k // 2 if number == "half" else 1), float(factor), 1.0)
    return np.array(scenario.spreads or np.ones(k))[None]


def simulated(scenario: Scenario, sweeps: int, rng: np.random.Generator) -> AccuracyTable:
    """Draw values of simulated sweeps, in units of a standard deviation."""
    k, n, splits = scenario.k, scenario.n, scenario.splits
    own = rng.normal(size=(sweeps, k, n, splits))
    if splits > 1:
        own = own + rng.normal(size=(sweeps, k, n, 1)) + rng.normal(size=(sweeps, k, 1, splits))
    if scenario.noise == "correlated":
        own = own + 2 * rng.normal(size=(sweeps, k, 1, 1)) * rng.normal(size=(sweeps, 1, n, splits))
    elif scenario.noise == "skewed":
        own = 1 - rng.exponential(size=own.shape)
    elif scenario.noise == "collapse":
        own = own - scenario.drop * (rng.random(own.shape) < 0.1)
    elif scenario.noise == "one skewed":
        own[:, 0] = 1 - rng.exponential(size=own[:, 0].shape)
    elif scenario.noise == "one collapses":
        own[:, 0] += scenario.drop / 10 - scenario.drop * (rng.random(own[:, 0].shape) < 0.1)
    spread, means = (
        spreads(scenario, sweeps, rng)[..., None, None],
        np.array(scenario.means)[:, None, None],
    )
    if scenario.correlation is None:
        values = (
            means + spread * own + rng.normal(size=(sweeps, 1 if scenario.paired else k, n, splits))
        )
    elif scenario.correlation:
        common = np.sqrt(scenario.correlation) * rng.normal(size=(sweeps, 1, n, splits))
        values = means + spread * (np.sqrt(1 - scenario.correlation) * own + common)
    else:
        values = means + spread * own
    values = values.reshape(sweeps, k, n * splits)
    if scenario.noise == "rounded":
        values = np.round(values)
    if scenario.missing:
        values[rng.random(values.shape) < scenario.missing] = np.nan
    seeds, split = np.divmod(np.arange(n * splits), splits)
    if not scenario.paired:
        apart = np.full((sweeps, k, k, n), np.nan)
        apart[:, np.arange(k), np.arange(k)] = values
        values, seeds = apart.reshape(sweeps, k, k * n), np.arange(k * n)
        split = np.zeros(k * n, dtype=np.int64)
    return AccuracyTable(values, seeds, split)
