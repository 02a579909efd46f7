"""MLflow's UI on a port of this machine, for as long as a context lasts; by itself, only this machine reaches it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

from lenet_exp.addresses import hide_password, sqlite_path
from lenet_exp.errors import ConfigError, StoreError
from lenet_exp.stopping import asked
from lenet_exp.tracking.stores.database import driver_uri

HOST = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::")
APP = "lenet-ui"
START_SECONDS = 300.0  # a busy machine takes long to import MLflow twice
END_SECONDS = 15.0
POLL_SECONDS = 0.2
WORDS = 2000  # characters of what the server said last, for an error
# Of MLflow's settings the server gets those of artifact stores and databases. Another prefix, host or store, set for
# something else, would make it a server that the links don't fit.
KEPT_SETTINGS = ("MLFLOW_S3_", "MLFLOW_BOTO_", "MLFLOW_GCS_", "MLFLOW_SQLALCHEMYSTORE_")


def listen(port: int, host: str = HOST) -> socket.socket:
    """A socket that listens on this port, or on a free one if it is taken.

    Args:
        host: an address or a name of this machine; 0.0.0.0: all of them.

    Raises:
        ConfigError: the host is none of this machine's, or the port may not be used.
    """
    allowed = f"host={host}: allowed is an address or a name of this machine: {HOST} (by itself), 0.0.0.0 (all of them)"
    if not host:  # which for a socket is all addresses
        raise ConfigError(allowed)
    try:
        listening = _server(host, port)
    except OSError as e:
        if e.errno is None or e.errno < 0 or e.errno == errno.EADDRNOTAVAIL:  # below 0: a name that nobody knows
            raise ConfigError(allowed) from e
        if e.errno != errno.EADDRINUSE:
            raise ConfigError(f"port={port}: can't be used ({e.strerror}); allowed is 1024 to 65535") from e
        listening = _server(host, 0)
    # Accepted connections inherit it. uvicorn takes a socket that it was given for one of Unix, and would not set it.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _server(host: str, port: int) -> socket.socket:
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def is_local(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    return host in ("localhost", "::1") or host.startswith("127.")


def web_address(host: str, port: int) -> str:
    """The address at which a browser finds what listens there; of all addresses it is the machine's name."""
    name = socket.gethostname() if host in EVERYWHERE else host
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


class Server:
    """MLflow's server process and what it says."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.address = address
        self._process = process
        self._said: deque[str] = deque(maxlen=200)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_until_up(self) -> bool:
        """Whether it answers; False where a signal asked to stop first, inside `stopping.graceful`.

        Nobody else can answer: the socket was bound before the server was started.

        Raises:
            StoreError: it ended instead, or did not answer in time.
        """
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if asked() is not None:
                return False
            if self._process.poll() is not None:
                raise self._ended()
            with contextlib.suppress(OSError), direct.open(f"{self.address}/health", timeout=5) as answer:
                if answer.status == 200:
                    return True
            time.sleep(POLL_SECONDS)
        raise StoreError(f"MLflow's server did not answer in {START_SECONDS:g} s; it said last: {self._last_words()}")

    def wait_until_asked(self) -> None:
        """Returns when a signal asked to stop, inside `stopping.graceful`.

        Raises:
            StoreError: the server ended.
        """
        while asked() is None:
            if self._process.poll() is not None:
                raise self._ended()
            time.sleep(POLL_SECONDS)

    def _ended(self) -> StoreError:
        self._reader.join(2)
        return StoreError(f"MLflow's server ended; it said last: {self._last_words()}")

    def _last_words(self) -> str:
        lines = [line for line in self._said if line]
        errors = [line for line in lines if re.search(r"error", line, re.IGNORECASE)]
        return hide_password((errors or lines or ["nothing"])[-1])[-WORDS:]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.append(line.strip())


@contextlib.contextmanager
def serving(uri: str, listening: socket.socket, host: str = HOST) -> Iterator[Server]:
    """MLflow's server of the store `uri` on a socket of `listen`, to which the same host was given; on leaving, it and
    all that it started have ended."""
    port = listening.getsockname()[1]
    command = ["--host", host, "--port", str(port), "--workers", "1", "--app-name", _app(), *_allowed(host, port)]
    # The socket is the server's stdin, so that it passes through `mlflow server` to uvicorn.
    # By default uvicorn imports from the working directory first.
    here = shlex.quote(str(Path(__file__).resolve().parents[2]))
    command += ["--uvicorn-opts", f"--fd 0 --timeout-graceful-shutdown 2 --app-dir {here}"]
    database = sqlite_path(uri)
    if database is not None:
        command += ["--artifacts-destination", (database.parent / "mlartifacts").as_uri()]
    theirs, mine = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "lenet_exp.ui.process", str(theirs), *command],
            stdin=listening.fileno(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=_environment(uri),
            pass_fds=(theirs,),
            start_new_session=True,  # a Ctrl-C on the terminal reaches lenet-ui alone
        )
        os.close(theirs)
        listening.close()  # so that a server that ended refuses, instead of never answering
        try:
            loopback = HOST if host == EVERYWHERE[0] else "::1" if host == EVERYWHERE[1] else host
            yield Server(process, web_address(loopback, port))
        finally:
            _end(process)
    finally:
        os.close(mine)


def _app() -> str:
    """The name by which MLflow finds `ui_app`.

    Raises:
        ConfigError: the installation does not know it.
    """
    if not any(found.name == APP for found in entry_points(group="mlflow.app")):
        raise ConfigError("lenet-ui: lenet_exp has changed since it was installed; run again the pip install that did")
    return APP


def _allowed(host: str, port: int) -> list[str]:
    """MLflow answers only who asks for a name that it knows, against pages that let a browser ask for another's."""
    if is_local(host):
        return []
    names = {host, socket.gethostname(), socket.getfqdn()} if host in EVERYWHERE else {host}
    if host in EVERYWHERE:
        with contextlib.suppress(OSError):
            names |= {str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None)}
    asked_as = sorted(web_address(name, port).removeprefix("http://") for name in names - set(EVERYWHERE))
    hosts = [f"{HOST}:{port}", f"localhost:{port}", *asked_as]
    private = ["10.*", "192.168.*", *(f"172.{i}.*" for i in range(16, 32))] if host in EVERYWHERE else []
    hosts += [f"{network}:{port}" for network in private]
    origins = [f"http://{name}" for name in hosts]
    return ["--allowed-hosts", ",".join(hosts), "--cors-allowed-origins", ",".join(origins)]


def _environment(uri: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_") or k.startswith(KEPT_SETTINGS)}
    return kept | {
        "MLFLOW_BACKEND_STORE_URI": driver_uri(uri),  # no argument, which all see: it may hold a password
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its job runners take 1.5 GB and are not needed to look at runs
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONSAFEPATH": "1",  # nor do Python's own -m
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }


def _end(process: subprocess.Popen[str]) -> None:
    for which in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, which)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
