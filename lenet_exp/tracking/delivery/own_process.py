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
from collections.abc import Iterator
from logging.handlers import QueueHandler
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lenet_exp.addresses import SQLITE, store_name, store_uri
from lenet_exp.config.schema import LoggedModels, Tracking
from lenet_exp.errors import first_line
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.stopping import limit_gc
from lenet_exp.tracking.delivery.background import open_background_delivery
from lenet_exp.tracking.delivery.remaining import remaining_uploads
from lenet_exp.tracking.models.model import exported
from lenet_exp.tracking.stores.store import import_mlflow
from lenet_exp.tracking.stores.usable import check_store

log = logging.getLogger("lenet_exp")


class SubprocessDelivery:
    """A `Delivery` that uploads in a separate process.

    The process starts immediately, but it does not access the store until `opened` is called. Training does not wait
    for a SQLite database to be opened. The models are exported in the training process, which has imported torch.
    """

    def __init__(self) -> None:
        self._lost = False
        self._uri = ""
        self._is_file = False
        self._models = LoggedModels.none
        self._not_exported: set[str] = set()  # runs whose model could not be exported, because the disk is full
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

        If the store is a SQLite database, this method only checks the file. The upload process logs a warning if MLflow
        cannot use the database.

        Raises:
            StoreError: the store responds but cannot be used.
        """
        self._uri, self._models = store_uri(tracking.uri, outputs), tracking.models
        self._is_file = self._uri.startswith(SQLITE)
        if self._is_file:
            check_store(self._uri)
            with self._warn_if_lost():
                self._pipe.send(("open", (tracking, outputs), {}, False))
        else:
            self._ask("open", tracking, outputs)
        return self

    def live(self, folder: RunFolder) -> None:
        """Request an upload of the last checkpoint. The request is ignored if the previous upload is too recent."""
        with self._warn_if_lost():
            self._pipe.send(("live", (folder,), {}, False))
            while self._pipe.poll():
                log.handle(self._pipe.recv())

    def send(self, folder: RunFolder) -> str | None:
        """Upload a run that has ended and return its MLflow run ID, or None on failure.

        This process exports the best model while the other results are uploaded.
        """
        sent: str | None = None
        with self._warn_if_lost():
            self._pipe.send(("send", (folder,), {"model": False}, True))
            archive = self._exported(folder)
            sent = self._answer()
            archive = self._exported(folder) if archive is None else archive  # the store may have lost the model
            if sent is not None and archive is not None:
                sent = self._ask("send", folder, archive=archive)
        return sent

    def _exported(self, folder: RunFolder) -> bytes | None:
        """Return the best model as a `.pt2` archive, or None if it need not be uploaded."""
        model, record = self._models is not LoggedModels.none, folder.record()
        weights = folder.best_arrays() if remaining_uploads(folder, store_name(self._uri), model=model).models else None
        if record is None or weights is None or folder.id in self._not_exported:
            return None
        try:
            return exported(record.config, weights)
        except OSError as e:
            self._not_exported.add(folder.id)
            log.warning("the model was not uploaded (%s); to upload it, run: lenet-sync", first_line(e))
            return None

    def _ask(self, what: str, *arguments: object, **keywords: object) -> Any:
        """Call a method in the upload process and return its result, or return None if the process has exited."""
        with self._warn_if_lost():
            self._pipe.send((what, arguments, keywords, True))
            return self._answer()
        return None

    def _answer(self) -> Any:
        while isinstance(heard := self._pipe.recv(), logging.LogRecord):
            log.handle(heard)
        value, error = heard
        if error is not None:
            raise error
        return value

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
        """Send a log record."""
        self.queue.send(record)  # type: ignore[attr-defined]  # a pipe


def main() -> None:
    """Run the upload process until the pipe closes.

    The upload process ignores SIGINT and SIGTERM, which the training process handles.
    """
    limit_gc()
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
    import mlflow.store.tracking.sqlalchemy_store

    delivery: Any = None
    while True:
        what, arguments, keywords, waits = pipe.recv()
        value, error = None, None
        try:
            if what == "open":
                delivery = open_background_delivery(*arguments)
            elif delivery is not None:
                value = getattr(delivery, what)(*arguments, **keywords)
        except Exception as e:
            error = e
        if waits:
            assert back.lock is not None
            with back.lock:  # the upload thread logs to the same pipe
                pipe.send((value, error))
        elif error is not None:
            log.warning("%s (results are saved in the outputs folder; to upload them later, run lenet-sync)", error)
        if what == "open" and arguments[0].models is not LoggedModels.none:
            import mlflow.pyfunc  # noqa: F401


if __name__ == "__main__":
    main()
