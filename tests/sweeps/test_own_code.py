"""A user edits and deletes the code of a network; trained runs keep theirs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from sklearn.datasets import load_digits

import lenet_exp
from lenet_exp.comparison.design import design_of
from lenet_exp.errors import UserError
from lenet_exp.folders.results import job_results
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.runs import jobs
from lenet_exp.runs.run import prepare_alone, run_alone
from tests.config.test_own_code import compile_module
from tests.conftest import Cli
from tests.documents.pages import save_files
from tests.tools.commands import Done, end, refused, start, succeeded
from tests.tools.configs import compose
from tests.tools.stores import client, runs
from tests.tools.until import until

NET = '''
import torch
from parts import WIDTH

class Net(torch.nn.Module):
    """A network."""

    def __init__(self, in_channels, num_classes, image_size, maps: int = 1):
        super().__init__()
        self.fc = torch.nn.Linear(in_channels * image_size**2, WIDTH * maps)
        self.out = torch.nn.Linear(WIDTH * maps, num_classes)

    def forward(self, x):
        return self.out(self.fc(x.flatten(1)).relu())
'''
LINE = ("dataset=digits", "batch_size=32", "num_epoch=2", "optimizer.lr=0.05", "model=net")
OWN = (
    "dataset=cells",
    "batch_size=32",
    "num_epoch=3",
    "tracking.plots=false",
    "model=residual",
    "loss=margin",
    "metric=worst_recall",
    "augmentation=noise",
    "schedule=triangle",
)
MORE = ("num_threads=1", "tracking.plots=false")
Train = Callable[..., Done]


@pytest.fixture
def nets(workdir: Path) -> Path:
    """A folder with a network, the file that it imports, and its option file."""
    (workdir / "nets" / "model").mkdir(parents=True)
    (workdir / "nets" / "mine.py").write_text(NET)
    (workdir / "nets" / "parts.py").write_text("WIDTH = 8\n")
    (workdir / "nets" / "model" / "net.yaml").write_text("_target_: mine.Net\nmaps: 1\n")
    return workdir / "nets"


@pytest.fixture
def train(cli: Cli, nets: Path, ready: Path) -> Train:
    """Return a function that trains the network in `ready` with more arguments."""

    def train(*more: str) -> Done:
        options = [word for word in more if word == "-m"]
        flags = [word for word in more if word != "-m"]
        line = (*options, "--config-dir=nets", *LINE, *MORE, *flags)
        return cli(*line, env={"PYTHONPATH": "nets"})

    return train


def widths(outputs: Path) -> list[int]:
    """Return the width of each trained network, read from its weights."""
    biases = [RunFolder(path).best_arrays()["fc.bias"] for path in (outputs / "runs").iterdir()]
    return sorted(len(bias) for bias in biases)


@pytest.mark.slow(seconds=30)
def test_edit_of_imported_file_makes_new_runs_and_one_comparison(train, nets, ready, cli):
    succeeded(train("-m", "seed=0,1,2"))

    # an edit of comments and docstrings changes no result
    (nets / "parts.py").write_text("WIDTH = 8  # neurons\n")
    (nets / "mine.py").write_text(NET.replace("A network.", "A small network."))
    assert "3 reused" in succeeded(train("-m", "seed=0,1,2")).stdout

    (nets / "parts.py").write_text("WIDTH = 16\n")
    edited = succeeded(train("-m", "seed=0,1,2"))
    assert widths(ready) == [8, 8, 8, 16, 16, 16]

    newest, earlier = all_sweeps(ready)
    plan = newest.started()
    results = job_results(newest, newest.jobs(), plan.started_ms)
    assert design_of(plan, results, newest).earlier_sweeps == 0

    (command,) = re.findall(r"lenet-compare (sweep=\w+,\w+)", edited.stdout)
    table = succeeded(cli(command, program="compare")).stdout.splitlines()
    assert "code" in table[2].split()
    rows = [line.split() for line in table if re.match(r" \d ", line)]
    mark_by_code = {words[1]: words[2] for words in rows}
    newest_code = plan.code["mine.Net"][:12]
    earlier_code = earlier.started().code["mine.Net"][:12]
    assert len(rows) == 2
    assert mark_by_code.keys() == {newest_code, earlier_code}
    assert mark_by_code[newest_code] == "(newest)"

    parent, _ = runs(client(ready), "sweep")
    copies = client(ready).list_artifacts(parent.info.run_id, "code")
    (copied,) = [Path(copy.path).name for copy in copies]
    assert copied in {path.name for path in (ready / "code").iterdir()}


@pytest.mark.slow(seconds=45)
def test_everything_of_ones_own_survives_kill_and_deleted_code(ready, cli, workdir):
    """Uses the files of docs/how-to/own-network.md: arrays, network, loss, metric, augmentation,
    and schedule.
    """
    save_files("docs/how-to/own-network.md", workdir)
    subprocess.run([sys.executable, "save_cells.py"], cwd=workdir, check=True)
    sweep = start(
        "-m", *OWN, "seed=range(4)", "sweep.workers=1", outputs=ready, cwd=workdir, cold=True
    )
    until(lambda: list(ready.glob("runs/*/record.json")), sweep)
    sweep.kill()
    end(sweep)

    search = ("-m", "hydra/sweeper=search", "model.maps=4,8", "n_trials=2", "search.sampler=grid")
    succeeded(cli(*search, *OWN))
    (workdir / "mine.py").unlink()
    second, first = all_sweeps(ready)
    finished_runs = sum(job.folder.record() is not None for job in first.jobs())
    assert 0 < finished_runs < 4

    succeeded(cli("-m", f"sweep.resume={first.id}"))
    records = [job.folder.record() for job in first.jobs()]
    assert {record.outcome for record in records} == {"finished"}

    finished, killed, *_ = [job.folder.path for job in first.jobs()]
    succeeded(cli(f"sweep={first.id}", "ensemble=true", program="predict"))
    succeeded(cli(f"trained_model={finished}", "output=net.pt2", program="export"))
    succeeded(cli(f"run={killed}", program="reproduce"))
    compared = succeeded(cli(f"sweep={first.id}", program="compare"))
    assert "best val worst_recall, %" in compared.stdout

    worst_recalls = set()
    for run in runs(client(ready)):
        if "best_val_worst_recall" in run.data.metrics:
            worst_recall = run.data.metrics["best_val_worst_recall"]
            assert worst_recall <= run.data.metrics["best_val_accuracy"]
            worst_recalls.add(worst_recall)
    assert worst_recalls >= {record.best_val_metric for record in records}

    succeeded(cli("-m", "--config-dir=conf", f"sweep.resume={second.id}", "seeds=2"))
    assert len(SweepFolder(second.path).jobs()) > 2
    new_run = cli(*OWN, "seed=9")
    assert new_run.returncode == 2
    assert "mine.Residual" in new_run.stderr


@pytest.mark.slow(seconds=15)
def test_edit_during_sweep_does_not_change_its_runs(nets, ready, workdir):
    env = {"PYTHONPATH": str(nets)}
    line = ("-m", f"--config-dir={nets}", *LINE, *MORE, "seed=range(4)", "sweep.workers=1")
    process = start(*line, outputs=ready, cold=True, env=env)
    until(lambda: list(ready.glob("runs/*/record.json")), process)
    (nets / "parts.py").write_text("WIDTH = 16\n")
    succeeded(end(process))
    assert widths(ready) == [8, 8, 8, 8]


@pytest.mark.slow(seconds=12)
def test_copy_of_another_folder_runs_only_with_its_digest(
    train, nets, ready, tmp_path, monkeypatch
):
    # code that this process does not know from another test
    (nets / "parts.py").write_text("WIDTH = 7\n")
    succeeded(train())
    (run,) = runs(client(ready))
    store = f"sqlite:///{ready / 'mlflow.db'}"
    theirs = Path(shutil.copytree(ready, tmp_path / "theirs"))
    (path,) = (theirs / "runs").iterdir()
    (code,) = (theirs / "code").iterdir()
    digest = code.name
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tmp_path / "own"))

    for name in (str(path), f"runs:/{run.info.run_id}"):
        with pytest.raises(UserError, match=f"trust=sha256:{digest}"):
            lenet_exp.load(name, tracking_uri=store)
    with pytest.raises(UserError, match="trust="):
        lenet_exp.load(str(path), trust=f"sha256:{digest[:-1]}")

    (code / "parts.py").write_text("WIDTH = 9\n")
    with pytest.raises(UserError, match="is corrupt"):
        lenet_exp.load(str(path), trust=f"sha256:{digest}")
    network = lenet_exp.load(
        f"runs:/{run.info.run_id}", tracking_uri=store, trust=f"sha256:{digest}"
    )
    assert network.fc.out_features == 7


@pytest.mark.slow(seconds=15)
def test_copy_that_others_can_change_is_refused(train, nets, ready):
    # code that this process does not know from another test
    (nets / "parts.py").write_text("WIDTH = 6\n")
    succeeded(train())
    (code,) = (ready / "code").iterdir()
    (run,) = (ready / "runs").iterdir()
    assert code.stat().st_mode & 0o777 == 0o755
    assert (code / "mine.py").stat().st_mode & 0o777 == 0o644

    for path in (ready, ready / "code", code, code / "parts.py"):
        mode = path.stat().st_mode
        path.chmod(mode | 0o020)
        with pytest.raises(UserError, match=f"{path}: must not be writable"):
            lenet_exp.load(str(run))
        path.chmod(mode)

    (code / "parts.py").write_text("WIDTH = 9\n")
    refused(train("seed=3"), f"{code} is corrupt")
    assert len(list((ready / "runs").iterdir())) == 1


def test_run_of_release_0_2_stays_and_needs_trust(nets, main, ready, monkeypatch):
    """Release 0.2 did not store the code of own classes."""
    monkeypatch.syspath_prepend(str(nets))
    config = compose(["dataset=digits", "num_epoch=1", "batch_size=32", *MORE])
    config = replace(config, model={"_target_": "mine.Net", "maps": 1})
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "with_code", lambda config: config)
        old_run = run_alone(prepare_alone(config))
    assert not list(ready.glob("code/*"))

    new_run = run_alone(prepare_alone(config))
    assert new_run.folder != old_run.folder
    assert not new_run.repeated
    assert RunFolder(old_run.folder).checked_result() == old_run.record

    needs_trust = main(f"run={old_run.folder}", program="reproduce", status=3)
    assert "release 0.2 did not store the code of mine.Net" in needs_trust.stdout
    succeeded(main(f"run={old_run.folder}", "trust=mine", program="reproduce"))
    tested = succeeded(main(f"trained_model={old_run.folder}", "trust=mine", program="predict"))
    assert "release 0.2 did not store the code of mine.Net" in tested.stderr


def test_sweep_of_release_0_2_is_not_resumed_with_other_code(train, cli, ready):
    """Release 0.2 did not store the code of own classes."""
    succeeded(train("-m", "seed=0,1", "hydra/launcher=basic"))
    (sweep,) = all_sweeps(ready)
    jobs_file = sweep.path / "jobs.jsonl"
    stored_jobs = [json.loads(line) for line in jobs_file.read_text().splitlines()]
    for job in stored_jobs:
        del job["config"]["model"]["_code_"]
        del job["digest"]
    jobs_file.write_text("".join(f"{json.dumps(job)}\n" for job in stored_jobs))
    before = {path: path.read_bytes() for path in ready.glob("runs/*/*") if path.is_file()}

    resumed = cli("-m", f"sweep.resume={sweep.id}", env={"PYTHONPATH": "nets"})

    refused(resumed, "release 0.2 did not store the code of mine.Net", program="train")
    after = {path: path.read_bytes() for path in ready.glob("runs/*/*") if path.is_file()}
    assert after == before


@pytest.mark.slow(seconds=20)
def test_sweep_trains_and_predicts_with_copied_compiled_module(train, nets, ready, cli):
    (nets / "parts.py").unlink()
    for width in (8, 16):
        compile_module(nets, "parts", width)
        succeeded(train("-m", "seed=0,1", "sweep.workers=2"))
    assert widths(ready) == [8, 8, 16, 16]
    shutil.rmtree(nets)
    succeeded(cli("sweep=last", program="predict"))


STATE = {
    "state.py": "batches = []\n",
    "counting.py": NET.replace("from parts import WIDTH", "import state\nWIDTH = 8").replace(
        "        return self", "        state.batches.append(len(x))\n        return self"
    ),
    "seen.py": "import state\ndef seen(labels, logits):\n    return float(sum(state.batches))\n",
    "conf/model/counting.yaml": "_target_: counting.Net\n",
    "conf/metric/seen.yaml": "_target_: seen.seen\n",
}


def test_network_and_metric_share_the_variables_of_a_module(workdir, main, ready):
    for name, text in STATE.items():
        (workdir / name).parent.mkdir(parents=True, exist_ok=True)
        (workdir / name).write_text(text)
    succeeded(main(*LINE[:-1], *MORE, "model=counting", "metric=seen"))
    (run,) = (ready / "runs").iterdir()
    assert RunFolder(run).record().best_val_metric > 0


MOVING = """
import os
import torch

