"""Real commands and a real MLflow server, for tests that share, interrupt or watch them.

`lenet_train` runs the command in this process, which has imported torch; `start` runs it in a
separate process, forked from a process that has imported everything (tests/tools/warm.py).
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from hydra.core.global_hydra import GlobalHydra

from lenet_exp.commands.train import main
from tests.tools.warm import Process, without_settings

ROOT = Path(__file__).resolve().parents[2]
MINE = ROOT / "tests" / "sweeps" / "mine"  # the option files of a user, for --config-dir
SMALL = ("dataset=digits", "batch_size=32")  # 40 iterations an epoch
SECRET = "hunter2"
UNREACHABLE = "http://127.0.0.1:9"
NO_NETWORK = {
    "http_proxy": UNREACHABLE,
    "https_proxy": UNREACHABLE,
    "HTTP_PROXY": UNREACHABLE,
    "HTTPS_PROXY": UNREACHABLE,
    "no_proxy": "",
    "NO_PROXY": "",
}

# it logs each attempt to reach a server
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

Done = subprocess.CompletedProcess[str]


def lenet_train(*arguments: str, outputs: Path, **environment: str) -> Done:
    """Run `lenet-train <arguments>` in this process, and return its exit status, stdout and
    stderr.
    """
    out = io.StringIO()
    err = io.StringIO()
    handlers = {which: signal.getsignal(which) for which in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lenet-train", *arguments])
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("HYDRA_FULL_ERROR", "0")
        for name, value in {"LENET_EXP_OUTPUTS": str(outputs), **environment}.items():
            patch.setenv(name, value)
        GlobalHydra.instance().clear()
        try:
            with (
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
                pytest.raises(SystemExit) as left,
            ):
                main()
        finally:
            for which, handler in handlers.items():
                signal.signal(which, handler)
    return Done(arguments, int(left.value.code or 0), out.getvalue(), err.getvalue())


def start(
    *arguments: str,
    outputs: Path,
    program: str = "train",
    module: str | None = None,
    cold: bool = False,
    **popen: Any,
) -> Process | subprocess.Popen[str]:
    """Start a command in a separate process with a minimal environment plus `env=`.

    Args:
        module: the module whose `main` runs instead of the program's.
        cold: whether to start a new interpreter, for tests that depend on imports.
    """
    environment = without_settings(os.environ)
    environment["LENET_EXP_OUTPUTS"] = str(outputs)
    environment["PYTHONPATH"] = str(ROOT)
    environment |= popen.pop("env", {})
    if not cold:
        module = module or f"lenet_exp.commands.{program}"
        return Process(module, [f"lenet-{program}", *arguments], env=environment, **popen)

    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-m", "lenet_exp", program, *arguments]
    return subprocess.Popen(command, env=environment, text=True, **(pipes | popen))


def end(process: Process | subprocess.Popen[str]) -> Done:
    """Wait for a started command, and return its exit status, stdout and stderr."""
    out, err = process.communicate(timeout=600)
    return Done(process.args, process.returncode, out, err)


def free_port() -> int:
    """Return a loopback port on which no server listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def succeeded(done: Done) -> Done:
    """Check that a command succeeded, and return its output."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def refused(done: Done, *named: str, program: str = "") -> str:
    """Check that a command ended with one line, which names these texts, and with status 2; return
    the line.
    """
    assert done.returncode == 2, done.stderr
    assert done.stdout == "", done.stderr
    assert done.stderr.startswith(f"lenet-{program}"), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert [text for text in named if text not in done.stderr] == [], done.stderr
    return done.stderr


@contextlib.contextmanager
def serving(
    command: list[str], environment: Mapping[str, str], log: Path, health: str, **get: object
) -> Iterator[int]:
    """Run a server, and yield the ID of its process group once `health` answers; the server ends
    with the context.
    """
    with log.open("a") as out:
        server = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        with requests.Session() as session:
            session.trust_env = False
            while True:  # importing MLflow takes seconds
                assert server.poll() is None, log.read_text()[-2000:]
                with contextlib.suppress(requests.ConnectionError):
                    answer = session.get(health, timeout=60, **get)
                    break
                time.sleep(0.1)
        assert answer.status_code == 200, (answer.status_code, log.read_text()[-2000:])
        yield server.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


@contextlib.contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    """Run a real `mlflow server` on loopback, and yield its address once it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    address = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/server.db"),
        *("--artifacts-destination", str(folder / "files")),
    ]
    environment = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with serving(command, environment, folder / "server.log", f"{address}/health"):
        yield address
