"""Fixtures of all tests: a clean environment, an outputs folder, and the real command line."""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import pytest
from hydra.core.global_hydra import GlobalHydra
from hypothesis import settings

# Tests run side by side: a thread that spins while it waits takes the core that the others need (several times slower).
# Read by OpenMP when torch is imported, here and in the processes that tests start.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
gc.set_threshold(50_000)  # with so many imported modules, looking for garbage more often takes 7% of the time

# What a person's shell may have set and a test must not depend on.
SETTINGS = ("LENET_EXP_OUTPUTS", "LENET_EXP_DATA", "HYDRA_FULL_ERROR", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME")

# The machine may be busy; and CI looks at the same cases each time, so that a new find is not somebody else's red.
settings.register_profile("untimed", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that all cores are busy to the end; and each slow test has to say how long it takes."""

    def seconds(item: pytest.Item) -> float:
        marker = item.get_closest_marker("slow")
        if marker is None:
            return 0.0
        if "seconds" not in marker.kwargs:
            raise pytest.UsageError(f"{item.nodeid}: say what it costs: @pytest.mark.slow(seconds=...)")
        return float(marker.kwargs["seconds"])

    items.sort(key=seconds, reverse=True)


class Cli(Protocol):
    def __call__(
        self, *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None, **popen: Any
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    logging.getLogger("lenet_exp").propagate = True  # a command before in this process wanted its lines for itself


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """The working directory of `cli`; empty at first."""
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A LENET_EXP_OUTPUTS of the test's own, for this process and for `cli`; does not exist at first."""
    path = tmp_path / "outputs"
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(path))
    return path


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An outputs folder with an mlflow.db without runs, for `ready` to copy: MLflow takes seconds to make one."""
    from lenet_exp.api import compose
    from lenet_exp.tracking.stores.store import open_store

    base = tmp_path_factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "empty"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_dir():  # no other process of these tests has made it
            path.mkdir()
            open_store(compose([f"tracking.uri=sqlite:///{path / 'mlflow.db'}", "tracking.experiment=other"]).tracking)
    return path


@pytest.fixture
def ready(outputs: Path, empty_store: Path) -> Path:
    """`outputs` with the store made already."""
    return Path(shutil.copytree(empty_store, outputs))


@pytest.fixture
def cli(workdir: Path) -> Cli:
    """`cli("dataset=digits", ...)` runs `python -m lenet_exp train dataset=digits ...` as a process of its own.

    It runs in `workdir` (or in `cwd=`), with `env=` on top of the environment, and without LENET_EXP_OUTPUTS unless
    the test asks for the fixture `outputs`. Returns subprocess's returncode, stdout and stderr, as text.
    """

    def run(
        *arguments: str,
        program: str = "train",
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        **popen: Any,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lenet_exp", program, *arguments],
            cwd=cwd or workdir,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            **popen,
        )

    return run


@pytest.fixture
def main(workdir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """The same in this process, which has imported torch already: for many quick cases."""
    monkeypatch.chdir(workdir)

    def run(*arguments: str, program: str = "train") -> subprocess.CompletedProcess[str]:
        entry = import_module(f"lenet_exp.commands.{program}").main
        monkeypatch.setattr(sys, "argv", [f"lenet-{program}", *arguments])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)  # the program sets it for itself
        GlobalHydra.instance().clear()
        capfd.readouterr()
        handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
        with pytest.raises(SystemExit) as left:
            entry()
        for which, handler in handlers.items():
            signal.signal(which, handler)
        return subprocess.CompletedProcess(arguments, int(left.value.code or 0), *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def real_data() -> str:
    """The folder with real MNIST and FashionMNIST."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = os.environ.get("LENET_EXP_DATA") or (str(beside) if beside.is_dir() else "")
    if not root or not (Path(root) / "MNIST" / "raw").is_dir():
        pytest.skip(f"no real MNIST in LENET_EXP_DATA={root or '(not set)'}")
    return root
