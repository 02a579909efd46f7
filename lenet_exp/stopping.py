"""How a process ends. SIGINT and SIGTERM: the first asks work to come to a clean end, the second ends it at once. A
command that another one waits for gets its signals from there."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LOOK_SECONDS = 0.1  # between two looks at signals for a child

_asked: signal.Signals | None = None
_depth = 0
_before_leaving: list[Callable[[], None]] = []


def skip_gc_at_exit() -> None:
    """Has Python not look for cycles in all of torch and mlflow before it ends, which takes over a second."""
    atexit.register(_freeze)


def _freeze() -> None:
    if "triton" not in sys.modules:  # in torch's builds for GPUs; it lists on stderr what of it was not collected
        gc.freeze()


class Terminated(BaseException):
    """SIGTERM arrived."""


def raise_terminated(signum: int, frame: object) -> NoReturn:
    """A handler of SIGTERM for where nothing has to come to an end first."""
    raise Terminated


def raise_stop(error: BaseException) -> None:
    """Raises the KeyboardInterrupt or Terminated that an error was made of, as other libraries do; else nothing."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt | Terminated):
            raise cause
        cause = cause.__cause__ or cause.__context__


def signal_from(stopped: KeyboardInterrupt | Terminated) -> signal.Signals:
    """By which signal something was stopped that raised this."""
    return signal.SIGINT if isinstance(stopped, KeyboardInterrupt) else signal.SIGTERM


def stop_signal() -> signal.Signals | None:
    """The signal that asked, inside `graceful`; None while there was none."""
    return _asked


@contextmanager
def graceful() -> Iterator[None]:
    """Inside, a first SIGINT or SIGTERM is only noted (see `stop_signal`); a second one ends the process with 130 or 143.

    On leaving, what was asked for is raised: KeyboardInterrupt or Terminated. In other threads than the main one, which
    get no signals, nothing changes.
    """
    global _asked, _depth
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.signal(s, _note) for s in SIGNALS} if _depth == 0 else {}
    _depth += 1
    try:
        yield
        if _asked is not None:
            raise KeyboardInterrupt if _asked is signal.SIGINT else Terminated
    finally:
        _depth -= 1
        if _depth == 0:
            _asked = None
            for which, handler in before.items():
                signal.signal(which, handler)


@contextmanager
def on_forced_exit(action: Callable[[], None]) -> Iterator[None]:
    """`action` is called if the process is ended at once meanwhile."""
    _before_leaving.append(action)
    try:
        yield
    finally:
        _before_leaving.remove(action)


def run_child(command: Sequence[str]) -> int:
    """Runs a command in a process of its own to its end; its exit status, 128 + n where signal n ended it.

    SIGINT, SIGTERM and SIGHUP that reach this process are handed on, each as often as it comes. The command has a
    process group of its own: else a terminal's Ctrl-C would reach it twice, and end it at once.

    Raises:
        KeyboardInterrupt, Terminated: there was such a signal, and the command has come to its end.
    """
    if threading.current_thread() is not threading.main_thread():  # which gets no signals
        return _exit_status(subprocess.call(command))
    came: list[int] = []
    handed = 0

    def note(signum: int, frame: object) -> None:
        came.append(signum)

    hung_up = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else []  # as under nohup
    before = {s: signal.signal(s, note) for s in (*SIGNALS, *hung_up)}
    try:
        with subprocess.Popen(command, process_group=0) as process:
            while process.poll() is None:
                for signum in came[handed:]:
                    process.send_signal(signum)
                    handed += 1
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(LOOK_SECONDS)
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
    if came:
        raise KeyboardInterrupt if came[0] == signal.SIGINT else Terminated
    return _exit_status(process.returncode)


def _exit_status(returned: int) -> int:
    return returned if returned >= 0 else 128 - returned


def _note(signum: int, frame: object) -> None:
    global _asked
    if _asked is None:
        _asked = signal.Signals(signum)
        if sys.stderr is not None and sys.stderr.isatty():
            os.write(2, b"\r\x1b[Kstopping: what is trained is committed first; once more ends it at once\n")
        return
    for action in reversed(_before_leaving):
        action()
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h\n")  # the bars had hidden the cursor
    os._exit(128 + signum)
