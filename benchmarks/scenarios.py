"""List the scenarios that `benchmarks/verdicts.py` simulates."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product

import numpy as np

from benchmarks.simulated import SPREADS, WILD_MEAN, Recorded, Scenario, equal

SEEDS_OF = (3, 5, 10)  # numbers of seeds in the grid of scenarios
TWO = "two best, others 4 lower"
THREE = "three best, others 4 lower"
LADDER = "ladder"
EARLIER_SEEDS = {
    2: (2, 3, 5, 10, 30),
    3: (2, 3, 5, 10, 30),
    10: (2, 3, 5, 10, 30),
    50: (3, 10),
    200: (2, 5, 30),
}


def truths(k: int) -> dict[str, tuple[float, ...]]:
    """Return the true means of each name."""
    steps = np.linspace(-1, -12, k - 1).tolist()
    means_by_name = {"all equal": equal(k), LADDER: (0.0, *steps)}
    if k > 2:
        means_by_name["two best, others 20 lower"] = (0.0, 0.0, *[-20.0] * (k - 2))
        means_by_name[TWO] = (0.0, 0.0, *[-4.0] * (k - 2))
    if k > 3:
        means_by_name[THREE] = (0.0, 0.0, 0.0, *[-4.0] * (k - 3))
    return means_by_name


def grid(k: int, n: int) -> Iterator[Scenario]:
    """Yield the scenarios for a number of configurations and of seeds."""
    means = truths(k)
    wild = max(1, k // 6)
    for vary, correlation, (name, true) in product(SPREADS, (0.0, 0.5, 0.8), means.items()):
        if name == LADDER and vary == "wild":
            true = (*true[: k - wild], *[WILD_MEAN] * wild)
        yield Scenario(name, true, n, vary=vary, correlation=correlation)
    tied = [name for name in (TWO, THREE) if name in means]
    for name, factor, correlation in product(tied, (3.0, 10.0), (0.0, 0.5, 0.8)):
        yield Scenario(name, means[name], n, (factor, *[1.0] * (k - 1)), correlation=correlation)
    for name, true in means.items():
        usual = partial(Scenario, name, true, n, correlation=0.0)
        yield usual(noise="skewed", vary="1")
        yield usual(noise="skewed", vary="3^U")
        yield usual(noise="250 images", vary="1")
        yield usual(noise="10,000 images", vary="1")
        yield usual(missing=0.25, vary="1")
        yield usual(missing=0.25, vary="10^U")
        if k * n > 100:  # with own seeds, the size of a table grows with the square of k
            continue
        for vary in SPREADS:
            if vary != "wild":
                yield usual(paired=False, vary=vary)


def earlier(quick: bool) -> list[Scenario]:
    """Return the scenarios that release 0.2 was tested with. Each seed has an effect on all
    configurations.
    """
    scenarios = []
    for k, ns in EARLIER_SEEDS.items():
        if not quick or k < 200:
            scenarios += [Scenario("all equal", equal(k), n) for n in ns]
    for k in (2, 3, 10, 50):
        spreads = tuple(np.geomspace(1, 10, k))
        scenarios += [Scenario("all equal, sd 1 to 10", equal(k), n, spreads) for n in (2, 3, 10)]
    for k, n in product((3, 10), (3, 10)):
        noisy = (10.0, 10.0, *[1.0] * (k - 2))
        scenarios.append(Scenario("all equal, two of them 10 times as noisy", equal(k), n, noisy))

    for k, ns in {2: (2, 3, 4, 5, 10), 3: (2, 4, 5, 10), 10: (3, 5, 10)}.items():
        spreads = tuple(np.geomspace(1, 10, k))
        name = "all equal, other seeds each"
        scenarios += [Scenario(name, equal(k), n, paired=False) for n in ns]
        name = "all equal, other seeds, sd 1 to 10"
        scenarios += [Scenario(name, equal(k), n, spreads, paired=False) for n in ns]
    for k in (3, 10):
        name = "all equal, a fifth missing"
        scenarios += [Scenario(name, equal(k), n, missing=0.2) for n in (5, 10)]
        name = "all equal, a fifth missing, other seeds"
        scenarios.append(Scenario(name, equal(k), 10, missing=0.2, paired=False))

    for n in (3, 5, 10):
        scenarios += [
            Scenario("two best, the rest 3 lower", (0.0, 0.0, *[-3.0] * 3), n),
            Scenario("two nearly best, the rest far", (0.0, -1e-6, *[-20.0] * 8), n),
            Scenario("three nearly best, one 2 lower", (0.0, -1e-6, -2e-6, -2.0), n),
            Scenario("one 3 above", (3.0, *[0.0] * 3), n),
            Scenario("one 3 above", (3.0, *[0.0] * 9), n),
            Scenario("each 2 below the one before", tuple(-2.0 * np.arange(10)), n),
            Scenario("three best, seven 3 lower", (*[0.0] * 3, *[-3.0] * 7), n),
            Scenario("one 3 above, other seeds", (3.0, *[0.0] * 3), n, paired=False),
        ]

    for k, n in product((3, 10), (3, 10)):
        scenarios.append(Scenario("all equal, correlated", equal(k), n, noise="correlated"))
    for k, n in product((2, 3, 10), (3, 5)):
        scenarios.append(Scenario("all equal, seeds x 3 splits", equal(k), n, splits=3))
    for noise, k, n in product(("skewed", "collapse", "rounded"), (2, 10), (3, 10)):
        scenarios.append(Scenario(f"all equal, {noise}", equal(k), n, noise=noise))
    for noise, k, n in product(("one skewed", "one collapses"), (2, 10), (3, 10)):
        scenarios.append(Scenario(f"equal means, {noise}", equal(k), n, noise=noise))
    return scenarios


def collapses() -> Iterator[Scenario]:
    """Yield the scenarios in which one configuration collapses in a tenth of its runs."""
    for k, n, drop in product((2, 4, 10, 18), SEEDS_OF, (20.0, 50.0)):
        yield Scenario(
            f"one collapses by {drop:g} sd",
            equal(k),
            n,
            noise="one collapses",
            drop=drop,
            correlation=0.0,
        )


def recorded() -> Iterator[Recorded]:
    """Yield the scenarios with recorded means and spreads."""
    for k, n, tied, residuals in product((6, 10, 18), (3, 5), (1, 2, 3, 0), (False, True)):
        yield Recorded(k, n, tied or k, residuals)
    for n, tied, residuals in product((3, 5), (1, 2, 3, 6), (False, True)):
        yield Recorded(6, n, tied, residuals, frontier=True)
