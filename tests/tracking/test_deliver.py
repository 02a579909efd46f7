"""`deliver` may be called at any time, after any accident: nothing is doubled, nothing is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lenet_exp.api import compose
from lenet_exp.sweeps.run_folder import RunFolder
from lenet_exp.tracking import deliver as delivery
from lenet_exp.tracking.deliver import deliver
from lenet_exp.tracking.store import Store, open_store
from tests.commands import SMALL, lenet_train
from tests.stores import client, everything, files, models, points, runs
from tests.tracking.conftest import Tracked


@pytest.fixture
def store(ready: Path) -> Store:
    return open_store(compose().tracking)


@pytest.fixture
def folder(tracked: Tracked, ready: Path) -> RunFolder:
    """The finished run, of which this store has nothing."""
    copy = Path(shutil.copytree(tracked.folder.path, ready / "runs" / tracked.folder.id))
    (copy / "delivered.json").unlink()
    return RunFolder(copy)


def cut(folder: RunFolder, epochs: int) -> None:
    """As if only so many epochs had been trained until now."""
    history = folder.history()
    history["epochs"] = history["epochs"][:epochs]
    (folder.path / "history.json").write_text(json.dumps(history))
    (folder.path / "record.json").unlink(missing_ok=True)


def test_again_it_changes_nothing(folder, store, ready):
    run_id = deliver(folder, store)
    before = everything(client(ready))
    assert deliver(folder, store) == run_id
    assert everything(client(ready)) == before
    assert len(runs(client(ready))) == 1
    assert len(models(client(ready))) == 1


def test_without_its_own_notes_it_finds_the_run_again_and_doubles_nothing(folder, store, ready):
    run_id = deliver(folder, store)
    before = everything(client(ready))
    (folder.path / "delivered.json").unlink()
    assert deliver(folder, store) == run_id
    assert everything(client(ready)) == before


def test_a_crash_right_after_the_run_was_created(folder, store, ready):
    created = delivery._create_run(folder, folder.job(), store)  # then kill -9
    assert deliver(folder, store) == created
    (run,) = runs(client(ready))
    assert run.info.status == "FINISHED"
    assert run.data.params["optimizer"] == "adam"
    assert len(run.inputs.dataset_inputs) == 2


def test_a_crash_after_the_points_and_before_the_note_of_it(folder, store, ready):
    whole = {name: (folder.path / name).read_text() for name in ("history.json", "record.json")}
    cut(folder, 1)
    run_id = deliver(folder, store)
    noted = (folder.path / "delivered.json").read_text()
    for name, content in whole.items():
        (folder.path / name).write_text(content)
    deliver(folder, store)
    before = everything(client(ready))
    (folder.path / "delivered.json").write_text(noted)  # as it was before epochs 2 and 3 were sent
    assert deliver(folder, store) == run_id
    assert everything(client(ready)) == before
    assert [step for step, _, _ in points(client(ready), run_id)["val_loss"]] == [1, 2, 3]


def test_a_half_sent_model_is_completed(folder, store, ready, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(store.client, "log_model_artifacts", _away)
        with pytest.raises(ConnectionError):
            deliver(folder, store)
    deliver(folder, store)
    (model,) = models(client(ready))
    (run,) = runs(client(ready))
    assert str(model.status) == "READY"
    assert [o.model_id for o in run.outputs.model_outputs] == [model.model_id]
    assert run.info.status == "FINISHED"


def _away(*_: object) -> None:
    raise ConnectionError("the store went away")


def test_what_is_committed_is_seen_while_the_run_trains(folder, store, ready):
    record = (folder.path / "record.json").read_text()
    history = (folder.path / "history.json").read_text()
    for epochs in (1, 2):
        (folder.path / "history.json").write_text(history)
        cut(folder, epochs)
        run_id = deliver(folder, store)
        (run,) = runs(client(ready))
        assert run.info.status == "RUNNING"
        assert [step for step, _, _ in points(client(ready), run_id)["train_loss"]] == list(range(1, epochs + 1))
        assert files(client(ready), run_id) == {"config.yaml"}
    (folder.path / "history.json").write_text(history)
    (folder.path / "record.json").write_text(record)
    assert deliver(folder, store) == run_id
    assert client(ready).get_run(run_id).info.status == "FINISHED"
    assert [step for step, _, _ in points(client(ready), run_id)["train_loss"]] == [1, 2, 3]


def test_the_model_can_follow_later(folder, store, ready):
    run_id = deliver(folder, store, model=False)
    assert models(client(ready)) == []
    before = client(ready).get_run(run_id)
    assert before.info.status == "FINISHED"
    assert deliver(folder, store, model=True) == run_id
    (model,) = models(client(ready))
    assert model.source_run_id == run_id
    after = client(ready).get_run(run_id)
    assert (after.info.status, after.info.end_time) == (before.info.status, before.info.end_time)
    assert points(client(ready), run_id)["best_val_accuracy"] == [
        (0, folder.record()["best_val_accuracy"], folder.record()["ended_ms"])
    ]


def test_a_run_belongs_to_every_sweep_that_asked_for_it_and_is_nested_under_the_first(folder, store, ready):
    first, second = (store.client.create_run(store.experiment_id).info.run_id for _ in range(2))
    deliver(folder, store)
    deliver(folder, store, parent=first)
    deliver(folder, store, parent=second)
    deliver(folder, store, parent=second)
    (run,) = runs(client(ready))
    assert run.data.tags["mlflow.parentRunId"] == first
    assert run.data.tags["sweeps"].split(",") == [first, second]


def test_a_run_that_somebody_deleted_in_mlflow_is_delivered_anew(folder, store, ready):
    old = deliver(folder, store)
    store.client.delete_run(old)
    new = deliver(folder, store)
    (run,) = runs(client(ready))
    assert run.info.run_id == new != old
    assert run.info.status == "FINISHED"


def test_two_stores_get_the_run_once_each(folder, store, ready, tmp_path, empty_store):
    other = Path(shutil.copytree(empty_store, tmp_path / "other"))
    second = open_store(compose([f"tracking.uri=sqlite:///{other / 'mlflow.db'}"]).tracking)
    ids = [deliver(folder, where) for where in (store, second, store, second)]
    assert ids[:2] == ids[2:]
    assert [len(runs(client(where))) for where in (ready, other)] == [1, 1]


def test_a_deleted_database_is_filled_again_without_training(ready):
    line = (*SMALL, "num_epoch=1", "tracking.plots=false")
    assert lenet_train(*line, outputs=ready).returncode == 0
    (folder,) = (ready / "runs").iterdir()
    trained = (folder / "history.json").stat().st_mtime_ns
    first = points(client(ready), runs(client(ready))[0].info.run_id)
    (ready / "mlflow.db").unlink()
    again = lenet_train(*line, outputs=ready)
    assert again.returncode == 0, again.stderr
    assert "trained before" in again.stdout
    (run,) = runs(client(ready))
    assert points(client(ready), run.info.run_id) == first
    assert run.info.status == "FINISHED"
    assert len(models(client(ready))) == 1
    assert (folder / "history.json").stat().st_mtime_ns == trained
