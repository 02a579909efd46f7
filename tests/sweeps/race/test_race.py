"""What a sweep with `sweep.within` trains and reports."""

from __future__ import annotations

from collections import Counter

from lenet_exp.comparison.part import select_part
from lenet_exp.comparison.race import CandidateState
from lenet_exp.folders.sweep_folder import all_sweeps
from lenet_exp.reports.comparison_records import records
from lenet_exp.reports.files.comparison_tex import tex
from lenet_exp.reports.page.page_data import page_data
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.words.design_caution import design_caution
from lenet_exp.reports.words.next_steps import notes
from lenet_exp.reports.words.race_words import listed_seeds_words
from lenet_exp.reports.words.verdict import verdict
from lenet_exp.sweeps.comparisons import load_comparisons
from lenet_exp.tracking.stores.find_runs import runs_of_filter
from tests.sweeps.race.race_results import (
    BARE,
    BASIC,
    comparisons_of,
    last_sweep,
    race_of,
    trained,
)
from tests.tools.commands import end, lenet_train, start, succeeded


def test_race_ends_when_no_other_could_be_better_by_more(raced):
    outputs, done = raced

    race = race_of(outputs)
    assert race.decided
    assert race.bound <= 0.03
    assert race.seeds > 3

    runs = trained(outputs)
    assert len(runs) == len(race.requested)
    seeds_of = Counter(name for name, _ in runs)
    assert min(seeds_of.values()) == 3  # those that are clearly worse get no more seeds
    assert max(seeds_of.values()) == race.seeds
    assert "(error rate 5%)" in done.stdout


def test_configurations_with_equal_weights_are_one(ready):
    flags = ("activation=relu,selu", "training.patience=null,1000", "sweep.within=2")
    succeeded(lenet_train("-m", *BARE, *flags, BASIC, outputs=ready))
    race = race_of(ready)
    assert len(race.candidates) == 4
    assert race.configurations == 2
    assert len(race.in_state(CandidateState.copy)) == 2


def test_zipped_splits_are_extended_together(ready):
    flags = ("activation=relu,selu", "seed=4,6", "split_seed=1,5", "sweep.zip=[seed,split_seed]")
    limits = ("sweep.within=1", "sweep.most_seeds=4")
    succeeded(lenet_train("-m", *BARE, *flags, *limits, BASIC, outputs=ready))

    replicates = last_sweep(ready).started().race.replicates
    assert [tuple(replicate) for replicate in replicates] == [(4, 1), (6, 5), (7, 6), (8, 7)]
    pairs = {(job.config.seed, job.config.split_seed) for job in last_sweep(ready).jobs()}
    assert pairs <= {(4, 1), (6, 5), (7, 6), (8, 7)}
    assert len(pairs) >= 3


def test_other_statistics_use_the_listed_seeds(raced):
    (comparison,) = comparisons_of(raced[0])
    assert all(group.replicates == 3 for group in comparison.groups)
    assert comparison.num_runs == len(trained(raced[0]))
    judged_seeds = [candidate.group.n for candidate in comparison.race.candidates.values()]
    assert max(judged_seeds) == comparison.race.seeds


def test_sweeps_compared_together_use_the_listed_seeds(copy, monkeypatch):
    monkeypatch.chdir(copy.parent)
    succeeded(lenet_train("-m", *BARE, "activation=relu,elu", "seed=range(3)", BASIC, outputs=copy))
    newest, raced_sweep = all_sweeps(copy)

    names = f"{newest.id},{raced_sweep.id}"
    (together,), _ = load_comparisons(names, None, None, "lenet_exp", find_runs=runs_of_filter)

    assert len(together.groups) == 6
    assert {group.n for group in together.groups} == {3}
    assert "of a sweep with sweep.within, only the listed seeds are compared" in notes(together)


def test_verdict_about_runs_from_a_store_warns_of_added_seeds(copy, monkeypatch):
    monkeypatch.chdir(copy.parent)

    (comparison,), _ = load_comparisons(None, "", None, "lenet_exp", find_runs=runs_of_filter)

    assert max(group.n for group in comparison.groups) > 3
    assert "sweep.within" in design_caution(comparison.design)


def test_page_says_that_its_charts_have_the_listed_seeds(raced):
    (comparison,) = comparisons_of(raced[0])
    assert page_data(comparison, RunSource("race"))["listed_seeds"] == 3
    assert listed_seeds_words(comparison) == ", 3 listed seeds"


def test_test_accuracy_has_all_judged_seeds(copy):
    succeeded(end(start(f"sweep={last_sweep(copy).id}", outputs=copy, program="predict")))

    (comparison,) = comparisons_of(copy)

    assert comparison.on_test_set[0].n == race_of(copy).seeds
    assert len(comparison.test_leads) == len(comparison.groups)


def test_records_have_the_race(raced):
    race = race_of(raced[0])
    (comparison,) = comparisons_of(raced[0])
    leader, *others = records(comparison)
    assert leader["race"] == "leader"
    assert leader["race_n"] == race.seeds
    assert leader["n"] == 3
    assert max(row["bound"] for row in others) == race.bound


def test_part_of_a_race_keeps_the_verdict_of_all_configurations(raced):
    whole = comparisons_of(raced[0])
    (part,) = select_part(whole, "activation=selu", None)
    assert len(part.groups) == 2
    assert part.race is whole[0].race
    assert verdict(part) == verdict(whole[0])


def test_latex_has_the_mean_and_the_number_of_all_judged_seeds(raced):
    (comparison,) = comparisons_of(raced[0])
    leader = comparison.judged_group(0)
    lines = tex([comparison], RunSource("race")).splitlines()
    row = next(line for line in lines if r"\textbf" in line)
    assert f"{100 * leader.mean:.2f}" in row
    assert f"& {leader.n} " in row
    assert r"\pm" not in row
