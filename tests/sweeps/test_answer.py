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
from tests.tools.commands import SMALL, Done, end, start, succeeded
from tests.tools.stores import client, files, models, points, runs

pytestmark = pytest.mark.slow(seconds=8)

RUN = (*SMALL, "dataset.train_size=320", "num_epoch=2", "num_threads=1")
SWEEP = ("-m", *RUN, "activation=relu,selu", "seed=0,1", "sweep.workers=2")
VERDICT = "4 runs: 4 finished"
RESULT = "run folder:"
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}


def interrupted(*arguments: str, outputs: Path, answer: str, signum: signal.Signals) -> Done:
    """Send a signal to a command as soon as it prints the answer, and return how it ended, with the
    rest of stdout.
    """
    process = start(*arguments, outputs=outputs, cold=True)
    assert process.stdout is not None
    assert any(answer in line for line in iter(process.stdout.readline, ""))
    process.send_signal(signum)
    return end(process)


def check_store(outputs: Path, num_runs: int, num_models: int) -> None:
    """Check that everything is in MLflow once."""
    store = client(outputs)
    uploaded = runs(store)
    assert [run.info.status for run in uploaded] == ["FINISHED"] * num_runs
    assert len(models(store)) == num_models
    for run in uploaded:
        accuracies = points(store, run.info.run_id)["val_accuracy"]
        assert [step for step, _, _ in accuracies] == [1, 2]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_sweep_interrupted_during_uploads_is_done_and_sync_closes_it(signum, ready):
    done = interrupted(*SWEEP, outputs=ready, answer=VERDICT, signum=signum)
    assert done.returncode == STATUS[signum]
    sweep = only_sweep(ready)
    assert sweep.started().outcome is Outcome.finished
    (parent,) = runs(client(ready), "sweep")
    # the rest was not uploaded within a second
    if signum == signal.SIGINT and parent.info.status == "RUNNING":
        command = f"lenet-sync sweep={sweep.id}"
        assert [line for line in done.stderr.splitlines() if line.endswith(command)]

    sync = succeeded(end(start(outputs=ready, program="sync")))

    assert sync.stdout.endswith("missing: nothing\n")
    (parent,) = runs(client(ready), "sweep")
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["runs_finished"] == 4
    assert "comparison.html" in files(client(ready), parent.info.run_id)
    check_store(ready, num_runs=4, num_models=2)


def test_rerun_of_sweep_killed_during_uploads_completes_them(ready):
    interrupted(*SWEEP, outputs=ready, answer=VERDICT, signum=signal.SIGKILL)

    rerun = succeeded(end(start(*SWEEP, outputs=ready)))

    assert "0 trained, 4 reused" in rerun.stdout
    assert [run.info.status for run in runs(client(ready), "sweep")] == ["FINISHED"]
    check_store(ready, num_runs=4, num_models=2)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_run_interrupted_during_upload_is_done_and_sync_uploads_it(signum, ready):
    done = interrupted(*RUN, outputs=ready, answer=RESULT, signum=signum)
    assert done.returncode == STATUS[signum]
    (folder,) = (ready / "runs").iterdir()
    run = f"run={folder.name[:8]}"
    if signum != signal.SIGKILL:
        store = f"sqlite:///{ready / 'mlflow.db'}"
        # none if a second was enough for all uploads
        remaining = remaining_uploads(RunFolder(folder), store, model=True)
        lines = [line for line in done.stderr.splitlines() if line.endswith(f"lenet-sync {run}")]
        assert len(lines) == bool(remaining)

    succeeded(end(start(run, outputs=ready, program="sync")))

    check_store(ready, num_runs=1, num_models=1)


def test_first_epoch_does_not_wait_for_mlflow(outputs, tmp_path):
    # this mlflow cannot be imported as long as a file is missing
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
    assert process.returncode == 143, errors
    assert "epoch 2/2" in errors


@pytest.fixture
def finished(ready: Path) -> Path:
    succeeded(end(start(*SWEEP, outputs=ready)))
    return ready


def test_finished_sweep_is_uploaded_again_only_if_database_changed(finished):
    database = f"sqlite:///{finished / 'mlflow.db'}"
    before = database_state(database)

    rerun = succeeded(end(start(*SWEEP, outputs=finished)))

    assert re.search(r"0 trained, 4 reused.*\n.*lenet-ui sweep=", rerun.stdout)
    assert database_state(database) == before

    client(finished).delete_run(runs(client(finished))[0].info.run_id)
    succeeded(end(start(*SWEEP, outputs=finished)))
    assert len(runs(client(finished))) == 4


def test_finished_sweep_without_folder_of_run_is_trained_again(finished):
    folder = next((finished / "runs").iterdir())
    (folder / "record.json").unlink()

    rerun = succeeded(end(start(*SWEEP, outputs=finished)))

    assert "1 trained, 3 reused" in rerun.stdout
