"""lenet-predict through the command line, on digits."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import pytest
import torch

from tests.tools.commands import SMALL, refused
from tests.tools.stores import client, files, runs


@pytest.fixture(scope="module")
def outputs_of_one(trained_outputs):
    line = ("num_epoch=3", "num_threads=1", "tracking.plots=false", "model_path={outputs}/models")
    return trained_outputs(*SMALL, *line)


@pytest.fixture
def trained(outputs_of_one, monkeypatch):
    """Return the MLflow client, the run ID and the model file of the champion of digits."""
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(outputs_of_one))
    (run,) = runs(client(outputs_of_one))
    (file,) = (outputs_of_one / "models").iterdir()
    return client(outputs_of_one), run.info.run_id, file


def accuracy(stdout: str) -> float:
    """Return the exact accuracy in a command's output, which also gives it rounded."""
    rounded, correct, total = re.search(r"accuracy (0\.\d{4}) \((\d+)/(\d+)\)", stdout).groups()
    exact = int(correct) / int(total)
    assert float(rounded) == round(exact, 4)
    return exact


def test_test_results_are_printed_written_and_logged_to_run(trained, main, workdir):
    store, run_id, file = trained
    other_set = main(
        "dataset=digits",
        "dataset.name=others",
        f"trained_model={file}",
        program="predict",
        status=0,
    )
    assert "digits" in other_set.stderr
    assert "others" in other_set.stderr
    assert "test_accuracy" not in store.get_run(run_id).data.metrics

    done = main("dataset=digits", "output=test.json", "batch_size=7", program="predict", status=0)

    result = json.loads((workdir / "test.json").read_text())
    matrix = torch.tensor(result["confusion_matrix"])  # (true class, predicted class)
    assert result["accuracy"] > 0.8
    assert result["accuracy"] == accuracy(done.stdout)
    assert result["accuracy"] == int(matrix.trace()) / 297
    for i, row in enumerate(result["classes"]):
        true_positive = int(matrix[i, i])
        assert row["support"] == int(matrix[i].sum())
        assert row["recall"] == pytest.approx(true_positive / int(matrix[i].sum()))
        assert row["precision"] == pytest.approx(true_positive / max(int(matrix[:, i].sum()), 1))
    charts = set()
    for line in done.stdout.splitlines():
        if line.startswith("confusion matrix:"):
            charts.add(line.partition(": ")[2])
    (chart,) = charts
    assert Path(chart).read_text().startswith("<svg")
    assert files(store, run_id) >= {"test_confusion_matrix.svg", "test_score.json"}
    run = store.get_run(run_id).data
    assert run.metrics["test_accuracy"] == result["accuracy"]
    assert run.tags["test_opened"] == "1"
    assert run.tags["test_digest"] == result["data_digest"]

    (folder,) = (file.parents[1] / "runs").iterdir()
    # all name one model
    for name in ("lenet5-digits@champion", f"runs:/{run_id}", run_id, folder, folder.name, file):
        flags = ("dataset=digits", "output=test.csv", f"trained_model={name}")
        output = main(*flags, program="predict").stdout
        assert accuracy(output) == result["accuracy"], name
    assert int(store.get_run(run_id).data.tags["test_opened"]) > 1
    rows = list(csv.DictReader((workdir / "test.csv").open()))
    assert [row["class"] for row in rows] == [*"0123456789", "all"]
    assert float(rows[-1]["recall"]) == result["accuracy"]


def test_model_is_evaluated_on_recorded_dataset(trained, main):
    _, _, file = trained
    line = (f"trained_model={file}", "data_root=nowhere")  # digits come with scikit-learn
    without_dataset = main(*line, program="predict")
    with_dataset = main(*line, "dataset=digits", program="predict")
    assert accuracy(without_dataset.stdout) == accuracy(with_dataset.stdout)
    assert without_dataset.stderr == with_dataset.stderr


def test_each_failed_job_of_multirun_gives_one_line_error(main, outputs, workdir):
    done = main("-m", "trained_model=gone.safetensors,gone.pkl", program="predict", status=2)
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["lenet-predict"] * 2


WRONG = {
    "dataset=digits": ("lenet-train dataset=digits", "trained_model="),
    "dataset=digits trained_model=runs:/0123": ("mlflow.db",),
    "dataset=digits trained_model=gone.safetensors": ("gone.safetensors: model file not found",),
    "dataset=digits trained_model=gone.pkl": ("gone.pkl",),
    "dataset=digits trained_model=a/b": ("a/b",),
    "dataset=digits output=x.txt": ("output=x.txt", ".json", ".csv"),
    "dataset=digits output=no/such/x.csv": ("output=no/such/x.csv",),
    "dataset=digits tracking.uri=http://127.0.0.1:9": ("tracking.uri=http://127.0.0.1:9",),
    "images=[gone.png]": ("images=gone.png",),
    "images=seven.png,seven.png": ("'images=[seven.png,seven.png]'?",),
    "dataset=digit": ("did you mean digits?",),
    "optimizer=sgd dataset=digits": ("optimizer: ", "--help"),  # a flag of lenet-train
    "seven.png": ("images=seven.png?",),  # an existing file
    "--trained_model=x": ("trained_model=x",),
}


@pytest.mark.parametrize("typed", WRONG)
def test_invalid_request_gives_one_line_error(typed, main, outputs, workdir):
    (workdir / "seven.png").touch()
    refused(main(*typed.split(), program="predict"), *WRONG[typed])


@pytest.mark.slow(seconds=4)
def test_only_lenet_predict_opens_test_set(ready, main, workdir, real_data):
    (workdir / "data").symlink_to(real_data)  # a new path, so no dataset in memory is reused
    opened: set[str] = set()
    watching = True

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open":
            opened.add(str(arguments[0]))

    sys.addaudithook(watch)

    def is_opened(program: str, *arguments: str) -> bool:
        opened.clear()
        main(f"data_root={workdir / 'data'}", *arguments, program=program, status=0)
        assert any("ubyte" in path for path in opened)
        return any("t10k" in path for path in opened)

    sizes = ("dataset.train_size=512", "dataset.val_size=500")
    try:
        assert not is_opened("train", "num_epoch=1", *sizes, "model_path=models")
        (file,) = (workdir / "models").iterdir()
        assert is_opened("predict", f"trained_model={file}")
    finally:
        watching = False
