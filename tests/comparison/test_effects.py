"""Effects of single flags, and their shares of the variance."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenet_exp.comparison.effects import effects
from lenet_exp.comparison.group import grouped
from tests.comparison.made_up import made, many

FLAGS = ["activation", "optimizer.lr"]
ACTIVATIONS, LRS, SEEDS = ("selu", "relu"), ("0.01", "0.1", "1"), range(4)


def grid(accuracy):
    return grouped(
        [
            made(seed, accuracy(a, lr, seed), activation=a, optimizer__lr=lr)
            for a, lr, seed in itertools.product(ACTIVATIONS, LRS, SEEDS)
        ]
    )


def test_effects_are_deviations_from_overall_mean():
    step = {"selu": 0.01, "relu": -0.01}
    rate = {"0.01": 0.0, "0.1": 0.03, "1": -0.03}
    found = effects(grid(lambda a, lr, seed: 0.9 + step[a] + rate[lr]), FLAGS)
    assert [e.flag for e in found.flags] == ["optimizer.lr", "activation"]  # the largest share comes first
    levels = {e.flag: {level.value: level.effect for level in e.levels} for e in found.flags}
    assert levels["activation"] == pytest.approx(step)
    assert levels["optimizer.lr"] == pytest.approx(rate)
    assert [level.value for level in found.flags[0].levels] == ["0.1", "0.01", "1"]
    shares = {e.flag: e.share for e in found.flags}
    assert shares["activation"] == pytest.approx(0.0001 / (0.0001 + 0.0006), rel=1e-6)
    assert found.seeds == pytest.approx(0, abs=1e-9)
    assert found.interactions == pytest.approx(0, abs=1e-9)


def test_duplicate_seed_counts_once():
    runs = [made(seed, 0.9 + seed / 100, activation=a) for a in ACTIVATIONS for seed in (*SEEDS, *SEEDS)]
    levels = [level for e in effects(grouped(runs), FLAGS[:1]).flags for level in e.levels]
    assert [(level.finished, level.runs) for level in levels] == [(len(SEEDS), len(SEEDS))] * 2


@given(st.lists(st.floats(0.1, 1.0), min_size=24, max_size=24).filter(lambda v: np.std(v) > 1e-3))
def test_shares_of_full_grid_sum_to_one(values):
    given_values = iter(values)
    found = effects(grid(lambda a, lr, seed: next(given_values)), FLAGS)
    assert found.interactions is not None
    shares = [*(e.share for e in found.flags), found.seeds, found.interactions]
    assert all(0 <= share <= 1 + 1e-9 for share in shares)
    assert sum(shares) == pytest.approx(1)


def test_share_estimates_true_share_of_variance():
    """Shares are omega squared; as shares of the sum of squares, flags without effect would get 1/23 and 2/23."""
    rng = np.random.default_rng(0)
    found = [effects(grid(lambda a, lr, seed: rng.normal(0.9, 0.01)), FLAGS) for _ in range(200)]
    shares = {flag: np.mean([e.share for f in found for e in f.flags if e.flag == flag]) for flag in FLAGS}
    assert all(share < 0.04 for share in shares.values()), shares  # not 0, because negative estimates are cut
    assert np.mean([f.seeds for f in found]) > 0.9
    step = {"selu": 0.01, "relu": -0.01}  # variance 1e-4, like that of the seeds
    found = [effects(grid(lambda a, lr, seed: 0.9 + step[a] + rng.normal(0, 0.01)), FLAGS) for _ in range(200)]
    shares = [e.share for f in found for e in f.flags if e.flag == "activation"]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)


def test_intervals_of_effects_cover_true_effects():
    """Coverage is 95%, even if one learning rate has ten times the standard deviation."""
    rng, step, inside = np.random.default_rng(1), {"selu": 0.01, "relu": -0.01}, []
    for _ in range(400):
        draw = lambda a, lr, seed: 0.8 + step[a] + rng.normal(0, 0.02 if lr == "1" else 0.002)  # noqa: E731
        levels = [level for e in effects(grid(draw), FLAGS).flags if e.flag == "activation" for level in e.levels]
        inside += [level.low <= step[level.value] <= level.high for level in levels]
    assert 0.94 < np.mean(inside) < 0.99


def test_effect_has_no_interval_if_a_group_has_a_single_run():
    runs = [*many([0.9, 0.91]), made(0, 0.8, activation="relu")]
    assert all(np.isnan([level.low, level.high]).all() for level in effects(grouped(runs), FLAGS).flags[0].levels)


def test_interaction_of_two_flags_is_not_an_effect_of_either():
    found = effects(grid(lambda a, lr, seed: 0.9 + 0.01 * (1 if (a == "selu") == (lr == "0.1") else -1)), FLAGS)
    assert {e.flag: round(e.share, 9) for e in found.flags}["activation"] < 0.2
    assert found.interactions > 0.5


def test_many_numeric_values_are_binned_into_ranges():
    groups = grouped([made(0, 0.9 + i / 1000, optimizer__lr=str(0.001 * (i + 1))) for i in range(20)])
    (effect,) = effects(groups, ["optimizer.lr"]).flags
    assert [level.runs for level in effect.levels] == [5, 5, 5, 5]
    assert effect.levels[0].value == "0.0152 to 0.02"


@pytest.mark.parametrize(
    "runs",
    [
        [*many([0.9, 0.9]), *many([0.9, 0.9], activation="relu")],  # all results are equal
        [made(0, 0.9), made(0, 0.8, activation="relu")],  # one run per configuration
        [made(0, 0.9), made(0, None, "failed", activation="relu")],  # fewer than two finished
        [*many([0.9, 0.91]), made(0, None, "killed", activation="relu")],  # one configuration has results
    ],
)
def test_missing_shares_have_a_reason(runs):
    found = effects(grouped(runs), ["activation"])
    assert np.isnan(found.flags[0].share)
    assert found.no_shares


def test_flags_that_change_together_have_no_shares():
    runs = [
        *many([0.9, 0.91], activation="selu", optimizer__lr="0.1", batch_size="64"),
        *many([0.8, 0.82], activation="relu", optimizer__lr="0.2", batch_size="64"),
    ]
    flags = ["activation", "optimizer.lr", "batch_size"]
    found = effects(grouped(runs), flags)
    assert found.no_shares.startswith("activation, optimizer.lr")
    assert all(np.isnan(effect.share) for effect in found.flags)
    runs += many([0.85, 0.86], activation="relu", optimizer__lr="0.1", batch_size="64")
    assert effects(grouped(runs), flags).no_shares is None
