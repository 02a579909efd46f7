"""lenet-predict through the command line, on digits."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import torch
from mlflow import MlflowClient

import lenet_exp

TRAINING = ("dataset=digits", "batch_size=32", "num_epoch=4", "num_threads=1")


@pytest.fixture
def trained(main, outputs, workdir):
    """A trained run, its model file and its MLflow client; the champion of digits."""
    assert main(*TRAINING, f"model_path={workdir / 'models'}").returncode == 0
    client = MlflowClient(f"sqlite:///{outputs / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("lenet_exp").experiment_id])
    (file,) = (workdir / "models").iterdir()
    return client, run.info.run_id, file


def accuracy(stdout: str) -> float:
    number, correct, total = re.search(r"accuracy (0\.\d{4}) \((\d+)/(\d+)\)", stdout).groups()
    assert float(number) == round(int(correct) / int(total), 4)
    return int(correct) / int(total)


def test_all_ways_to_name_a_model_give_the_same_figures(trained, main):
    _, run_id, file = trained
    names = [None, "lenet5-digits", "lenet5-digits@champion", f"runs:/{run_id}", str(file)]
    outs = [main("dataset=digits", *([f"trained_model={n}"] if n else []), program="predict").stdout for n in names]
    assert len({accuracy(out) for out in outs}) == 1
    assert accuracy(outs[0]) > 0.8


def test_the_numbers_go_to_files_and_to_the_models_run(trained, main, workdir):
    client, run_id, _ = trained
    done = main("dataset=digits", "output=test.json", "batch_size=7", program="predict")
    assert done.returncode == 0, done.stderr
    written = json.loads((workdir / "test.json").read_text())
    matrix = torch.tensor(written["confusion_matrix"])
    assert written["accuracy"] == accuracy(done.stdout) == int(matrix.trace()) / 297
    for i, row in enumerate(written["classes"]):
        true_positive = int(matrix[i, i])
        assert row["support"] == int(matrix[i].sum())
        assert row["recall"] == pytest.approx(true_positive / int(matrix[i].sum()))
        assert row["precision"] == pytest.approx(true_positive / max(int(matrix[:, i].sum()), 1))
    assert client.get_run(run_id).data.metrics["test_accuracy"] == written["accuracy"]
    assert "the test set was opened once for this model" in done.stdout
    tags = client.get_run(run_id).data.tags
    assert (tags["test_opened"], tags["test_digest"]) == ("1", written["data_digest"])
    assert main("dataset=digits", program="predict").returncode == 0
    assert client.get_run(run_id).data.tags["test_opened"] == "2"
    assert {"test_confusion_matrix.png", "test_score.json"} <= {a.path for a in client.list_artifacts(run_id)}
    assert main("dataset=digits", "output=test.csv", program="predict").returncode == 0
    rows = list(csv.DictReader((workdir / "test.csv").open()))
    assert [r["class"] for r in rows] == [*"0123456789", "all"]
    assert float(rows[-1]["recall"]) == written["accuracy"]
    (png,) = {line.partition(": ")[2] for line in done.stdout.splitlines() if line.startswith("confusion matrix:")}
    assert Path(png).read_bytes().startswith(b"\x89PNG")


def test_mlflow_loads_the_same_champion(trained, outputs):
    mlflow.set_tracking_uri(f"sqlite:///{outputs / 'mlflow.db'}")
    try:
        theirs = mlflow.pytorch.load_model("models:/lenet5-digits@champion")
    finally:
        mlflow.set_tracking_uri(None)
    images = torch.rand(7, 1, 32, 32) * 2 - 1
    with torch.no_grad():
        assert torch.equal(theirs(images), lenet_exp.load("lenet5-digits")(images))


def test_a_model_of_another_set_is_said_and_not_logged(trained, main):
    client, run_id, file = trained
    done = main("dataset=digits", "dataset.name=others", f"trained_model={file}", program="predict")
    assert done.returncode == 0
    assert "was trained on digits, not on others" in done.stderr
    assert "test_accuracy" not in client.get_run(run_id).data.metrics


WRONG = {
    "dataset=digits": "train one (lenet-train dataset=digits), or name a model with trained_model=",
    "dataset=digits trained_model=lenet5-other": "no such MLflow database",
    "dataset=digits trained_model=runs:/0123": "no such MLflow database",
    "dataset=digits trained_model=gone.safetensors": "gone.safetensors: no such file",
    "dataset=digits trained_model=gone.pkl": "gone.pkl: can't be read",
    "dataset=digits trained_model=a/b": "allowed is a registered name",
    "dataset=digits batch_size=0": "batch_size=0",
    "dataset=digits output=x.txt": "output=x.txt: allowed is a file ending in .json or .csv",
    "dataset=digits output=no/such/x.csv": "a folder that exists",
    "dataset=digits tracking.uri=http://127.0.0.1:9": "tracking.uri=http://127.0.0.1:9: can't be reached",
    "images=[gone.png]": "images=gone.png: no such file",
    "dataset=digit": "did you mean digits?",
    "gone.png": "gone.png: can't be read; flags are written name=value",
    "--trained_model=x": "write trained_model=x",
    "x" * 300: "can't be read; flags are written name=value",
}


@pytest.mark.parametrize("typed", WRONG)
def test_a_mistake_is_one_line_with_status_2(typed, main, outputs):
    done = main(*typed.split(), program="predict")
    assert done.returncode == 2
    assert done.stderr.startswith("lenet-predict: ")
    assert done.stderr.count("\n") == 1
    assert WRONG[typed] in done.stderr


def test_a_picture_without_its_flag_is_told_how_to_be_typed(main, workdir):
    (workdir / "seven.png").touch()
    done = main("seven.png", program="predict")
    assert done.returncode == 2
    assert done.stderr == "lenet-predict: seven.png: flags are written name=value; did you mean images=seven.png?\n"


def test_a_damaged_model_file_is_refused(trained, main):
    _, _, file = trained
    content = bytearray(file.read_bytes())
    content[-1000] ^= 1
    file.write_bytes(content)
    done = main("dataset=digits", f"trained_model={file}", program="predict")
    assert done.returncode == 2
    assert "its weights are not those of its record" in done.stderr


SPY = """
import runpy, sys
opened = set()
sys.addaudithook(lambda event, args: opened.add(str(args[0])) if event == "open" else None)
sys.argv[1:] = [{program!r}, *{arguments!r}]
try:
    runpy.run_module("lenet_exp", run_name="__main__", alter_sys=True)
except SystemExit as left:
    assert not left.code, left.code
print("opened:", sorted(p for p in opened if "ubyte" in p))
"""


def opened(program: str, root: str, outputs: Path, cwd: Path, *arguments: str) -> str:
    code = SPY.format(program=program, arguments=[f"data_root={root}", *arguments])
    environment = os.environ | {"LENET_EXP_OUTPUTS": str(outputs)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.slow(seconds=12)
def test_the_test_set_is_opened_by_prediction_and_by_nothing_else(outputs, workdir, real_data):
    small = ("num_epoch=1", "dataset.train_size=512", "dataset.val_size=500", "model_path=models")
    assert "t10k" not in opened("train", real_data, outputs, workdir, *small)
    (file,) = (workdir / "models").iterdir()
    assert "t10k" in opened("predict", real_data, outputs, workdir, f"trained_model={file}")
