"""Uploads a single run in a separate process, which imports mlflow while the training process imports torch.

    training process: SubprocessDelivery   -- pipe -->   upload process: main, BackgroundDelivery   -->   MLflow

The upload process sends its log messages back over the pipe, and the training process logs them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from logging.handlers import QueueHandler
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lenet_exp.config.schema import LoggedModels, Tracking
from lenet_exp.folders.job import Job
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.delivery.background import open_background_delivery
from lenet_exp.tracking.models.model import warm_up
from lenet_exp.tracking.stores.store import import_mlflow

log = logging.getLogger("lenet_exp")


class SubprocessDelivery:
    """A `Delivery` that uploads in a separate process.

    The process starts immediately, but it does not access the store until `opened` is called.
    """

    def __init__(self) -> None:
        self._lost = False
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                # Without -P, Python would import an mlflow.py from the working directory instead of MLflow. Without -W,
                # PYTHONWARNINGS=error would turn MLflow's warnings into errors.
                [sys.executable, "-PWdefault", "-m", "lenet_exp.tracking.delivery.own_process", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            )

    def __enter__(self) -> SubprocessDelivery:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # `send` has returned; after an error, uploads can be repeated
        self._process.wait()
        self._pipe.close()

    def opened(self, tracking: Tracking, outputs: Path) -> SubprocessDelivery:
        """Open the store in the upload process and return this object.

        Raises:
            StoreError: the store responds but cannot be used.
        """
        self._ask("open", tracking, outputs)
        return self

    def adopt(self, job: Job) -> None:
        """Reuse another user's finished run instead of training the job, if a shared store contains such a run."""
        self._ask("adopt", job)

    def live(self, folder: RunFolder) -> None:
        """Request an upload of the last checkpoint. The request is ignored if the previous upload is too recent."""
        with self._warn_if_lost():
            self._pipe.send(("live", (folder,)))
            while self._pipe.poll():
                log.handle(self._pipe.recv())

    def send(self, folder: RunFolder) -> str | None:
        """Upload a run that has ended and return its MLflow run ID, or None on failure."""
        sent = self._ask("send", folder)
        return None if sent is None else str(sent)

    def _ask(self, what: str, *arguments: object) -> Any:
        """Call a method in the upload process and return its result, or return None if the process has exited."""
        with self._warn_if_lost():
            self._pipe.send((what, arguments))
            while isinstance(heard := self._pipe.recv(), logging.LogRecord):
                log.handle(heard)
            value, error = heard
            if error is not None:
                raise error
            return value
        return None

    @contextlib.contextmanager
    def _warn_if_lost(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, BrokenPipeError, ConnectionResetError):
            if not self._lost:
                how = self._process.wait()
                log.warning("the upload process exited (status %d); run lenet-sync to upload the rest", how)
            self._lost = True


class _PipeHandler(QueueHandler):
    """A log handler that sends log records over a pipe, with tracebacks as part of their message."""

    def enqueue(self, record: logging.LogRecord) -> None:
        """Send a log record if its level is enabled."""
        if log.isEnabledFor(record.levelno):
            self.queue.send(record)  # type: ignore[attr-defined]  # a pipe


def main() -> None:
    """Run the upload process until the pipe closes.

    The upload process ignores SIGINT and SIGTERM, which the training process handles.
    """
    for which in (signal.SIGINT, signal.SIGTERM):
        signal.signal(which, signal.SIG_IGN)
    pipe = Connection(int(sys.argv[1]))
    back = _PipeHandler(pipe)  # type: ignore[arg-type]
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.addHandler(back)
    with contextlib.suppress(EOFError, OSError):
        _serve(pipe, back)
    os._exit(0)  # do not wait for a store that hangs


def _serve(pipe: Connection, back: _PipeHandler) -> None:
    import_mlflow()
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    delivery: Any = None
    while True:
        what, arguments = pipe.recv()
        value, error = None, None
        try:
            if what == "open":
                delivery = open_background_delivery(*arguments)
            else:
                value = getattr(delivery, what)(*arguments)
        except Exception as e:
            error = e
        if what != "live":
            assert back.lock is not None
            with back.lock:  # the upload thread logs to the same pipe
                pipe.send((value, error))
        if what == "open":
            tracking = arguments[0]
        elif what == "adopt":  # the training process starts training now
            threading.Thread(target=_prepare_end, args=(tracking,), daemon=True).start()


def _prepare_end(tracking: Tracking) -> None:
    """Import the modules that are required to upload the final results of a run."""
    if tracking.models is not LoggedModels.none:
        warm_up()


if __name__ == "__main__":
    main()
