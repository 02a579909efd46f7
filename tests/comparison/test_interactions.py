"""Effects of single flags, and tests of whether the effect of a flag depends on another flag."""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.studies import Grid, interaction_row
from lenet_exp.comparison.compare import Comparison, compare_runs
from lenet_exp.comparison.effects import effects
from lenet_exp.comparison.group import grouped
from lenet_exp.comparison.studies.interactions import interaction_test
from lenet_exp.reports.escape import as_line
from lenet_exp.reports.files.comparison_file import write_comparison
from lenet_exp.reports.page.page_data import page_data
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.terminal.leaderboard import effect_lines
from tests.comparison.made_up import made, many

FLAGS = ["activation", "optimizer.lr", "batch_size"]
MEANS = {
    ("relu", "0.01"): 0.90,
    ("relu", "0.1"): 0.95,
    ("selu", "0.01"): 0.93,
    ("selu", "0.1"): 0.94,
}
SOURCE = RunSource("test")


def sweep(
    n=5, lrs=("0.01", "0.1"), means=MEANS, spread=0.003, drop=(), diverged=(), **alike
) -> Comparison:
    """Compare a full grid of three flags in which activation and optimizer.lr interact, and seeds
    have an effect.
    """
    rng, runs = np.random.default_rng(0), []
    common = rng.normal(0, 0.01, n)
    for a, lr, b, seed in itertools.product(("relu", "selu"), lrs, ("64", "128"), range(n)):
        reached = means.get((a, lr), 0.92) + common[seed] + rng.normal(0, spread)
        outcome = "diverged" if (a, lr) in diverged else "finished"
        more = {flag: values[a] for flag, values in alike.items()}
        if (a, lr, seed) not in drop:
            runs.append(
                made(seed, reached, outcome, activation=a, optimizer__lr=lr, batch_size=b, **more)
            )
    return compare_runs(runs, [*FLAGS, *alike])[0]


@pytest.mark.parametrize(
    ("shape", "n", "lift"), [((4, 4), 10, 24.0), ((4, 4), 5, 12.0), ((2, 4), 5, 24.0)]
)
def test_interval_covers_interaction_of_noisy_combination(shape, n, lift):
    rng, (a, b) = np.random.default_rng(5), shape
    spreads = np.ones(shape)
    spreads[0, 0] = 10.0
    table = rng.standard_normal((6000, a, b, n)) * spreads[..., None]
    table[:, 0, 0] += lift
    signal = (1 - 1 / a) * (1 - 1 / b) * lift**2 / (a * b)
    true = signal / (signal + (spreads**2).mean())
    test = interaction_test(table, a * b * n)
    assert ((test.low <= true) & (true <= test.high)).mean() >= 0.945


def test_true_interaction_is_detected_and_described():
    interactions = sweep().interactions
    first = interactions.pairs[0]
    assert (first.first, first.second, first.pairs) == ("activation", "optimizer.lr", 3)
    assert [pair.significant for pair in interactions.pairs] == [True, False, False]
    factors = [pair.p / float(pair.test.p) for pair in interactions.pairs if pair.p < 1]
    assert factors[:2] == pytest.approx([3, 2])  # Holm's method
    contrast = first.contrast
    assert (contrast.better, contrast.worse, contrast.most, contrast.least) == (
        "0.1",
        "0.01",
        "relu",
        "selu",
    )
    assert (contrast.with_most, contrast.with_least) == pytest.approx((0.05, 0.01), abs=0.004)
    true = 0.01**2 / (0.01**2 + 0.003**2)  # each cell is a point off the sum of both effects
    assert first.test.low < true < first.test.high
    assert np.mean(first.means) == pytest.approx(np.mean([g.mean for g in sweep().groups]))


def test_crossing_lines_are_described_as_better_and_worse():
    means = MEANS | {("selu", "0.1"): 0.91}
    contrast = sweep(means=means).interactions.pairs[0].contrast
    assert contrast.with_most == pytest.approx(0.05, abs=0.004)
    assert contrast.with_least == pytest.approx(-0.02, abs=0.004)


def test_interaction_of_two_by_two_values_is_a_paired_t_test():
    table = np.random.default_rng(1).normal(size=(2, 2, 6))
    test = interaction_test(table, table.size)
    contrast = table[0, 0] - table[0, 1] - table[1, 0] + table[1, 1]
    expected = stats.ttest_1samp(contrast, 0)
    assert (float(test.f), float(test.p)) == pytest.approx((expected.statistic**2, expected.pvalue))
    assert (float(test.df), float(test.error_df)) == (1, 5)


