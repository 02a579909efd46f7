"""Commands end with a message and the right status even if a network disturbs the process."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from lenet_exp.folders.records import Outcome
from lenet_exp.folders.run_folder import RunFolder
from tests.tools.commands import end, lenet_train, start
from tests.tools.stores import client, runs

HERE = "tests.training.clumsy"
SMALL = (
    "dataset=digits",
    "batch_size=128",
    "num_epoch=1",
    "num_threads=1",
    "tracking.plots=false",
    "tracking.models=none",
)


def line(folder: Path, target: str) -> tuple[str, ...]:
    (folder / "model").mkdir()
    (folder / "model" / "net.yaml").write_text(f"_target_: {HERE}.{target}\nname: net\n")
    return (f"--config-dir={folder}", *SMALL, "model=net")


@pytest.mark.parametrize("target", ["ExitInTraining", "BaseInTraining"])
def test_exit_in_training_is_a_failed_run(target, ready, tmp_path):
    done = lenet_train(*line(tmp_path, f"networks.{target}"), outputs=ready)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    (folder,) = (ready / "runs").iterdir()
    record = RunFolder(folder).record()
    assert record is not None
    assert record.outcome is Outcome.failed
    assert record.reason in {"SystemExit: 0", "Base: deep"}


@pytest.mark.parametrize(
    ("name", "shown", "logged"),
    [
        ("SpeechlessInTraining", "failed: Speechless: ", "Speechless"),
        ("TalkativeInTraining", " no end; log", "no " * 2000 + "end"),
    ],
)
def test_error_with_long_or_broken_message_is_one_short_line(name, shown, logged, ready, tmp_path):
    done = lenet_train(*line(tmp_path, f"networks.{name}"), outputs=ready)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    (failed,) = [printed for printed in done.stdout.splitlines() if printed.startswith("failed: ")]
    assert len(failed) < 1000
    assert shown in failed
    (log,) = ready.glob("runs/*/run.log")
    assert logged in log.read_text()


def test_invalid_value_of_schedule_in_training_is_a_failed_run(ready, tmp_path):
    (tmp_path / "schedule").mkdir()
    option = f"own: {{_target_: {HERE}.parts.falling}}\n"
    (tmp_path / "schedule" / "falling.yaml").write_text(option)
    typed = (f"--config-dir={tmp_path}", *SMALL, "num_epoch=2", "schedule=falling")

    done = lenet_train(*typed, outputs=ready)

    assert done.returncode == 1
    assert "step 11 of 20" in done.stdout
    (run,) = runs(client(ready))
    assert run.info.status == "FAILED"
    assert run.data.tags["outcome"] == "failed"


@pytest.mark.parametrize("name", ["ClosesStdout", "RemovesStdout"])
def test_run_of_network_that_closes_stdout_is_saved_and_uploaded(name, ready, tmp_path):
    done = end(start(*line(tmp_path, f"networks.{name}"), outputs=ready))
    assert done.returncode == 0, done.stderr
    if name == "RemovesStdout":
        assert "run folder: " not in done.stdout
    else:
        assert "run folder: " in done.stdout
    (run,) = runs(client(ready))
    assert run.info.status == "FINISHED"
    assert run.data.tags["outcome"] == "finished"


def test_removed_outputs_folder_is_named(ready, tmp_path):
    done = lenet_train(*line(tmp_path, "networks.RemovesOutputs"), outputs=ready)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    (failed,) = done.stdout.splitlines()
    assert failed.startswith("failed: FileNotFoundError: ")
    assert f"the run folder {ready / 'runs'}" in failed
    assert "run.log" not in failed


def test_sweep_whose_folder_is_removed_ends_with_one_line(ready, tmp_path):
    sweep = ("-m", *line(tmp_path, "networks.RemovesSweeps"), "seed=0,1", "sweep.workers=1")
    done = end(start(*sweep, outputs=ready))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (failed,) = [
        printed for printed in done.stderr.splitlines() if printed.startswith("lenet-train: ")
    ]
    assert failed.startswith(f"lenet-train: {ready / 'sweeps'}")
    (run,) = ready.glob("runs/*")
    record = RunFolder(run).record()
    assert record is not None
    assert record.outcome is Outcome.finished


@pytest.mark.parametrize("flags", [(), ("sweep.dry_run=true",)])
def test_signal_whose_exception_is_discarded_ends_command(flags, ready, tmp_path):
    done = end(start(*line(tmp_path, "networks.Signal"), *flags, outputs=ready))
    assert done.returncode == 143, done.stderr
    assert done.stderr.splitlines()[-1] == "lenet-train: terminated"
    assert list(ready.glob("runs/*/record.json")) == []


@pytest.mark.slow(seconds=15)
@pytest.mark.parametrize("mode", [(), ("-m",), ("SIGTERM",)])
def test_command_ends_despite_a_thread_of_the_network(mode, ready, tmp_path):
    typed = line(tmp_path, "networks.Thread")
    if mode == ("SIGTERM",):
        process = start(*typed, outputs=ready)
        assert process.stdout is not None
        assert any("view in MLflow" in printed for printed in iter(process.stdout.readline, ""))
        process.send_signal(signal.SIGTERM)
        done = end(process)
        assert done.returncode == 143, done.stderr
    else:
        done = end(start(*mode, *typed, outputs=ready))
        assert done.returncode == 0, done.stderr
        assert "Thread-1" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.slow(seconds=10)
def test_warnings_as_errors_end_neither_commands_nor_uploads(ready, tmp_path):
    strict = {"outputs": ready, "cold": True, "env": {"PYTHONWARNINGS": "error"}}
    export = ("format=safetensors", f"output={tmp_path / 'net.safetensors'}")
    exported = end(start(*export, program="export", **strict))
    assert exported.returncode == 0, exported.stderr
    trained = end(start(*SMALL, **strict))
    assert trained.returncode == 0, trained.stderr
    assert "MLflow run" in trained.stdout, trained.stderr


ENDLESS = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        while True: pass
"""


@pytest.mark.slow(seconds=15)
def test_endless_step_of_own_code_is_named_after_five_seconds(ready, workdir):
    options = workdir / "conf" / "model"
    options.mkdir(parents=True)
    (workdir / "endless.py").write_text(ENDLESS)
    (workdir / "forever.py").write_text("while True: pass\n")
    (options / "endless.yaml").write_text("_target_: endless.Net\n")
    (options / "forever.yaml").write_text("_target_: forever.Net\n")
    bomb = "_target_: endless.Net\nx0: &x0 [1]\n"
    for n in range(9):  # each list has nine times the values of the one before
        nine = ", ".join([f"*x{n}"] * 9)
        bomb += f"x{n + 1}: &x{n + 1} [{nine}]\n"
    (options / "bomb.yaml").write_text(bomb)

    commands = {
        "checking model=net": ("model=endless",),
        "importing forever": ("model=forever",),
        "reading option files": ("model=bomb",),
        "reading option files of sweep": ("-m", "model=bomb,lenet5"),
    }
    processes = {}
    for what, words in commands.items():
        typed = (*words, "dataset=digits")
        processes[what] = start(*typed, outputs=ready, cwd=workdir, cold=True)
    for what, process in processes.items():
        lines = iter(process.stderr.readline, "")
        assert any(line.startswith(what.removesuffix(" of sweep")) for line in lines), what
        process.send_signal(signal.SIGTERM)
        assert end(process).returncode == 143
