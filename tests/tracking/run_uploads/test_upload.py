"""`upload_run` is idempotent: after any interruption, nothing is duplicated or lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mlflow import MlflowClient

from lenet_exp.files import write_json
from lenet_exp.folders.checkpoints import write_history
from lenet_exp.folders.records import Outcome, record_to_json
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.models.exporter import export_model
from lenet_exp.tracking.run_uploads import open_run
from lenet_exp.tracking.run_uploads.upload import RunUpload, upload_run
from lenet_exp.tracking.stores.store import Store
from tests.tools.stores import client, everything, files, models, points, runs


def cut(folder: RunFolder, epochs: int) -> None:
    """Reduce the run to its first epochs, as if it were still training."""
    history = folder.history()
    begun = folder.begun()
    write_history(folder.path, replace(history, epochs=history.epochs[:epochs]))
    write_json(folder.path / "job.json", record_to_json(begun.begun))
    (folder.path / "record.json").unlink(missing_ok=True)


def steps(store: MlflowClient, run_id: str) -> list[int]:
    """Return the steps at which a store has the validation loss of a run, in order."""
    return [step for step, _, _ in points(store, run_id)["val_loss"]]


def contents(folder: RunFolder) -> dict[str, str]:
    return {name: (folder.path / name).read_text() for name in ("history.json", "record.json")}


def put_back(folder: RunFolder, finished_files: dict[str, str]) -> None:
    """Restore the files of the finished run."""
    for name, content in finished_files.items():
        (folder.path / name).write_text(content)
    (folder.path / "job.json").unlink(missing_ok=True)


def upload(folder: RunFolder, store: Store, *, model: bool = False) -> str:
    """Upload the run, and return its MLflow run ID."""
    return upload_run(folder, store, RunUpload(export=export_model if model else None))


def restart(store: Store) -> Store:
    """Return the store as another process opens it."""
    return replace(store, seen=set())


@pytest.mark.parametrize("keeps_delivered", [True, False])
def test_repeated_upload_changes_nothing(folder, store, ready, keeps_delivered):
    run_id = upload(folder, store, model=True)
    store_before = everything(client(ready))
    if not keeps_delivered:
        (folder.path / "delivered.json").unlink()

    assert upload(folder, store, model=True) == run_id
    assert everything(client(ready)) == store_before
    assert len(runs(client(ready))) == 1
    assert len(models(client(ready))) == 1


def test_crash_after_creation_of_mlflow_run_creates_no_duplicate(folder, store, ready):
    run_id = open_run._create_run(folder, folder.begun(), store, [])  # then SIGKILL
    assert upload(folder, store) == run_id

    (run,) = runs(client(ready))
    assert run.info.status == "FINISHED"
    assert run.data.params["optimizer"] == "adam"
    assert len(run.inputs.dataset_inputs) == 2


def test_crash_between_points_and_delivered_json_creates_no_duplicates(folder, store, ready):
    finished_files = contents(folder)
    cut(folder, 1)
    run_id = upload(folder, store)
    assert client(ready).get_run(run_id).info.status == "RUNNING"
    assert files(client(ready), run_id) == {"config.yaml"}
    delivered_of_epoch_1 = (folder.path / "delivered.json").read_text()

    put_back(folder, finished_files)
    upload(folder, store)
    store_before = everything(client(ready))

    (folder.path / "delivered.json").write_text(delivered_of_epoch_1)
    assert upload(folder, store) == run_id
    assert everything(client(ready)) == store_before
    assert steps(client(ready), run_id) == [1, 2, 3]


def test_partial_model_upload_is_completed(folder, store, ready, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(store.client, "log_model_artifacts", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            upload(folder, store, model=True)
    upload(folder, store, model=True)

    (model,) = models(client(ready))
    (run,) = runs(client(ready))
    assert str(model.status) == "READY"
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize("command", ["", "''"])
def test_run_without_command_has_python_as_source(folder, store, ready, command):
    folder.finish(replace(folder.record(), command=command))
    run_id = upload(folder, store)
    assert client(ready).get_run(run_id).data.tags["mlflow.source.name"] == "python"


def test_killed_run_resumes_in_same_mlflow_run(folder, store, ready):
    finished_files = contents(folder)
    record = folder.record()
    cut(folder, 1)
    ended_ms = record.created_ms + 1
    folder.finish(
        replace(record, outcome=Outcome.killed, reason="SIGINT", epochs=1, ended_ms=ended_ms)
    )

    run_id = upload(folder, store, model=True)
    killed = client(ready).get_run(run_id)
    assert killed.info.status == "KILLED"
    assert killed.info.end_time == ended_ms
    assert killed.data.tags["outcome"] == "killed"
    assert killed.data.tags["reason"] == "SIGINT"
    assert "best_val_accuracy" not in points(client(ready), run_id)
    assert "best_epoch" not in points(client(ready), run_id)
    assert models(client(ready)) == []

    folder.resume()
    assert upload(folder, store, model=True) == run_id
    assert client(ready).get_run(run_id).info.status == "RUNNING"

    put_back(folder, finished_files)
    folder.finish(replace(record, resumed=1))
    assert upload(folder, restart(store), model=True) == run_id
    (run,) = runs(client(ready))
    assert run.info.status == "FINISHED"
    assert run.info.end_time == record.ended_ms
    assert run.data.tags["outcome"] == "finished"
    assert run.data.tags["reason"] == ""
    assert run.data.tags["resumed"] == "1"
    best_accuracies = points(client(ready), run_id)["best_val_accuracy"]
    assert best_accuracies == [(0, record.best_val_accuracy, record.ended_ms)]
    assert steps(client(ready), run_id) == [1, 2, 3]
    assert len(models(client(ready))) == 1


def test_run_that_could_not_be_reopened_ends_when_it_is_uploaded_again(
    folder, store, ready, monkeypatch
):
    run_id = upload(folder, store)
    finished_files = contents(folder)
    cut(folder, 1)

    update_run = store.client.update_run

    def lose_response(*arguments, **keywords):
        update_run(*arguments, **keywords)
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(store.client, "update_run", lose_response)
        with pytest.raises(ConnectionError):
            upload(folder, store)
    assert client(ready).get_run(run_id).info.status == "RUNNING"

    put_back(folder, finished_files)
    assert upload(folder, store) == run_id
    assert client(ready).get_run(run_id).info.status == "FINISHED"


def test_run_that_starts_over_closes_old_mlflow_run_and_gets_new(folder, store, ready):
    finished_files = contents(folder)
    cut(folder, 1)
    old_id = upload(folder, store, model=True)
    begun = folder.begun()
    folder.start(replace(begun, created_ms=begun.created_ms + 1))
    new_id = upload(folder, store, model=True)

    old_run = client(ready).get_run(old_id)
    assert old_run.info.status == "KILLED"
    assert old_run.data.tags["outcome"] == "killed"
    new_run = client(ready).get_run(new_id)
    assert new_run.info.status == "RUNNING"
    assert "outcome" not in new_run.data.tags
    assert {run.info.run_id for run in runs(client(ready))} == {old_id, new_id}

    put_back(folder, finished_files)
    folder.finish(replace(folder.record(), created_ms=begun.created_ms + 1))
    assert upload(folder, store) == new_id
    assert steps(client(ready), new_id) == [1, 2, 3]
    (entry,) = folder.delivered().mlflow_runs
    assert entry.run_id == new_id
    assert entry.abandoned == [old_id]
