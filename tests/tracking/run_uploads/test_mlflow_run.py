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
    expected = {
        "dataset": "digits",
        "dataset.val_size": "250",
        "dataset.train_size": "null",
        "activation": "selu",
        "optimizer": "adam",
        "optimizer.lr": "0.002",
        "optimizer.betas": "[0.9, 0.999]",
        "optimizer.eps": "1e-08",
        "optimizer.amsgrad": "false",
        "schedule.shape": "constant",
        "augmentation.flip": "0.0",
        "training.patience": "null",
        "num_epoch": "3",
        "parameters": "61706",
        "multiply_adds": "416520",
        "engine": tracked.folder.record().engine,
    }
    assert expected.items() <= params.items()
    assert len(params) == 49

    without_effect = {"optimizer.momentum", "augmentation.erase_size", "training.min_delta"}
    assert without_effect & params.keys() == set()


def test_metrics_contain_exactly_epochs_of_checkpoints(tracked):
    logged = points(tracked.store, tracked.run.info.run_id)
    of_run = {"step_loss", "best_val_accuracy", "best_epoch", "seconds_to_best"}
    of_classes = {f"val_accuracy_{digit}" for digit in range(10)}
    assert set(logged) == PER_EPOCH | of_run | of_classes

    epochs = tracked.folder.history().epochs
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3]
    for name in PER_EPOCH:
        expected = [(epoch.epoch, getattr(epoch, name), epoch.time_ms) for epoch in epochs]
        assert logged[name] == expected

    every_30_steps = list(range(30, EPOCHS * ITERATIONS + 1, 30))
    assert [step for step, _, _ in logged["step_loss"]] == every_30_steps
    assert logged["step_loss"] == sorted(loss for epoch in epochs for loss in epoch.step_losses)


def test_best_epoch_and_accuracy_are_logged_once(tracked):
    logged = points(tracked.store, tracked.run.info.run_id)
    accuracies = [value for _, value, _ in logged["val_accuracy"]]
    ((_, best_accuracy, _),) = logged["best_val_accuracy"]
    ((_, best_epoch, _),) = logged["best_epoch"]
    assert best_accuracy == max(accuracies)
    assert best_epoch == accuracies.index(best_accuracy) + 1

    ((_, seconds_to_best, _),) = logged["seconds_to_best"]
    seconds = [value for _, value, _ in logged["epoch_seconds"]]
    assert seconds_to_best == pytest.approx(sum(seconds[: int(best_epoch)]), abs=0.001)

    matrix = tracked.folder.record().confusion_matrix
    correct = sum(matrix[digit][digit] for digit in range(10))
    assert sum(map(sum, matrix)) == 250
    assert correct / 250 == best_accuracy


def test_tags_contain_identity_outcome_and_versions(tracked):
    record = tracked.folder.record()
    tags = tracked.run.data.tags
    assert tags["kind"] == "run"
    assert tags["fingerprint"] == record.fingerprint
    assert tags["weights_digest"] == record.weights_digest
    assert tags["outcome"] == "finished"
    assert tags["host"] == host()
    assert {name: tags.get(f"version.{name}") for name in versions()} == versions()
    assert {name: tags.get(name) for name in git_state()} == git_state()
    assert tags["run_folder"] == tracked.folder.id
    assert tags["mlflow.source.name"] == "lenet-train"
    assert tags["command"] == record.command

    info = tracked.run.info
    assert info.status == "FINISHED"
    assert info.run_name == "digits selu adam"
    assert info.start_time == record.created_ms
    assert info.end_time == record.ended_ms


def test_user_tags_with_or_without_plus_are_logged_as_strings(tracked):
    tags = tracked.run.data.tags
    assert tags["x"] == "1"
    assert tags["note"] == "first"
    assert tags["checked"] == "true"
    assert {type(value) for value in tags.values()} == {str}
    assert {name for name in tags if not is_own(name)} == {"x", "note", "checked"}
    assert "stopped_early" not in tags


