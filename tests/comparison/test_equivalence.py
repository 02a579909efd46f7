"""Tests of whether configurations differ from the leader by less than a margin, and how reports state it."""

from __future__ import annotations

import json
from dataclasses import replace
from math import comb

import numpy as np
import pytest
from scipy import stats

from benchmarks.simulated import Scenario, equal
from benchmarks.studies import MARGIN, declared
from lenet_exp.comparison.compare import Comparison, compare_runs
from lenet_exp.comparison.design import Design, combined_design
from lenet_exp.comparison.power import Power
from lenet_exp.comparison.studies.equivalence import seeds_for_equivalence
from lenet_exp.reports.files.comparison_file import write_comparison
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.words.next_steps import notes
from lenet_exp.reports.words.phrases import remark, verdict
from tests.comparison.made_up import made, many

SOURCE = RunSource("test")


def compared(margin: float | None = 0.002, design: Design | None = None, spread: float = 0.0002) -> Comparison:
    """Return a comparison in which selu leads elu by about 0.1 points on each seed and relu by 2 points."""
    wiggle = np.random.default_rng(0).normal(0, spread, (3, 6))
    shared = np.linspace(-0.01, 0.01, 6)
    runs = [
        *many(0.95 + shared + wiggle[0], activation="selu"),
        *many(0.949 + shared + wiggle[1], activation="elu"),
        *many(0.93 + shared + wiggle[2], activation="relu"),
    ]
    (found,) = compare_runs(runs, ["activation"], design=design)
    return replace(found, margin_asked=margin)


def test_small_significant_difference_is_better_and_equivalent():
    found = compared()
    assert [result and result.shown for result in found.equivalences] == [None, True, False]
    assert found.leads[1].ahead
    assert "0.2 points" in remark(found, 1)
    assert "0.2 points" not in remark(found, 2)
    assert "elu is equivalent to selu within 0.2 points" in verdict(found)


def test_p_is_the_larger_of_two_one_sided_tests_corrected_for_all_pairs():
    found = compared()
    selu, elu, _ = ([*g.accuracy.values()] for g in found.groups)
    away = np.subtract(selu, elu)
    one = stats.ttest_1samp(away, -0.002, alternative="greater").pvalue
    other = stats.ttest_1samp(away, 0.002, alternative="less").pvalue
    assert found.equivalences[1].p == pytest.approx(comb(3, 2) * max(one, other))


def test_equivalence_is_not_tested_without_margin():
    found = compared(margin=None)
    assert found.equivalences == [None] * 3
    assert "equivalent" not in verdict(found) + " ".join(notes(found))


def test_margin_is_fixed_only_if_set_at_start_of_sweep():
    started = Design(18, 0, margin=0.002)
    assert compared(None, started).margin == 0.002
    assert compared(0.002, started).margin_fixed
    assert not compared(0.003, started).margin_fixed
    assert not compared(0.002, replace(started, known=2)).margin_fixed  # some results existed before the sweep
    assert not compared(0.002).margin_fixed
    assert len(notes(compared(0.003, started))) == 1 + len(notes(compared(0.002, started)))
    assert combined_design([started, started]).margin is None


def test_diverged_configuration_is_not_equivalent():
    runs = [*many([0.9, 0.91, 0.905]), *many([0.9, 0.911, 0.905], activation="relu"),
            *[made(s, 0.9, "diverged" if s else "finished", activation="tanh") for s in range(3)]]  # fmt: skip
    found = replace(compare_runs(runs)[0], margin_asked=0.5)
    by_name = {g.flags["activation"]: result for g, result in zip(found.groups, found.equivalences, strict=True)}
    assert by_name["tanh"] is None
    assert sum(result is not None for result in by_name.values()) == 1


def test_number_of_seeds_reaches_80_percent_power():
    """The standard deviation is known, and the simulated configurations do not differ."""
    n = Power([0.01], [1e6], [0.05], equivalence=True).seeds(0.005)
    draws = np.random.default_rng(0).normal(0, 0.01, (20_000, n))
    p = stats.t.sf((0.005 - abs(draws.mean(axis=1))) / draws.std(axis=1, ddof=1) * np.sqrt(n), n - 1)
    assert 0.79 < np.mean(p <= 0.05) < 0.84
    assert Power([0.01], [3], [0.05], equivalence=True).seeds(0.005) > n  # the true standard deviation may be larger
    assert Power([1.0], [10], [0.05], equivalence=True).seeds(0.001) > 1000


def test_seeds_are_planned_for_equivalences_not_yet_shown():
    found = compared(spread=0.002)
    assert not any(result and result.shown for result in found.equivalences)
    needed = seeds_for_equivalence(found.leads, found.equivalences, 0.002, 3)
    assert 6 < needed < 60
    assert any(f" {needed} seeds" in note for note in notes(found))
    clear = compared(0.0005)  # elu is significantly worse, by more than the margin
    assert seeds_for_equivalence(clear.leads, clear.equivalences, 0.0005, 3) is None
    for all_shown in (compared(0.5), compared(None)):
        assert seeds_for_equivalence(all_shown.leads, all_shown.equivalences, 0.5, 2) is None


def test_every_report_states_equivalence(tmp_path):
    found = compared()
    for ending in ("json", "csv", "md", "tex", "html"):
        write_comparison(tmp_path / f"x.{ending}", [found], SOURCE)
    (data,) = json.loads((tmp_path / "x.json").read_text())
    assert (data["margin"], data["margin_fixed"]) == (0.002, False)
    assert [row["equivalent"] for row in data["groups"]] == [None, True, False]
    assert "equivalent,equivalence_p" in (tmp_path / "x.csv").read_text()
    for ending in ("md", "tex", "html"):
        assert "elu is equivalent to selu within 0.2 points" in (tmp_path / f"x.{ending}").read_text()


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("spreads", [False, True])
def test_equivalence_keeps_error_rate_at_the_margin(k, spreads):
    """A quick version of `benchmarks/verdicts.py`, whose error rate is at most 5%."""
    sds = tuple(np.geomspace(1, 4, k)) if spreads else ()
    scenario = Scenario("one best", (0.0, *[-MARGIN] * (k - 1)), 5, sds)
    equivalent, distance = declared(scenario, 2000, np.random.default_rng(0))
    assert (equivalent & (distance >= MARGIN)).any(axis=-1).mean() < 0.065
    shown, _ = declared(Scenario("equal", equal(k), 10), 500, np.random.default_rng(0))
    assert shown.mean() > 0.9
