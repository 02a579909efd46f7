"""lenet-reproduce: a run is trained again from its record and comes to the same bits, or it is said what differs."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lenet_exp.files import read_json, write_json
from lenet_exp.folders.commits import file_sha256
from lenet_exp.folders.records import Outcome, Record, record_json
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.seal import sealed
from lenet_exp.tracking.reproduced import tell
from lenet_exp.training.weights import load_weights, save_weights, weights_digest
from tests.commands import SMALL, end, lenet_train, start
from tests.stores import client, runs

LINE = (*SMALL, "num_epoch=3", "num_threads=1", "tracking.plots=false")
OPTIONS = (
    "schedule=one_cycle",
    "augmentation=[affine,elastic,flip,erase]",
    "training.label_smoothing=0.1",
    "training.clip_norm=1",
    "training.ema_decay=0.9",
    "regularization.dropout_rate=0.3",
    "activation=rrelu",
)


@pytest.fixture(scope="module")
def original(empty_store, tmp_path_factory) -> Path:
    """An outputs folder with one finished run."""
    outputs = Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("original") / "outputs"))
    done = lenet_train(*LINE, "engine=torch", outputs=outputs)  # whose bits depend on the CPU
    assert done.returncode == 0, done.stderr
    return outputs


@pytest.fixture
def trained(original, outputs, tmp_path) -> RunFolder:
    """A copy of it, which is the outputs folder of this process. MLflow has the run elsewhere."""
    shutil.copytree(original, outputs)
    (path,) = (outputs / "runs").iterdir()
    (path / "delivered.json").unlink()
    return RunFolder(path)


def contents(folder: RunFolder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.path.iterdir() if p.is_file()}


def answer(done: Any) -> str:
    """The line with the verdict."""
    (line,) = [s for s in done.stdout.splitlines() if s.startswith(("identical", "differs", "not comparable"))]
    return line


def test_a_run_comes_to_the_same_bits_and_mlflow_is_told(original, main, monkeypatch):
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(original))
    (run,) = runs(client(original))
    (path,) = (original / "runs").iterdir()
    before = contents(RunFolder(path))
    for which, more in ((path.name[:6], []), (run.info.run_id, ["check=true"])):
        done = main(f"run={which}", *more, program="reproduce")
        assert done.returncode == 0, done.stdout + done.stderr
        assert answer(done).startswith("identical")
    assert contents(RunFolder(path)) == before
    assert [p.name for p in (original / "reproduced" / path.name).iterdir()] == ["lock"]
    (run,) = runs(client(original))
    assert run.data.tags["reproduced"].startswith("identical bit for bit: 3 epochs, best ")
    assert run.data.tags["record_checked"].startswith("identical: its digests hold")
    assert RunFolder(path).record().host in run.data.tags["reproduced"]


def test_an_answer_that_says_nothing_of_the_run_leaves_an_earlier_one(original, capsys):
    (run,) = runs(client(original))
    uri = f"sqlite:///{original / 'mlflow.db'}"
    for tag, weak in (("record_checked", False), ("record_checked", True)):
        tell([(uri, run.info.run_id)], uri, tag, f"weak={weak}", weak=weak)
    assert client(original).get_run(run.info.run_id).data.tags["record_checked"].startswith("weak=False (")
    assert f"MLflow run {run.info.run_id} keeps its tag record_checked: weak=False (" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        (*OPTIONS, "num_epoch=2"),
        ("training.patience=1", "training.min_delta=0.5", "num_epoch=9"),
        ("optimizer=adam", "num_epoch=1", "num_threads=2", "regularization=dropout_weight_decay", "seed=3"),
        ("optimizer.lr=1e30", "num_epoch=2"),
    ],
    ids=["every option", "early-stopped", "two threads", "diverged"],
)
def test_it_works_with_every_option(line, ready, main):
    assert lenet_train(*LINE, *line, outputs=ready).returncode in {0, 1}
    (path,) = (ready / "runs").iterdir()
    done = main(f"run={path}", program="reproduce")
    assert done.returncode == 0, done.stdout + done.stderr
    assert answer(done).startswith("identical bit for bit")


def test_a_run_of_a_sweep_and_one_that_was_stopped_on_the_way(ready, main):
    done = lenet_train("-m", *LINE, "num_epoch=2", "seed=0,1", "hydra/launcher=basic", outputs=ready)
    assert done.returncode == 0
    first, second = (RunFolder(path) for path in sorted((ready / "runs").iterdir()))
    assert main(f"run={first.path}", program="reproduce").returncode == 0
    (sweep,) = runs(client(ready), "sweep")
    assert "a sweep; allowed is one of its runs" in main(f"run={sweep.info.run_id}", program="reproduce").stderr

    record = second.record()  # as one that was killed after its first epoch
    history = read_json(second.path / "history.json")
    write_json(second.path / "history.json", history | {"epochs": history["epochs"][:1], "best": None})
    first_epoch = second.history().epochs[0]
    ended = replace(
        record,
        outcome=Outcome.killed,
        epochs=1,
        best_epoch=1,
        best_val_accuracy=first_epoch.val_accuracy,
        weights_digest=first_epoch.weights_digest,
        confusion_matrix=None,
    )
    reseal(second, ended)
    done = main(f"run={second.path}", program="reproduce")
    assert (done.returncode, answer(done)[:31]) == (0, "identical bit for bit: 1 epoch,"), done.stdout + done.stderr


def reseal(folder: RunFolder, record: Record) -> None:
    """Writes a record as a forger would, with the digests that belong to it."""
    value = {k: v for k, v in record_json(record).items() if k not in {"digest", "history_digest"}}
    write_json(folder.path / "record.json", sealed(value, folder.path / "history.json"))


def edit(folder: RunFolder, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads((folder.path / name).read_text())
    change(value)
    (folder.path / name).write_text(json.dumps(value))


def accuracy_in_the_record(folder: RunFolder) -> None:
    edit(folder, "record.json", lambda value: value.update(best_val_accuracy=0.999))


def loss_in_the_history(folder: RunFolder) -> None:
    edit(folder, "history.json", lambda value: value["epochs"][1].update(val_loss=0.1))


def byte_of_the_weights(folder: RunFolder) -> None:
    path = folder.path / folder.history().best.weights
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def weights_and_their_digests(folder: RunFolder) -> None:
    """With all seals; whoever does that leaves the accuracies as they are."""
    record, history = folder.record(), folder.history()
    path = folder.path / history.best.weights
    noise = torch.Generator().manual_seed(0)
    weights = {name: t + 0.3 * torch.randn(t.shape, generator=noise) for name, t in load_weights(path)[0].items()}
    save_weights(path, weights, {})
    digest = weights_digest(weights)

    def forged(value: dict[str, Any]) -> None:
        value["best"]["sha256"] = file_sha256(path)
        value["epochs"][record.best_epoch - 1]["weights_digest"] = digest

    edit(folder, "history.json", forged)
    reseal(folder, replace(record, weights_digest=digest))


def configuration(folder: RunFolder) -> None:
    """With a new seal."""
    record = folder.record()
    reseal(folder, replace(record, config=replace(record.config, seed=record.config.seed + 1)))


def loss_in_a_sealed_history(folder: RunFolder) -> None:
    record = folder.record()
    loss_in_the_history(folder)
    reseal(folder, record)


ALTERED = {
    accuracy_in_the_record: "record.json is damaged (it was changed after it had been written)",
    loss_in_the_history: "history.json is damaged (it is not the one of record.json)",
    byte_of_the_weights: ".safetensors is damaged (it is not what was written)",
    weights_and_their_digests: "validation images right; at least",
    configuration: "its configuration is not the one that its fingerprint names",
}


@pytest.mark.parametrize("alter", ALTERED, ids=lambda alter: alter.__name__)
def test_what_was_altered_is_noticed_without_training(alter, trained, main):
    alter(trained)
    done = main(f"run={trained.path}", "check=true", program="reproduce")
    assert done.returncode == 1, done.stdout + done.stderr
    assert ALTERED[alter] in answer(done)


@pytest.mark.parametrize(
    ("alter", "says"),
    [
        (weights_and_their_digests, "differs: in epoch 3 alone"),
        (loss_in_a_sealed_history, "differs: in epoch 2 alone; its weights are the same, so its figures were changed"),
    ],
)
def test_what_was_altered_with_its_digests_differs_from_what_is_trained(alter, says, trained, main):
    alter(trained)
    done = main(f"run={trained.path}", program="reproduce")
    assert done.returncode == 1, done.stdout + done.stderr
    assert says in answer(done).replace("from epoch 3 on", "in epoch 3 alone")
    assert (
        f"the repeated training: {trained.path.parent.parent}/reproduced/{trained.id}/runs/{trained.id}" in done.stdout
    )


def test_a_difference_accuses_nobody_where_the_cpu_was_another(trained, main):
    record = trained.record()
    loss_in_the_history(trained)
    edit(trained, "history.json", lambda value: [e.update(weights_digest=None) for e in value["epochs"]])
    there = record.execution | {"cpu_capability": "SSE9", "environment": "ATEN_CPU_CAPABILITY=sse9"}
    reseal(trained, replace(record, execution=there, host="elsewhere", source_digest="0" * 64))
    done = main(f"run={trained.path}", program="reproduce")
    assert done.returncode == 3
    assert answer(done).startswith("not comparable: it differs in epoch 2 alone, which need not be the record's fault:")
    assert "cpu_capability=SSE9 (now " in answer(done)
    assert "code: 000000000000 (now " in done.stderr
    assert "host: elsewhere (now " in done.stderr


def test_what_comes_out_the_same_is_identical_whatever_the_cpu_was(trained, main):
    record = trained.record()
    execution = {key: value for key, value in record.execution.items() if key != "cpu_capability"}
    reseal(trained, replace(record, execution=execution | {"environment": "MKL_CBWR=COMPATIBLE"}))
    done = main(f"run={trained.path}", program="reproduce")
    assert done.returncode == 0
    assert "need not be the record's fault: trained with environment=MKL_CBWR=COMPATIBLE (now none); its" in done.stderr
    assert "does not tell cpu_capability" in done.stderr


def test_other_data_and_foreign_classes_and_runs_without_a_record_are_not_comparable(trained, main, tmp_path):
    record = trained.record()
    reseal(trained, replace(record, data_digests=record.data_digests | {"validation": "0" * 64}))
    done = main(f"run={trained.path}", program="reproduce")
    assert (done.returncode, "other images or labels here (validation;" in answer(done)) == (3, True)

    reseal(trained, replace(record, training_version=99))
    done = main(f"run={trained.path}", program="reproduce")
    assert (done.returncode, "trained by training version 99; this is" in answer(done)) == (3, True)

    option = record.config.activation | {"_target_": "nosuchmodule.Thing"}
    reseal(trained, replace(record, config=replace(record.config, activation=option)))
    elsewhere = tmp_path / "elsewhere" / "runs" / trained.id
    shutil.copytree(trained.path, elsewhere)
    done = main(f"run={elsewhere}", program="reproduce")
    assert done.returncode == 3
    assert "its activation is nosuchmodule.Thing" in answer(done)
    assert "add trust=nosuchmodule.Thing" in answer(done)
    assert "nosuchmodule" not in sys.modules

    shutil.move(trained.path / "record.json", trained.path / "job.json")
    done = main(f"run={trained.path}", program="reproduce")
    assert (done.returncode, answer(done)) == (3, "not comparable: the run has no record (yet)")


def test_a_run_that_only_mlflow_knows(original, main, monkeypatch, tmp_path):
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tmp_path / "empty"))
    (run,) = runs(client(original))
    store = f"tracking.uri=sqlite:///{original / 'mlflow.db'}"
    for more, says in ((["check=true"], "identical: its digests hold"), ([], "identical bit for bit: 3 epochs, best")):
        done = main(f"run={run.info.run_id}", store, *more, program="reproduce")
        assert done.returncode == 0, done.stdout + done.stderr
        assert answer(done).startswith(says)
        assert f"told to MLflow run {run.info.run_id}" in done.stdout
    known = run.data.tags["weights_digest"]
    client(original).set_tag(run.info.run_id, "weights_digest", "0" * 64)
    done = main(f"run={run.info.run_id}", store, "check=true", program="reproduce")
    assert (done.returncode, "MLflow shows weights_digest 000000" in answer(done)) == (1, True)
    client(original).set_tag(run.info.run_id, "weights_digest", known)

    folder = next((original / "runs").iterdir())  # from elsewhere: the stores that it names are not the user's
    assert "told to no MLflow" in main(f"run={folder}", "check=true", program="reproduce").stdout
    assert (
        f"told to MLflow run {run.info.run_id}"
        in main(f"run={folder}", store, "check=true", program="reproduce").stdout
    )
    done = main("run=champion:digits", store, "check=true", program="reproduce")
    assert done.returncode == 0
    assert "lenet5-digits@champion (version 1)" in done.stdout


@pytest.mark.slow(seconds=20)
@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_a_shipped_champions_weights_get_what_its_record_says(dataset, main, outputs, real_data):
    done = main(f"run=champion:{dataset}", "check=true", f"data_root={real_data}", program="reproduce")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "of 10000 validation images right, as it says" in answer(done)
    assert "told to no MLflow" in done.stdout


@pytest.mark.slow(seconds=15)
def test_a_repetition_that_is_killed_goes_on_and_ends_the_same(ready):
    line = (*SMALL, "num_epoch=25", "num_threads=1", "tracking.plots=false", "tracking.models=none")
    assert lenet_train(*line, outputs=ready).returncode == 0
    (path,) = (ready / "runs").iterdir()
    process = start(f"run={path}", outputs=ready, program="reproduce")
    while not list(ready.glob("reproduced/*/runs/*/history.json")):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    end(process)
    both = [end(p) for p in [start(f"run={path}", outputs=ready, program="reproduce") for _ in range(2)]]
    assert [done.returncode for done in both] == [0, 0], [done.stdout + done.stderr for done in both]
    assert sum("goes on in epoch" in done.stderr for done in both) == 1
    assert sum("waiting: another process has this repetition" in done.stderr for done in both) == 1
    assert not list(ready.glob("reproduced/*/runs"))


WRONG = {
    "": "run=: allowed is a run folder or its id, an MLflow run id, or champion:<data set>",
    "run=": "run=: allowed is",
    "run=nope": "run=nope: no such run in ",
    "run=champion:digits": "run=champion:digits: no champion in ",
    "run=0123456789abcdef0123456789abcdef": "no such MLflow database",
    "run=runs:/0123": "no such MLflow database",
    "run=x check=perhaps": "check=perhaps: allowed is true or false",
    "run=x chek=true": "did you mean check=?",
    "run=champion:mnist trust=a/b": "trust=a/b: allowed is a class or a module",
}


@pytest.mark.parametrize("typed", WRONG)
def test_a_mistake_is_one_line_with_status_2(typed, main, outputs):
    done = main(*typed.split(), program="reproduce")
    assert done.returncode == 2
    assert done.stderr.startswith("lenet-reproduce: ")
    assert done.stderr.count("\n") == 1
    assert WRONG[typed] in done.stderr
    assert not outputs.exists()
