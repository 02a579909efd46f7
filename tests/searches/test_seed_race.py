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
    means = dice.normal(0.9, 0.02, trials)
    race = SeedRace(most, 1)
    trials_created = 0
    running = []
    ended = []

    while True:
        while len(running) < places:
            run = race.next_seed(can_create_trial=trials_created < trials)
            if run is None and trials_created == trials:
                break
            if run is None:
                run = (trials_created, 0)
                trials_created += 1
            race.request(*run)
            running.append(run)
        if not running:
            break
        trial, number = running.pop(int(dice.integers(len(running))))  # runs end in any order
        ended.append((trial, number))
        race.record(trial, number, float(means[trial] + dice.normal(0, 0.002)))

    assert len(set(ended)) == len(ended)
    assert {trial for trial, number in ended if number == 0} == set(range(trials))
    remaining = race.could_be_best()
    assert remaining
    for trial in remaining:
        assert len(race.values(trial)) == most
    assert race.mean(remaining[0]) == max(race.mean(trial) for trial in remaining)


def test_configuration_with_diverged_seed_is_dropped():
    race = SeedRace(3, 1)
    for trial in (0, 1):
        race.record(trial, 0, 0.9 + trial / 100)
    assert race.next_seed(can_create_trial=False) == (1, 1)
    race.request(1, 1)

    race.record(1, 1, None)

    assert race.could_be_best() == [0]
    assert race.next_seed(can_create_trial=False) == (0, 1)


def test_only_better_half_gets_seeds_while_trials_are_created():
    race = SeedRace(3, -1)  # minimizes a loss
    assert race.next_seed(can_create_trial=True) is None

    race.record(0, 0, 0.5)
    assert race.next_seed(can_create_trial=True) is None

    race.record(1, 0, 0.4)
    assert race.next_seed(can_create_trial=True) == (1, 1)

    race.request(1, 1)
    assert race.next_seed(can_create_trial=True) is None
    assert race.next_seed(can_create_trial=False) == (0, 1)


@pytest.mark.slow(seconds=14)
def test_best_configuration_has_all_seeds_and_is_confirmed_on_new_seeds(ready):
    line = ("n_trials=3", "search.pruner=none", "sweep.workers=1", "hydra.launcher.retries=0")
    search(ready, *line, "seeds=2")
    first_trials = trials_of(ready)
    first_sweep = only_sweep(ready)

    done = search(ready, *line, "seeds=3", "confirm=90")

    confirmation, sweep = all_sweeps(ready)
    assert sweep.id == first_sweep.id  # seeds= is a budget, which does not make another sweep
    jobs = sweep.jobs()
    result = sweep.started().search
    assert result is not None
    assert result.left
    trial_of_run = {job.run: job.trial for job in jobs}
    for run in result.left:
        trial = trial_of_run[run]
        assert sorted(job.config.seed for job in jobs if job.trial == trial) == [0, 1, 2]
    accuracies = []
    for job in jobs:
        record = job.folder.result()
        if job.trial == result.best_trial and record:
            accuracies.append(record.best_val_accuracy)
    assert result.best_value == pytest.approx(np.mean(accuracies))
    assert result.best_trial == trial_of_run[result.left[0]]
    assert f"3 seeds) by trial {result.best_trial}" in done.stdout
    assert result.epochs == sum(len(job.folder.history().epochs) for job in jobs)
    # earlier jobs do not change
    assert {job.config.seed for job in jobs[: len(first_trials)]} == {0, 1}

    plan = confirmation.started()
    assert plan.confirms == sweep.id
    assert plan.confirmed is not None
    assert "hydra.launcher.retries=0" in plan.command
    new_jobs = confirmation.jobs()
    assert min(job.config.seed for job in new_jobs) == 1000
    assert new_jobs[0].config.optimizer == jobs[result.best_job or 0].config.optimizer


@pytest.mark.slow(seconds=5)
def test_last_third_of_epoch_budget_goes_to_seeds(ready):
    search(ready, "max_epochs=18", "seeds=3", "search.pruner=none", "sweep.workers=1")

    jobs = only_sweep(ready).jobs()
    assert 18 <= sum(len(job.folder.history().epochs) for job in jobs) <= 21
    trials = {job.trial for job in jobs}
    assert len(trials) < len(jobs)
    last_seeds = [job.config.seed for job in jobs[-2:]]
    assert all(last_seeds), "a new trial began when the rest of the budget was for seeds"


@pytest.mark.slow(seconds=5)
def test_run_ends_at_target_accuracy(ready):
    done = search(
        ready, "n_trials=4", "search.objective=epochs", "search.target=0.3", "sweep.workers=1"
    )

    study = study_of(ready)
    assert study.direction.name == "MINIMIZE"
    trials_at_target = 0
    for job, trial in zip(only_sweep(ready).jobs(), study.trials, strict=True):
        epochs_at_target = []
        curve = job.folder.history().epochs
        for n, epoch in enumerate(curve, 1):
            if epoch.val_accuracy >= 0.3:
                epochs_at_target.append(n)
        if trial.state.name == "COMPLETE" and trial.value < float("inf"):
            trials_at_target += 1
            assert trial.value == epochs_at_target[0]
            assert trial.value == len(curve)  # the run ended at the target
        else:
            assert not epochs_at_target
    assert trials_at_target
    assert "30.00%" in done.stdout
    assert f"{study.best_value:g} epoch" in done.stdout


@pytest.mark.slow(seconds=5)
def test_pareto_front_contains_all_nondominated_trials(ready):
    search(ready, "n_trials=4", "search.objective=front", "sweep.workers=1")

    study = study_of(ready)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    for job in only_sweep(ready).jobs():
        # no run was pruned
        assert job.folder.record().outcome in {Outcome.finished, Outcome.diverged}
    reached = {trial.number for trial in study.best_trials if trial.values[1] < float("inf")}
    plan = only_sweep(ready).started()
    assert plan.search is not None
    assert reached == set(plan.search.front)
