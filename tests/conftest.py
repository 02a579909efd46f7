"""What tests of all kinds share: real commands in folders of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hypothesis import settings

from lenet_exp import cli as command_line

# A person's own settings must not reach the tests; data are found by LENET_EXP_DATA all the same.
SETTINGS = ("LENET_EXP_OUTPUTS", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "HYDRA_FULL_ERROR")

settings.register_profile("untimed", deadline=None)  # the machine may be busy
settings.load_profile("untimed")


@dataclass(frozen=True)
class Ended:
    """What a command left: exit status and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and the working directory of this test."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's runs go."""
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


@pytest.fixture
def cli(folder: Path) -> Callable[..., Ended]:
    """`cli("dataset=digits", ...)` runs lenet-train as a process of its own in `folder`."""

    def run(*arguments: str, program: str = "train", timeout: float = 300, **environment: str) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", f"lenet_exp.{program}", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=os.environ | environment,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def main(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Ended]]:
    """`main("dataset=digits", ...)` runs lenet-train in this process, which has torch already."""

    def run(*arguments: str, program: str = "train") -> Ended:
        entry = import_module(f"lenet_exp.{program}").main
        monkeypatch.setattr(sys, "argv", [f"lenet-{program}", *arguments])
        monkeypatch.setattr(command_line, "_status", 0)
        GlobalHydra.instance().clear()
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            entry()
        out, err = capfd.readouterr()
        return Ended(int(left.value.code or 0), out, err)

    yield run
    os.environ.pop("HYDRA_FULL_ERROR", None)
