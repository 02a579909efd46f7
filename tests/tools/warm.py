"""Run commands in separate processes without importing torch and mlflow again, which takes seconds
each time.

One process imports everything, and each command is forked from it. A fork has a separate
environment, directory and descriptors like a new interpreter, which is enough for tests of kills,
signals, files and stores. Tests of imports and of start-up use new interpreters.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from lenet_exp import processes

ROOT = Path(__file__).resolve().parents[2]
LARGE = ("torch", "torch.export", "matplotlib.figure", "mlflow.pytorch", "scipy.stats", "pandas")
LATE = (  # modules that LARGE imports late
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.artifact.local_artifact_repo",
    "mlflow.store.model_registry.sqlalchemy_store",
    "torch._dynamo",
    "torch._export.non_strict_utils",
    "torch._inductor.config",
    "networkx",
    "matplotlib.backends.backend_agg",
)
LONGEST_REQUEST = 1 << 20


class Process:
    """The part of subprocess.Popen's interface that tests use, for a forked command."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],  # as sys.argv
        *,
        env: Mapping[str, str],
        cwd: Path | str | None = None,
        stdin: int | IO[Any] = subprocess.DEVNULL,
        stdout: int | IO[Any] = subprocess.PIPE,
        stderr: int | IO[Any] = subprocess.PIPE,
        start_new_session: bool = False,
        text: bool = True,
    ) -> None:
        self.args = list(arguments)
        self.returncode: int | None = None
        theirs: list[int] = []
        kind = "" if text else "b"
        self.stdin = _end(stdin, theirs, f"w{kind}")
        self.stdout = _end(stdout, theirs, f"r{kind}")
        self.stderr = _end(stderr, theirs, f"r{kind}")
        self._status_end, tell = os.pipe()
        request = {
            "module": module,
            "arguments": list(arguments),
            "env": dict(env),
            "cwd": str(cwd or Path.cwd()),
            "session": start_new_session,
            "server": server_name(),
        }
        server = _server()
        socket.send_fds(server, [json.dumps(request).encode()], [*theirs, tell])
        self.pid = int(server.recv(32))
        for descriptor in (*theirs, tell):
            os.close(descriptor)

    def poll(self) -> int | None:
        """Return the exit status (-n after signal n), or None while the command runs."""
        return self._status(0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._status(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Return the rest of stdout and stderr after the command has ended."""
        output = {}

        def read(name: str, stream: IO[Any]) -> None:
            output[name] = stream.read()

        readers = []
        for name in ("stdout", "stderr"):
            stream = getattr(self, name)
            if stream is not None and not stream.closed:
                readers.append(threading.Thread(target=read, args=(name, stream), daemon=True))
        for reader in readers:
            reader.start()
        deadline = time.monotonic() + (timeout or 3600)
        for reader in readers:
            reader.join(deadline - time.monotonic())
        self.wait(max(deadline - time.monotonic(), 0))

        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        return output.get("stdout", ""), output.get("stderr", "")

    def send_signal(self, which: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it may have ended in between
                os.kill(self.pid, which)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _status(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            ready, _, _ = select.select([self._status_end], [], [], timeout)
            if ready:
                self.returncode = int(os.read(self._status_end, 32) or b"-9")
                os.close(self._status_end)
        return self.returncode


def _end(what: int | IO[Any], theirs: list[int], mode: str) -> IO[Any] | None:
    """Return this process's end of a standard stream; append the command's end to `theirs`."""
    if what == subprocess.PIPE:
        read_end, write_end = os.pipe()
        if mode.startswith("r"):
            theirs.append(write_end)
            return os.fdopen(read_end, mode)
        theirs.append(read_end)
        return os.fdopen(write_end, mode)

    if what == subprocess.DEVNULL:
        theirs.append(os.open(os.devnull, os.O_RDWR))
    elif isinstance(what, int):
        theirs.append(os.dup(what))
    else:
        theirs.append(os.dup(what.fileno()))
    return None


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the variables of MLflow, of Hydra and of this project."""
    prefixes = ("MLFLOW_", "LENET_EXP_", "HYDRA_")
    return {name: value for name, value in environment.items() if not name.startswith(prefixes)}


def start_module(module: str, *arguments: str, quiet: bool = True) -> Process:
    """Start a module as `lenet_exp.processes.start_module` does, but in a forked process."""
    return Process(
        module,
        [module, *arguments],
        env=os.environ,
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=False,
    )


_name_of_server: list[str] = []  # in a forked command: the name of the process that forked it


def server_name() -> str:
    """Return the name of the abstract socket of the process that forks commands, without its first
    character.
    """
    if _name_of_server:
        return _name_of_server[0]
    return f"lenet_exp-warm-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"


@functools.cache
def _server() -> socket.socket:
    """Connect to the process that forks commands; the first pytest process starts it for all."""
    name = f"\0{server_name()}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with listener, contextlib.suppress(OSError):  # already bound by another pytest process
        listener.bind(name)
        listener.listen()
        subprocess.Popen(
            [sys.executable, "-m", "tests.tools.warm", str(listener.fileno())],
            cwd=ROOT,
            env=without_settings(os.environ) | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            stdin=subprocess.DEVNULL,
            pass_fds=(listener.fileno(),),
            start_new_session=True,  # so that Ctrl-C on the tests' terminal does not reach it
        )
    ours = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.connect(name)
    assert ours.recv(32) == b"ready"
    return ours


def _serve(listener: socket.socket) -> dict[str, Any] | None:
    """Fork for each request until all clients disconnect; return the request in the new process."""
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}  # by process ID: the descriptor for the exit status
    clients: list[socket.socket] = []
    while True:
        ready, _, _ = select.select([listener, wake, *clients], [], [])
        if wake in ready:
            os.read(wake, 4096)
            _report_ended(running)
        if listener in ready:
            client, _ = listener.accept()
            clients.append(client)
            with contextlib.suppress(OSError):  # the client has died
                client.send(b"ready")
        for client in [client for client in clients if client in ready]:
            try:
                message, descriptors, _, _ = socket.recv_fds(client, LONGEST_REQUEST, 4)
            except ConnectionResetError:  # a process was killed before it read an answer
                message = b""
            if not message:
                clients.remove(client)
                client.close()
                if not clients:
                    return None
                continue

            *standard, tell_to = descriptors
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for number, descriptor in enumerate(standard):
                    os.dup2(descriptor, number)
                for end in (listener, *clients):
                    end.close()
                for descriptor in (wake, woken, *standard, tell_to, *running.values()):
                    os.close(descriptor)
                return json.loads(message)

            running[pid] = tell_to
            for descriptor in standard:
                os.close(descriptor)
            with contextlib.suppress(OSError):
                client.send(str(pid).encode())


def _report_ended(running: dict[int, int]) -> None:
    """Write the exit status of each command that has ended, and remove it."""
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        tell_to = running.pop(pid)
        with contextlib.suppress(OSError):  # the client has died
            os.write(tell_to, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(tell_to)


def _become(request: dict[str, Any]) -> None:
    """Run the module's `main` in this process."""
    _name_of_server.append(request["server"])
    processes.start_module = start_module
    if request["session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    python_path = [path for path in request["env"].get("PYTHONPATH", "").split(":") if path]
    sys.path[:1] = [request["cwd"], *python_path]
    for which in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(which, signal.SIG_DFL)
    # Buffering depends on whether they are terminals.
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        mode = "w" if number else "r"
        by_lines = number == 2 or os.isatty(number)
        stream = open(number, mode, buffering=1 if by_lines else -1)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv = request["arguments"]
    importlib.import_module(request["module"]).main()


def _import_all() -> None:
    for module in (*LARGE, *LATE):
        try:
            importlib.import_module(module)
        except ImportError:  # another release, or not installed
            continue
    for file in sorted((ROOT / "lenet_exp").rglob("*.py")):
        if "pool" not in file.parts and not file.stem.startswith("__"):
            importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        _import_all()
        gc.collect()
        gc.freeze()  # otherwise garbage collection in forks copies all pages
        request = _serve(listener)
    if request is not None:
        _become(request)
