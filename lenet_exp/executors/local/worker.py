"""A worker process, which a `PoolExecutor` starts.

Its command is `python -m lenet_exp.executors.local.worker <descriptor> <slot>`. The descriptor is
the worker's end of its pipe.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

from lenet_exp.stopping import SIGNALS, Terminated, limit_gc, raise_terminated

GRACE_SECONDS = 30.0  # maximum time for a job to end after the pool's process has died


def main() -> None:
    """Run jobs from the pipe until the pipe closes or a signal arrives.

    The signal is SIGTERM or, from the pool, SIGINT.
    """
    limit_gc()
    for stop_signal in SIGNALS:
        signal.signal(stop_signal, raise_terminated)
    worker = _Worker(Connection(int(sys.argv[1])))
    # The errors mean that the pool is gone or has released this worker.
    with contextlib.suppress(EOFError, OSError, Terminated):
        worker.run(slot=int(sys.argv[2]))


class _Worker:
    """Runs the jobs that a pool sends through a pipe.

    Two threads share the fields. The main thread runs jobs. The reading thread receives messages,
    and stops the running job when the pipe closes.

    Args:
        pipe: the worker's end of the pipe.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        # Jobs and answers from the pool; None once the pipe is closed.
        self._messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._is_busy = threading.Event()  # a job is running
        self._is_closed = threading.Event()  # the pipe is closed
        # SIGTERM was sent to this process, because the pipe closed.
        self._was_asked_to_end = threading.Event()

    def run(self, slot: int) -> None:
        """Prepare this process, and run jobs until the pipe closes or a job is stopped.

        Args:
            slot: number of this worker, for `prepare`.

        Raises:
            EOFError, OSError, Terminated: the pool is gone, or has released this worker.
        """
        prepare = cloudpickle.loads(self._pipe.recv_bytes())
        threading.Thread(target=self._read, daemon=True).start()
        prepare(slot)

        while True:
            message = self._messages.get()
            if message is None:
                return
            # Busy first, because `_read` sets them in the other order: one notices the other.
            self._is_busy.set()
            if self._is_closed.is_set():
                # The pool's process died before this job began, so no process would stop the job.
                return
            result, was_stopped = self._run_job(message)
            self._pipe.send_bytes(result)
            if was_stopped:
                return

    def _read(self) -> None:
        """Forward messages from the pipe to the queue.

        When the pipe closes, stop the running job, if any. The pipe closes when the pool releases
        this worker or the pool's process dies.
        """
        while True:
            try:
                self._messages.put(self._pipe.recv_bytes())
            except (EOFError, OSError):
                break

        self._is_closed.set()
        self._messages.put(None)
        if self._is_busy.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
            self._was_asked_to_end.set()
            time.sleep(GRACE_SECONDS)
            os._exit(1)

    def _ask(self, question: Any) -> Any:
        """Send a question from the running job to the pool, and return the answer.

        If the pool's process has died, wait for SIGTERM, which stops the job, and return None.
        """
        try:
            self._pipe.send_bytes(cloudpickle.dumps((question, None, None)))
            answer = self._messages.get()  # the pool sends nothing else to a busy worker
        except OSError:
            answer = None
        if answer is None:
            # Wait for SIGTERM, so that no job continues with None as its answer.
            self._was_asked_to_end.wait(GRACE_SECONDS)
            self._messages.put(None)
            return None
        return cloudpickle.loads(answer)

    def _run_job(self, message: bytes) -> tuple[bytes, bool]:
        """Run a job. Return its pickled value and exception, and whether a signal stopped it."""
        value: Any = None
        error: BaseException | None = None
        try:
            task, job, asks = cloudpickle.loads(message)
            value = task(job, self._ask) if asks else task(job)
        except BaseException as e:
            error = e
            e.add_note(f"in a worker: {traceback.format_exc()}")  # tracebacks cannot be pickled
        self._is_busy.clear()

        was_stopped = isinstance(error, Terminated | KeyboardInterrupt)
        try:
            result = cloudpickle.dumps((None, value, error))
            cloudpickle.loads(result)  # some exceptions can be pickled but not unpickled
        except Exception as e:
            text = "".join(traceback.format_exception(error or e))
            result = cloudpickle.dumps((None, None, RuntimeError(text)))
        return result, was_stopped


if __name__ == "__main__":
    main()
    # The user's own code can close or remove stdout.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stdout.flush()
    os._exit(0)  # do not wait for the final garbage collection or for threads of a user's network
