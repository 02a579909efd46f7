"""Breaks a promise on purpose, in a copy of the program, and lists the tests that notice.

A test that was made smaller has to fail still when what it stands for is broken.

    python -m benchmarks.breaks                # all, in about half an hour
    python -m benchmarks.breaks flock stamps   # some
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Break:
    """`old` becomes `new` in a file of the package; `tests` are those that may notice."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]


KILLS = "tests/sweeps/test_kills.py"
COMMITS = "tests/folders/test_commits.py"
DELIVER = "tests/tracking/test_deliver.py"
BREAKS = {
    "commit": Break(  # what the present history names is gone before the next one stands
        "lenet_exp/folders/commits.py",
        "        self._write_history(best)\n        self._remove(",
        "        self._remove({state.name})\n        self._write_history(best)\n        self._remove(",
        (COMMITS, KILLS),
    ),
    "flock": Break(
        "lenet_exp/folders/owner.py",
        "        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n    except",
        "        pass\n    except",
        ("tests/folders/test_owner.py", "tests/folders/test_run_folder.py", "tests/sweeps/test_workers.py"),
    ),
    "stamps": Break(
        "lenet_exp/tracking/points.py",
        'yield Metric("step_loss", loss, time_ms, iteration)',
        'yield Metric("step_loss", loss, __import__("time").time_ns() // 1_000_000, iteration)',
        (DELIVER, KILLS),
    ),
    "lookup": Break(
        "lenet_exp/tracking/deliver.py",
        "_find_runs(folder, begun, store) or [_create_run(folder, begun, store)]",
        "[_create_run(folder, begun, store)]",
        (DELIVER, KILLS),
    ),
    "parent": Break(
        "lenet_exp/tracking/parent.py",
        "_find(store, sweep, plan) or _create(store, sweep, plan, config)",
        "_create(store, sweep, plan, config)",
        (KILLS,),
    ),
    "digest": Break(
        "lenet_exp/folders/commits.py",
        "if file_sha256(self.path / name) != sha256:",
        "if False:",
        (COMMITS,),
    ),
    "tidy": Break("lenet_exp/folders/run_folder.py", "        if self.untidy():\n", "        if False:\n", (KILLS,)),
}


def main() -> None:
    """Prints a table; status 1 where nothing noticed a break."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BREAKS)} (default: all)")
    asked = options.parse_args().names or list(BREAKS)
    unnoticed = []
    for name in asked:
        noticed = tests_that_notice(BREAKS[name])
        print(f"{name}: {len(noticed)} tests notice", *noticed or ["NONE"], sep="\n    ", flush=True)
        unnoticed += [] if noticed else [name]
    sys.exit(1 if unnoticed else 0)


def tests_that_notice(what: Break) -> list[str]:
    """The tests that fail once it is broken."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "copy"
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in listed.splitlines():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
        text = (copy / what.file).read_text()
        if text.count(what.old) != 1:
            raise RuntimeError(f"{what.file} has changed: {what.old!r} stands there {text.count(what.old)} times")
        (copy / what.file).write_text(text.replace(what.old, what.new))
        command = [sys.executable, "-m", "pytest", "-n", "auto", "-q", "-m", "slow or not slow", "-rfE", *what.tests]
        ended = subprocess.run(
            command, cwd=copy, env=os.environ | {"PYTHONPATH": str(copy)}, capture_output=True, text=True
        )
    return sorted(re.findall(r"^(?:FAILED|ERROR) (\S+)", ended.stdout, re.MULTILINE))


if __name__ == "__main__":
    main()
