"""A worker of the pool: `python -m lenet_exp.executors.local.worker <descriptor of its pipe>`. Not for people."""

from __future__ import annotations

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

from lenet_exp.stopping import SIGNALS, Terminated, raise_terminated, skip_gc_at_exit

GRACE_SECONDS = 30.0  # after the pool's process died, a job has so long to come to its end


def main() -> None:
    """Takes jobs from the pipe until it closes, or until SIGTERM, or SIGINT of the pool's."""
    skip_gc_at_exit()
    for which in SIGNALS:
        signal.signal(which, raise_terminated)
    pipe = Connection(int(sys.argv[1]))
    jobs: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    try:
        prepare = cloudpickle.loads(pipe.recv_bytes())
        if prepare is not None:
            prepare()
        threading.Thread(target=_read, args=(pipe, jobs), daemon=True).start()
        while (job := jobs.get()) is not None:
            ended = _run(job, partial(_ask, pipe, jobs))
            pipe.send_bytes(ended[0])
            if ended[1]:
                return
    except (EOFError, OSError, Terminated):  # the pool is gone, or wants it to go
        return


def _read(pipe: Connection, jobs: queue.SimpleQueue[bytes | None]) -> None:
    """Hands on what the pool sends. Its end means that the pool let go, or that its process died in mid-job."""
    while True:
        try:
            jobs.put(pipe.recv_bytes())
        except (EOFError, OSError):
            jobs.put(None)
            if _busy.is_set():
                os.kill(os.getpid(), signal.SIGTERM)
                _asked_to_end.set()
                time.sleep(GRACE_SECONDS)
                os._exit(1)
            return


_busy = threading.Event()
_asked_to_end = threading.Event()


def _ask(pipe: Connection, jobs: queue.SimpleQueue[bytes | None], question: Any) -> Any:
    """Ask the pool a question for the running job. If the pool is gone, stop the job and return None."""
    try:
        pipe.send_bytes(cloudpickle.dumps((question, None, None)))
        answer = jobs.get()  # a busy worker is sent nothing else
    except OSError:
        answer = None
    if answer is None:
        _asked_to_end.wait(GRACE_SECONDS)  # no job takes this for an answer, and goes on
        jobs.put(None)
        return None
    return cloudpickle.loads(answer)


def _run(job: bytes, ask: Callable[[Any], Any]) -> tuple[bytes, bool]:
    """The job's value and error, pickled, and whether the worker was told to end."""
    value: Any = None
    error: BaseException | None = None
    _busy.set()
    try:
        function, arguments, asks = cloudpickle.loads(job)
        value = function(*arguments, ask) if asks else function(*arguments)
    except BaseException as e:
        error = e
        e.add_note(f"in a worker: {traceback.format_exc()}")  # the traceback itself does not travel
    _busy.clear()
    try:
        sent = cloudpickle.dumps((None, value, error))
        cloudpickle.loads(sent)  # some exceptions pickle but can't be read
    except Exception as e:
        sent = cloudpickle.dumps((None, None, RuntimeError("".join(traceback.format_exception(error or e)))))
    return sent, isinstance(error, Terminated | KeyboardInterrupt)


if __name__ == "__main__":
    main()
