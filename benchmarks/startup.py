"""lenet-train starts almost as fast as an empty Hydra app, and reports an error almost as fast as it prints --help.

Compared with an app that consists only of @hydra.main, the ratio must be at most 1.4 for --help, and at most 1.6 for
--cfg job and shell completion. Compared with --help, the ratio must be at most 1.5 for an error. Each command runs in
a separate process, and the benchmark alternates between the commands.

    python -m benchmarks.startup
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.measure import interleave, keep, parser, show_ratio, show_seconds

EMPTY_APP = """\
import hydra


@hydra.main(config_path=None, **({"version_base": None} if hydra.__version__ < "1.4" else {}))
def main(cfg):
    pass


main()
"""
QUESTIONS = {"--help": ["--help"], "--cfg job": ["--cfg", "job"], "completion": ["-sc", "query=bash"]}
GOALS = {"--help": "<= 1.4", "--cfg job": "<= 1.6", "completion": "<= 1.6"}
MISTAKES = ("--nope", "batch_size=abc", "optimizer.lr=-1", "optimizer.lrr=1", "-m optimizer.lr=0.1,-1")
TYPED = "lenet-train opt"  # command line to complete with Tab, for which the configuration must be composed


def seconds_of(command: list[str], folder: str, status: int = 0) -> float:
    """Run a command in a process and return its wall time in seconds.

    Args:
        command: command to run. Its environment variables are those that a shell sets for completion.
        folder: working directory of the process.
        status: expected exit status.
    """
    environment = os.environ | {"COMP_LINE": TYPED, "COMP_POINT": str(len(TYPED))}
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    seconds = time.perf_counter() - start
    if done.returncode != status:
        raise RuntimeError(f"{command}: status {done.returncode}: {done.stderr.decode()}")
    return seconds


def main() -> None:
    """Time the commands alternately, and print the ratios."""
    asked = parser(__doc__, repeats=15).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty_app.py"
        empty.write_text(EMPTY_APP)
        ours = ["-m", "lenet_exp", "train"]
        ways: dict[str, Callable[[], float]] = {}
        for name, arguments in QUESTIONS.items():
            for app, start in (("lenet-train", ours), ("empty app", [str(empty)])):
                ways[f"{app} {name}"] = partial(seconds_of, [sys.executable, *start, *arguments], folder)
        for typed in MISTAKES:
            ways[f"lenet-train {typed}"] = partial(seconds_of, [sys.executable, *ours, *typed.split()], folder, 2)
        seconds = interleave(ways, asked.repeats)
    show_seconds(seconds, "seconds a process")
    for name, goal in GOALS.items():
        show_ratio(
            f"{name}: lenet-train / empty app", seconds[f"lenet-train {name}"], seconds[f"empty app {name}"], goal
        )
    for typed in MISTAKES:
        show_ratio(
            f"lenet-train {typed} / --help", seconds[f"lenet-train {typed}"], seconds["lenet-train --help"], "<= 1.5"
        )
    print(f"{asked.repeats} rounds")
    keep(asked, "startup", seconds)


if __name__ == "__main__":
    main()