os.mkdir("elsewhere")
os.chdir("elsewhere")

class Net(torch.nn.Module):
    def __init__(self, num_classes, image_size):
        super().__init__()
        os.makedirs("deeper", exist_ok=True)
        os.chdir("deeper")
        self.out = torch.nn.Linear(image_size**2, num_classes)

    def forward(self, x):
        os.chdir("/")
        return self.out(x.flatten(1))
"""


def test_network_that_changes_the_working_directory_moves_no_files(
    workdir, main, empty_store, monkeypatch
):
    """Uses relative paths for the outputs folder, the store, the images, and the model files."""
    shutil.copytree(empty_store, workdir / "outputs")
    shutil.copyfile(empty_store / "mlflow.db", workdir / "own.db")
    (workdir / "conf" / "model").mkdir(parents=True)
    (workdir / "moving.py").write_text(MOVING)
    (workdir / "conf" / "model" / "moving.yaml").write_text("_target_: moving.Net\n")
    digits = load_digits()
    np.savez(workdir / "x.npz", images=(digits.images * 15).astype("uint8"), labels=digits.target)
    dataset = (
        "dataset=arrays",
        "dataset.file=x.npz",
        "dataset.val_size=200",
        "batch_size=32",
        "num_epoch=2",
    )
    relative = ("model_path=models", "tracking.uri=sqlite:///own.db")

    succeeded(main(*dataset, *MORE, "model=moving", *relative))

    assert len(list((workdir / "outputs" / "runs").iterdir())) == 1
    assert len(list((workdir / "models").iterdir())) == 1
    store = MlflowClient(tracking_uri=f"sqlite:///{workdir / 'own.db'}")
    assert len(runs(store)) == 1
    assert [path for path in (workdir / "elsewhere").rglob("*") if path.is_file()] == []
