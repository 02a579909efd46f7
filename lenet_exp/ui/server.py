"""Runs the server of MLflow's UI on a port for the duration of a `with` block.

By default, only this machine can reach the port.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lenet_exp.addresses import hide_password, sqlite_uri
from lenet_exp.errors import ConfigError, StoreError
from lenet_exp.stopping import stop_signal

APP = "lenet-ui"
TOKEN = "LENET_EXP_UI_TOKEN"  # an environment variable, because all users can see the arguments of a process
HOST = "127.0.0.1"
EVERYWHERE = "0.0.0.0"
PRIVATE = ("10.*", "192.168.*", *(f"172.{i}.*" for i in range(16, 32)))  # addresses in private networks
END_SECONDS = 15.0
POLL_SECONDS = 0.2
WORDS = 2000  # maximum number of characters of the server's output in an error message


def free_port(port: int, host: str) -> int:
    """Return the requested port if it is free; otherwise, return another free port.

    Args:
        port: requested port.
        host: address or name of this machine; 0.0.0.0 means all of its addresses.

    Raises:
        ConfigError: `host` is not an address or name of this machine, `port` cannot be used, or no port is free.
    """
    for wanted in (port, 0):
        try:
            if not host:  # a socket would listen on all addresses
                raise socket.gaierror
            with socket.create_server((host, wanted)) as listening:
                return int(listening.getsockname()[1])
        except OSError as e:
            if e.errno != errno.EADDRINUSE:
                raise ConfigError(f"host={host} port={port}: cannot be used ({e.strerror or 'no host'})") from e
    raise ConfigError(f"port={port}: no free port found on this machine")


def is_local(host: str) -> bool:
    """Return whether a server on this host is reachable only from this machine."""
    return host == "localhost" or host.startswith("127.")


def web_address(host: str, port: int) -> str:
    """Return the URL of a server for a browser. If the host is 0.0.0.0, the URL contains the machine's name."""
    return f"http://{socket.gethostname() if host == EVERYWHERE else host}:{port}"


@dataclass(frozen=True)
class Server:
    """A running server of MLflow's UI.

    Attributes:
        process: process of the server.
        address: URL of the server for requests from this machine.
        token: token that each request must contain; empty if no token is required.
        said: file with the output of the server.
    """

    process: subprocess.Popen[bytes]
    address: str
    token: str
    said: IO[str]

    def answers(self) -> bool:
        """Return whether the server responds to requests."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        request = urllib.request.Request(f"{self.address}/health", headers=headers)
        with contextlib.suppress(OSError), direct.open(request, timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def wait(self, until: Callable[[], bool], every: float = POLL_SECONDS) -> bool:
        """Wait until `until()` returns True. Return True, or False if a signal arrives first.

        Call this method in a `with stopping.graceful()` block. `every` is the time between two calls, in seconds.

        Raises:
            StoreError: the server exited.
        """
        while stop_signal() is None:
            if self.process.poll() is not None:
                self.said.seek(0)
                lines = [line.strip() for line in self.said if line.strip()]
                errors = [line for line in lines if re.search(r"error", line, re.IGNORECASE)]
                last = hide_password((errors or lines or ["nothing"])[-1])[-WORDS:]
                raise StoreError(f"MLflow's server exited; its last message: {last}")
            if until():
                return True
            time.sleep(every)
        return False


@contextlib.contextmanager
def serving(database: Path, host: str, port: int, token: str) -> Iterator[Server]:
    """Run MLflow's server for the duration of a `with` block. On exit, stop the server and its child processes.

    Args:
        database: absolute path of the SQLite database.
        host: address or name of this machine on which the server listens; 0.0.0.0 means all addresses.
        port: port on which the server listens.
        token: token that each request must contain; empty if no token is required.
    """
    command = [sys.executable, "-m", "lenet_exp.ui.process", "--host", host, "--port", str(port), "--workers", "1"]
    command += ["--app-name", APP]
    command += ["--uvicorn-opts", "--timeout-graceful-shutdown 2 --log-level warning", *_allowed(host, port)]
    command += ["--artifacts-destination", (database.parent / "mlartifacts").as_uri()]
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=_environment(database, token),
            cwd="/",  # uvicorn imports from the working directory first
            start_new_session=True,  # a Ctrl-C in the terminal reaches only lenet-ui
        )
        try:
            yield Server(process, web_address(HOST if host == EVERYWHERE else host, port), token, said)
        finally:
            for which in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, which)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(END_SECONDS)


def _allowed(host: str, port: int) -> list[str]:
    """Return the allowed hosts and origins as arguments of `mlflow server`.

    MLflow rejects all other hosts and origins, so that a page from another site cannot send requests through a browser.
    """
    if is_local(host):
        return []
    names = (socket.gethostname(), socket.getfqdn(), *PRIVATE) if host == EVERYWHERE else (host,)
    hosts = [f"{name}:{port}" for name in (HOST, "localhost", *names)]
    origins = [f"http://{name}" for name in hosts]
    return ["--allowed-hosts", ",".join(hosts), "--cors-allowed-origins", ",".join(origins)]


def _environment(database: Path, token: str) -> dict[str, str]:
    return os.environ | {
        "MLFLOW_BACKEND_STORE_URI": sqlite_uri(database),
        TOKEN: token,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its job runners need 1.5 GB and are unused here
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
