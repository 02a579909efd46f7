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

    `alike` gives flags that change together with the activation.
    """
    rng = np.random.default_rng(0)
    effect_of_seed = rng.normal(0, 0.01, n)

    runs = []
    cells = itertools.product(("relu", "selu"), lrs, ("64", "128"), range(n))
    for activation, lr, batch_size, seed in cells:
        mean = means.get((activation, lr), 0.92)
        accuracy = mean + effect_of_seed[seed] + rng.normal(0, spread)
        if (activation, lr, seed) in drop:
            continue
        flags = {"activation": activation, "optimizer__lr": lr, "batch_size": batch_size}
        for flag, values in alike.items():
            flags[flag] = values[activation]
        outcome = "diverged" if (activation, lr) in diverged else "finished"
        runs.append(made(seed, accuracy, outcome, **flags))

    (comparison,) = compare_runs(runs, [*FLAGS, *alike])
    return comparison


@pytest.mark.parametrize(
    ("shape", "n", "lift"), [((4, 4), 10, 24.0), ((4, 4), 5, 12.0), ((2, 4), 5, 24.0)]
)
def test_interval_covers_interaction_of_noisy_combination(shape, n, lift):
    rng = np.random.default_rng(5)
    a, b = shape
    spreads = np.ones(shape)
    spreads[0, 0] = 10.0
    table = rng.standard_normal((6000, a, b, n)) * spreads[..., None]
    table[:, 0, 0] += lift

    test = interaction_test(table, a * b * n)

    signal = (1 - 1 / a) * (1 - 1 / b) * lift**2 / (a * b)
    true = signal / (signal + (spreads**2).mean())
    is_covered = (test.low <= true) & (true <= test.high)
    assert is_covered.mean() >= 0.945


def test_true_interaction_is_detected_and_described():
    comparison = sweep()
    pairs = comparison.interactions.pairs

    first = pairs[0]
    assert first.first == "activation"
    assert first.second == "optimizer.lr"
    assert first.pairs == 3
    assert [pair.significant for pair in pairs] == [True, False, False]
    factors = [pair.p / float(pair.test.p) for pair in pairs if pair.p < 1]
    assert factors[:2] == pytest.approx([3, 2])  # Holm's method

    contrast = first.contrast
    assert contrast.better == "0.1"
    assert contrast.worse == "0.01"
    assert contrast.most == "relu"
    assert contrast.least == "selu"
    assert contrast.with_most == pytest.approx(0.05, abs=0.004)
    assert contrast.with_least == pytest.approx(0.01, abs=0.004)

    true = 0.01**2 / (0.01**2 + 0.003**2)  # each cell is a point off the sum of both effects
    assert first.test.low < true < first.test.high
    overall_mean = np.mean([group.mean for group in comparison.groups])
    assert np.mean(first.means) == pytest.approx(overall_mean)


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
    assert float(test.f) == pytest.approx(expected.statistic**2)
    assert float(test.p) == pytest.approx(expected.pvalue)
    assert float(test.df) == 1
    assert float(test.error_df) == 5


@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0, 1000.0])
def test_interval_inverts_noncentral_f_distribution(shift):
    table = np.random.default_rng(2).normal(size=(3, 4, 5))
    table[0, 0] += shift

    test = interaction_test(table, table.size)

    assert 0 <= test.low <= test.omega_squared <= test.high <= 1
    f = float(test.f)
    df = float(test.df)
    error_df = float(test.error_df)
    for end, percentile in ((test.low, 0.975), (test.high, 0.025)):
        if 0 < end < 0.99:
            noncentrality = float(end / (1 - end)) * table.size * df / 6
            cumulative = stats.ncf.cdf(f, df, error_df, noncentrality)
            assert cumulative == pytest.approx(percentile, abs=1e-6)


def test_interaction_does_not_depend_on_effects_of_seeds_and_flags():
    table = np.random.default_rng(3).normal(size=(3, 4, 5))  # first flag, second flag, seed
    effect_of_seed = 10 * np.arange(5)
    effect_of_second = 3 * np.arange(4)[:, None]
    effect_of_first = 2 * np.arange(3)[:, None, None]
    shifted = table + effect_of_seed + effect_of_second - effect_of_first

    p = float(interaction_test(table, 60).p)
    assert float(interaction_test(shifted, 60).p) == pytest.approx(p)


def test_incomplete_values_and_seeds_are_left_out_and_named():
    lrs = ("0.01", "0.1", "1")

    without_a_value = sweep(lrs=lrs, diverged=[("selu", "1")]).interactions
    assert without_a_value.left_out == ("optimizer.lr=1",)
    assert without_a_value.lost == 10
    assert without_a_value.pairs[0].levels == (("relu", "selu"), ("0.01", "0.1"))

    without_a_seed = sweep(lrs=lrs, drop=[("relu", "1", 3)]).interactions
    assert without_a_seed.left_out == ("seed=3",)
    assert without_a_seed.pairs[0].levels[1] == lrs

    never_finished = sweep(lrs=lrs, diverged=[("relu", "1"), ("selu", "1")]).interactions
    assert never_finished.left_out == ()
    assert never_finished.pairs[0].levels[1] == ("0.01", "0.1")


def test_seeds_are_left_out_rather_than_values():
    interactions = sweep(n=7, drop={("selu", "0.1", seed) for seed in range(3, 7)}).interactions
    assert interactions is not None
    assert sorted(interactions.left_out) == [f"seed={seed}" for seed in range(3, 7)]
    tested_flags = {(pair.first, pair.second) for pair in interactions.pairs}
    assert ("activation", "optimizer.lr") in tested_flags


def test_grid_without_complete_part_has_reason_for_no_test():
    runs = []
    for seed in range(3):
        for activation, lr in (("relu", "1"), ("selu", "2"), ("selu", "1")):
            runs.append(made(seed, 0.9 + seed / 100, activation=activation, optimizer__lr=lr))
    (comparison,) = compare_runs(runs)
    assert comparison.interactions.pairs == []
    assert any(comparison.interactions.no_test in line for line in effect_lines(comparison))


def test_two_seeds_or_a_single_flag_have_no_interactions():
    assert sweep(n=2).interactions is None

    accuracies = [0.9, 0.91, 0.92]
    runs = [*many(accuracies, activation="relu"), *many(accuracies, activation="selu")]
    (of_one_flag,) = compare_runs(runs)
    assert of_one_flag.interactions is None


def test_flags_that_change_together_count_as_single_flag():
    interactions = sweep(optimizer__momentum={"relu": "0", "selu": "0.9"}).interactions
    assert interactions.pairs[0].first == "activation with optimizer.momentum"
    assert len(interactions.pairs) == 3


def test_seeds_without_variation_cannot_be_tested():
    interactions = sweep(spread=0.0).interactions
    assert interactions.pairs == []
    assert interactions.no_test


def test_every_report_states_the_same_interaction(tmp_path):
    comparison = sweep()
    for ending in ("md", "html", "json"):
        write_comparison(tmp_path / f"x.{ending}", [comparison], SOURCE)

    (line,) = [line for line in effect_lines(comparison) if "interact (" in line]
    assert re.search(r"p < 0\.001, corrected; partial omega squared 0\.\d\d, 0\.\d\d to", line)
    assert f"- {as_line(line)}\n" in (tmp_path / "x.md").read_text()

    (rows,) = json.loads((tmp_path / "x.json").read_text())
    first = rows["interactions"]["pairs"][0]
    assert first["flags"] == ["activation", "optimizer.lr"]
    assert first["significant"] is True
    assert f"{first['omega_squared']:.2f}, {first['low']:.2f} to {first['high']:.2f}" in line
    assert first["pattern"] in line

    drawn = page_data(comparison, SOURCE)["interactions"][0]
    means_on_page = [[cell["mean"] for cell in row] for row in drawn["cells"]]
    assert means_on_page == first["means"]
    assert line.startswith(drawn["said"])


@pytest.mark.parametrize("spreads", ["equal", "spreads 1 to 4", "seed times configuration"])
def test_interactions_keep_error_rate_and_coverage(spreads):
    """A quick version of `benchmarks/verdicts.py`, with 5% false alarms and 95% coverage."""
    row, _ = interaction_row(Grid((2, 3), 5, spreads), 1000, np.random.default_rng(0))
    _, _, _, false_alarms, _, *coverages, _ = row.strip("|").split("|")
    assert float(false_alarms) < 7
    for coverage in coverages:
        if coverage.strip():  # a share without a definition has none
            assert float(coverage) > 93


BOTH = ["activation", "optimizer.lr"]
ACTIVATIONS = ("selu", "relu")
LRS = ("0.01", "0.1", "1")
SEEDS = range(4)


def grid(accuracy):
    """Group the runs of a full grid whose accuracies a function of activation, learning rate and
    seed returns.
    """
    runs = []
    for activation, lr, seed in itertools.product(ACTIVATIONS, LRS, SEEDS):
        flags = {"activation": activation, "optimizer__lr": lr}
        runs.append(made(seed, accuracy(activation, lr, seed), **flags))
    return grouped(runs)


def test_effects_are_deviations_from_overall_mean():
    of_activation = {"selu": 0.01, "relu": -0.01}
    of_lr = {"0.01": 0.0, "0.1": 0.03, "1": -0.03}

    result = effects(grid(lambda a, lr, seed: 0.9 + of_activation[a] + of_lr[lr]), BOTH)

    lr, activation = result.flags  # the largest share comes first
    assert lr.flag == "optimizer.lr"
    assert activation.flag == "activation"
    assert [level.value for level in lr.levels] == ["0.1", "0.01", "1"]
    assert {level.value: level.effect for level in lr.levels} == pytest.approx(of_lr)
    effects_of_activation = {level.value: level.effect for level in activation.levels}
    assert effects_of_activation == pytest.approx(of_activation)
    assert activation.share == pytest.approx(0.0001 / (0.0001 + 0.0006), rel=1e-6)
    assert result.seeds == pytest.approx(0, abs=1e-9)
    assert result.interactions == pytest.approx(0, abs=1e-9)


@given(st.lists(st.floats(0.1, 1.0), min_size=24, max_size=24).filter(lambda v: np.std(v) > 1e-3))
def test_shares_of_full_grid_sum_to_one(values):
    accuracies = iter(values)
    result = effects(grid(lambda a, lr, seed: next(accuracies)), BOTH)

    assert result.interactions is not None
    shares = [effect.share for effect in result.flags]
    shares += [result.seeds, result.interactions]
    assert all(0 <= share <= 1 + 1e-9 for share in shares)
    assert sum(shares) == pytest.approx(1)


def test_share_estimates_true_share_of_variance():
    """Shares are omega squared; as shares of the sum of squares, flags without effect would get
    1/23 and 2/23.
    """
    rng = np.random.default_rng(0)

    shares = {"activation": [], "optimizer.lr": []}
    shares_of_seeds = []
    for _ in range(200):
        result = effects(grid(lambda a, lr, seed: rng.normal(0.9, 0.01)), BOTH)
        shares_of_seeds.append(result.seeds)
        for effect in result.flags:
            shares[effect.flag].append(effect.share)
    # not 0, because negative estimates are cut
    assert np.mean(shares["activation"]) < 0.04
    assert np.mean(shares["optimizer.lr"]) < 0.04
    assert np.mean(shares_of_seeds) > 0.9

    of_activation = {"selu": 0.01, "relu": -0.01}  # variance 1e-4, like that of the seeds
    shares_of_activation = []
    for _ in range(200):
        groups = grid(lambda a, lr, seed: 0.9 + of_activation[a] + rng.normal(0, 0.01))
        for effect in effects(groups, BOTH).flags:
            if effect.flag == "activation":
                shares_of_activation.append(effect.share)
    assert np.mean(shares_of_activation) == pytest.approx(0.5, abs=0.03)


def test_intervals_of_effects_cover_true_effects():
    """Coverage is 95%, even if one learning rate has ten times the standard deviation."""
    rng = np.random.default_rng(1)
    of_activation = {"selu": 0.01, "relu": -0.01}

    def accuracy(activation: str, lr: str, seed: int) -> float:
        spread = 0.02 if lr == "1" else 0.002
        return 0.8 + of_activation[activation] + rng.normal(0, spread)

    is_inside = []
    for _ in range(400):
        for effect in effects(grid(accuracy), BOTH).flags:
            if effect.flag == "activation":
                for level in effect.levels:
                    is_inside.append(level.low <= of_activation[level.value] <= level.high)

    assert 0.94 < np.mean(is_inside) < 0.99


def test_effect_has_no_interval_if_a_group_has_a_single_run():
    runs = [*many([0.9, 0.91]), made(0, 0.8, activation="relu")]
    for level in effects(grouped(runs), BOTH).flags[0].levels:
        assert np.isnan(level.low)
        assert np.isnan(level.high)


def test_interaction_of_two_flags_is_not_an_effect_of_either():
    def accuracy(activation: str, lr: str, seed: int) -> float:
        is_high = (activation == "selu") == (lr == "0.1")
        return 0.91 if is_high else 0.89

    result = effects(grid(accuracy), BOTH)

    shares = {effect.flag: round(effect.share, 9) for effect in result.flags}
    assert shares["activation"] < 0.2
    assert result.interactions > 0.5


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
    result = effects(grouped(runs), ["activation"])
    assert np.isnan(result.flags[0].share)
    assert result.no_shares


def test_flags_that_change_together_have_no_shares():
    flags = ["activation", "optimizer.lr", "batch_size"]
    runs = [
        *many([0.9, 0.91], activation="selu", optimizer__lr="0.1", batch_size="64"),
        *many([0.8, 0.82], activation="relu", optimizer__lr="0.2", batch_size="64"),
    ]
    result = effects(grouped(runs), flags)
    assert result.no_shares.startswith("activation, optimizer.lr")
    assert all(np.isnan(effect.share) for effect in result.flags)

    runs += many([0.85, 0.86], activation="relu", optimizer__lr="0.1", batch_size="64")
    assert effects(grouped(runs), flags).no_shares is None


def test_values_are_compared_by_their_averages_over_the_other_flags():
    comparison = sweep(n=4)
    (contrast,) = [
        contrast for contrast in comparison.interactions.contrasts if contrast.flag == "activation"
    ]

    def averages_by_seed(activation: str) -> np.ndarray:
        accuracies = []  # shape (groups of the activation, seeds)
        for group in comparison.groups:
            if group.value("activation") == activation:
                accuracies.append(list(group.accuracy.values()))
        return np.mean(accuracies, axis=0)

    better = averages_by_seed(contrast.better)
    worse = averages_by_seed(contrast.worse)
    test = stats.ttest_rel(better, worse)
    interval = test.confidence_interval(0.95)
    assert contrast.points == pytest.approx((better - worse).mean())
    assert contrast.p == pytest.approx(test.pvalue)
    assert contrast.low == pytest.approx(interval.low)
    assert contrast.high == pytest.approx(interval.high)
    assert contrast.differs is bool(test.pvalue <= 0.05)

    lines = effect_lines(comparison)
    (line,) = [line for line in lines if line.startswith("activation, averaged")]
    difference = f"{contrast.better} minus {contrast.worse} +{contrast.points * 100:.2f} points"
    assert difference in line


def test_contrasts_of_a_flag_share_an_error_rate():
    contrasts = sweep(lrs=("0.01", "0.02", "0.05")).interactions.contrasts
    of_lr = [contrast for contrast in contrasts if contrast.flag == "optimizer.lr"]
    assert len(of_lr) == 3
    # Shaffer's method: if one of three pairs differs, the others are tested at the full level.
    some_differ = min(contrast.p for contrast in of_lr) <= 0.05 / 3
    for contrast in of_lr:
        assert contrast.points >= 0
        assert contrast.differs == (some_differ and contrast.p <= 0.05)

    contrasts_of_six_rates = sweep(lrs=("1", "2", "3", "4", "5", "6")).interactions.contrasts
    flags = {contrast.flag for contrast in contrasts_of_six_rates}
    assert flags == {"activation", "batch_size"}
