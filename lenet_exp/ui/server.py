"""Runs `mlflow server` on 127.0.0.1 for the duration of a `with` block.

MLflow's basic authentication lets only the holder of a random password in. Without it, every user
of this machine could change the runs and, through MLflow's assistant, run commands as the user who
started the server.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
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
from lenet_exp.ui.app import APP_NAME

HOST = "127.0.0.1"
USER = "lenet"
END_SECONDS = 15.0
POLL_SECONDS = 0.2
LONGEST_MESSAGE = 2000  # maximum number of characters of the server's output in an error message

# The cache lasts for a day, because each check of a password takes a third of a second. MLflow 3.11
# has no cache.
AUTHENTICATION = """\
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = {users}
admin_username = {user}
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 86400
"""


def free_port(port: int) -> int:
    """Return the requested port of 127.0.0.1 if it is free; otherwise, another free port.

    Raises:
        ConfigError: the port cannot be used, or no port is free.
    """
    for candidate in (port, 0):
        try:
            with socket.create_server((HOST, candidate)) as listening:
                return int(listening.getsockname()[1])
        except OSError as e:
            if e.errno != errno.EADDRINUSE:
                raise ConfigError(f"port={port}: cannot be used ({e.strerror})") from e
    raise ConfigError(f"port={port}: no free port found on this machine")


@dataclass(frozen=True)
class Server:
    """A running `mlflow server`.

    Attributes:
        process: process of the server.
        address: URL of the server.
        password: password of the user `USER`, which MLflow requires.
        output: file with the output of the server.
    """

    process: subprocess.Popen[bytes]
    address: str
    password: str
    output: IO[str]

    def responds(self) -> bool:
        """Return whether the server responds to requests."""
        without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        url = f"{self.address}/health"
        with contextlib.suppress(OSError), without_proxy.open(url, timeout=5) as response:
            return bool(response.status == 200)
        return False

    def wait(self, until: Callable[[], bool], every: float = POLL_SECONDS) -> bool:
        """Wait until `until()` returns True. Return True, or False if a signal arrives first.

        Call this method in a `with stopping.graceful()` block.

        Args:
            every: time between two calls, in seconds.

        Raises:
            StoreError: the server exited.
        """
        while stop_signal() is None:
            if self.process.poll() is not None:
                message = self._last_message()
                raise StoreError(f"MLflow's server exited; its last message: {message}")
            if until():
                return True
            time.sleep(every)
        return False

    def _last_message(self) -> str:
        self.output.seek(0)
        lines = [line.strip() for line in self.output if line.strip()]
        errors = [line for line in lines if re.search(r"error", line, re.IGNORECASE)]
        messages = errors or lines or ["nothing"]
        return hide_password(messages[-1])[-LONGEST_MESSAGE:]


@contextlib.contextmanager
def serving(uri: str, artifacts: Path, port: int) -> Iterator[Server]:
    """Run `mlflow server` for the duration of a `with` block.

    On exit, stop the server and its child processes.

    Args:
        uri: address of the database. The path of an SQLite file must be absolute.
        artifacts: absolute path of the folder for new artifacts.
        port: port of 127.0.0.1 on which the server listens.
    """
    password = secrets.token_urlsafe(12)
    with (
        tempfile.TemporaryDirectory(prefix="lenet-ui-") as private,
        tempfile.TemporaryFile("w+", errors="replace") as output,
    ):
        authentication = Path(private, "auth.ini")
        users = sqlite_uri(Path(private, "users.db"))
        authentication.write_text(AUTHENTICATION.format(users=users, user=USER, password=password))

        process = subprocess.Popen(
            _command(artifacts, port),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(uri, authentication, password),
            cwd="/",  # uvicorn imports from the working directory first
            start_new_session=True,  # a Ctrl-C in the terminal reaches only lenet-ui
        )
        try:
            yield Server(process, f"http://{HOST}:{port}", password, output)
        finally:
            _stop(process)


def _command(artifacts: Path, port: int) -> list[str]:
    address = f"{HOST}:{port}"
    command = [sys.executable, "-m", "lenet_exp.ui.process", "--app-name", APP_NAME]
    command += ["--host", HOST, "--port", str(port), "--workers", "1"]
    # Other hosts and origins are refused, so that a page from another site cannot send requests
    # through a browser.
    command += ["--allowed-hosts", address, "--cors-allowed-origins", f"http://{address}"]
    command += ["--uvicorn-opts", "--timeout-graceful-shutdown 2 --log-level warning"]
    command += ["--artifacts-destination", artifacts.as_uri()]
    return command


def _environment(uri: str, authentication: Path, password: str) -> dict[str, str]:
    return os.environ | {
        "MLFLOW_BACKEND_STORE_URI": uri,  # not an argument, because every user can see those
        "MLFLOW_AUTH_CONFIG_PATH": str(authentication),
        # these two have priority over the file and could be set for another server
        "MLFLOW_AUTH_ADMIN_USERNAME": USER,
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(),
        # its job runners need 1.5 GB and are unused here
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process group of the server, with SIGKILL if SIGTERM does not end it in time."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal_number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
