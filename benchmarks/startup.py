"""lenet-train answers about as fast as an empty Hydra app: --help, --cfg job and shell completion, ratio <= 1.6.

Each is timed as a process of its own, in turn with an app that is nothing but @hydra.main, asked the same.

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
TYPED = "lenet-train opt"  # and then Tab: to complete this, the configuration must be composed


def seconds_of(command: list[str], folder: str) -> float:
    """Wall time of one process, given what a shell gives on Tab."""
    environment = os.environ | {"COMP_LINE": TYPED, "COMP_POINT": str(len(TYPED))}
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    asked = parser(__doc__, repeats=15).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty_app.py"
        empty.write_text(EMPTY_APP)
        ways: dict[str, Callable[[], float]] = {}
        for name, arguments in QUESTIONS.items():
            for app, start in (("lenet-train", ["-m", "lenet_exp", "train"]), ("empty app", [str(empty)])):
                ways[f"{app} {name}"] = partial(seconds_of, [sys.executable, *start, *arguments], folder)
        seconds = interleave(ways, asked.repeats)
    show_seconds(seconds, "seconds a process")
    for name in QUESTIONS:
        ours, empty_app = seconds[f"lenet-train {name}"], seconds[f"empty app {name}"]
        show_ratio(f"{name}: lenet-train / empty app", ours, empty_app, "<= 1.6")
    print(f"{asked.repeats} rounds")
    keep(asked, "startup", seconds)


if __name__ == "__main__":
    main()
