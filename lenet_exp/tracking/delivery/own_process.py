"""Delivers a lone run in a process of its own, which imports mlflow while the run's process imports torch.

    Apart, in the run's process   -- a pipe -->   main, in the other one: Beside -> StoreDelivery -> MLflow

What the other process logs comes back over the pipe, and is logged here. Where it is lost, this one delivers.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from lenet_exp.addresses import store_uri
from lenet_exp.config.schema import Models, Tracking
from lenet_exp.folders.job import Job
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.delivery.background import Beside, delivered_beside
from lenet_exp.tracking.models.model import warm_up
from lenet_exp.tracking.stores.store import import_mlflow

END_SECONDS = 5.0  # for the other process to leave by itself, once nothing is asked of it

log = logging.getLogger("lenet_exp")


class Apart:
    """A `Delivery` that the run's main thread asks. Its process starts at once; `opened` first touches the store.

    Args:
        tracking, outputs: as of `StoreDelivery`.
    """

    def __init__(self, tracking: Tracking, outputs: Path) -> None:
        self._tracking, self._outputs = tracking, outputs
        self._here: Beside | None = None
        mine, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                # -P: with -m alone, an mlflow.py that lies in the working directory would be imported first
                [sys.executable, "-P", "-m", "lenet_exp.tracking.delivery.own_process", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            )
        self._pipe = Connection(mine.detach())
        self._tell("prepare", tracking, outputs)

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pipe.close()
        if kind is not None:  # it may be anywhere; what it sends can be sent again
            self._process.kill()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def opened(self, tracking: Tracking, outputs: Path) -> Apart:
        """Opens the store.

        Args:
            tracking, outputs: those that it was made with, now that all else of the configuration is checked.

        Raises:
            StoreError: as of `StoreDelivery`.
        """
        self._tracking, self._outputs = tracking, outputs
        self._ask("open", tracking, outputs)
        return self

    def adopt(self, job: Job) -> None:
        """As of `Beside`."""
        self._ask("adopt", job)

    def live(self, folder: RunFolder) -> None:
        """As of `Beside`."""
        self._tell("live", folder)
        with contextlib.suppress(EOFError, OSError):
            while self._here is None and self._pipe.poll():
                self._hear()

    def send(self, folder: RunFolder) -> str | None:
        """As of `Beside`."""
        sent = self._ask("send", folder)
        return None if sent is None else str(sent)

    def _ask(self, what: str, *arguments: object) -> Any:
        """What comes of it there, or here."""
        self._tell(what, *arguments)
        while self._here is None:
            try:
                answer = self._hear()
            except (EOFError, OSError):
                self._lost()
                break
            except BaseException:  # a signal: half an answer may be read
                self._process.kill()
                raise
            if answer is not None:
                value, error = answer
                if error is not None:
                    raise error
                return value
        assert self._here is not None
        return None if what == "open" else getattr(self._here, what)(*arguments)

    def _tell(self, what: str, *arguments: object) -> None:
        if self._here is None:
            with contextlib.suppress(OSError):  # it was lost: the next answer that is waited for does not come
                self._pipe.send((what, arguments))

    def _hear(self) -> tuple[Any, BaseException | None] | None:
        """An answer; None where it was something logged."""
        said = self._pipe.recv()
        if not isinstance(said, logging.LogRecord):
            return said  # type: ignore[no-any-return]
        if log.isEnabledFor(said.levelno):
            log.handle(said)
        return None

    def _lost(self) -> None:
        log.debug("the process that delivers ended with status %s; this one delivers", self._process.wait())
        self._here = delivered_beside(self._tracking, self._outputs)


class _Back(logging.Handler):
    """Sends back what is logged, with its traceback as text."""

    def __init__(self, pipe: _Shared) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        said = {"name": record.name, "levelno": record.levelno, "levelname": record.levelname}
        with contextlib.suppress(OSError):  # nobody listens any more
            self._pipe.send(logging.makeLogRecord({**said, "msg": self.format(record), "created": record.created}))


def main() -> None:
    """The other process: does what it is asked until the pipe ends. Signals are its asker's matter."""
    for which in (signal.SIGINT, signal.SIGTERM):
        signal.signal(which, signal.SIG_IGN)
    pipe = _Shared(Connection(int(sys.argv[1])))
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.addHandler(_Back(pipe))
    with contextlib.suppress(EOFError, OSError):
        _serve(pipe)
    os._exit(0)  # a store that hangs is not waited for


class _Shared:
    """A pipe that several threads write to."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._turn = threading.Lock()
        self.recv = pipe.recv

    def send(self, what: object) -> None:
        with self._turn:
            self._pipe.send(what)


def _serve(pipe: _Shared) -> None:
    tracking, outputs = pipe.recv()[1]
    _prepare(tracking, outputs)
    delivery: Beside | None = None
    while True:
        what, arguments = pipe.recv()
        value, error = None, None
        try:
            if what == "open":
                delivery = delivered_beside(*arguments)
            else:
                value = getattr(delivery, what)(*arguments)
        except Exception as e:
            error = e
        if what != "live":
            pipe.send((value, error))
        if what == "adopt":  # the run's process trains now
            threading.Thread(target=_prepare_end, args=(tracking,), daemon=True).start()


def _prepare(tracking: Tracking, outputs: Path) -> None:
    """Imports what delivering will need, and touches no store."""
    import_mlflow()
    if not store_uri(tracking.uri, outputs).startswith("http"):
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def _prepare_end(tracking: Tracking) -> None:
    """Imports what delivering the end of a run will need."""
    if tracking.plots:
        import lenet_exp.reports.files.plots  # noqa: F401
    if tracking.models is not Models.none:
        warm_up()


if __name__ == "__main__":
    main()
