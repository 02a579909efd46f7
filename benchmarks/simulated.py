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

# Accuracy of a value of 0, standard deviation, and number of images (0: unknown), for most types of
# noise and for those that round.
USUAL = (0.9, 0.002, 0)
ROUNDED = {
    "rounded": (0.9, 0.002, 500),
    "250 images": (0.985, 0.004, 250),
    "10,000 images": (0.995, 0.0004, 10_000),
}
SPREADS = ("1", "3^U", "10^U", "one 10", "one 0.1", "half 10", "wild")
WILD = 40.0  # standard deviation of wild configurations
WILD_MEAN = -100.0  # their mean on a ladder
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
            table = AccuracyTable(values, self.table.seeds, self.table.splits)
            yield table, order, self.means[chosen]


def by_mean(table: AccuracyTable) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield indices of sweeps that can be judged together, and the order of their configurations,
    best mean first.

    The order contains only configurations with at least two runs.
    """
    has_value = ~np.isnan(table.values)
    runs = has_value.sum(axis=-1)
    mean = np.where(has_value, table.values, 0.0).sum(axis=-1) / np.maximum(runs, 1)
    is_ranked = runs > 1
    order = np.argsort(-np.where(is_ranked, mean, -np.inf), axis=-1, kind="stable")

    ranked = is_ranked.sum(axis=-1)
    # Variances are moderated only if a configuration has more than two runs.
    is_moderated = runs.max(axis=-1) > 2
    kinds = np.stack([ranked, is_moderated], axis=-1)
    for kind in np.unique(kinds[ranked > 1], axis=0):
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
        spread = self.vary or f"a best {self.spreads[0]:g}"
        parts = [f"sd {spread}", f"correlation {self.correlation:g}"]
        if self.noise != "normal":
            parts.append(self.noise)
        if not self.paired:
            parts.append("other seeds")
        if self.missing:
            parts.append(f"{self.missing:.0%} missing")
        return "; ".join(parts)

    @property
    def goal(self) -> bool:
        """Whether the goals apply: not if the noise of one configuration differs from all others,
        or runs collapse.
        """
        return not ("collapse" in self.noise or self.noise.startswith("one "))

    @property
    def size(self) -> int:
        """The number of accuracies in a sweep's table."""
        runs = self.k * self.n * self.splits
        if self.paired:
            return runs
        return runs * self.k  # each seed has a column, which is empty for other configurations

    def draw(self, sweeps: int, rng: np.random.Generator) -> Sweeps:
        """Draw sweeps."""
        zero, sd, images = ROUNDED.get(self.noise, USUAL)
        draws = simulated(self, sweeps, rng)
        values = zero + sd * draws.values
        if images:
            values = np.minimum(np.round(values * images) / images, 1.0)
        means = np.broadcast_to(zero + sd * np.array(self.means), (sweeps, self.k))
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
        parts = []
        if self.frontier:
            parts.append("frontier")
        if self.tied == self.k:
            parts.append("all tied")
        elif self.tied == 1:
            parts.append("recorded means")
        else:
            parts.append(f"{self.tied} tied")
        parts.append("residuals" if self.residuals else "normal")
        return ", ".join(parts)

    @property
    def size(self) -> int:
        """The number of accuracies in a sweep's table."""
        return self.k * self.n

    def draw(self, sweeps: int, rng: np.random.Generator) -> Sweeps:
        """Draw sweeps, each from a random grid. The best configuration is the first one."""
        grids = frontier_grid() if self.frontier else recorded_grids(self.k)
        recorded = grids[rng.integers(len(grids), size=sweeps)]
        means = recorded.mean(axis=-1)
        residuals = recorded - means[..., None]
        means[:, : self.tied] = means[:, :1]
        spread = np.maximum(recorded.std(axis=-1, ddof=1), 1 / RECORDED_IMAGES)[..., None]
        noise = spread * rng.normal(size=(sweeps, self.k, self.n))
        if self.residuals:
            seeds = residuals.shape[-1]
            seed = rng.integers(seeds, size=(sweeps, 1, self.n))
            # residuals from the mean of few seeds are too small
            correction = np.sqrt(seeds / (seeds - 1))
            drawn_residuals = correction * np.take_along_axis(residuals, seed, axis=-1)
            noise = np.sqrt(0.5) * (noise + drawn_residuals)

        values = np.round((means[..., None] + noise) * RECORDED_IMAGES) / RECORDED_IMAGES
        no_splits = np.zeros(self.n, dtype=np.int64)
        table = AccuracyTable(values, np.arange(self.n), no_splits)
        return Sweeps(table, means, RECORDED_IMAGES)


@cache
def recorded_grids(k: int) -> Floats:
    """Return the best accuracies in 2,000 random grids without diverged runs, with shape (grids, k,
    seeds), sorted by mean."""
    with np.load(RECORDED) as file:
        curves = file["accuracy"].astype(float)
        flags = json.loads(str(file["flags"]))
    is_diverged = np.isnan(curves).any(axis=-1)
    reached = np.where(is_diverged, np.nan, curves.max(axis=-1))
    shape = tuple(len(values) for values in flags.values())
    rows = np.arange(len(reached)).reshape(shape)

    rng = np.random.default_rng(k)
    grids: list[Floats] = []
    while len(grids) < 2000:
        indices = _random_values(shape, GRIDS[k], rng)
        if indices is None:
            continue
        grid = reached[rows[np.ix_(*indices)].ravel()]
        grid = grid[np.argsort(-grid.mean(axis=-1), kind="stable")]
        # If the best recorded means tied, there would be more than `tied` best configurations.
        is_ordered = (np.diff(grid[:4].mean(axis=-1)) < 0).all()
        if is_ordered and not np.isnan(grid).any():
            grids.append(grid)
    return np.array(grids)


