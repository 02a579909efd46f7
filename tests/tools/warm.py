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
        self._told, tell = os.pipe()
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
        readers = []
        for name in ("stdout", "stderr"):
            stream = getattr(self, name)
            if stream is not None and not stream.closed:
                read = functools.partial(
                    lambda name, stream: output.__setitem__(name, stream.read()), name, stream
                )
                readers.append(threading.Thread(target=read, daemon=True))
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
        if self.returncode is None and select.select([self._told], [], [], timeout)[0]:
            self.returncode = int(os.read(self._told, 32) or b"-9")
            os.close(self._told)
        return self.returncode


def _end(what: int | IO[Any], theirs: list[int], mode: str) -> IO[Any] | None:
    """Return this process's end of a standard stream; append the command's end to `theirs`."""
    if what == subprocess.PIPE:
        ours, other = os.pipe() if mode.startswith("r") else reversed(os.pipe())
        theirs.append(other)
        return os.fdopen(ours, mode)
    if what == subprocess.DEVNULL:
        theirs.append(os.open(os.devnull, os.O_RDWR))
    else:
        theirs.append(os.dup(what if isinstance(what, int) else what.fileno()))
    return None


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
        environment = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("MLFLOW_", "LENET_EXP_", "HYDRA_"))
        }
        subprocess.Popen(
            [sys.executable, "-m", "tests.tools.warm", str(listener.fileno())],
            cwd=ROOT,
            env=environment | {"MLFLOW_DISABLE_TELEMETRY": "true"},
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
    running: dict[int, int] = {}
    asking: list[socket.socket] = []
    while True:
        ready, _, _ = select.select([listener, wake, *asking], [], [])
        if wake in ready:
            os.read(wake, 4096)
            while running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
                tell = running.pop(ended[0])
                with contextlib.suppress(OSError):  # the process that asked has died
                    os.write(tell, str(os.waitstatus_to_exitcode(ended[1])).encode())
                os.close(tell)
        if listener in ready:
            client = listener.accept()[0]
            asking.append(client)
            with contextlib.suppress(OSError):  # the process that asks has died
                client.send(b"ready")
        for server in [asked for asked in asking if asked in ready]:
            try:
                message, descriptors, _, _ = socket.recv_fds(server, LONGEST_REQUEST, 4)
            except ConnectionResetError:  # a process was killed before it read an answer
                message = b""
            if not message:
                asking.remove(server)
                server.close()
                if not asking:
                    return None
                continue
            *standard, tell_to = descriptors
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for number, descriptor in enumerate(standard):
                    os.dup2(descriptor, number)
                for end in (listener, *asking):
                    end.close()
                for descriptor in (wake, woken, *standard, tell_to, *running.values()):
                    os.close(descriptor)
                return json.loads(message)
            running[pid] = tell_to
            for descriptor in standard:
                os.close(descriptor)
            with contextlib.suppress(OSError):
                server.send(str(pid).encode())


def _become(request: dict[str, Any]) -> None:
    """Run the module's `main` in this process."""
    _name_of_server.append(request["server"])
    processes.start_module = start_module
    if request["session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.path[:1] = [request["cwd"], *filter(None, request["env"].get("PYTHONPATH", "").split(":"))]
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
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        _import_all()
        gc.collect()
        gc.freeze()  # otherwise garbage collection in forks copies all pages
        started = _serve(asked)
    if started is not None:
        _become(started)
