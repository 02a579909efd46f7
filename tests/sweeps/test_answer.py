"""The results are printed before they are uploaded; interrupted or killed uploads lose nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lenet_exp.folders.records import Outcome
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.run_uploads.remaining import remaining_uploads
from lenet_exp.tracking.stores.usable import database_state
from tests.searches.searched import only_sweep
from tests.tools.commands import SMALL, end, start, succeeded
from tests.tools.stores import client, models, points, runs

pytestmark = pytest.mark.slow(seconds=8)

RUN = (*SMALL, "dataset.train_size=320", "num_epoch=2", "num_threads=1")
SWEEP = ("-m", *RUN, "activation=relu,selu", "seed=0,1", "sweep.workers=2")
VERDICT, RESULT = "4 runs: 4 finished", "run folder:"


def interrupted(
    *arguments: str, outputs: Path, answer: str, which: signal.Signals
) -> tuple[int, str, str]:
    """Send a signal as soon as the answer is printed. Return the exit status, the rest of stdout,
    and stderr.
    """
    process = start(*arguments, outputs=outputs, cold=True)
    assert process.stdout is not None
    assert any(answer in line for line in iter(process.stdout.readline, ""))
    process.send_signal(which)
    done = end(process)
    return done.returncode, done.stdout, done.stderr


def check_store(outputs: Path, expected: int, of_models: int) -> None:
    """Check that everything is in MLflow once."""
    store = client(outputs)
    found = runs(store)
    assert [run.info.status for run in found] == ["FINISHED"] * expected
    assert len(models(store)) == of_models
    assert all(
        [step for step, _, _ in points(store, run.info.run_id)["val_accuracy"]] == [1, 2]
        for run in found
    )


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGKILL])
def test_sweep_interrupted_during_uploads_is_finished_and_sync_closes_it(which, ready):
    status, _, errors = interrupted(*SWEEP, outputs=ready, answer=VERDICT, which=which)
    assert status == (130 if which == signal.SIGINT else -signal.SIGKILL)
    assert only_sweep(ready).started().outcome is Outcome.finished
    (parent,) = runs(client(ready), "sweep")
    # the rest was not uploaded within a second
    if which == signal.SIGINT and parent.info.status == "RUNNING":
        sweep = only_sweep(ready).id
        assert [line for line in errors.splitlines() if line.endswith(f"lenet-sync sweep={sweep}")]
    done = succeeded(end(start(outputs=ready, program="sync")))
    assert done.stdout.endswith("missing: nothing\n")
    (parent,) = runs(client(ready), "sweep")
    assert (parent.info.status, parent.data.metrics["runs_finished"]) == ("FINISHED", 4)
    assert "comparison.html" in {
        file.path for file in client(ready).list_artifacts(parent.info.run_id)
    }
    check_store(ready, 4, of_models=2)


def test_rerun_of_sweep_killed_during_uploads_completes_them(ready):
    interrupted(*SWEEP, outputs=ready, answer=VERDICT, which=signal.SIGKILL)
    done = succeeded(end(start(*SWEEP, outputs=ready)))
    assert "0 trained, 4 reused" in done.stdout
    assert [run.info.status for run in runs(client(ready), "sweep")] == ["FINISHED"]
    check_store(ready, 4, of_models=2)


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_run_interrupted_during_upload_is_finished_and_sync_uploads_it(which, ready):
    status, _, errors = interrupted(*RUN, outputs=ready, answer=RESULT, which=which)
    (folder,) = (ready / "runs").iterdir()
    assert (
        status == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}[which]
    )
    if which != signal.SIGKILL:
        store = f"sqlite:///{ready / 'mlflow.db'}"
        # none if a second was enough for all uploads
        left = remaining_uploads(RunFolder(folder), store, model=True)
        lines = [
            line
            for line in errors.splitlines()
            if line.endswith(f"lenet-sync run={folder.name[:8]}")
        ]
        assert len(lines) == bool(left)
    succeeded(end(start(f"run={folder.name[:8]}", outputs=ready, program="sync")))
    check_store(ready, 1, of_models=1)


def test_first_epoch_does_not_wait_for_mlflow(outputs, tmp_path):
    """The MLflow of this test cannot be imported as long as a file is missing."""
    (tmp_path / "mlflow.py").write_text(
        "import pathlib, time\n"
        "while not pathlib.Path(__file__).with_name('go').exists(): time.sleep(0.1)"
    )
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); sys.argv[0] = 'lenet-train'\n"
        "from lenet_exp.commands.train import main; main()"
    )
    environment = {**os.environ, "LENET_EXP_OUTPUTS": str(outputs)}
    command = [sys.executable, "-c", code, str(tmp_path), *RUN]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        assert process.stdout is not None
        assert any(RESULT in line for line in iter(process.stdout.readline, ""))
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    assert (process.returncode, "epoch 2/2" in errors) == (143, True), errors


@pytest.fixture
def finished(ready: Path) -> Path:
    succeeded(end(start(*SWEEP, outputs=ready)))
    return ready


def test_finished_sweep_is_uploaded_again_only_if_database_changed(finished):
    before = database_state(f"sqlite:///{finished / 'mlflow.db'}")
    again = succeeded(end(start(*SWEEP, outputs=finished)))
    assert re.search(r"0 trained, 4 reused.*\n.*lenet-ui sweep=", again.stdout)
    assert database_state(f"sqlite:///{finished / 'mlflow.db'}") == before

    client(finished).delete_run(runs(client(finished))[0].info.run_id)
    succeeded(end(start(*SWEEP, outputs=finished)))
    assert len(runs(client(finished))) == 4


def test_finished_sweep_without_folder_of_run_is_trained_again(finished):
    folder = next((finished / "runs").iterdir())
    (folder / "record.json").unlink()
    assert "1 trained, 3 reused" in succeeded(end(start(*SWEEP, outputs=finished))).stdout
