"""`upload_run` is idempotent: after any interruption, nothing is duplicated or lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

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
    history, begun = folder.history(), folder.begun()
    write_history(folder.path, replace(history, epochs=history.epochs[:epochs]))
    write_json(folder.path / "job.json", record_to_json(begun.begun))
    (folder.path / "record.json").unlink(missing_ok=True)


def contents(folder: RunFolder) -> dict[str, str]:
    return {name: (folder.path / name).read_text() for name in ("history.json", "record.json")}


def put_back(folder: RunFolder, whole: dict[str, str]) -> None:
    """Restore the files of the finished run."""
    for name, content in whole.items():
        (folder.path / name).write_text(content)
    (folder.path / "job.json").unlink(missing_ok=True)


def upload(folder: RunFolder, store: Store, *, model: bool = False) -> str:
    """Upload the run, and return its MLflow run ID."""
    return upload_run(folder, store, RunUpload(export=export_model if model else None))


def restart(store: Store) -> Store:
    """Return the store as another process opens it."""
    return replace(store, seen=set())


@pytest.mark.parametrize("notes", ["with delivered.json", "without"])
def test_repeated_upload_changes_nothing(folder, store, ready, notes):
    run_id = upload(folder, store, model=True)
    before = everything(client(ready))
    if notes == "without":
        (folder.path / "delivered.json").unlink()
    assert upload(folder, store, model=True) == run_id
    assert everything(client(ready)) == before
    assert len(runs(client(ready))) == 1
    assert len(models(client(ready))) == 1


def test_crash_after_creation_of_mlflow_run_creates_no_duplicate(folder, store, ready):
    created = open_run._create_run(folder, folder.begun(), store, [])  # then SIGKILL
    assert upload(folder, store) == created
    (run,) = runs(client(ready))
    assert run.info.status == "FINISHED"
    assert run.data.params["optimizer"] == "adam"
    assert len(run.inputs.dataset_inputs) == 2


def test_crash_between_points_and_delivered_json_creates_no_duplicates(folder, store, ready):
    whole = contents(folder)
    cut(folder, 1)
    run_id = upload(folder, store)
    assert client(ready).get_run(run_id).info.status == "RUNNING"
    assert files(client(ready), run_id) == {"config.yaml"}
    noted = (folder.path / "delivered.json").read_text()
    put_back(folder, whole)
    upload(folder, store)
    before = everything(client(ready))
    (folder.path / "delivered.json").write_text(noted)  # as before the upload of epochs 2 and 3
    assert upload(folder, store) == run_id
    assert everything(client(ready)) == before
    assert [step for step, _, _ in points(client(ready), run_id)["val_loss"]] == [1, 2, 3]


def test_partial_model_upload_is_completed(folder, store, ready, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(store.client, "log_model_artifacts", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            upload(folder, store, model=True)
    upload(folder, store, model=True)
    (model,) = models(client(ready))
    (run,) = runs(client(ready))
    assert str(model.status) == "READY"
    assert [o.model_id for o in run.outputs.model_outputs] == [model.model_id]
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize("command", ["", "''"])
def test_run_without_command_has_python_as_source(folder, store, ready, command):
    folder.finish(replace(folder.record(), command=command))
    run_id = upload(folder, store)
    assert client(ready).get_run(run_id).data.tags["mlflow.source.name"] == "python"


def test_killed_run_resumes_in_same_mlflow_run(folder, store, ready):
    whole, record = contents(folder), folder.record()
    cut(folder, 1)
    ended_ms = record.created_ms + 1
    folder.finish(
        replace(record, outcome=Outcome.killed, reason="SIGINT", epochs=1, ended_ms=ended_ms)
    )
    run_id = upload(folder, store, model=True)
    killed = client(ready).get_run(run_id)
    assert (killed.info.status, killed.info.end_time) == ("KILLED", ended_ms)
    assert (killed.data.tags["outcome"], killed.data.tags["reason"]) == ("killed", "SIGINT")
    assert set(points(client(ready), run_id)) & {"best_val_accuracy", "best_epoch"} == set()
    assert models(client(ready)) == []
    folder.resume()
    assert upload(folder, store, model=True) == run_id
    assert client(ready).get_run(run_id).info.status == "RUNNING"
    put_back(folder, whole)
    folder.finish(replace(record, resumed=1))
    assert upload(folder, restart(store), model=True) == run_id
    (run,) = runs(client(ready))
    assert (run.info.status, run.info.end_time) == ("FINISHED", record.ended_ms)
    assert [run.data.tags[name] for name in ("outcome", "reason", "resumed")] == [
        "finished",
        "",
        "1",
    ]
    logged = points(client(ready), run_id)
    assert [step for step, _, _ in logged["val_loss"]] == [1, 2, 3]
    assert logged["best_val_accuracy"] == [(0, record.best_val_accuracy, record.ended_ms)]
    assert len(models(client(ready))) == 1


def test_run_that_could_not_be_reopened_ends_when_it_is_uploaded_again(
    folder, store, ready, monkeypatch
):
    run_id = upload(folder, store)
    whole = contents(folder)
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

    put_back(folder, whole)
    assert upload(folder, store) == run_id
    assert client(ready).get_run(run_id).info.status == "FINISHED"


def test_run_that_starts_over_closes_old_mlflow_run_and_gets_new(folder, store, ready):
    whole = contents(folder)
    cut(folder, 1)
    before, begun = upload(folder, store, model=True), folder.begun()
    folder.start(replace(begun, created_ms=begun.created_ms + 1))
    after = upload(folder, store, model=True)
    states = {
        run.info.run_id: (run.info.status, run.data.tags.get("outcome"))
        for run in runs(client(ready))
    }
    assert states == {before: ("KILLED", "killed"), after: ("RUNNING", None)}
    put_back(folder, whole)
    folder.finish(replace(folder.record(), created_ms=begun.created_ms + 1))
    assert upload(folder, store) == after
    assert [step for step, _, _ in points(client(ready), after)["val_loss"]] == [1, 2, 3]
    (entry,) = folder.delivered().mlflow_runs
    assert (entry.run_id, entry.abandoned) == (after, [before])
