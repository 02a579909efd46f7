"""The configurations that a race over seeds drops."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lenet_exp.searches.racing import FEWEST_TO_DROP, FEWEST_TO_SHRINK, configurations_behind


def race(
    means: list[float], seeds: int, spread: float = 0.002, seed: int = 0
) -> dict[int, list[float]]:
    """Return a synthetic value for each configuration and seed.

    Each seed shifts the values of all configurations by the same amount.
    """
    dice = np.random.default_rng(seed)
    shifts = dice.normal(0, 0.01, seeds)
    values = {}
    for i, mean in enumerate(means):
        noise = dice.normal(0, spread, seeds)
        values[i] = list(mean + shifts + noise)
    return values


def test_far_worse_configuration_is_dropped_after_first_seed():
    race_so_far = race([0.9] * FEWEST_TO_SHRINK, 3)
    common_first_seed = float(np.mean([values[0] for values in race_so_far.values()]))
    assert configurations_behind(race_so_far, seeds=5, configurations=20) == set()

    race_so_far[99] = [common_first_seed - 0.1]
    assert configurations_behind(race_so_far, seeds=5, configurations=20) == {99}

    race_so_far[99] = [common_first_seed - 0.002]
    assert configurations_behind(race_so_far, seeds=5, configurations=20) == set()


def test_no_configuration_is_dropped_while_deviation_is_uncertain():
    too_few = race([0.9] * (FEWEST_TO_DROP - 1), 2)
    too_few[99] = [0.1]
    assert configurations_behind(too_few, seeds=5, configurations=20) == set()

    enough = race([0.9] * FEWEST_TO_DROP, 2)
    enough[99] = [0.1]
    assert configurations_behind(enough, seeds=5, configurations=20) == {99}

    assert configurations_behind({}, seeds=5, configurations=20) == set()
    assert configurations_behind({0: [], 1: [0.5]}, seeds=1, configurations=2) == set()
    all_equal = {i: [0.5, 0.5] for i in range(20)}
    assert configurations_behind(all_equal, seeds=3, configurations=20) == set()


@given(st.integers(0, 10**6), st.integers(FEWEST_TO_SHRINK, 30), st.integers(2, 6))
def test_leader_over_all_seeds_is_never_dropped(seed, k, n):
    dice = np.random.default_rng(seed)
    race_so_far = race(list(dice.normal(0.9, 0.01, k)), n, seed=seed)

    dropped = configurations_behind(race_so_far, seeds=n, configurations=k)

    leader = max(race_so_far, key=lambda configuration: np.mean(race_so_far[configuration]))
    assert leader not in dropped
    assert dropped < set(race_so_far)
