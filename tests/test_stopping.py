"""The first SIGINT or SIGTERM is recorded, and a child receives each signal once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from lenet_exp.config.explain import explain_hydra
from lenet_exp.stopping import Terminated, graceful, run_child, stop_signal
from tests.tools.commands import ROOT

RAISED = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}


def work(inside: Callable[[], None]) -> None:
    with graceful():
        inside()


@pytest.mark.parametrize("which", RAISED)
def test_first_signal_is_raised_when_the_work_ends(which):
    seen = []

    def inside() -> None:
        seen.append(stop_signal())
        signal.raise_signal(which)
        seen.extend([stop_signal(), "the rest of the work"])

    before = signal.getsignal(which)
    with pytest.raises(RAISED[which]):
        work(inside)
    assert seen == [None, which, "the rest of the work"]
    assert stop_signal() is None
    assert signal.getsignal(which) == before


def test_error_of_the_work_takes_precedence_over_signal():
    def inside() -> None:
        signal.raise_signal(signal.SIGINT)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work(inside)
    assert stop_signal() is None


def test_graceful_in_another_thread_changes_no_handler():
    seen = []
    thread = threading.Thread(
        target=work, args=(lambda: seen.append(signal.getsignal(signal.SIGINT)),)
    )
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


CHILD = (
    "import signal, sys, time\n"
    "seen = []\n"
    "for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):\n"
    "    signal.signal(number, lambda n, frame: seen.append(n))\n"
    "print('ready', flush=True)\n"
    "while not seen: time.sleep(0.01)\n"
    "time.sleep(0.5)\n"
    "print(*seen, flush=True)\n"
    "sys.exit(7)"
)


@pytest.mark.parametrize(
    ("which", "send"),
    [(signal.SIGINT, os.killpg), (signal.SIGTERM, os.kill), (signal.SIGHUP, os.killpg)],
)
def test_signal_to_process_or_group_reaches_child_once(which, send):
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # nohup makes processes ignore SIGHUP
        "from lenet_exp.stopping import Terminated, run_child\n"
        "try: run_child([sys.executable, '-c', sys.argv[1]])\n"
        "except (KeyboardInterrupt, Terminated) as e: print(type(e).__name__)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, CHILD],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    send(process.pid, which)
    raised = RAISED.get(which, Terminated).__name__
    assert process.communicate(timeout=60)[0] == f"{int(which)}\n{raised}\n"


def test_run_child_returns_status_and_restores_handlers():
    before = signal.getsignal(signal.SIGINT)
    assert run_child([sys.executable, "-c", "raise SystemExit(7)"]) == 7
    assert run_child([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == 137
    assert signal.getsignal(signal.SIGINT) == before


ENDING = """
import atexit, os, signal, sys
from lenet_exp.commands.ending import run_and_exit

def kill_later():
    atexit.register(os.kill, os.getpid(), signal.SIGTERM)
    return 0

if sys.argv[1] == "late":  # Python calls the functions that are registered first last
    kill_later()
run_and_exit("ending", (lambda: 0) if sys.argv[1] == "late" else kill_later)
"""


@pytest.mark.parametrize(("when", "status"), [("early", 143), ("late", -signal.SIGTERM)])
def test_signal_while_python_exits_is_not_ignored(when, status):
    done = subprocess.run(
        [sys.executable, "-c", ENDING, when], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize("which", RAISED)
def test_signal_hidden_by_an_error_of_a_library_is_raised(which):
    error = KeyError("left half done")
    error.__context__ = RAISED[which]()
    with pytest.raises(RAISED[which]):
        explain_hydra(error)
    assert explain_hydra(KeyError("nope")) == "nope: not found"


def test_signal_in_generated_code_of_library_leaves_exit_status(tmp_path):
    """Python marks a KeyboardInterrupt in exec() as unhandled, although it is handled later."""
    (tmp_path / "stopped.py").write_text(
        "from lenet_exp.commands.ending import run_and_exit\n"
        "run_and_exit('stopped', lambda: exec('raise KeyboardInterrupt'))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "stopped"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "stopped: stopped\n")
