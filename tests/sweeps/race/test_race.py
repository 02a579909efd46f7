"""What a sweep with `sweep.within` trains and reports."""

from __future__ import annotations

from lenet_exp.comparison.part import select_part
from lenet_exp.comparison.race import CandidateState
from lenet_exp.reports.comparison_records import records
from lenet_exp.reports.files.comparison_tex import tex
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.words.verdict import verdict
from tests.sweeps.race.race_results import (
    BARE,
    BASIC,
    comparisons_of,
    last_sweep,
    race_of,
    trained,
)
from tests.tools.commands import lenet_train, succeeded


def test_race_ends_when_no_other_could_be_better_by_more(raced):
    outputs, done = raced
    race = race_of(outputs)
    assert race.decided
    assert race.bound <= 0.03
    assert race.seeds > 3
    runs = trained(outputs)
    assert len(runs) == len(race.requested)
    seeds = [sum(name == other for other, _ in runs) for name, _ in dict(runs).items()]
    assert min(seeds) == 3  # those that are clearly worse get no more seeds
    assert max(seeds) == race.seeds
    assert "(error rate 5%)" in done.stdout


def test_configurations_with_equal_weights_are_one(ready):
    flags = ("activation=relu,selu", "training.patience=null,1000", "sweep.within=2")
    succeeded(lenet_train("-m", *BARE, *flags, BASIC, outputs=ready))
    race = race_of(ready)
    assert len(race.candidates) == 4
    assert race.configurations == 2
    assert len(race.in_state(CandidateState.copy)) == 2


def test_zipped_splits_are_extended_together(ready):
    succeeded(
        lenet_train(
            *("-m", *BARE, "activation=relu,selu", "seed=4,6", "split_seed=1,5"),
            *("sweep.zip=[seed,split_seed]", "sweep.within=1", "sweep.most_seeds=4", BASIC),
            outputs=ready,
        )
    )
    replicates = last_sweep(ready).started().race.replicates
    assert [tuple(replicate) for replicate in replicates] == [(4, 1), (6, 5), (7, 6), (8, 7)]
    pairs = {(job.config.seed, job.config.split_seed) for job in last_sweep(ready).jobs()}
    assert pairs <= {(4, 1), (6, 5), (7, 6), (8, 7)}
    assert len(pairs) >= 3


def test_other_statistics_use_the_listed_seeds(raced):
    (comparison,) = comparisons_of(raced[0])
    assert all(group.replicates == 3 for group in comparison.groups)
    assert comparison.num_runs == len(trained(raced[0]))
    by_seed = {candidate.group.n for candidate in comparison.race.candidates.values()}
    assert max(by_seed) == comparison.race.seeds


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
    row = next(
        line for line in tex([comparison], RunSource("race")).splitlines() if r"\textbf" in line
    )
    assert f"{100 * leader.mean:.2f}" in row
    assert f"& {leader.n} " in row
    assert r"\pm" not in row
