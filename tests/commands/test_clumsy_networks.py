"""Commands end with a message and the right status even if a network disturbs the process."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from lenet_exp.folders.records import Outcome
from lenet_exp.folders.run_folder import RunFolder
from tests.tools.commands import end, lenet_train, start

HERE = "tests.training.clumsy"
SMALL = (
    "dataset=digits", "batch_size=128", "num_epoch=1", "num_threads=1", "tracking.plots=false", "tracking.models=none",
)  # fmt: skip


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


@pytest.mark.slow(seconds=15)
@pytest.mark.parametrize("mode", [(), ("-m",), ("SIGTERM",)])
def test_command_ends_despite_a_thread_of_the_network(mode, ready, tmp_path):
    terminated = mode == ("SIGTERM",)
    process = start(*(() if terminated else mode), *line(tmp_path, "networks.Thread"), outputs=ready)
    if terminated:
        assert process.stdout is not None
        assert any("view in MLflow" in printed for printed in iter(process.stdout.readline, ""))
        process.send_signal(signal.SIGTERM)
    done = end(process)
    assert done.returncode == (143 if terminated else 0), done.stderr
    assert "Traceback" not in done.stderr
    assert terminated or "Thread-1" in done.stderr.splitlines()[-1]


@pytest.mark.slow(seconds=10)
def test_warnings_as_errors_end_neither_commands_nor_uploads(ready, tmp_path):
    strict = {"outputs": ready, "cold": True, "env": {"PYTHONWARNINGS": "error"}}
    export = ("format=safetensors", f"output={tmp_path / 'net.safetensors'}")
    done = end(start(*export, program="export", **strict))
    assert done.returncode == 0, done.stderr
    done = end(start(*SMALL, **strict))
    assert (done.returncode, "MLflow run" in done.stdout) == (0, True), done.stderr