@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0, 1000.0])
def test_interval_inverts_noncentral_f_distribution(shift):
    table = np.random.default_rng(2).normal(size=(3, 4, 5))
    table[0, 0] += shift
    test = interaction_test(table, table.size)
    assert 0 <= test.low <= test.omega_squared <= test.high <= 1
    for end, percentile in ((test.low, 0.975), (test.high, 0.025)):
        if 0 < end < 0.99:
            noncentral = float(end / (1 - end)) * table.size * float(test.df) / 6
            reached = stats.ncf.cdf(float(test.f), float(test.df), float(test.error_df), noncentral)
            assert reached == pytest.approx(percentile, abs=1e-6)


def test_interaction_does_not_depend_on_effects_of_seeds_and_flags():
    table = np.random.default_rng(3).normal(size=(3, 4, 5))
    moved = table + 10 * np.arange(5) + 3 * np.arange(4)[:, None] - 2 * np.arange(3)[:, None, None]
    assert float(interaction_test(moved, 60).p) == pytest.approx(
        float(interaction_test(table, 60).p)
    )


def test_incomplete_values_and_seeds_are_left_out_and_named():
    lrs = ("0.01", "0.1", "1")
    interactions = sweep(lrs=lrs, diverged=[("selu", "1")]).interactions
    assert (interactions.left_out, interactions.lost) == (("optimizer.lr=1",), 10)
    assert interactions.pairs[0].levels == (("relu", "selu"), ("0.01", "0.1"))
    interactions = sweep(lrs=lrs, drop=[("relu", "1", 3)]).interactions
    assert (interactions.left_out, interactions.pairs[0].levels[1]) == (("seed=3",), lrs)
    never = sweep(lrs=lrs, diverged=[(a, "1") for a in ("relu", "selu")]).interactions
    assert (never.left_out, never.pairs[0].levels[1]) == ((), ("0.01", "0.1"))


def test_seeds_are_left_out_rather_than_values():
    interactions = sweep(n=7, drop={("selu", "0.1", seed) for seed in range(3, 7)}).interactions
    assert interactions is not None
    assert sorted(interactions.left_out) == [f"seed={seed}" for seed in range(3, 7)]
    assert {(pair.first, pair.second) for pair in interactions.pairs} >= {
        ("activation", "optimizer.lr")
    }


def test_grid_without_complete_part_has_reason_for_no_test():
    (comparison,) = compare_runs(
        [
            made(s, 0.9 + s / 100, activation=a, optimizer__lr=lr)
            for s in range(3)
            for a, lr in (("relu", "1"), ("selu", "2"), ("selu", "1"))
        ]
    )
    assert comparison.interactions.pairs == []
    assert any(comparison.interactions.no_test in line for line in effect_lines(comparison))


def test_two_seeds_or_a_single_flag_have_no_interactions():
    assert sweep(n=2).interactions is None
    runs = [made(s, 0.9 + s / 100, activation=a) for s in range(3) for a in ("relu", "selu")]
    assert compare_runs(runs)[0].interactions is None


def test_flags_that_change_together_count_as_single_flag():
    interactions = sweep(optimizer__momentum={"relu": "0", "selu": "0.9"}).interactions
    assert interactions.pairs[0].first == "activation with optimizer.momentum"
    assert len(interactions.pairs) == 3


def test_seeds_without_variation_cannot_be_tested():
    interactions = sweep(spread=0.0).interactions
    assert (interactions.pairs, bool(interactions.no_test)) == ([], True)


def test_every_report_states_the_same_interaction(tmp_path):
    comparison = sweep()
    (line,) = (line for line in effect_lines(comparison) if "interact (" in line)
    assert re.search(r"p < 0\.001, corrected; partial omega squared 0\.\d\d, 0\.\d\d to", line)
    for ending in ("md", "html", "json"):
        write_comparison(tmp_path / f"x.{ending}", [comparison], SOURCE)
    assert f"- {as_line(line)}\n" in (tmp_path / "x.md").read_text()
    (rows,) = json.loads((tmp_path / "x.json").read_text())
    (first, *_) = rows["interactions"]["pairs"]
    assert (first["flags"], first["significant"]) == (["activation", "optimizer.lr"], True)
    assert f"{first['omega_squared']:.2f}, {first['low']:.2f} to {first['high']:.2f}" in line
    assert first["pattern"] in line
    drawn = page_data(comparison, SOURCE)["interactions"]
    assert [cell["mean"] for row in drawn[0]["cells"] for cell in row] == list(
        itertools.chain(*first["means"])
    )
    assert line.startswith(drawn[0]["said"])


