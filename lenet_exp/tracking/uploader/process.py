"""The uploading process of a Python process that trains.

It is the only one of them that imports mlflow.

    training process: client.Uploader                     uploading process: main
        stdin   Request   -->                                 reads run and sweep folders
        stdout  Answer    <--                                 writes delivered.json
                                                              uploads to MLflow

The uploading process has a session of its own and ignores signals. When its stdin ends or its
parent dies, it finishes the upload in progress and exits within 10 s.
"""

from __future__ import annotations

import logging
import os
import queue
import select
import signal
import threading
import time
from functools import partial
from pathlib import Path

from lenet_exp.config.schema import LoggedModels, StoreAddress
from lenet_exp.errors import UserError, first_line
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_progress import UPLOAD_SHARE
from lenet_exp.machine import cpu_count
from lenet_exp.stopping import limit_gc
from lenet_exp.tracking.models.exporter import ModelExporter
from lenet_exp.tracking.stores.connection import StoreConnection
from lenet_exp.tracking.stores.store import import_mlflow
from lenet_exp.tracking.stores.time_limit import CallLimit
from lenet_exp.tracking.sweep_runs.upload import SweepUpload
from lenet_exp.tracking.uploader.follow import Follower, RunFollower, SweepFollower
from lenet_exp.tracking.uploader.protocol import (
    Answer,
    AnswerKind,
    FolderKind,
    FolderToFollow,
    Request,
    RequestKind,
    from_line,
    to_line,
)

EXIT_SECONDS = 10.0  # maximum time from the end of stdin until the process exits
LOOK_SECONDS = 0.3  # time between two looks at the folders if nothing has changed
WATCH_SECONDS = 1.0  # time between two messages about the call in progress
MAX_READ_BYTES = 65_536

log = logging.getLogger("lenet_exp")


class CommandEnded(Exception):
    """Raised between two uploads if the training process no longer waits for them."""


class Channel:
    """The messages to and from the training process, through stdout and stdin.

    Attributes:
        requests: requests that were received; None after the last one.
        has_ended: whether the messages have ended.
    """

    def __init__(self) -> None:
        # A library that prints must not disturb the messages, so stdout becomes /dev/null.
        self._answers = os.dup(1)
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        self._lock = threading.Lock()
        self.requests: queue.Queue[Request | None] = queue.Queue()
        self.has_ended = threading.Event()

    def send(self, answer: Answer) -> None:
        """Send an answer to the training process, if it still exists."""
        line = to_line(answer)
        with self._lock:
            try:
                while line:
                    written = os.write(self._answers, line)
                    line = line[written:]
            except OSError:
                self.has_ended.set()

    def read(self, limit: CallLimit, exporter: ModelExporter) -> None:
        """Read requests until stdin ends or the parent dies. Runs in a thread.

        Args:
            limit: time limit of calls, which is shortened when the command waits for the uploads.
            exporter: exporter, which is started when the command waits for the upload of a model.
                At the end of a short run, it imports torch while the main thread imports mlflow.
        """
        parent = os.getppid()
        incomplete_line = b""
        while os.getppid() == parent:
            self.send(Answer(AnswerKind.alive, seconds=limit.overdue()))
            readable, _, _ = select.select([0], [], [], WATCH_SECONDS)
            if not readable:
                continue
            chunk = os.read(0, MAX_READ_BYTES)
            if not chunk:
                break

            *lines, incomplete_line = (incomplete_line + chunk).split(b"\n")
            for line in lines:
                request = from_line(Request, line)
                if request.kind is RequestKind.complete:
                    limit.shorten()
                if request.exports:
                    exporter.start()
                self.requests.put(request)

        self.has_ended.set()
        self.requests.put(None)
        time.sleep(EXIT_SECONDS)
        os._exit(0)


class ChannelHandler(logging.Handler):
    """A log handler that sends log lines to the training process."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(logging.INFO)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Send a log record."""
        self._channel.send(Answer(AnswerKind.log, text=record.getMessage(), level=record.levelno))


