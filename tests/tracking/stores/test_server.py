"""Sweeps and runs with a real MLflow server over REST."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient

import lenet_exp
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.training.trained.weights import weights_digest
from tests.tools.commands import SECRET, SMALL, lenet_train
from tests.tools.stores import everything, files, models, points, runs
from tests.tracking.stores.test_store import leaks

LINE = (*SMALL, "num_epoch=2", "num_threads=1")
SWEEP = ("-m", "hydra/launcher=basic", *LINE)
TAGS = {"number": ("1", "1"), "yes": ("true", "true"), "list": ("[1,2]", "[1, 2]"), "no": ("null", "null")}


def ended(outputs):
    """Return the end time of each run of an outputs folder by seed."""
    records = [RunFolder(path).record() for path in (outputs / "runs").iterdir()]
    return {record.config.seed: record.ended_ms for record in records}


@pytest.mark.by_hand  # test_postgres.py tests sweeps over REST, too
def test_runs_on_shared_server_are_not_trained_again_elsewhere(server, tmp_path):
    store, experiment = MlflowClient(server[1]), "rest"
    to = (f"tracking.uri={server[1]}", f"tracking.experiment={experiment}")
    tags = [f"+tracking.tags.{name}={typed}" for name, (typed, _) in TAGS.items()]
    done = lenet_train(*SWEEP, "seed=0,1", *tags, *to, outputs=tmp_path / "theirs")
    assert done.returncode == 0, done.stderr
    assert "lenet-sync" not in done.stderr
    (parent,), children = runs(store, "sweep", experiment), runs(store, "run", experiment)
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 3
    for run in (parent, *children):
        assert {name: run.data.tags[name] for name in TAGS} == {name: shown for name, (_, shown) in TAGS.items()}
    for run in children:
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert files(store, run.info.run_id) >= {"config.yaml", "record.json", "run.log", "learning_curves.png"}
    assert {m.source_run_id for m in models(store, experiment)} == {run.info.run_id for run in children}
    assert lenet_exp.load(f"runs:/{children[0].info.run_id}", tracking_uri=server[1]).training is False

    before = everything(store, experiment)
    assert lenet_train(*SWEEP, "seed=0,1", *tags, *to, outputs=tmp_path / "theirs").returncode == 0
    after = everything(store, experiment)
    counts = before.pop(parent.info.run_id)[4], after.pop(parent.info.run_id)[4]  # points of the parent run
    assert after == before
    assert all(counts[0].values())
    # one more point for the start that trained nothing
    assert {len(points) - len(counts[0][name]) for name, points in counts[1].items()} == {1}

    # Another outputs folder, as on another machine, adopts the result, adds it to its sweep, and loads its model.
    mine = tmp_path / "mine"
    assert lenet_train(*LINE, "seed=0", *to, f"model_path={tmp_path / 'one'}", outputs=mine).returncode == 0
    assert len(list((tmp_path / "one").glob("*.safetensors"))) == len(runs(store, "run", experiment)) - 1 == 1
    done = lenet_train(*SWEEP, "seed=0,1,2", *to, f"model_path={tmp_path / 'models'}", outputs=mine)
    assert done.returncode == 0, done.stderr
    assert ended(tmp_path / "theirs").items() < ended(mine).items()
    found = runs(store, "run", experiment)
    first, second = (run.info.run_id for run in runs(store, "sweep", experiment))
    known = {run.info.run_id: f"{first},{second}" for run in children}
    assert [run.data.tags["sweeps"] for run in found] == [known.get(run.info.run_id, second) for run in found]
    assert len(found) == 3
    digests = {weights_digest(lenet_exp.load(str(f)).state_dict()) for f in (tmp_path / "models").iterdir()}
    assert digests == {run.data.tags["weights_digest"] for run in found}


@pytest.mark.by_hand  # tests/sweeps/test_sync.py tests the same for a sweep
def test_rerun_uploads_results_that_server_missed(server, proxy, tmp_path):
    store, outputs = MlflowClient(server[1]), tmp_path / "outputs"
    uri = f"tracking.uri={proxy.address.replace('//', f'//someone:{SECRET}@')}"
    proxy.set("refuse")
    away = lenet_train(*LINE, uri, "tracking.experiment=away", outputs=outputs)
    assert (away.returncode, "lenet-sync" in away.stderr) == (0, True), away.stderr
    proxy.set("pass")
    back = lenet_train(*LINE, uri, "tracking.experiment=away", outputs=outputs)
    assert (back.returncode, "lenet-sync" in back.stderr) == (0, False), back.stderr
    (run,) = runs(store, experiment="away")
    assert run.info.status == "FINISHED"
    assert run.info.end_time in ended(outputs).values()
    assert [step for step, _, _ in points(store, run.info.run_id)["val_accuracy"]] == [1, 2]
    assert "record.json" in files(store, run.info.run_id)
    shown = [str(everything(store, "away")), away.stdout, away.stderr, back.stdout, back.stderr]
    assert [text for text in shown if SECRET in text] == []
    assert leaks(tmp_path) == []
