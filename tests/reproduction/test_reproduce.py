"""lenet-reproduce retrains a run from its record and reports identical bits or the first
difference.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.files import read_json, write_json
from lenet_exp.folders.checkpoints import file_sha256
from lenet_exp.folders.digests import record_with_digests
from lenet_exp.folders.records import Outcome, Record, record_to_json
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.reproduction.verify import contradiction
from lenet_exp.tracking.models.recorded import find_recorded
from lenet_exp.training.score import packed, unpacked
from lenet_exp.training.trained.weights import load_weights, save_weights, weights_digest
from tests.conftest import Cli
from tests.tools.commands import SMALL, end, lenet_train, refused, start, succeeded
from tests.tools.stores import client, runs
from tests.training.test_resume import OPTIONS

pytestmark = pytest.mark.slow(seconds=3)

LINE = (*SMALL, "num_epoch=3", "num_threads=1", "tracking.plots=false")


@pytest.fixture(scope="module")
def original(trained_outputs) -> Path:
    """Return an outputs folder with one finished run."""
    return trained_outputs(*LINE, "engine=torch")  # torch's bits depend on the CPU


@pytest.fixture
def trained(original, outputs, tmp_path) -> RunFolder:
    """Return the run in a copy of the outputs folder, which this process uses; its MLflow run is
    not linked.
    """
    shutil.copytree(original, outputs)
    (path,) = (outputs / "runs").iterdir()
    (path / "delivered.json").unlink()
    return RunFolder(path)


def reproduced(main: Cli, *arguments: str, status: int) -> str:
    """Return the output of `lenet-reproduce` and check its status: 0 identical, 1 different, 3 not
    comparable.
    """
    done = main(*arguments, program="reproduce")
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_reproduced_run_has_same_bits_and_changes_nothing(original, main, monkeypatch):
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(original))
    (run,) = runs(client(original))
    (path,) = (original / "runs").iterdir()
    before = {file: file.read_bytes() for file in path.iterdir() if file.is_file()}

    reproduced(main, f"run={path.name[:6]}", status=0)
    reproduced(main, f"run={path / 'record.json'}", status=0)
    assert "must be a run folder" in reproduced(main, f"run={path / 'run.log'}", status=2)
    reproduced(main, f"run={run.info.run_id}", status=0)

    after = {file: file.read_bytes() for file in path.iterdir() if file.is_file()}
    assert after == before
    assert [p.name for p in (original / "reproduced" / path.name).iterdir()] == ["lock"]
    assert runs(client(original))[0].data.tags == run.data.tags


@pytest.mark.parametrize(
    "line",
    [
        (*OPTIONS, "num_epoch=2", "num_threads=2", "optimizer=adam"),
        ("optimizer.lr=1e30", "num_epoch=2"),
        ("model=convnet", "model.depthwise=true", "num_epoch=2"),
        ("training.select=last", "num_epoch=5", "optimizer=sgd", "optimizer.lr=0.02", "seed=3"),
    ],
    ids=["every option", "diverged", "batch normalization", "last epoch, which is not the best"],
)
def test_runs_with_any_options_are_reproduced(line, ready, main):
    assert lenet_train(*LINE, *line, outputs=ready).returncode in {0, 1}
    (path,) = (ready / "runs").iterdir()
    reproduced(main, f"run={path}", status=0)


def test_run_of_sweep_and_killed_run_are_reproduced(ready, main):
    done = lenet_train("-m", *LINE, "num_epoch=2", "seed=0", "hydra/launcher=basic", outputs=ready)
    assert done.returncode == 0
    (path,) = (ready / "runs").iterdir()
    folder = RunFolder(path)
    reproduced(main, f"run={folder.path}", status=0)
    (sweep,) = runs(client(ready), "sweep")
    reproduced(main, f"run={sweep.info.run_id}", status=2)

    # as if killed after the first epoch
    record = folder.record()
    history = read_json(folder.path / "history.json")
    history["epochs"] = history["epochs"][:1]
    history["best"] = None
    write_json(folder.path / "history.json", history)
    first = folder.history().epochs[0]
    killed = replace(
        record,
        outcome=Outcome.killed,
        epochs=1,
        best_epoch=1,
        best_val_accuracy=first.val_accuracy,
        weights_digest=first.weights_digest,
        confusion_matrix=None,
        best_right=None,
    )
    refresh_digests(folder, killed)
    assert " 1 epoch," in reproduced(main, f"run={folder.path}", status=0)


def refresh_digests(folder: RunFolder, record: Record) -> None:
    """Write a forged record with matching digests."""
    value = record_to_json(record)
    value.pop("digest", None)
    value.pop("history_digest", None)
    with_digests = record_with_digests(value, folder.path / "history.json")
    write_json(folder.path / "record.json", with_digests)


def edit(folder: RunFolder, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads((folder.path / name).read_text())
    change(value)
    (folder.path / name).write_text(json.dumps(value))


def loss_in_the_history(folder: RunFolder) -> None:
    edit(folder, "history.json", lambda value: value["epochs"][1].update(val_loss=0.1))


def byte_of_the_weights(folder: RunFolder) -> None:
    path = folder.path / folder.history().best.weights
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def weights_and_their_digests(folder: RunFolder) -> None:
    """Change weights and all their digests, but not the accuracies."""
    record = folder.record()
    path = folder.path / folder.history().best.weights
    weights, _ = load_weights(path)
    generator = torch.Generator().manual_seed(0)
    noisy = {}
    for name, tensor in weights.items():
        noisy[name] = tensor + 0.3 * torch.randn(tensor.shape, generator=generator)
    save_weights(path, noisy, {})
    digest = weights_digest(noisy)

    def forge(value: dict[str, Any]) -> None:
        value["best"]["sha256"] = file_sha256(path)
        value["epochs"][record.best_epoch - 1]["weights_digest"] = digest

    edit(folder, "history.json", forge)
    refresh_digests(folder, replace(record, weights_digest=digest))


def last_bits_of_the_weights(folder: RunFolder) -> None:
    """Change the weights too little to change a prediction, and update the digest of their file."""
    record = folder.record()
    path = folder.path / folder.history().best.weights
    weights, _ = load_weights(path)
    save_weights(path, {name: tensor * (1 + 1e-6) for name, tensor in weights.items()}, {})
    edit(folder, "history.json", lambda value: value["best"].update(sha256=file_sha256(path)))
    refresh_digests(folder, record)


def loss_and_history_digest(folder: RunFolder) -> None:
    record = folder.record()
    loss_in_the_history(folder)
    refresh_digests(folder, record)


def correct_images(folder: RunFolder) -> None:
    record = folder.record()
    right = unpacked(record.best_right)
    right[0] = not right[0]
    refresh_digests(folder, replace(record, best_right=packed(torch.tensor(right))))


def seed_and_digests(folder: RunFolder) -> None:
    record = folder.record()
    config = replace(record.config, seed=record.config.seed + 1)
    refresh_digests(folder, replace(record, config=config))


def raise_accuracy(record: dict[str, Any]) -> None:
    record["best_val_accuracy"] = 0.999


@pytest.mark.parametrize(
    ("alter", "named"),
    [
        (lambda folder: edit(folder, "record.json", raise_accuracy), "record.json is corrupt"),
        (loss_in_the_history, "history.json is corrupt"),
        (byte_of_the_weights, ".safetensors is corrupt"),
        (last_bits_of_the_weights, "its record"),
        (correct_images, "correct images"),
        (seed_and_digests, "fingerprint"),
    ],
)
def test_changed_record_is_detected_without_training(alter, named, trained, main):
    alter(trained)
    assert named in reproduced(main, f"run={trained.path}", status=1)
    assert not list(trained.path.parents[1].glob("reproduced/*/runs"))


@pytest.mark.parametrize(
    ("alter", "epoch"), [(weights_and_their_digests, 3), (loss_and_history_digest, 2)]
)
def test_change_with_matching_digests_is_detected_by_training(alter, epoch, trained, main):
    alter(trained)
    output = reproduced(main, f"run={trained.path}", status=1)
    # not in the progress, which prints epoch n/m
    assert re.search(rf"epoch {epoch}(?!/)\b", output)
    assert f"{trained.path.parent.parent}/reproduced/{trained.id}/runs/{trained.id}" in output


def test_different_results_on_another_cpu_are_not_comparable(trained, main):
    def remove_weights_digests(value: dict[str, Any]) -> None:
        for epoch in value["epochs"]:
            epoch["weights_digest"] = None

    record = trained.record()
    loss_in_the_history(trained)
    edit(trained, "history.json", remove_weights_digests)
    execution = record.execution | {
        "cpu_capability": "SSE9",
        "environment": "ATEN_CPU_CAPABILITY=sse9",
    }
    record = replace(record, execution=execution, host="elsewhere", source_digest="0" * 64)
    refresh_digests(trained, record)

    output = reproduced(main, f"run={trained.path}", status=3)

    for part in ("epoch 2", "cpu_capability=SSE9", "000000000000", "elsewhere"):
        assert part in output


def test_equal_results_are_identical_on_any_cpu(trained, main):
    record = trained.record()
    execution = record.execution | {"environment": "MKL_CBWR=COMPATIBLE"}
    execution.pop("cpu_capability", None)
    refresh_digests(trained, replace(record, execution=execution))

    output = reproduced(main, f"run={trained.path}", status=0)

    assert "environment=MKL_CBWR=COMPATIBLE" in output
    assert "cpu_capability" in output


def test_runs_with_other_data_or_code_are_not_comparable(trained, main, tmp_path):
    record = trained.record()
    other_data = record.data_digests | {"validation": "0" * 64}
    refresh_digests(trained, replace(record, data_digests=other_data))
    assert "validation" in reproduced(main, f"run={trained.path}", status=3)

    refresh_digests(trained, replace(record, training_version=99))
    assert "training version 99" in reproduced(main, f"run={trained.path}", status=3)

    option = record.config.activation | {"_target_": "nosuchmodule.Thing"}
    refresh_digests(trained, replace(record, config=replace(record.config, activation=option)))
    elsewhere = tmp_path / "elsewhere" / "runs" / trained.id
    shutil.copytree(trained.path, elsewhere)
    assert "trust=nosuchmodule.Thing" in reproduced(main, f"run={elsewhere}", status=3)
    assert "nosuchmodule" not in sys.modules

    shutil.move(trained.path / "record.json", trained.path / "job.json")
    reproduced(main, f"run={trained.path}", status=3)


def test_run_of_release_0_3_with_several_learning_rates_is_not_comparable(ready, main, tmp_path):
    """Release 0.3 scheduled one rate for all parameter groups, and the fingerprint did not contain
    their rates.
    """
    (tmp_path / "optimizer").mkdir()
    option = "_target_: tests.training.clumsy.parts.Grouped\nlr: 0.01\nmult: 3.0\n"
    (tmp_path / "optimizer" / "grouped.yaml").write_text(option)
    line = (
        f"--config-dir={tmp_path}",
        *LINE,
        "optimizer=grouped",
        "schedule=linear",
        "regularization=none",
    )
    succeeded(lenet_train(*line, outputs=ready))
    (path,) = (ready / "runs").iterdir()
    folder = RunFolder(path)
    reproduced(main, f"run={path}", status=0)

    record = folder.record()
    former_fingerprint = fingerprint(record.config, record.data_digests)
    refresh_digests(folder, replace(record, fingerprint=former_fingerprint))
    assert "0.01 and 0.03" in reproduced(main, f"run={path}", status=3)


def test_file_of_arrays_is_refused_for_run_on_another_dataset(trained, main):
    assert "digits" in reproduced(main, f"run={trained.path}", "dataset.file=x.npz", status=2)


def test_run_without_run_folder_is_reproduced_from_mlflow(original, main, monkeypatch, tmp_path):
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tmp_path / "empty"))
    (run,) = runs(client(original))
    store = f"tracking.uri=sqlite:///{original / 'mlflow.db'}"
    assert run.info.run_id in reproduced(main, f"run={run.info.run_id}", store, status=0)

    digest = run.data.tags["weights_digest"]
    client(original).set_tag(run.info.run_id, "weights_digest", "0" * 64)
    assert "differs" in reproduced(main, f"run={run.info.run_id}", store, status=1)
    client(original).set_tag(run.info.run_id, "weights_digest", digest)

    folder = next((original / "runs").iterdir())
    assert str(folder) in reproduced(main, f"run={folder}", status=0)
    assert "lenet5-digits@champion" in reproduced(main, "run=champion:digits", store, status=0)


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_bundled_champion_agrees_with_its_record(outputs, dataset):
    recorded = find_recorded(f"champion:{dataset}", f"sqlite:///{outputs / 'mlflow.db'}")
    assert recorded.weights is not None
    assert contradiction(recorded, recorded.record) == ""


@pytest.mark.slow(seconds=8)
def test_killed_reproduction_resumes_with_same_result(ready):
    line = (*SMALL, "num_epoch=25", "num_threads=1", "tracking.plots=false", "tracking.models=none")
    assert lenet_train(*line, outputs=ready).returncode == 0
    (path,) = (ready / "runs").iterdir()
    process = start(f"run={path}", outputs=ready, program="reproduce")
    while not list(ready.glob("reproduced/*/runs/*/history.json")):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    end(process)

    one = start(f"run={path}", outputs=ready, program="reproduce")
    other = start(f"run={path}", outputs=ready, program="reproduce")
    both = [succeeded(end(one)), succeeded(end(other))]

    assert sum("resuming in" in done.stderr for done in both) == 1
    assert sum("waiting for " in done.stderr for done in both) == 1
    assert not list(ready.glob("reproduced/*/runs"))


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("", "run= is required: "),
        ("run=nope", "run=nope: "),
        ("run=champion:digits", "run=champion:digits: "),
        ("run=0123456789abcdef0123456789abcdef", "mlflow.db"),
        ("run=x chek=true", "check=?"),
        ("run=x check=yes", "check=yes: "),
        ("run=nope check=true", "run=nope: "),
        ("run=x trast=y", "trust=?"),
        ("sweep=last", "sweep=last: "),
    ],
)
def test_invalid_request_gives_one_line_error(typed, named, main, outputs):
    refused(main(*typed.split(), program="reproduce"), named)
    assert not outputs.exists()
