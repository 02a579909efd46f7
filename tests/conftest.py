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
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hypothesis import settings

# Tests run in parallel. By default, OpenMP's waiting threads spin, which slows down the other tests
# several times. OpenMP reads this when torch is imported, here and in the processes that tests
# start.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A shell that starts the tests in the background ignores Ctrl-C for them and all their processes,
# and some tests press Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
# with so many imported modules, more frequent collections take 7% of the time
gc.set_threshold(50_000)

# A user's shell may set these variables. Tests must not depend on them.
SETTINGS = (
    "LENET_EXP_OUTPUTS",
    "LENET_EXP_DATA",
    "HYDRA_FULL_ERROR",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_NAME",
)

# There is no deadline because the machine may be busy. CI uses the same examples each time, so
# results are stable.
settings.register_profile("untimed", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests first to keep all cores busy, and require a duration of each slow
    test.
    """

    def seconds(item: pytest.Item) -> float:
        marker = item.get_closest_marker("slow")
        if marker is None:
            return 0.0
        if "seconds" not in marker.kwargs:
            raise pytest.UsageError(
                f"{item.nodeid}: add its duration: @pytest.mark.slow(seconds=...)"
            )
        return float(marker.kwargs["seconds"])

    items.sort(key=seconds, reverse=True)


Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    logging.getLogger(
        "lenet_exp"
    ).propagate = True  # an earlier command in this process may have turned it off


@pytest.fixture(autouse=True)
def _forked_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fork the processes that commands start, which is faster than a new interpreter; end the
    uploading process.
    """
    from lenet_exp import processes
    from tests.tools.warm import start_module

    monkeypatch.setattr(processes, "start_module", start_module)
    yield
    client = sys.modules.get("lenet_exp.tracking.uploader.client")
    if client is not None:
        client.close_uploader()


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """The working directory of `cli`; empty at first."""
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own outputs folder, for this process and for `cli`; it does not exist at first."""
    path = tmp_path / "outputs"
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(path))
    return path


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An outputs folder with an empty mlflow.db. `ready` copies it, because MLflow takes seconds to
    create one.
    """
    from lenet_exp.api import compose
    from lenet_exp.tracking.stores.store import open_store

    base = tmp_path_factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "empty"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_dir():  # no other test process has created it
            path.mkdir()
            open_store(
                compose(
                    [f"tracking.uri=sqlite:///{path / 'mlflow.db'}", "tracking.experiment=other"]
                ).tracking
            )
    return path


@pytest.fixture
def ready(outputs: Path, empty_store: Path) -> Path:
    """`outputs` with an empty store."""
    return Path(shutil.copytree(empty_store, outputs))


@pytest.fixture(scope="session")
def trained_outputs(
    empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """`trained_outputs("dataset=digits", ...)` runs lenet-train in a new outputs folder, and
    returns the folder.

    The text {outputs} in an argument is replaced by the folder.
    """
    from tests.tools.commands import lenet_train

    def run(*arguments: str) -> Path:
        outputs = Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("trained") / "outputs"))
        done = lenet_train(
            *(argument.replace("{outputs}", str(outputs)) for argument in arguments),
            outputs=outputs,
        )
        assert done.returncode == 0, done.stderr
        return outputs

    return run


@pytest.fixture
def cli(workdir: Path) -> Cli:
    """`cli("dataset=digits", ...)` runs `python -m lenet_exp train dataset=digits ...` as a process
    of its own.

    It runs in `workdir` (or in `cwd=`), with `env=` on top of the environment, and without
    LENET_EXP_OUTPUTS unless the test asks for the fixture `outputs`. Returns subprocess's
    returncode, stdout and stderr, as text. `status=0` checks the exit status.
    """

    def run(
        *arguments: str,
        program: str = "train",
        status: int | None = None,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        **popen: Any,
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "lenet_exp", program, *arguments],
            cwd=cwd or workdir,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            **popen,
        )
        assert status in (None, done.returncode), done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def main(workdir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Like `cli`, but in this process, which has already imported torch; use it for many quick
    cases.
    """
    monkeypatch.chdir(workdir)

    def run(
        *arguments: str, program: str = "train", status: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        entry = import_module(f"lenet_exp.commands.{program}").main
        monkeypatch.setattr(sys, "argv", [f"lenet-{program}", *arguments])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)  # the command sets it
        GlobalHydra.instance().clear()
        capfd.readouterr()
        handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
        with pytest.raises(SystemExit) as left:
            entry()
        for which, handler in handlers.items():
            signal.signal(which, handler)
        done = subprocess.CompletedProcess(
            arguments, int(left.value.code or 0), *capfd.readouterr()
        )
        assert status in (None, done.returncode), done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def real_data() -> str:
    """The folder with real MNIST and FashionMNIST."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = os.environ.get("LENET_EXP_DATA") or (str(beside) if beside.is_dir() else "")
    if not root or not (Path(root) / "MNIST" / "raw").is_dir():
        pytest.skip(f"no real MNIST in LENET_EXP_DATA={root or '(not set)'}")
    return root
