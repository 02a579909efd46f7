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
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

from lenet_exp.stopping import SIGNALS, Terminated, limit_gc, raise_terminated

GRACE_SECONDS = 30.0  # maximum time for a job to end after the pool's process has died

_busy = threading.Event()  # a job is running
_closed = threading.Event()  # the pipe is closed
_asked_to_end = threading.Event()  # SIGTERM was sent to this process, because the pipe closed


def main() -> None:
    """Run jobs from the pipe until the pipe closes or a signal arrives.

    The signal is SIGTERM or, from the pool, SIGINT.
    """
    limit_gc()
    for stop_signal in SIGNALS:
        signal.signal(stop_signal, raise_terminated)
    pipe = Connection(int(sys.argv[1]))
    jobs: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    try:
        prepare = cloudpickle.loads(pipe.recv_bytes())
        threading.Thread(target=_read, args=(pipe, jobs), daemon=True).start()
        prepare(int(sys.argv[2]))
        ask = partial(_ask, pipe, jobs)
        while (job := jobs.get()) is not None:
            _busy.set()
            if _closed.is_set():
                # The pool's process died before this job began, so no process would stop the job.
                return
            result, was_stopped = _run(job, ask)
            pipe.send_bytes(result)
            if was_stopped:
                return
    except (EOFError, OSError, Terminated):  # the pool is gone or has released this worker
        return


def _read(pipe: Connection, jobs: queue.SimpleQueue[bytes | None]) -> None:
    """Forward messages from the pipe to the queue.

    When the pipe closes, stop the running job, if any. The pipe closes when the pool releases this
    worker or the pool's process dies.
    """
    while True:
        try:
            jobs.put(pipe.recv_bytes())
        except (EOFError, OSError):
            _closed.set()
            jobs.put(None)
            if _busy.is_set():
                os.kill(os.getpid(), signal.SIGTERM)
                _asked_to_end.set()
                time.sleep(GRACE_SECONDS)
                os._exit(1)
            return


def _ask(pipe: Connection, jobs: queue.SimpleQueue[bytes | None], question: Any) -> Any:
    """Send a question from the running job to the pool, and return the answer.

    If the pool's process has died, wait for SIGTERM, which stops the job, and return None.
    """
    try:
        pipe.send_bytes(cloudpickle.dumps((question, None, None)))
        answer = jobs.get()  # the pool sends nothing else to a busy worker
    except OSError:
        answer = None
    if answer is None:
        # Wait for SIGTERM, so that no job continues with None as its answer.
        _asked_to_end.wait(GRACE_SECONDS)
        jobs.put(None)
        return None
    return cloudpickle.loads(answer)


def _run(message: bytes, ask: Callable[[Any], Any]) -> tuple[bytes, bool]:
    """Run a job. Return its pickled value and exception, and whether a signal stopped it."""
    value: Any = None
    error: BaseException | None = None
    try:
        task, job, asks = cloudpickle.loads(message)
        value = task(job, ask) if asks else task(job)
    except BaseException as e:
        error = e
        e.add_note(f"in a worker: {traceback.format_exc()}")  # tracebacks cannot be pickled
    _busy.clear()

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
