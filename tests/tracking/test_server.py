"""A real MLflow server over REST: slower than a file, away at times, and stricter about types."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

import lenet_exp
from lenet_exp.training.weights import weights_digest
from tests.commands import SECRET, SMALL, end, free_port, mlflow_server, start
from tests.stores import everything, files, models, points, runs
from tests.tracking.test_store import leaks

pytestmark = pytest.mark.slow(seconds=18)

LINE = (*SMALL, "num_epoch=2", "num_threads=1")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with mlflow_server(tmp_path_factory.mktemp("server"), free_port()) as address:
        yield address


def test_a_sweep_over_rest_with_tags_that_are_no_strings(server, tmp_path):
    tags = ("+tracking.tags.number=1", "+tracking.tags.yes=true", "+tracking.tags.list=[1,2]", "+tracking.tags.no=null")
    line = ("-m", *LINE, "seed=0,1", *tags, f"tracking.uri={server}")
    done = end(start(*line, outputs=tmp_path))
    assert done.returncode == 0, done.stderr
    assert "can't be written" not in done.stderr
    store = MlflowClient(server)
    (parent,) = runs(store, "sweep")
    children = runs(store)
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 3
    for run in (parent, *children):
        assert {n: run.data.tags[n] for n in ("number", "yes", "list", "no")} == {
            "number": "1",
            "yes": "true",
            "list": "[1, 2]",
            "no": "null",
        }
    for run in children:
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert files(store, run.info.run_id) >= {"config.yaml", "record.json", "run.log", "learning_curves.png"}
    assert {m.source_run_id for m in models(store)} == {run.info.run_id for run in children}
    assert lenet_exp.load(f"runs:/{children[0].info.run_id}", tracking_uri=server).training is False
    before = everything(store)
    again = end(start(*line, outputs=tmp_path))
    assert again.returncode == 0, again.stderr
    after = everything(store)
    parent_before = before.pop(parent.info.run_id)
    assert set(after) == {*before, parent.info.run_id}  # the same parent
    assert {k: v for k, v in after.items() if k in before} == before
    counts = parent_before[4], after[parent.info.run_id][4]
    assert all(points for points in counts[0].values())
    # one more, of the start that trained none
    assert {len(points) - len(counts[0][name]) for name, points in counts[1].items()} == {1}


def test_what_others_finished_in_a_shared_store_is_not_trained_again(server, tmp_path):
    """Another outputs folder, as on another machine: the result, its place under the new parent, and its model."""
    line = (*LINE, "seed=10,11", f"tracking.uri={server}", "tracking.experiment=shared")
    assert end(start("-m", *line, outputs=tmp_path / "theirs")).returncode == 0
    store = MlflowClient(server)
    before = {run.info.run_id: run.data.tags["weights_digest"] for run in runs(store, experiment="shared")}
    models_at = tmp_path / "models"
    done = end(start("-m", *line, "seed=10,11,12", f"model_path={models_at}", outputs=tmp_path / "mine"))
    assert done.returncode == 0, done.stderr
    assert "2 runs had been finished by others in this store" in done.stderr
    assert "3 runs: 3 finished; 1 trained (2 had been trained before)" in done.stdout
    after = runs(store, experiment="shared")
    assert len(after) == 3
    first, second = (run.info.run_id for run in runs(store, "sweep", experiment="shared"))
    for run in after:
        both = run.info.run_id in before
        assert run.data.tags["sweeps"] == (f"{first},{second}" if both else second)
    found = {weights_digest(lenet_exp.load(str(file)).state_dict()) for file in models_at.glob("*.safetensors")}
    assert found == {run.data.tags["weights_digest"] for run in after}


def test_a_single_run_that_others_finished_is_not_trained_again(server, tmp_path):
    line = (*LINE, f"tracking.uri={server}", "tracking.experiment=alone")
    assert end(start(*line, outputs=tmp_path / "theirs")).returncode == 0
    (before,) = runs(MlflowClient(server), experiment="alone")
    done = end(start(*line, f"model_path={tmp_path / 'models'}", outputs=tmp_path / "mine"))
    assert done.returncode == 0, done.stderr
    assert "trained before" in done.stdout
    assert [run.info.run_id for run in runs(MlflowClient(server), experiment="alone")] == [before.info.run_id]
    assert len(list((tmp_path / "models").glob("*.safetensors"))) == 1


def test_what_was_trained_while_the_server_was_away_is_delivered_by_the_same_line(tmp_path):
    outputs, port = tmp_path / "outputs", free_port()
    line = (*LINE, f"tracking.uri=http://someone:{SECRET}@127.0.0.1:{port}")
    away = end(start(*line, outputs=outputs))
    assert away.returncode == 0, away.stderr
    assert away.stderr.count("can't be written") == 1
    with mlflow_server(tmp_path / "server", port) as address:
        back = end(start(*line, outputs=outputs))
        assert back.returncode == 0, back.stderr
        assert "trained before" in back.stdout
        assert "can't be written" not in back.stderr
        store = MlflowClient(address)
        (run,) = runs(store)
        assert run.info.status == "FINISHED"
        assert [step for step, _, _ in points(store, run.info.run_id)["val_accuracy"]] == [1, 2]
        shown = [str(everything(store)), away.stdout, away.stderr, back.stdout, back.stderr]
        assert [text for text in shown if SECRET in text] == []
        fetched = Path(store.download_artifacts(run.info.run_id, "", str(tmp_path)))
        assert "record.json" in {path.name for path in fetched.iterdir()}
    assert leaks(tmp_path) == []


def test_a_server_that_goes_away_in_the_middle_costs_one_warning(tmp_path):
    outputs, port = tmp_path / "outputs", free_port()
    line = (*SMALL, "num_epoch=40", "num_threads=1", f"tracking.uri=http://someone:{SECRET}@127.0.0.1:{port}")
    with mlflow_server(tmp_path / "server", port):
        process = start(*line, outputs=outputs)
        first = next(text for text in process.stderr if text.startswith("epoch 1/"))
        assert "validation" in first
    done = end(process)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("can't be written") == 1
    assert "Traceback" not in done.stderr
    assert "best validation accuracy" in done.stdout
    assert leaks(outputs) == []
    with mlflow_server(tmp_path / "server", port) as address:
        assert end(start(*line, outputs=outputs)).returncode == 0
        (run,) = runs(MlflowClient(address))
        assert run.info.status == "FINISHED"
        logged = points(MlflowClient(address), run.info.run_id)
        assert [step for step, _, _ in logged["val_loss"]] == list(range(1, 41))
