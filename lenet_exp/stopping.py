"""Handling of SIGINT, SIGTERM, and the end of threads and processes.

After the first signal, the work ends cleanly. A second signal ends the process immediately. A
parent command forwards the signals that it receives to its child process.
"""

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
from types import FrameType
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
FORWARD_SECONDS = 0.1  # interval between checks for signals to forward

# What is written to a terminal. The first line replaces a progress bar.
STOPPING = b"\r\x1b[KStopping: saving checkpoints first. Press Ctrl-C again to quit immediately.\n"
SHOW_CURSOR = b"\x1b[?25h\n"

THREAD_SECONDS = 3.0  # maximum time for other threads to end after the main thread

Handler = Callable[[int, FrameType | None], Any] | int | None

# The first signal in the outermost `graceful` block.
_recorded_signal: signal.Signals | None = None
_graceful_depth = 0  # number of nested `graceful` blocks

# The exception that was last raised because of a signal; it may have been discarded.
_raised: type[BaseException] | None = None

# Functions to call if a second signal ends the process.
_forced_exit_actions: list[Callable[[], None]] = []


@contextmanager
def in_background(work: Callable[[threading.Event], None], name: str) -> Iterator[None]:
    """Call a function in a thread for the duration of a `with` block.

    Args:
        work: function that returns soon after its argument, an event, is set at the end of the
            block.
        name: name of the thread.
    """
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def limit_gc() -> None:
    """Run Python's garbage collector rarely, which makes imports a tenth faster, and skip it at
    exit.

    The final collection would take over a second once torch and mlflow are loaded. While a run
    trains, the usual thresholds apply.
    """
    gc.set_threshold(100_000)  # new objects
    atexit.register(_freeze)


def _freeze() -> None:
    # Triton, a part of torch's GPU builds, prints uncollected objects to stderr.
    if "triton" not in sys.modules:
        gc.freeze()


def end_threads_at_exit(program: str, status: int) -> None:
    """End the process soon after its main thread, even if other threads, such as those of a user's
    network, do not end.

    Call this function last.

    Args:
        program: name of the command, for a message about such threads.
        status: exit status.
    """
    if _thread_names():  # threads of an idle ThreadPoolExecutor end after the main thread
        timer = threading.Timer(THREAD_SECONDS, _end_threads, (program, status))
        timer.daemon = True
        timer.start()


def _end_threads(program: str, status: int) -> None:
    names = _thread_names()
    if threading.main_thread().is_alive() or not names:
        return
    print(
        f"{program}: threads are still running, such as {names[0]}; use daemon=True",
        file=sys.stderr,
        flush=True,
    )
    os._exit(status)


def _thread_names() -> list[str]:
    """Return the names of the threads that keep the process alive after its main thread."""
    main_thread = threading.main_thread()
    return [
        thread.name
        for thread in threading.enumerate()
        if not thread.daemon and thread is not main_thread
    ]


class Terminated(BaseException):
    """Raised when SIGTERM arrives."""


def raise_terminated(signum: int, frame: object) -> NoReturn:
    """Handle a signal by raising `Terminated`, for code that does not need a clean shutdown."""
    _raise(Terminated)


def raise_at_signals() -> None:
    """Raise KeyboardInterrupt when SIGINT arrives, and Terminated when SIGTERM arrives, from now
    on.

    SIGINT is still ignored if the process was started in this way, as by `nohup` or by `&` in a
    script.
    """
    global _raised
    _raised = None
    signal.signal(signal.SIGTERM, raise_terminated)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _raise_interrupt)


def _raise_interrupt(signum: int, frame: object) -> NoReturn:
    _raise(KeyboardInterrupt)


def _raise(error: type[BaseException]) -> NoReturn:
    global _raised
    _raised = error
    raise error


def raise_discarded() -> None:
    """Raise the KeyboardInterrupt or Terminated of a signal again if it was discarded; if not, do
    nothing.

    Python discards exceptions that are raised in `__del__` or in the callback of a weak reference,
    and some libraries catch all exceptions. Call this function in loops that wait, and before a
    command exits.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    # Code that cleans up after a signal must not be interrupted again.
    is_handled = sys.exc_info()[0] is not None
    if _raised is not None and not is_handled:
        raise _raised


def raise_stop(error: BaseException) -> None:
    """Raise the KeyboardInterrupt or Terminated that caused an error, or return if neither did.

    Libraries can wrap these exceptions in exceptions of their own.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt | Terminated):
            raise cause
        cause = cause.__cause__ or cause.__context__


