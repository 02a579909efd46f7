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
    number, correct, total = re.search(r"accuracy (0\.\d{4}) \((\d+)/(\d+)\)", stdout).groups()
    assert float(number) == round(int(correct) / int(total), 4)
    return int(correct) / int(total)


def test_test_results_are_printed_written_and_logged_to_run(trained, main, workdir):
    store, run_id, file = trained
    other_set = main(
        "dataset=digits",
        "dataset.name=others",
        f"trained_model={file}",
        program="predict",
        status=0,
    )
    assert all(name in other_set.stderr for name in ("digits", "others"))
    assert "test_accuracy" not in store.get_run(run_id).data.metrics

    done = main("dataset=digits", "output=test.json", "batch_size=7", program="predict", status=0)
    written = json.loads((workdir / "test.json").read_text())
    matrix = torch.tensor(written["confusion_matrix"])
    assert 0.8 < written["accuracy"] == accuracy(done.stdout) == int(matrix.trace()) / 297
    for i, row in enumerate(written["classes"]):
        true_positive = int(matrix[i, i])
        assert row["support"] == int(matrix[i].sum())
        assert row["recall"] == pytest.approx(true_positive / int(matrix[i].sum()))
        assert row["precision"] == pytest.approx(true_positive / max(int(matrix[:, i].sum()), 1))
    (chart,) = {
        line.partition(": ")[2]
        for line in done.stdout.splitlines()
        if line.startswith("confusion matrix:")
    }
    assert Path(chart).read_text().startswith("<svg")
    assert files(store, run_id) >= {"test_confusion_matrix.svg", "test_score.json"}
    run = store.get_run(run_id).data
    assert run.metrics["test_accuracy"] == written["accuracy"]
    assert (run.tags["test_opened"], run.tags["test_digest"]) == ("1", written["data_digest"])

    (folder,) = (file.parents[1] / "runs").iterdir()
    for name in (
        "lenet5-digits@champion",
        f"runs:/{run_id}",
        run_id,
        folder,
        folder.name,
        file,
    ):  # all name one model
        output = main(
            "dataset=digits", "output=test.csv", f"trained_model={name}", program="predict"
        )
        assert accuracy(output.stdout) == written["accuracy"], name
    assert int(store.get_run(run_id).data.tags["test_opened"]) > 1
    rows = list(csv.DictReader((workdir / "test.csv").open()))
    assert [r["class"] for r in rows] == [*"0123456789", "all"]
    assert float(rows[-1]["recall"]) == written["accuracy"]


def test_model_is_evaluated_on_recorded_dataset(trained, main):
    typed = (f"trained_model={trained[2]}", "data_root=nowhere")  # digits come with scikit-learn
    done, same = main(*typed, program="predict"), main(*typed, "dataset=digits", program="predict")
    assert accuracy(done.stdout) == accuracy(same.stdout)
    assert done.stderr == same.stderr


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
    sys.addaudithook(
        lambda event, args: opened.add(str(args[0])) if watching and event == "open" else None
    )

    def is_opened(program: str, *arguments: str) -> bool:
        opened.clear()
        main(f"data_root={workdir / 'data'}", *arguments, program=program, status=0)
        assert any("ubyte" in path for path in opened)
        return any("t10k" in path for path in opened)

    try:
        assert not is_opened(
            "train",
            "num_epoch=1",
            "dataset.train_size=512",
            "dataset.val_size=500",
            "model_path=models",
        )
        (file,) = (workdir / "models").iterdir()
        assert is_opened("predict", f"trained_model={file}")
    finally:
        watching = False
