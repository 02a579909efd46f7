"""The configurations of a search that get further seeds, and the winner that the search then
reports.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lenet_exp.folders.records import Outcome
from lenet_exp.folders.sweep_folder import all_sweeps
from lenet_exp.searches.seed_race import SeedRace
from tests.searches.searched import LINE, only_sweep, study_of, trials_of
from tests.tools.commands import Done, lenet_train

SPACE = ("optimizer.lr=tag(log,interval(5e-3,0.1))", "num_epoch=3")


def search(outputs, *more: str) -> Done:
    done = lenet_train(*LINE, *SPACE, *more, outputs=outputs)
    assert done.returncode in {0, 1}, done.stderr  # 1: one diverged
    return done


@given(st.integers(0, 10**6), st.integers(1, 25), st.integers(1, 5), st.integers(1, 6))
@settings(max_examples=30)
def test_remaining_configurations_end_with_all_seeds_once(seed, trials, most, places):
    dice = np.random.default_rng(seed)
    means, seeds = dice.normal(0.9, 0.02, trials), SeedRace(most, 1)
    asked, flying, had = 0, [], []
    while True:
        while len(flying) < places:
            again = seeds.next_seed(can_create_trial=asked < trials)
            if again is None:
                if asked == trials:
                    break
                again = (asked, 0)
                seeds.request(asked, 0)
                asked += 1
            else:
                seeds.request(*again)
            flying.append(again)
        if not flying:
            break
        trial, number = flying.pop(int(dice.integers(len(flying))))  # runs end in any order
        had.append((trial, number))
        seeds.record(trial, number, float(means[trial] + dice.normal(0, 0.002)))
    assert len(set(had)) == len(had)
    assert {trial for trial, number in had if number == 0} == set(range(trials))
    left = seeds.could_be_best()
    assert left
    assert all(len(seeds.values(trial)) == most for trial in left)
    assert seeds.mean(left[0]) == max(map(seeds.mean, left))


def test_configuration_with_diverged_seed_is_dropped():
    seeds = SeedRace(3, 1)
    for trial in (0, 1):
        seeds.record(trial, 0, 0.9 + trial / 100)
    assert seeds.next_seed(can_create_trial=False) == (1, 1)
    seeds.request(1, 1)
    seeds.record(1, 1, None)
    assert seeds.could_be_best() == [0]
    assert seeds.next_seed(can_create_trial=False) == (0, 1)


def test_only_better_half_gets_seeds_while_trials_are_created():
    seeds = SeedRace(3, -1)  # minimizes a loss
    assert seeds.next_seed(can_create_trial=True) is None
    seeds.record(0, 0, 0.5)
    assert seeds.next_seed(can_create_trial=True) is None
    seeds.record(1, 0, 0.4)
    assert seeds.next_seed(can_create_trial=True) == (1, 1)
    seeds.request(1, 1)
    assert seeds.next_seed(can_create_trial=True) is None
    assert seeds.next_seed(can_create_trial=False) == (0, 1)


@pytest.mark.slow(seconds=14)
def test_best_configuration_has_all_seeds_and_is_confirmed_on_new_seeds(ready):
    line = ("n_trials=3", "search.pruner=none", "sweep.workers=1", "hydra.launcher.retries=0")
    search(ready, *line, "seeds=2")
    first, before = trials_of(ready), only_sweep(ready)
    done = search(ready, *line, "seeds=3", "confirm=90")
    confirming, sweep = all_sweeps(ready)
    assert sweep.id == before.id  # seeds= is a budget, which does not make another sweep
    plan, jobs = sweep.started(), sweep.jobs()
    assert plan.search is not None
    assert plan.search.left
    trials = {job.run: job.trial for job in jobs}
    for run in plan.search.left:
        seeds = sorted(job.config.seed for job in jobs if job.trial == trials[run])
        assert seeds == [0, 1, 2]
    accuracies = [
        r.best_val_accuracy
        for j in jobs
        if j.trial == plan.search.best_trial and (r := j.folder.result())
    ]
    assert plan.search.best_value == pytest.approx(np.mean(accuracies))
    assert plan.search.best_trial == trials[plan.search.left[0]]
    assert f"3 seeds) by trial {plan.search.best_trial}" in done.stdout
    assert plan.search.epochs == sum(len(job.folder.history().epochs) for job in jobs)
    assert {job.config.seed for job in jobs[: len(first)]} == {0, 1}  # earlier jobs do not change
    assert confirming.started().confirms == sweep.id
    assert confirming.started().confirmed is not None
    assert "hydra.launcher.retries=0" in confirming.started().command
    assert min(job.config.seed for job in confirming.jobs()) == 1000
    assert confirming.jobs()[0].config.optimizer == jobs[plan.search.best_job or 0].config.optimizer


@pytest.mark.slow(seconds=5)
def test_last_third_of_epoch_budget_goes_to_seeds(ready):
    search(ready, "max_epochs=18", "seeds=3", "search.pruner=none", "sweep.workers=1")
    jobs = only_sweep(ready).jobs()
    firsts = {job.trial: job for job in reversed(jobs)}
    assert 18 <= sum(len(job.folder.history().epochs) for job in jobs) <= 21
    assert len(firsts) < len(jobs)
    last = [job.config.seed for job in jobs[-2:]]
    assert all(last), "a new trial began at the end, when the rest of the budget was for seeds"


@pytest.mark.slow(seconds=5)
def test_run_ends_at_target_accuracy(ready):
    done = search(
        ready, "n_trials=4", "search.objective=epochs", "search.target=0.3", "sweep.workers=1"
    )
    study, jobs = study_of(ready), only_sweep(ready).jobs()
    assert study.direction.name == "MINIMIZE"
    reached = 0
    for job, trial in zip(jobs, study.trials, strict=True):
        curve = [epoch.val_accuracy for epoch in job.folder.history().epochs]
        there = [n for n, accuracy in enumerate(curve, 1) if accuracy >= 0.3]
        if trial.state.name == "COMPLETE" and trial.value < float("inf"):
            reached += 1
            assert trial.value == there[0] == len(curve)  # the run ended at the target
        else:
            assert not there
    assert reached
    assert "30.00%" in done.stdout
    assert f"{study.best_value:g} epoch" in done.stdout


@pytest.mark.slow(seconds=5)
def test_pareto_front_contains_all_nondominated_trials(ready):
    search(ready, "n_trials=4", "search.objective=front", "sweep.workers=1")
    study, plan = study_of(ready), only_sweep(ready).started()
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    records = [job.folder.record() for job in only_sweep(ready).jobs()]
    # no run was pruned
    assert all(record.outcome in {Outcome.finished, Outcome.diverged} for record in records)
    good = [t for t in study.best_trials if t.values[1] < float("inf")]
    assert plan.search is not None
    assert {t.number for t in good} == set(plan.search.front)