@pytest.mark.parametrize("spreads", ["equal", "spreads 1 to 4", "seed times configuration"])
def test_interactions_keep_error_rate_and_coverage(spreads):
    """A quick version of `benchmarks/verdicts.py`, with 5% false alarms and 95% coverage."""
    row, _ = interaction_row(Grid((2, 3), 5, spreads), 1000, np.random.default_rng(0))
    false, _, *held, _ = (
        float(cell) if cell.strip() else None for cell in row.strip("|").split("|")[3:]
    )
    assert false < 7
    assert all(value is None or value > 93 for value in held)


BOTH = ["activation", "optimizer.lr"]
ACTIVATIONS, LRS, SEEDS = ("selu", "relu"), ("0.01", "0.1", "1"), range(4)


def grid(accuracy):
    cells = itertools.product(ACTIVATIONS, LRS, SEEDS)
    return grouped(
        [made(seed, accuracy(a, lr, seed), activation=a, optimizer__lr=lr) for a, lr, seed in cells]
    )


def test_effects_are_deviations_from_overall_mean():
    step = {"selu": 0.01, "relu": -0.01}
    rate = {"0.01": 0.0, "0.1": 0.03, "1": -0.03}
    effects_of_flags = effects(grid(lambda a, lr, seed: 0.9 + step[a] + rate[lr]), BOTH)
    assert [e.flag for e in effects_of_flags.flags] == [
        "optimizer.lr",
        "activation",
    ]  # the largest share comes first
    levels = {
        e.flag: {level.value: level.effect for level in e.levels} for e in effects_of_flags.flags
    }
    assert levels["activation"] == pytest.approx(step)
    assert levels["optimizer.lr"] == pytest.approx(rate)
    assert [level.value for level in effects_of_flags.flags[0].levels] == ["0.1", "0.01", "1"]
    shares = {e.flag: e.share for e in effects_of_flags.flags}
    assert shares["activation"] == pytest.approx(0.0001 / (0.0001 + 0.0006), rel=1e-6)
    assert effects_of_flags.seeds == pytest.approx(0, abs=1e-9)
    assert effects_of_flags.interactions == pytest.approx(0, abs=1e-9)


@given(st.lists(st.floats(0.1, 1.0), min_size=24, max_size=24).filter(lambda v: np.std(v) > 1e-3))
def test_shares_of_full_grid_sum_to_one(values):
    given_values = iter(values)
    effects_of_flags = effects(grid(lambda a, lr, seed: next(given_values)), BOTH)
    assert effects_of_flags.interactions is not None
    shares = [
        *(e.share for e in effects_of_flags.flags),
        effects_of_flags.seeds,
        effects_of_flags.interactions,
    ]
    assert all(0 <= share <= 1 + 1e-9 for share in shares)
    assert sum(shares) == pytest.approx(1)


def test_share_estimates_true_share_of_variance():
    """Shares are omega squared; as shares of the sum of squares, flags without effect would get
    1/23 and 2/23.
    """
    rng = np.random.default_rng(0)
    found = [effects(grid(lambda a, lr, seed: rng.normal(0.9, 0.01)), BOTH) for _ in range(200)]
    shares = {
        flag: np.mean([e.share for f in found for e in f.flags if e.flag == flag]) for flag in BOTH
    }
    # not 0, because negative estimates are cut
    assert all(share < 0.04 for share in shares.values()), shares
    assert np.mean([f.seeds for f in found]) > 0.9
    step = {"selu": 0.01, "relu": -0.01}  # variance 1e-4, like that of the seeds
    found = [
        effects(grid(lambda a, lr, seed: 0.9 + step[a] + rng.normal(0, 0.01)), BOTH)
        for _ in range(200)
    ]
    shares = [e.share for f in found for e in f.flags if e.flag == "activation"]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)