def test_inputs_are_training_and_validation_splits_with_digests(tracked):
    digests = tracked.folder.record().data_digests
    inputs = tracked.run.inputs.dataset_inputs
    datasets = {an_input.tags[0].value: an_input.dataset for an_input in inputs}
    assert set(datasets) == {"training", "validation"}
    assert datasets["training"].digest == digests["train"][:36]
    assert datasets["validation"].digest == digests["validation"][:36]
    for dataset in datasets.values():
        assert dataset.name == "digits"
        assert json.loads(dataset.source)["uri"] == "sklearn.datasets.load_digits"


def test_artifacts_contain_config_record_log_and_figures(tracked, tmp_path):
    pictures = {"learning_curves.svg", "confusion_matrix.svg", "mistakes.png"}
    texts = {"config.yaml", "record.json", "run.log"}
    assert files(tracked.store, tracked.run.info.run_id) == texts | pictures

    record = tracked.folder.record()
    uploaded_record = artifact(tracked, "record.json", tmp_path).read_text()
    assert json.loads(uploaded_record) == record_to_json(record)
    # The uploaded configuration identifies the same experiment.
    config = typed(OmegaConf.load(artifact(tracked, "config.yaml", tmp_path)))
    assert fingerprint(config, record.data_digests) == record.fingerprint

    height, width, _ = imread(artifact(tracked, "mistakes.png", tmp_path)).shape
    assert height >= 350
    assert width >= 700
    curves = artifact(tracked, "learning_curves.svg", tmp_path).read_text()
    assert "training (running mean)" in curves
    confusion = artifact(tracked, "confusion_matrix.svg", tmp_path).read_text()
    assert "predicted" in confusion


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
    assert run.info.status == "FINISHED"
    assert run.data.tags["outcome"] == "finished"


def test_diverged_run_keeps_results_of_earlier_epochs(ready):
    # A step multiplies the weights by 1 - lr * weight_decay = -1.01: the loss overflows in the
    # second epoch.
    diverges = ("optimizer.lr=0.01", "optimizer.momentum=0", "regularization.weight_decay=201")
    done = lenet_train(*SMALL, *diverges, "num_epoch=4", outputs=ready)
    assert done.returncode == 1

    (folder,) = (ready / "runs").iterdir()
    record = json.loads((folder / "record.json").read_text())
    # The reason ends with the epoch and the iteration of the divergence.
    assert re.search(r"(nan|inf).* 2\D+\d\d$", record["reason"])
    assert str(folder / "run.log") in done.stdout

    store = client(ready)
    (run,) = runs(store)
    run_id = run.info.run_id
    assert run.info.status == "FAILED"
    assert run.data.tags["outcome"] == "diverged"
    assert run.data.tags["reason"] == record["reason"]
    assert run.data.metrics["best_val_accuracy"] == record["best_val_accuracy"]
    assert "val_accuracy_0" in run.data.metrics
    assert "mistakes.png" in files(store, run_id)
    assert [step for step, _, _ in points(store, run_id)["val_accuracy"]] == [1]
    assert not run.outputs.model_outputs


def test_early_stop_and_augmentation_are_logged(ready, tmp_path):
    flags = (
        "num_epoch=9",
        "optimizer.lr=1e-9",
        "training.patience=2",
        "augmentation=[shift,erase]",
    )
    assert lenet_train(*SMALL, *flags, outputs=ready).returncode == 0

    store = client(ready)
    (run,) = runs(store)
    assert run.data.tags["stopped_early"] == "3"
    assert run.data.params["training.min_delta"] == "0.0"
    assert run.data.params["augmentation.erase_size"] == "12"
    assert "augmentation.elastic_sigma" not in run.data.params

    file = store.download_artifacts(run.info.run_id, "record.json", str(tmp_path))
    record = json.loads(Path(file).read_text())
    assert record["stopped_early"] is True
    assert record["epochs"] == 3
    assert record["best_epoch"] == 1


