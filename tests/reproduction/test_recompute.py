"""lenet-reproduce check=true compares the stored results of a run with those of its stored
weights.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lenet_exp.folders.records import Record
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.training.score import packed, unpacked
from tests.conftest import Cli
from tests.reproduction.test_reproduce import (
    LINE,
    refresh_digests,
    reproduced,
    weights_and_their_digests,
)
from tests.sweeps.test_own_code import NET
from tests.tools.commands import lenet_train, succeeded
from tests.tools.stores import client, runs
from tests.training.test_resume import OPTIONS

pytestmark = pytest.mark.slow(seconds=3)


def checked(main: Cli, which: object, *arguments: str, status: int) -> str:
    """Return the output of `lenet-reproduce check=true` for a run, and check its exit status."""
    return reproduced(main, f"run={which}", "check=true", *arguments, status=status)


def save(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture(scope="module")
def original(trained_outputs) -> Path:
    """Return an outputs folder with one finished run, whose best epoch is chosen by another metric
    than accuracy.
    """
    return trained_outputs(*LINE, "engine=torch", "metric=macro_f1", "loss=focal")


@pytest.fixture
def trained(original, outputs) -> RunFolder:
    """Return the run in a copy of the outputs folder, which this process uses; its MLflow run is
    not linked.
    """
    shutil.copytree(original, outputs)
    (path,) = (outputs / "runs").iterdir()
    (path / "delivered.json").unlink()
    return RunFolder(path)


def test_run_is_checked_by_any_name(original, main, monkeypatch, tmp_path):
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(original))
    (run,) = runs(client(original))
    (path,) = (original / "runs").iterdir()
    before = {file: file.read_bytes() for file in path.iterdir() if file.is_file()}
    for which in (path, path.name[:6], path / "record.json", run.info.run_id):
        output = checked(main, which, status=0)
        for part in ("accuracy", "metric macro_f1", "confusion matrix", "correct images"):
            assert part in output
    assert runs(client(original))[0].data.tags == run.data.tags

    store = f"tracking.uri=sqlite:///{original / 'mlflow.db'}"
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tmp_path / "empty"))
    checked(main, run.info.run_id, store, status=0)
    assert {file: file.read_bytes() for file in path.iterdir() if file.is_file()} == before
    assert not (original / "reproduced").exists()
    assert not (tmp_path / "empty").exists()


@pytest.mark.parametrize(
    "line",
    [
        (*OPTIONS, "num_epoch=2", "num_threads=2", "optimizer=adam"),
        ("num_epoch=2", "engine=native"),
        ("model=convnet", "model.depthwise=true", "num_epoch=2", "training.ema_decay=0.9"),
        ("training.select=last", "num_epoch=5", "optimizer=sgd", "optimizer.lr=0.02", "seed=3"),
        ("metric=loss", "loss=focal", "loss.class_weights=balanced", "num_epoch=2"),
    ],
    ids=["every option", "native engine", "convnet with EMA", "last epoch", "loss as metric"],
)
def test_runs_with_any_options_are_checked(line, ready, main, tmp_path):
    succeeded(lenet_train(*LINE, *line, f"model_path={tmp_path / 'models'}", outputs=ready))
    (path,) = (ready / "runs").iterdir()
    (file,) = (tmp_path / "models").glob("**/*.safetensors")
    for which in (path, file):
        assert "\nidentical on " in checked(main, which, status=0)


def matrix(record: Record) -> Record:
    """Move an image to another wrong class."""
    counts = np.array(record.confusion_matrix)
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    row, source = np.argwhere(wrong > 0)[0]
    target = next(column for column in range(10) if column not in (row, source))
    counts[row, source] -= 1
    counts[row, target] += 1
    return replace(record, confusion_matrix=counts.tolist())


def correct_images(record: Record) -> Record:
    """Reverse which images are correct, without changing their number."""
    reverse = unpacked(record.best_right)[::-1].copy()
    return replace(record, best_right=packed(torch.tensor(reverse)))


def metric(record: Record) -> Record:
    return replace(record, best_val_metric=record.best_val_metric + 0.01)


def on_another_cpu(record: Record) -> Record:
    return replace(record, execution=record.execution | {"cpu_capability": "SSE9"})


@pytest.mark.parametrize(
    ("forge", "named"),
    [(matrix, "confusion matrix"), (correct_images, "correct images"), (metric, "macro_f1")],
)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["", "other CPU"])
def test_forged_result_differs_from_weights(forge: Callable, named, elsewhere, trained, main):
    record = forge(trained.record())
    if elsewhere:
        record = on_another_cpu(record)
    refresh_digests(trained, record)
    assert named in checked(main, trained.path, status=1)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["", "other CPU"])
def test_changed_weights_with_matching_digests_differ(elsewhere, trained, main):
    weights_and_their_digests(trained)
    if elsewhere:
        refresh_digests(trained, on_another_cpu(trained.record()))
    assert "accuracy 0." in checked(main, trained.path, status=1)


def test_equal_result_is_identical_on_another_cpu(trained, main):
    refresh_digests(trained, on_another_cpu(trained.record()))
    checked(main, trained.path, status=0)


def test_runs_without_weights_or_epochs_are_not_comparable(ready, main, monkeypatch, tmp_path):
    line = (*LINE, "tracking.models=none")
    diverged = lenet_train(*line, "optimizer.lr=1e30", outputs=ready)
    assert diverged.returncode == 1
    (path,) = (ready / "runs").iterdir()
    assert "first epoch" in checked(main, path, status=3)

    succeeded(lenet_train(*line, outputs=ready))
    (run,) = [run for run in runs(client(ready)) if "best_epoch" in run.data.metrics]
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tmp_path / "empty"))
    store = f"tracking.uri=sqlite:///{ready / 'mlflow.db'}"
    assert "omit check=true" in checked(main, run.info.run_id, store, status=3)


def test_own_network_is_checked_with_its_copied_code_if_trusted(ready, cli, workdir, tmp_path):
    nets = workdir / "nets"
    save(nets / "mine.py", NET)
    save(nets / "parts.py", "WIDTH = 8\n")
    save(nets / "model" / "net.yaml", "_target_: mine.Net\n")
    line = (
        "--config-dir=nets",
        "dataset=digits",
        "model=net",
        "num_epoch=1",
        "num_threads=1",
        "tracking.plots=false",
    )
    succeeded(cli(*line, env={"PYTHONPATH": "nets"}))
    (path,) = (ready / "runs").iterdir()
    (code,) = (ready / "code").iterdir()
    trust = f"trust=sha256:{code.name}"
    theirs = shutil.copytree(ready, tmp_path / "theirs")
    save(nets / "mine.py", NET.replace("relu", "tanh"))
    assert cli(f"run={path}", "check=true", program="reproduce").returncode == 0

    own = {"LENET_EXP_OUTPUTS": str(tmp_path / "own")}
    check = (f"run={theirs / 'runs' / path.name}", "check=true")
    refused = cli(*check, program="reproduce", env=own)
    assert refused.returncode == 3
    assert trust in refused.stdout

    succeeded(cli(*check, trust, program="reproduce", env=own))

    shutil.rmtree(theirs / "code")
    without_code = cli(*check, program="reproduce", env=own)
    assert without_code.returncode == 3
    assert "was not found" in without_code.stdout


@pytest.mark.slow(seconds=2)
def test_bundled_champion_has_recorded_accuracy(main, outputs, real_data):
    output = checked(main, "champion:mnist", f"data_root={real_data}", status=0)
    assert "10,000 validation images" in output
    assert not outputs.exists()