class UploadProcess:
    """The work of the uploading process.

    Args:
        channel: messages to and from the training process.
        limit: time limit of calls to stores.
        exporter: exporter of trained models.
    """

    def __init__(self, channel: Channel, limit: CallLimit, exporter: ModelExporter) -> None:
        self._channel = channel
        self._limit = limit
        self._exporter = exporter
        self._stores: dict[tuple[str | None, str, str], StoreConnection] = {}
        self._followers: dict[str, Follower] = {}
        self._rests = True

    def run(self) -> None:
        """Upload what the training process requests, until its messages end."""
        pause = 0.0
        while not self._channel.has_ended.is_set():
            try:
                request = self._channel.requests.get(timeout=max(pause, 0.01))
            except queue.Empty:
                pause = self._look()
                continue
            if request is not None:
                self._handle(request)
        self._exporter.close()

    def _handle(self, request: Request) -> None:
        if request.follow is not None:
            self._follow(request.path, request.follow)
        elif request.kind is RequestKind.complete:
            self._complete(request.path)
        else:
            self._followers.pop(request.path, None)

    def _follow(self, path: str, details: FolderToFollow) -> None:
        """Open the store of a run or sweep, and follow its folder."""
        error = ""
        try:
            store = self._store(details)
            self._followers[path] = self._follower(Path(path), details, store)
            self._rests = details.rests
        except UserError as e:
            error = str(e)
        self._channel.send(Answer(AnswerKind.opened, path, text=error))

    def _store(self, details: FolderToFollow) -> StoreConnection:
        """Return the connection to the store of a run or sweep.

        The store is opened if it is not open yet.

        Raises:
            StoreError: the store responds but cannot be used.
        """
        key = (details.uri, details.experiment, details.outputs)
        if key not in self._stores:
            address = StoreAddress(uri=details.uri, experiment=details.experiment)
            store = StoreConnection(
                address,
                Path(details.outputs),
                self._limit,
                outputs_existed=details.outputs_exist,
            )
            store.open()
            self._stores[key] = store
        return self._stores[key]

    def _follower(self, path: Path, details: FolderToFollow, store: StoreConnection) -> Follower:
        if details.kind is FolderKind.sweep:
            sweep = SweepFolder(path)
            return SweepFollower(sweep, SweepUpload(sweep, store, self._exporter, details.user))
        models = LoggedModels(details.models)
        return RunFollower(RunFolder(path), store, self._exporter, details.user, models=models)

    def _look(self) -> float:
        """Upload one thing that has changed, and return the seconds to rest after it.

        The process rests so that it takes at most a small share of the machine's time from
        training.
        """
        for follower in self._followers.values():
            start = time.process_time()
            try:
                has_uploaded = follower.look()
            except Exception:
                # The folder is being written, moved, or removed; `complete` tries again.
                log.debug("following", exc_info=True)
                has_uploaded = False

            if has_uploaded:
                busy_seconds = time.process_time() - start
                return _rest_seconds(busy_seconds) if self._rests else 0.0
        return LOOK_SECONDS

    def _show(self, path: str, done: int, of: int) -> None:
        """Report how many runs have been uploaded.

        Raises:
            CommandEnded: the command has ended, so nothing more is uploaded.
        """
        if self._channel.has_ended.is_set():
            raise CommandEnded
        self._channel.send(Answer(AnswerKind.progress, path, done=done, of=of))

    def _complete(self, path: str) -> None:
        """Upload everything of a run or sweep that its store lacks, and report what is missing."""
        follower = self._followers.pop(path, None)
        left: list[int] | None = None
        if follower is not None:
            try:
                count = follower.complete(partial(self._show, path))
                left = [count.runs, count.models, count.sweeps]
            except CommandEnded:
                return
            except Exception as e:  # the folder was moved or removed, or is corrupt
                log.debug("completing", exc_info=True)
                log.warning("%s: cannot be uploaded (%s)", path, e)
        self._limit.relax()
        self._channel.send(Answer(AnswerKind.completed, path, left=left))


def _rest_seconds(busy_seconds: float) -> float:
    """Return how long to rest after an upload, so that uploads take at most their share of time.

    For example, with a share of 5% of the time of 4 CPUs, which is 20% of one CPU, the rest is four
    times as long as the upload.
    """
    share_of_one_cpu = UPLOAD_SHARE * cpu_count()
    rest_to_busy = max(0.0, 1 / share_of_one_cpu - 1)
    return rest_to_busy * busy_seconds


def main() -> None:
    """Run the uploading process."""
    limit_gc()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the training process handles them

    channel = Channel()
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.addHandler(ChannelHandler(channel))

    limit = CallLimit()
    exporter = ModelExporter()
    reader = threading.Thread(
        target=channel.read, args=(limit, exporter), name="requests", daemon=True
    )
    reader.start()
    import_mlflow()
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    status = 0
    try:
        UploadProcess(channel, limit, exporter).run()
    except Exception as e:
        log.warning("the upload process failed: %s: %s", type(e).__name__, first_line(e))
        status = 1
    finally:
        os._exit(status)  # do not wait for a store that hangs


if __name__ == "__main__":
    main()