FASHION = ["T-shirt/top", "Trouser", "Ankle boot"]


def with_matrix(*rows: list[int]) -> dict[str, object]:
    """Return the fields of a record with a confusion matrix for ten classes.

    Classes without a row have no validation images.
    """
    empty_rows = [[0] * 10 for _ in range(10 - len(rows))]
    return {"confusion_matrix": [*rows, *empty_rows], "ended_ms": 7}


def record(names: list[str], fields: dict[str, object]) -> Record:
    """Return a record as read from a file with only these fields."""
    config = {"dataset": {"class_names": names}}
    return record_from_json({"fingerprint": "f", "config": config, "outcome": "finished"} | fields)


def class_metrics(names: list[str], fields: dict[str, object]) -> dict[str, tuple[float, int, int]]:
    """Return the value, timestamp, and step of the metric for each class, keyed by its name."""
    metrics = class_points(record(names, fields))
    return {metric.key: (metric.value, metric.timestamp, metric.step) for metric in metrics}


def test_class_accuracies_equal_diagonal_over_rows_of_confusion_matrix(tracked):
    matrix = tracked.folder.record().confusion_matrix
    ended_ms = tracked.folder.record().ended_ms
    logged = points(tracked.store, tracked.run.info.run_id)
    for label in range(10):
        accuracy = matrix[label][label] / sum(matrix[label])
        assert logged[f"val_accuracy_{label}"] == [(0, accuracy, ended_ms)]


def test_class_without_validation_images_has_no_accuracy():
    assert class_metrics(FASHION, {"ended_ms": 7}) == {}

    tops = [3, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    trousers = [0] * 10
    boots = [0, 0, 5, 0, 0, 0, 0, 0, 0, 0]
    assert class_metrics(FASHION, with_matrix(tops, trousers, boots)) == {
        "val_accuracy_T-shirt_top": (0.75, 7, 0),
        "val_accuracy_Ankle boot": (1.0, 7, 0),
    }


@pytest.mark.parametrize(
    "names", [["a/b", "a_b", "a:b", "..", "/", "//", "é", "#1"], ["x" * 300, "x" * 300 + "y", " a"]]
)
def test_metric_names_of_classes_are_valid_and_unique(names, ready):
    unique_names = metric_names(names)
    assert len(set(unique_names)) == len(names)
    assert not any("/" in name for name in unique_names)

    rows = [[0] * 10 for _ in names]
    for label, row in enumerate(rows):
        row[label] = 1
        row[9] = 1
    store: MlflowClient = client(ready)
    run_id = store.create_run("0").info.run_id
    for _ in range(2):  # logging twice changes nothing
        metrics = class_points(record(names, with_matrix(*rows)))
        store.log_batch(run_id, metrics=list(metrics))

    logged = points(store, run_id)
    assert set(logged) == {f"val_accuracy_{name}" for name in unique_names}
    for points_of_class in logged.values():
        assert len(points_of_class) == 1


(JOB,) = freeze_jobs(["seed"], [[*SMALL, "seed=0"]], [compose([*SMALL, "seed=0"])])


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["relu", "selu"], "relu, selu"),
        (["0", "2", "4"], "0, 2, 4"),
    ],
)
def test_params_of_grid_list_each_value_once(values, text):
    jobs = [replace(JOB, swept={"flag": value}) for value in [*values, *values]]
    assert swept_params(SweepPlan(created_ms=0, swept=["+flag"]), jobs) == {"flag": text}


def test_params_of_search_show_space_as_typed():
    search = SearchPlan(sampler="tpe", pruner="none", objective="accuracy")
    overrides = ["dataset=digits", "optimizer.lr=interval(0.01,1)"]
    plan = SweepPlan(created_ms=0, swept=["optimizer.lr"], overrides=overrides, search=search)
    job = replace(JOB, swept={"optimizer.lr": "0.5"})
    assert swept_params(plan, [job]) == {"optimizer.lr": "interval(0.01,1)"}