def signal_from(stopped: KeyboardInterrupt | Terminated) -> signal.Signals:
    """Return the signal that caused an exception."""
    return signal.SIGINT if isinstance(stopped, KeyboardInterrupt) else signal.SIGTERM


def stop_signal() -> signal.Signals | None:
    """Return the signal that `graceful` has recorded, or None if no signal has arrived."""
    return _recorded_signal


@contextmanager
def graceful() -> Iterator[None]:
    """For the duration of a `with` block, record the first SIGINT or SIGTERM instead of raising an
    exception.

    `stop_signal` returns the recorded signal. A second signal ends the process with status 130 or
    143. On exit from the block, a recorded signal is raised as KeyboardInterrupt or Terminated.
    Outside the main thread, this function has no effect, because only the main thread receives
    signals.

    Raises:
        KeyboardInterrupt, Terminated: a signal arrived in the block, or before it (see
            `raise_discarded`).
    """
    global _recorded_signal, _graceful_depth
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if _graceful_depth == 0:
        raise_discarded()
    handlers: dict[signal.Signals, Handler] = {}
    if _graceful_depth == 0:
        for signum in SIGNALS:
            handlers[signum] = signal.signal(signum, _record_signal)
    _graceful_depth += 1
    try:
        yield
        if _recorded_signal is not None:
            raise KeyboardInterrupt if _recorded_signal is signal.SIGINT else Terminated
    finally:
        _graceful_depth -= 1
        if _graceful_depth == 0:
            _recorded_signal = None
            for signum, handler in handlers.items():
                signal.signal(signum, handler)


@contextmanager
def on_forced_exit(action: Callable[[], None]) -> Iterator[None]:
    """Call `action` if a second signal ends the process during a `with` block."""
    _forced_exit_actions.append(action)
    try:
        yield
    finally:
        _forced_exit_actions.remove(action)


def run_child(command: Sequence[str]) -> int:
    """Run a command in a child process and return its exit status, or 128 + n if signal n ended the
    process.

    SIGINT, SIGTERM, and SIGHUP are forwarded, each as many times as it arrives. The command has its
    own process group; otherwise, Ctrl-C in a terminal would reach the command twice and end it
    immediately.

    Raises:
        KeyboardInterrupt: SIGINT was the first signal that arrived while the command ran.
        Terminated: SIGTERM or SIGHUP was the first signal that arrived while the command ran.
    """
    arrived: list[int] = []

    def record(signum: int, frame: object) -> None:
        arrived.append(signum)

    handlers: dict[signal.Signals, Handler] = {}
    for signum in _signals_to_forward():
        handlers[signum] = signal.signal(signum, record)
    forwarded = 0
    try:
        with subprocess.Popen(command, process_group=0) as process:
            while process.poll() is None:
                for number in arrived[forwarded:]:
                    process.send_signal(number)
                    forwarded += 1
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(FORWARD_SECONDS)
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)

    if arrived:
        raise KeyboardInterrupt if arrived[0] == signal.SIGINT else Terminated
    if process.returncode < 0:  # a signal ended it
        return 128 - process.returncode
    return process.returncode


def _signals_to_forward() -> list[signal.Signals]:
    # Only the main thread can receive signals.
    if threading.current_thread() is not threading.main_thread():
        return []
    signals = list(SIGNALS)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
        signals.append(signal.SIGHUP)
    return signals


def _record_signal(signum: int, frame: object) -> None:
    """Record the first signal; end the process at the second one."""
    global _recorded_signal
    if _recorded_signal is None:
        _recorded_signal = signal.Signals(signum)
        _write_to_terminal(STOPPING)
        return

    for action in reversed(_forced_exit_actions):
        action()
    _write_to_terminal(SHOW_CURSOR)  # the progress bars hide it
    os._exit(128 + signum)


def _write_to_terminal(text: bytes) -> None:
    """Write to stderr if it is a terminal, without Python's buffer, which a signal can lock."""
    if sys.stderr is not None and sys.stderr.isatty():
        os.write(2, text)
