"""The params, metrics, tags, inputs and artifacts of a run in MLflow, and the params of a sweep."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.image import imread
from mlflow import MlflowClient
from omegaconf import OmegaConf

from lenet_exp.config.compose import typed
from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.config.tags import is_own
from lenet_exp.folders.records import Record, record_from_json, record_to_json
from lenet_exp.folders.sweep_plan import SearchPlan, SweepPlan
from lenet_exp.machine import git_state, host, versions
from lenet_exp.runs.jobs import freeze_jobs
from lenet_exp.tracking.run_uploads.class_accuracy import class_points, metric_names
from lenet_exp.tracking.sweep_runs.parent import swept_params
from tests.tools.commands import SMALL, lenet_train
from tests.tools.configs import compose
from tests.tools.stores import client, files, points, runs
from tests.tracking.conftest import ITERATIONS, Tracked

EPOCHS = 3
PER_EPOCH = {
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "lr",
    "epoch_seconds",
    "images_per_second",
}


def artifact(tracked: Tracked, name: str, to: Path) -> Path:
    return Path(tracked.store.download_artifacts(tracked.run.info.run_id, name, str(to)))


def test_params_are_flags_with_an_effect(tracked):
    params = tracked.run.data.params
    shown = {
        "dataset": "digits",
        "dataset.val_size": "250",
        "dataset.train_size": "null",
        "activation": "selu",
    }
    shown |= {
        "optimizer": "adam",
        "optimizer.lr": "0.002",
        "optimizer.betas": "[0.9, 0.999]",
        "optimizer.eps": "1e-08",
    }
    shown |= {
        "optimizer.amsgrad": "false",
        "schedule.shape": "constant",
        "augmentation.flip": "0.0",
    }
    shown |= {
        "training.patience": "null",
        "num_epoch": "3",
        "parameters": "61706",
        "multiply_adds": "416520",
    }
    shown |= {"engine": tracked.folder.record().engine}
    assert shown.items() <= params.items()
    assert len(params) == 49
    assert (
        not {"optimizer.momentum", "augmentation.erase_size", "training.min_delta"} & params.keys()
    )


def test_metrics_contain_exactly_epochs_of_checkpoints(tracked):
    logged = points(tracked.store, tracked.run.info.run_id)
    of_classes = {f"val_accuracy_{digit}" for digit in range(10)}
    assert (
        set(logged)
        == PER_EPOCH
        | {"step_loss", "best_val_accuracy", "best_epoch", "seconds_to_best"}
        | of_classes
    )
    epochs = tracked.folder.history().epochs
    assert [e.epoch for e in epochs] == [1, 2, 3]
    for name in PER_EPOCH:
        assert logged[name] == [(e.epoch, getattr(e, name), e.time_ms) for e in epochs]
    assert [step for step, _, _ in logged["step_loss"]] == list(
        range(30, EPOCHS * ITERATIONS + 1, 30)
    )
    assert logged["step_loss"] == sorted(point for e in epochs for point in e.step_losses)


def test_best_epoch_and_accuracy_are_logged_once(tracked):
    logged = points(tracked.store, tracked.run.info.run_id)
    accuracies = [value for _, value, _ in logged["val_accuracy"]]
    ((_, best, _),), ((_, epoch, _),) = logged["best_val_accuracy"], logged["best_epoch"]
    assert (best, epoch) == (max(accuracies), accuracies.index(max(accuracies)) + 1)
    ((_, seconds, _),) = logged["seconds_to_best"]
    assert seconds == pytest.approx(
        sum(value for _, value, _ in logged["epoch_seconds"][: int(epoch)]), abs=0.001
    )
    matrix = tracked.folder.record().confusion_matrix
    assert sum(map(sum, matrix)) == 250
    assert sum(matrix[i][i] for i in range(10)) / 250 == best


def test_tags_contain_identity_outcome_and_versions(tracked):
    record, tags = tracked.folder.record(), tracked.run.data.tags
    assert tags["kind"] == "run"
    assert tags["fingerprint"] == record.fingerprint
    assert tags["weights_digest"] == record.weights_digest
    assert tags["outcome"] == "finished"
    assert tags["host"] == host()
    assert {name: tags.get(f"version.{name}") for name in versions()} == versions()
    assert {name: tags.get(name) for name in git_state()} == git_state()
    assert tags["run_folder"] == tracked.folder.id
    assert (tags["mlflow.source.name"], tags["command"]) == ("lenet-train", record.command)
    info = tracked.run.info
    assert (info.status, info.run_name) == ("FINISHED", "digits selu adam")
    assert (info.start_time, info.end_time) == (record.created_ms, record.ended_ms)


def test_user_tags_with_or_without_plus_are_logged_as_strings(tracked):
    tags = tracked.run.data.tags
    assert (tags["x"], tags["note"], tags["checked"]) == ("1", "first", "true")
    assert {type(value) for value in tags.values()} == {str}
    assert {name for name in tags if not is_own(name)} == {"x", "note", "checked"}
    assert "stopped_early" not in tags


def test_inputs_are_training_and_validation_splits_with_digests(tracked):
    digests = tracked.folder.record().data_digests
    inputs = {i.tags[0].value: i.dataset for i in tracked.run.inputs.dataset_inputs}
    assert {name: (d.name, d.digest) for name, d in inputs.items()} == {
        "training": ("digits", digests["train"][:36]),
        "validation": ("digits", digests["validation"][:36]),
    }
    assert {json.loads(d.source)["uri"] for d in inputs.values()} == {
        "sklearn.datasets.load_digits"
    }


def test_artifacts_contain_config_record_log_and_figures(tracked, tmp_path):
    pictures = {"learning_curves.svg", "confusion_matrix.svg", "mistakes.png"}
    texts = {"config.yaml", "record.json", "run.log"}
    assert files(tracked.store, tracked.run.info.run_id) == texts | pictures
    record = tracked.folder.record()
    assert json.loads(artifact(tracked, "record.json", tmp_path).read_text()) == record_to_json(
        record
    )
    config = typed(OmegaConf.load(artifact(tracked, "config.yaml", tmp_path)))
    # identifies the same experiment
    assert fingerprint(config, record.data_digests) == record.fingerprint
    height, width, _ = imread(artifact(tracked, "mistakes.png", tmp_path)).shape
    assert height >= 350
    assert width >= 700
    for name, written in (
        ("learning_curves.svg", "training (running mean)"),
        ("confusion_matrix.svg", "predicted"),
    ):
        assert written in artifact(tracked, name, tmp_path).read_text()


def test_disabled_plots_and_models_are_not_logged(ready):
    done = lenet_train(
        *SMALL, "num_epoch=1", "tracking.plots=false", "tracking.models=none", outputs=ready
    )
    assert done.returncode == 0, done.stderr
    store = client(ready)
    (run,) = runs(store)
    assert files(store, run.info.run_id) == {"config.yaml", "record.json", "run.log"}
    assert list((ready / "runs").rglob("*.png")) == []
    assert store.search_logged_models([run.info.experiment_id]) == []
    assert (run.info.status, run.data.tags["outcome"]) == ("FINISHED", "finished")


def test_diverged_run_keeps_results_of_earlier_epochs(ready):
    # A step multiplies the weights by 1 - lr * weight_decay = -1.01: the loss overflows in the
    # second epoch.
    grows = ("optimizer.lr=0.01", "optimizer.momentum=0", "regularization.weight_decay=201")
    done = lenet_train(*SMALL, *grows, "num_epoch=4", outputs=ready)
    assert done.returncode == 1
    (folder,) = (ready / "runs").iterdir()
    record = json.loads((folder / "record.json").read_text())
    # epoch and iteration of the divergence
    assert re.search(r"(nan|inf).* 2\D+\d\d$", record["reason"])
    assert str(folder / "run.log") in done.stdout
    store = client(ready)
    (run,) = runs(store)
    assert run.info.status == "FAILED"
    assert (run.data.tags["outcome"], run.data.tags["reason"]) == ("diverged", record["reason"])
    assert run.data.metrics["best_val_accuracy"] == record["best_val_accuracy"]
    assert "val_accuracy_0" in run.data.metrics
    assert "mistakes.png" in files(store, run.info.run_id)
    assert [step for step, _, _ in points(store, run.info.run_id)["val_accuracy"]] == [1]
    assert not run.outputs.model_outputs


def test_early_stop_and_augmentation_are_logged(ready, tmp_path):
    line = ("num_epoch=9", "optimizer.lr=1e-9", "training.patience=2", "augmentation=[shift,erase]")
    assert lenet_train(*SMALL, *line, outputs=ready).returncode == 0
    store = client(ready)
    (run,) = runs(store)
    assert run.data.tags["stopped_early"] == "3"
    assert run.data.params["training.min_delta"] == "0.0"
    assert run.data.params["augmentation.erase_size"] == "12"
    assert "augmentation.elastic_sigma" not in run.data.params
    record = json.loads(
        Path(store.download_artifacts(run.info.run_id, "record.json", str(tmp_path))).read_text()
    )
    assert (record["stopped_early"], record["epochs"], record["best_epoch"]) == (True, 3, 1)


FASHION = ["T-shirt/top", "Trouser", "Ankle boot"]


def counted(*matrix: list[int]) -> dict[str, object]:
    return {
        "confusion_matrix": [*matrix, *([0] * 10 for _ in range(10 - len(matrix)))],
        "ended_ms": 7,
    }


def record(names: list[str], known: dict[str, object]) -> Record:
    """Return a record as read from a file with only these fields."""
    config = {"dataset": {"class_names": names}}
    return record_from_json({"fingerprint": "f", "config": config, "outcome": "finished"} | known)


def logged(names: list[str], known: dict[str, object]) -> dict[str, tuple[float, int, int]]:
    return {m.key: (m.value, m.timestamp, m.step) for m in class_points(record(names, known))}


def test_class_accuracies_equal_diagonal_over_rows_of_confusion_matrix(tracked):
    matrix, ended = tracked.folder.record().confusion_matrix, tracked.folder.record().ended_ms
    stored = points(tracked.store, tracked.run.info.run_id)
    for label in range(10):
        assert stored[f"val_accuracy_{label}"] == [
            (0, matrix[label][label] / sum(matrix[label]), ended)
        ]


def test_class_without_validation_images_has_no_accuracy():
    assert logged(FASHION, {"ended_ms": 7}) == {}
    rows = ([3, 1, *[0] * 8], [0] * 10, [0, 0, 5, *[0] * 7])
    assert logged(FASHION, counted(*rows)) == {
        "val_accuracy_T-shirt_top": (0.75, 7, 0),
        "val_accuracy_Ankle boot": (1.0, 7, 0),
    }


@pytest.mark.parametrize(
    "names", [["a/b", "a_b", "a:b", "..", "/", "//", "é", "#1"], ["x" * 300, "x" * 300 + "y", " a"]]
)
def test_metric_names_of_classes_are_valid_and_unique(names, ready):
    store: MlflowClient = client(ready)
    run_id = store.create_run("0").info.run_id
    assert len(set(metric_names(names))) == len(names)
    assert not any("/" in name for name in metric_names(names))
    rows = [[0] * 10 for _ in names]
    for label, row in enumerate(rows):
        row[label], row[9] = 1, 1
    for _ in range(2):  # logging twice changes nothing
        store.log_batch(run_id, metrics=list(class_points(record(names, counted(*rows)))))
    stored = points(store, run_id)
    assert set(stored) == {f"val_accuracy_{name}" for name in metric_names(names)}
    assert all(len(found) == 1 for found in stored.values())


(JOB,) = freeze_jobs(["seed"], [[*SMALL, "seed=0"]], [compose([*SMALL, "seed=0"])])


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (["relu", "selu"], "relu, selu"),
        (["0", "2", "4"], "0, 2, 4"),
    ],
)
def test_params_of_grid_list_each_value_once(values, shown):
    jobs = [replace(JOB, swept={"flag": value}) for value in [*values, *values]]
    assert swept_params(SweepPlan(created_ms=0, swept=["+flag"]), jobs) == {"flag": shown}


def test_params_of_search_show_space_as_typed():
    search = SearchPlan(sampler="tpe", pruner="none", objective="accuracy")
    overrides = ["dataset=digits", "optimizer.lr=interval(0.01,1)"]
    plan = SweepPlan(created_ms=0, swept=["optimizer.lr"], overrides=overrides, search=search)
    assert swept_params(plan, [replace(JOB, swept={"optimizer.lr": "0.5"})]) == {
        "optimizer.lr": "interval(0.01,1)"
    }
