"""Searches of real runs from the command line: their budgets, failures and results."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from lenet_exp.folders.records import Record
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from tests.searches.searched import LINE, QUICK, SPACE, only_sweep, study_of, trials_of
from tests.tools.commands import Done, lenet_train, succeeded
from tests.tools.stores import client, runs


def search(outputs: Path, *more: str) -> Done:
    return lenet_train(*LINE, SPACE[0], *more, outputs=outputs)


def records_of(sweep: SweepFolder) -> dict[str, Record | None]:
    """Return the record of each run of a sweep."""
    return {job.run: job.folder.record() for job in sweep.jobs()}


def stored_trials(sweep: SweepFolder) -> list[tuple[int, str, float]]:
    """Return the number, the state and the value of each trial in the study of a search."""
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{sweep.path / 'study.db'}")
    return [(trial.number, trial.state.name, trial.value) for trial in study.trials]


@pytest.mark.slow(seconds=7)
def test_known_and_repeated_trials_cost_no_budget(ready):
    flags = (*QUICK, "num_epoch=2")
    grid = ("-m", "hydra/launcher=basic", *flags, "activation=relu,tanh")
    succeeded(lenet_train(*grid, outputs=ready))
    records_of_grid = records_of(only_sweep(ready))
    budget = ("search.pruner=none", "n_trials=6", "sweep.workers=1")
    line = ("-m", "hydra/sweeper=search", *flags, "activation=relu,tanh,selu", *budget)

    succeeded(lenet_train(*line, outputs=ready))

    sweep, _ = all_sweeps(ready)
    assert records_of(sweep).items() >= records_of_grid.items()  # not trained again
    plan = sweep.started().search
    assert plan is not None
    assert plan.trials == 6
    assert plan.epochs == 2  # those of selu
    trials = []
    for number, job in enumerate(sweep.jobs()):
        trials.append((number, "COMPLETE", job.folder.record().best_val_accuracy))
    assert stored_trials(sweep) == trials
    assert len(runs(client(ready))) == 3

    (sweep.path / "study.db").write_bytes(b"no database" * 100)
    rerun = succeeded(lenet_train(*line, outputs=ready))

    assert "study.db" in rerun.stderr
    assert (sweep.path / "study.db.damaged").exists()
    assert stored_trials(sweep) == trials
    assert records_of(sweep).items() >= records_of_grid.items()
    assert len(runs(client(ready))) == 3


@pytest.mark.slow(seconds=3)
def test_too_many_failed_trials_end_search(ready, main):
    line = (
        "n_trials=9",
        "sweep.workers=1",
        "sweep.time_limit=0.01",
        "sweep.max_failures=2",
        "num_epoch=2000",
    )

    done = search(ready, *line)

    assert done.returncode == 1
    trials = trials_of(ready)
    assert [trial.state for trial in trials] == ["FAIL", "FAIL"]
    for trial in trials:
        assert "0.01 s" in trial.attributes["reason"]
    status = main("status", program="sweep").stdout.splitlines()
    assert sum(line.endswith("time limit of 0.01 s") for line in status) == 2


def test_search_with_only_diverged_trials_exits_with_status_1(ready):
    line = ("n_trials=1", "optimizer.lr=1e29,1e30", "sweep.workers=1", "seeds=2", "confirm=1")
    done = lenet_train(*LINE, *line, outputs=ready)
    assert done.returncode == 1, done.stderr
    assert "lenet-train: " not in done.stderr


@pytest.mark.slow(seconds=1)
def test_exhausted_budget_starts_no_trial(ready):
    done = search(ready, "max_seconds=0.001", "sweep.workers=1")
    assert done.returncode in {0, 1}, done.stderr
    assert trials_of(ready) == []


@pytest.mark.slow(seconds=12)
def test_pareto_search_trains_no_network_above_size_limit(ready):
    space = (
        "model=lenet5,lenet_300_100,linear",
        "model.width=interval(0.1,1)",
        "model.pooling=max,average",
    )
    limits = ("search.max_parameters=20000", "search.objective=front", "search.cost=parameters")
    line = (*LINE, *space, *limits, "n_trials=6", "sweep.workers=1")

    done = succeeded(lenet_train(*line, outputs=ready))

    study = study_of(ready)
    sizes = []
    for trial, job in zip(study.trials, only_sweep(ready).jobs(), strict=True):
        record = job.folder.record()
        assert record is not None
        assert record.parameters is not None
        assert record.parameters <= 20_000
        assert trial.values == [record.best_val_accuracy, record.parameters]
        assert ("model.width" in trial.params) is (trial.params["model"] == "lenet5")
        sizes.append(record.parameters)
    assert len(sizes) == 6
    assert len(set(sizes)) > 2
    assert "lenet_300_100" not in {trial.params["model"] for trial in study.trials}
    models_in_front = {trial.params["model"] for trial in study.best_trials}
    assert "10,250 parameters" in done.stdout or "linear" not in models_in_front

    trials_before = trials_of(ready)
    assert lenet_train(*line, outputs=ready).returncode == 0
    assert trials_of(ready) == trials_before


@pytest.mark.slow(seconds=5)
def test_search_over_epochs_does_not_charge_inherited_epochs(ready):
    method = ("hydra/sweeper=search", "search.sampler=grid", "search.pruner=none")
    space = ("num_epoch=2,3,4,5", "activation=relu,selu")

    succeeded(lenet_train("-m", *QUICK, *method, *space, "sweep.workers=1", outputs=ready))

    records = [job.folder.record() for job in only_sweep(ready).jobs()]
    inherited = sum(record.inherited_epochs for record in records)
    assert inherited > 0
    assert sum(record.epochs for record in records) == 2 * (2 + 3 + 4 + 5)
    (parent,) = runs(client(ready), "sweep")
    assert parent.data.metrics["epochs"] == 28 - inherited
