"""Ownership of a folder: one process at a time, on this machine and on others."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lenet_exp.errors import ConfigError, DamagedError, UserError
from lenet_exp.files import open_lock, write_json
from lenet_exp.folders import owner as owner_module
from lenet_exp.folders.owner import Owner, locked_folder, move_away, owner_of
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.machine import host
from lenet_exp.sweeps.stop import stop_sweep
from tests.tools.until import until

HOLD = (
    "import sys; from pathlib import Path; from lenet_exp.folders.owner import locked_folder\n"
    "with locked_folder(Path(sys.argv[1]), 'it'):\n"
    "    print('mine', flush=True)\n"
    "    sys.stdin.read()"
)


def holding(folder: Path) -> subprocess.Popen[str]:
    """Another process that waits for the folder, and then owns it until its stdin ends."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], **pipes)


def holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that owns the folder until its stdin ends."""
    process = holding(folder)
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    return process


def elsewhere(folder: Path, seconds_ago: float) -> Owner:
    """Make a folder look as if another machine, whose lock is not visible here, owned it."""
    folder.mkdir(exist_ok=True)
    (folder / "lock").touch()
    write_json(folder / "owner.json", {"host": "another", "pid": 7})
    then = time.time() - seconds_ago
    os.utime(folder / "owner.json", (then, then))
    return Owner("another", 7)


def test_link_in_place_of_folder_is_reported_and_target_unchanged(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "home")
    with pytest.raises(DamagedError, match="run"), locked_folder(tmp_path / "run", "this run"):
        pass
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir], ids=["pipe", "folder"])
def test_lock_that_is_not_a_regular_file_is_reported_without_waiting(tmp_path, make):
    make(tmp_path / "lock")
    assert owner_of(tmp_path) is None
    with pytest.raises(DamagedError, match=str(tmp_path / "lock")), locked_folder(tmp_path, "it"):
        pass


@pytest.mark.parametrize("pid", [0, -1, 2**70, "1"])
def test_invalid_process_id_of_owner_is_never_signaled(tmp_path, pid, caplog):
    """kill(2) treats 0 and -1 as groups, so that stopping a sweep could end any process."""
    with locked_folder(tmp_path, "it"):
        (tmp_path / "owner.json").write_text(json.dumps({"host": host(), "pid": pid}))
        assert owner_of(tmp_path) == Owner(host(), 0)
        with pytest.raises(ConfigError, match="is not known"):
            stop_sweep(SweepFolder(tmp_path))
    assert "owner.json is corrupt" in caplog.text


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_system_without_flock_is_one_line(tmp_path, monkeypatch, number):
    def flock(*_: object) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UserError, match="flock"), locked_folder(tmp_path, "it"):
        pass


def test_owner_is_known_until_folder_is_released(tmp_path):
    assert owner_of(tmp_path / "missing") is None
    assert owner_of(tmp_path) is None
    with locked_folder(tmp_path, "it"):
        assert owner_of(tmp_path) == Owner(host(), os.getpid())
        assert owner_of(tmp_path).here
        (tmp_path / "owner.json").write_text("{")  # corrupt; on one machine, the lock counts
        assert owner_of(tmp_path) == Owner(host(), 0)
    assert owner_of(tmp_path) is None
    assert not (tmp_path / "owner.json").exists()


def test_second_process_waits_and_names_the_owner(tmp_path, caplog):
    other = holder(tmp_path)
    taken = threading.Event()

    def take() -> None:
        with locked_folder(tmp_path, "this run"):
            taken.set()

    thread = threading.Thread(target=take)
    with caplog.at_level(logging.INFO, logger="lenet_exp"):
        thread.start()
        assert not taken.wait(1.0)
        other.communicate("")
        assert taken.wait(30)
        thread.join()

    (message,) = caplog.messages
    for part in ("this run", str(other.pid), host(), str(tmp_path)):
        assert part in message


def test_folder_is_free_after_owner_is_killed(tmp_path):
    other = holder(tmp_path)
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (tmp_path / "owner.json").exists()  # the killed process could not remove it
    assert owner_of(tmp_path) is None
    with locked_folder(tmp_path, "it"):
        assert owner_of(tmp_path) == Owner(host(), os.getpid())


@pytest.mark.parametrize(("seconds_ago", "alive"), [(45.0, True), (90.0, False)])
def test_owner_on_other_machine_counts_while_heartbeats_continue(tmp_path, seconds_ago, alive):
    owner = elsewhere(tmp_path, seconds_ago)
    expected = owner if alive else None
    assert owner_of(tmp_path) == expected
    assert not owner.here


def test_folder_of_silent_machine_is_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(owner_module, "DEAD_SECONDS", 1.0)
    elsewhere(tmp_path, 0.0)
    start = time.monotonic()
    with locked_folder(tmp_path, "it"):
        assert time.monotonic() - start > 0.5
        assert owner_of(tmp_path) == Owner(host(), os.getpid())


def test_owner_sends_heartbeats(tmp_path, monkeypatch):
    monkeypatch.setattr(owner_module, "HEARTBEAT_SECONDS", 0.05)
    with locked_folder(tmp_path, "it"):
        os.utime(tmp_path / "owner.json", (1, 1))
        until(lambda: (tmp_path / "owner.json").stat().st_mtime >= 2)


def test_reading_the_owner_does_not_prevent_owning(tmp_path):
    """owner_of holds the lock briefly, and a process that wants to own the folder waits."""
    stop = threading.Event()

    def read_owner() -> None:
        while not stop.wait(0.001):
            owner_of(tmp_path)

    reader = threading.Thread(target=read_owner)
    reader.start()
    try:
        for _ in range(10):
            with locked_folder(tmp_path, "it"):
                assert owner_of(tmp_path) == Owner(host(), os.getpid())
    finally:
        stop.set()
        reader.join()


def test_process_waiting_for_moved_folder_owns_a_new_folder(tmp_path):
    folder = tmp_path / "it"
    moved = tmp_path / "moved"
    folder.mkdir()

    with open_lock(folder / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = holding(folder)
        until(lambda: str(folder / "lock") in opened(process.pid), process)
        os.rename(folder, moved)

    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    assert owner_of(folder) == Owner(host(), process.pid)
    assert owner_of(moved) is None
    process.communicate("")


def test_owned_folder_is_not_moved(tmp_path):
    folder = tmp_path / "it"
    destination = tmp_path / "to"
    process = holder(folder)
    assert move_away(folder, destination) == Owner(host(), process.pid)
    assert folder.is_dir()

    process.communicate("")
    assert move_away(folder, destination) is None
    assert not folder.exists()
    assert destination.is_dir()


def opened(pid: int) -> list[str]:
    """Return the files that a process has open."""
    files = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            files.append(os.readlink(link))
    return files
