"""Starts the uploading process of this Python process, and exchanges messages with it.

This module imports little, so that the uploading process starts early. One uploading process serves
all calls of a Python process.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import queue
import subprocess
import threading
import time

from lenet_exp import processes
from lenet_exp.stopping import raise_discarded
from lenet_exp.tracking.uploader.protocol import (
    Answer,
    AnswerKind,
    Request,
    RequestKind,
    from_line,
    to_line,
)

# a call to a store that exceeds its time limit by this much cannot be interrupted
STUCK_SECONDS = 8.0
SILENT_SECONDS = 30.0  # an uploading process that sends nothing for this long hangs
CLOSE_SECONDS = 10.0  # maximum time for the uploading process to finish the upload in progress
TICK_SECONDS = 0.1

log = logging.getLogger("lenet_exp")


class Uploader:
    """The uploading process, as the training process sees it.

    Attributes:
        environment: environment variables for MLflow when the process was started.
        pid: ID of the process that started it. A forked child must start its own.
        started: value of `time.monotonic()` when it was started.
        has_warned: whether its end was reported, or needs no report.
    """

    def __init__(self) -> None:
        self.environment = mlflow_environment()
        self.pid = os.getpid()
        self.started = time.monotonic()
        self.has_warned = False
        self._process: subprocess.Popen[bytes] = processes.start_module(
            "lenet_exp.tracking.uploader.process"
        )
        self._answers: dict[str, queue.Queue[Answer]] = {}  # keyed by the path of the run or sweep
        self._is_lost = threading.Event()
        self._last_message = self.started
        self._has_begun = False
        self._overdue_seconds = 0.0
        threading.Thread(target=self._read, name="uploader", daemon=True).start()

    @property
    def is_lost(self) -> bool:
        """Whether the uploading process has exited."""
        return self._is_lost.is_set()

    def send(self, request: Request) -> None:
        """Send a request to the uploading process, if it still exists."""
        if request.kind is RequestKind.follow:
            self._answers[request.path] = queue.Queue()

        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(to_line(request))
            self._process.stdin.flush()

    def answer(self, path: str, deadline: float) -> Answer | None:
        """Return the next answer about a run or a sweep, or None if none arrives.

        The result is None if the deadline has passed, the process has exited, or it hangs.

        Args:
            path: path of the run or the sweep.
            deadline: value of `time.monotonic()`.
        """
        while True:
            raise_discarded()
            try:
                return self._answers[path].get(timeout=TICK_SECONDS)
            except queue.Empty:
                if self.is_lost or self.hangs():
                    return None
                if time.monotonic() > deadline:
                    return None

    def hangs(self) -> bool:
        """Return whether a call of the process to a store never ends, or the process is silent."""
        if self._overdue_seconds > STUCK_SECONDS:
            return True
        silent_seconds = time.monotonic() - self._last_message
        return silent_seconds > SILENT_SECONDS

    def warn_if_lost(self) -> None:
        """Warn once if the process has exited on its own."""
        if not self.is_lost or self.has_warned:
            return
        self.has_warned = True
        status = self._process.wait()
        log.warning(
            "the upload process exited (status %d); run lenet-sync to upload the rest", status
        )

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """End the process, and kill it if it has not ended after some time.

        Args:
            seconds: maximum time for the process to finish the upload in progress.
        """
        self.has_warned = True
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

        if not self._has_begun:  # it still imports mlflow, so there is no upload to finish
            seconds = 0.0
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        """Read the messages of the process until it exits. Runs in a thread."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._last_message = time.monotonic()
            answer = from_line(Answer, line)
            if answer.kind is AnswerKind.alive:
                self._overdue_seconds = answer.seconds
                continue

            self._has_begun = True
            if answer.kind is AnswerKind.log:
                log.log(answer.level, "%s", answer.text)
            elif answer.path in self._answers:
                self._answers[answer.path].put(answer)
        self._is_lost.set()


_current: Uploader | None = None  # the uploading process of this Python process


def start_uploader() -> Uploader:
    """Return the uploading process of this Python process. It is started if there is none yet.

    Call this function early, so that the process imports mlflow while this one imports torch.
    """
    global _current
    if _current is not None and _is_usable(_current):
        return _current

    if _current is not None and _current.pid == os.getpid():
        _current.close()
    _current = Uploader()
    return _current


def _is_usable(uploader: Uploader) -> bool:
    """Return whether an uploading process is alive, is this process's own, and has its settings."""
    if uploader.is_lost or uploader.pid != os.getpid():
        return False
    return uploader.environment == mlflow_environment()


@atexit.register
def close_uploader(seconds: float = CLOSE_SECONDS) -> None:
    """End the uploading process of this Python process, if there is one; see `Uploader.close`."""
    global _current
    if _current is not None and _current.pid == os.getpid():
        _current.close(seconds)
    _current = None


def mlflow_environment() -> dict[str, str]:
    """Return the environment variables for MLflow, which contain passwords."""
    return {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