def test_intervals_of_effects_cover_true_effects():
    """Coverage is 95%, even if one learning rate has ten times the standard deviation."""
    rng, step, inside = np.random.default_rng(1), {"selu": 0.01, "relu": -0.01}, []
    for _ in range(400):
        draw = lambda a, lr, seed: 0.8 + step[a] + rng.normal(0, 0.02 if lr == "1" else 0.002)  # noqa: E731
        levels = [
            level
            for e in effects(grid(draw), BOTH).flags
            if e.flag == "activation"
            for level in e.levels
        ]
        inside += [level.low <= step[level.value] <= level.high for level in levels]
    assert 0.94 < np.mean(inside) < 0.99


def test_effect_has_no_interval_if_a_group_has_a_single_run():
    runs = [*many([0.9, 0.91]), made(0, 0.8, activation="relu")]
    assert all(
        np.isnan([level.low, level.high]).all()
        for level in effects(grouped(runs), BOTH).flags[0].levels
    )


def test_interaction_of_two_flags_is_not_an_effect_of_either():
    effects_of_flags = effects(
        grid(lambda a, lr, seed: 0.9 + 0.01 * (1 if (a == "selu") == (lr == "0.1") else -1)), BOTH
    )
    assert {e.flag: round(e.share, 9) for e in effects_of_flags.flags}["activation"] < 0.2
    assert effects_of_flags.interactions > 0.5


@pytest.mark.parametrize(
    "runs",
    [
        [*many([0.9, 0.9]), *many([0.9, 0.9], activation="relu")],  # all results are equal
        [made(0, 0.9), made(0, 0.8, activation="relu")],  # one run per configuration
        [made(0, 0.9), made(0, None, "failed", activation="relu")],  # fewer than two finished
        [
            *many([0.9, 0.91]),
            made(0, None, "killed", activation="relu"),
        ],  # one configuration has results
    ],
)
def test_missing_shares_have_a_reason(runs):
    effects_of_flags = effects(grouped(runs), ["activation"])
    assert np.isnan(effects_of_flags.flags[0].share)
    assert effects_of_flags.no_shares


def test_flags_that_change_together_have_no_shares():
    runs = [
        *many([0.9, 0.91], activation="selu", optimizer__lr="0.1", batch_size="64"),
        *many([0.8, 0.82], activation="relu", optimizer__lr="0.2", batch_size="64"),
    ]
    flags = ["activation", "optimizer.lr", "batch_size"]
    effects_of_flags = effects(grouped(runs), flags)
    assert effects_of_flags.no_shares.startswith("activation, optimizer.lr")
    assert all(np.isnan(effect.share) for effect in effects_of_flags.flags)
    runs += many([0.85, 0.86], activation="relu", optimizer__lr="0.1", batch_size="64")
    assert effects(grouped(runs), flags).no_shares is None


def test_values_are_compared_by_their_averages_over_the_other_flags():
    interactions = sweep(n=4).interactions
    by_cell = {
        group.value("activation")
        + group.value("optimizer.lr")
        + group.value("batch_size"): group.accuracy
        for group in sweep(n=4).groups
    }
    average = {
        a: np.mean(
            [list(acc.values()) for cell, acc in by_cell.items() if cell.startswith(a)], axis=0
        )
        for a in ("relu", "selu")
    }
    (its,) = (its for its in interactions.contrasts if its.flag == "activation")
    test = stats.ttest_rel(average[its.better], average[its.worse])
    interval = test.confidence_interval(0.95)
    assert (its.points, its.p) == pytest.approx(
        ((average[its.better] - average[its.worse]).mean(), test.pvalue)
    )
    assert (its.low, its.high) == pytest.approx((interval.low, interval.high))
    assert its.differs is bool(test.pvalue <= 0.05)
    (line,) = (line for line in effect_lines(sweep(n=4)) if line.startswith("activation, averaged"))
    assert f"{its.better} minus {its.worse} +{its.points * 100:.2f} points" in line


def test_contrasts_of_a_flag_share_an_error_rate():
    lrs = ("0.01", "0.02", "0.05")
    found = [its for its in sweep(lrs=lrs).interactions.contrasts if its.flag == "optimizer.lr"]
    assert [its.points >= 0 for its in found] == [True] * 3
    smallest = min(its.p for its in found)
    assert [its.differs for its in found] == [
        smallest <= 0.05 / 3 and (its.p == smallest or its.p <= 0.05) for its in found
    ]
    flags = {its.flag for its in sweep(lrs=("1", "2", "3", "4", "5", "6")).interactions.contrasts}
    assert flags == {"activation", "batch_size"}
