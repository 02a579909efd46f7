"""Users who reuse runs, and the tags of a rerun, are added to MLflow and to the list of sweeps."""

from __future__ import annotations

import json

import pytest

from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.ui.links import experiment_links, sweep_links
from tests.searches.searched import only_sweep
from tests.tools.commands import SMALL, lenet_train
from tests.tools.stores import client, runs

RUN = (
    *SMALL,
    "dataset.train_size=96",
    "num_epoch=1",
    "num_threads=1",
    "tracking.plots=false",
    "tracking.models=none",
)
SWEEP = ("-m", "hydra/launcher=basic", *RUN, "seed=0,1")
TAGGED = (*SWEEP, "tracking.tags.note=second", "tracking.tags.paper.figure=2")


@pytest.fixture
def shared(ready):
    """An outputs folder with a sweep of ada, which grace reran with another tag, and of which eve
    reran one run.
    """
    commands = (
        ("ada", (*SWEEP, "tracking.tags.note=first")),
        ("grace", TAGGED),
        ("grace", TAGGED),
        ("eve", (*RUN, "seed=0")),
    )
    for user, arguments in commands:
        done = lenet_train(*arguments, outputs=ready, LOGNAME=user)
        assert done.returncode == 0
    return ready


def test_users_and_tags_are_added(shared, main):
    store = client(shared)
    users_by_seed = {run.data.params["seed"]: run.data.tags["users"] for run in runs(store)}
    assert users_by_seed == {"0": "ada,grace,eve", "1": "ada,grace"}
    assert {run.data.tags["mlflow.user"] for run in runs(store)} == {"ada"}

    (sweep,) = runs(store, "sweep")
    assert sweep.data.tags["users"] == "ada,grace"
    assert sweep.data.tags["note"] == "second"
    assert sweep.data.tags["paper.figure"] == "2"
    assert only_sweep(shared).started().starts == 2  # the third command changed nothing

    for flag in ("user=ada", "user=grace", "tag=note=second", "tag=paper.figure", "model=lenet5"):
        assert only_sweep(shared).id in main("list", flag, program="sweep").stdout
    for flag in ("user=eve", "tag=note=first", "tag=other", "model=linear"):
        assert main("list", flag, program="sweep").returncode == 2
    query = "filter=tags.users LIKE '%eve%' and params.model = 'lenet5'"
    compared = main(query, program="compare")
    assert compared.stdout.startswith("digits: 1 run,")

    experiment = sweep.info.experiment_id
    sweep_links(store, "http://x", sweep)
    experiment_links(store, "http://x", experiment)
    tags = store.get_experiment(experiment).tags
    for view in (f"sweep-{sweep.info.run_id[:12]}", "all-runs"):
        view_state = json.loads(tags[f"mlflow.sharedViewState.{view}"])
        columns = set(view_state["selectedColumns"])
        assert {"params.`model`", "tags.`users`", "tags.`note`"} <= columns

    any_run = next((shared / "runs").iterdir())
    (entry,) = RunFolder(any_run).delivered().mlflow_runs
    assert entry.users[:2] == ["ada", "grace"]


def test_sync_by_another_user_keeps_users(shared, main, monkeypatch):
    store = client(shared)
    for run in (*runs(store), *runs(store, "sweep")):
        store.delete_run(run.info.run_id)
    monkeypatch.setenv("LOGNAME", "bob")

    assert main(program="sync").returncode == 0

    assert {run.data.tags["users"] for run in runs(store)} == {"ada"}
    (sweep,) = runs(store, "sweep")
    assert sweep.data.tags["users"] == "ada,grace"
    assert sweep.data.tags["mlflow.user"] == "ada"