def _random_values(
    shape: tuple[int, ...], sizes: tuple[int, ...], rng: np.random.Generator
) -> list[np.ndarray] | None:
    """Draw flags and indices of their values for a smaller grid, or return None if a drawn flag has
    too few values.

    Args:
        shape: number of values of each flag.
        sizes: number of values of each flag that has several values in the smaller grid.
    """
    varied = rng.permutation(len(shape))[: len(sizes)]
    counts = [1] * len(shape)
    for flag, size in zip(varied.tolist(), sizes, strict=True):
        if size > shape[flag]:
            return None
        counts[flag] = size

    indices = []
    for number, count in zip(shape, counts, strict=True):
        indices.append(rng.permutation(number)[:count])
    return indices


@cache
def frontier_grid() -> Floats:
    """Return the best accuracies of the six LeNet-5s on MNIST's frontier, with shape (1, networks,
    seeds), best first.
    """
    rows = []
    for path in sorted(HISTORIES.iterdir()):
        if LENET5.fullmatch(path.name):
            history = np.genfromtxt(path, delimiter=",", skip_header=1)
            rows.append(history[:, 1:].max(axis=0))  # the first column is the number of the epoch
    reached = np.array(rows)
    best_first: Floats = reached[np.argsort(-reached.mean(axis=-1))]
    return best_first[None]


def equal(k: int) -> tuple[float, ...]:
    """Return k means that are all equal to 0."""
    return (0.0,) * k


def spreads(scenario: Scenario, sweeps: int, rng: np.random.Generator) -> Floats:
    """Return the standard deviations of the configurations, with shape (sweeps or 1, k)."""
    k = scenario.k
    vary = scenario.vary
    if vary in ("", "1"):
        return np.array(scenario.spreads or np.ones(k))[None]
    if vary in ("3^U", "10^U"):
        base = float(vary.removesuffix("^U"))
        return np.power(base, rng.random((sweeps, k)))
    if vary == "wild":
        usual = k - max(1, k // 6)
        return np.where(np.arange(k) < usual, 1.0, WILD)[None]

    number, factor = vary.split()
    count = k // 2 if number == "half" else 1
    place = rng.random((sweeps, k)).argsort(axis=-1)
    return np.where(place < count, float(factor), 1.0)


def simulated(scenario: Scenario, sweeps: int, rng: np.random.Generator) -> AccuracyTable:
    """Draw values of simulated sweeps, in units of a standard deviation."""
    k = scenario.k
    n = scenario.n
    splits = scenario.splits
    own = _own_noise(scenario, sweeps, rng)
    spread = spreads(scenario, sweeps, rng)[..., None, None]
    means = np.array(scenario.means)[:, None, None]

    # all arrays: (sweeps, configurations, seeds, splits)
    if scenario.correlation is None:
        effects = rng.normal(size=(sweeps, 1 if scenario.paired else k, n, splits))
        values = means + spread * own + effects
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
    if scenario.paired:
        seed, split = np.divmod(np.arange(n * splits), splits)
        return AccuracyTable(values, seed, split)
    return _with_other_seeds(values)


def _own_noise(scenario: Scenario, sweeps: int, rng: np.random.Generator) -> Floats:
    """Draw the noise of each run, with shape (sweeps, configurations, seeds, splits)."""
    k = scenario.k
    n = scenario.n
    splits = scenario.splits
    own = rng.normal(size=(sweeps, k, n, splits))
    if splits > 1:
        own = own + rng.normal(size=(sweeps, k, n, 1)) + rng.normal(size=(sweeps, k, 1, splits))

    first = own[:, 0]
    if scenario.noise == "correlated":
        sensitivity = rng.normal(size=(sweeps, k, 1, 1))
        own = own + 2 * sensitivity * rng.normal(size=(sweeps, 1, n, splits))
    elif scenario.noise == "skewed":
        own = 1 - rng.exponential(size=own.shape)
    elif scenario.noise == "collapse":
        own = own - scenario.drop * (rng.random(own.shape) < 0.1)
    elif scenario.noise == "one skewed":
        own[:, 0] = 1 - rng.exponential(size=first.shape)
    elif scenario.noise == "one collapses":
        has_collapsed = rng.random(first.shape) < 0.1
        own[:, 0] += scenario.drop / 10 - scenario.drop * has_collapsed
    return own


def _with_other_seeds(values: Floats) -> AccuracyTable:
    """Return a table in which each configuration has columns of its own, whose other values are
    missing.

    Args:
        values: accuracies, with shape (sweeps, configurations, seeds of each configuration).
    """
    sweeps, k, n = values.shape
    apart = np.full((sweeps, k, k, n), np.nan)
    apart[:, np.arange(k), np.arange(k)] = values
    no_splits = np.zeros(k * n, dtype=np.int64)
    return AccuracyTable(apart.reshape(sweeps, k, k * n), np.arange(k * n), no_splits)
