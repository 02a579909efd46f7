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
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LOOK_SECONDS = 0.1  # interval between checks for signals to forward
THREAD_SECONDS = 3.0  # maximum time for other threads to end after the main thread

_asked: signal.Signals | None = None
_raised: type[BaseException] | None = (
    None  # raised because of a signal; the exception may have been discarded
)
_depth = 0
_before_leaving: list[Callable[[], None]] = []


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
    # triton is in torch's GPU builds; it prints uncollected objects to stderr
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
    if _threads():  # threads of an idle ThreadPoolExecutor end after the main thread
        timer = threading.Timer(THREAD_SECONDS, _end_threads, (program, status))
        timer.daemon = True
        timer.start()


def _end_threads(program: str, status: int) -> None:
    if not threading.main_thread().is_alive() and (names := _threads()):
        print(
            f"{program}: threads are still running, such as {names[0]}; use daemon=True",
            file=sys.stderr,
            flush=True,
        )
        os._exit(status)


def _threads() -> list[str]:
    return [
        t.name for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()
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
        signal.signal(signal.SIGINT, lambda signum, frame: _raise(KeyboardInterrupt))


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
    # code that cleans up after a signal must not be interrupted again
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
    return _asked


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
    global _asked, _depth
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if _depth == 0:
        raise_discarded()
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
    """Call `action` if a second signal ends the process during a `with` block."""
    _before_leaving.append(action)
    try:
        yield
    finally:
        _before_leaving.remove(action)


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
    came: list[int] = []
    handed = 0

    def note(signum: int, frame: object) -> None:
        came.append(signum)

    # nohup ignores SIGHUP
    hung_up = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else []
    # the only thread that receives signals
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = {s: signal.signal(s, note) for s in (*SIGNALS, *hung_up) if in_main_thread}
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
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _note(signum: int, frame: object) -> None:
    global _asked
    if _asked is None:
        _asked = signal.Signals(signum)
        if sys.stderr is not None and sys.stderr.isatty():
            os.write(
                2,
                b"\r\x1b[KStopping: saving checkpoints first. Press Ctrl-C again to quit immediately.\n",
            )
        return
    for action in reversed(_before_leaving):
        action()
    if sys.stderr is not None and sys.stderr.isatty():
        os.write(2, b"\x1b[?25h\n")  # show the cursor, which the progress bars hide
    os._exit(128 + signum)
