"""Measure the time to compare 1,000 runs from their run folders and from an MLflow store, excluding
imports.

First, the benchmark trains 1,000 short runs: 200 configurations with five seeds, one step per run.
For reference, it also reports how long MLflow takes to list these runs without comparing them.

    python -m benchmarks.compare
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.kills import environment
from benchmarks.measure import interleave, keep, parser, positive, show_ratio, show_seconds
from lenet_exp.addresses import sqlite_uri

LINE = (
    "-m",
    "dataset=digits",
    "dataset.train_size=32",
    "batch_size=32",
    "num_epoch=1",
    "tracking.plots=false",
    "tracking.models=none",
    "activation=relu,selu,tanh,elu",
    "optimizer.momentum=0,0.9",
    "seed=range(5)",
)
GOAL = 5.0


def main() -> None:
    """Run the benchmark, and print the times and their ratio to the time that MLflow takes to list
    the runs.
    """
    options = parser(__doc__, repeats=3)
    options.add_argument(
        "--rates", type=positive, default=25, help="learning rates: 40 runs each (default 25)"
    )
    settings = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        outputs = Path(scratch)
        train(settings.rates, outputs)
        os.environ["LENET_EXP_OUTPUTS"] = scratch
        ways: dict[str, Callable[[], float]] = {
            "folders": lambda: timed("sweep=last"),
            "folders, HTML": lambda: timed("sweep=last", f"output={scratch}/report.html"),
            "store": lambda: timed("filter="),
            "MLflow's listing": lambda: listing(outputs),
        }
        seconds = interleave(ways, settings.repeats)
    show_seconds(seconds, f"{40 * settings.rates} runs")
    listings = seconds["MLflow's listing"]
    for way in ("folders", "folders, HTML", "store"):
        show_ratio(f"{way} / MLflow's listing", seconds[way], listings, f"< {GOAL:.0f} s")
    keep(settings, "compare", seconds)


def train(rates: int, outputs: Path) -> None:
    """Train the short runs, with five seeds for each of the learning rates.

    Args:
        rates: number of learning rates.
        outputs: the outputs folder.
    """
    swept = ",".join(f"{0.001 * (i + 1):.3f}" for i in range(rates))
    command = [sys.executable, "-m", "lenet_exp", "train", *LINE, f"optimizer.lr={swept}"]
    done = subprocess.run(
        command, env=environment(outputs), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(
            f"benchmarks.compare: the sweep ended with status {done.returncode}\n"
            f"{done.stderr[-2000:]}"
        )


def timed(*arguments: str) -> float:
    """Run `lenet-compare <arguments>` in this process and return its duration in seconds."""
    from lenet_exp.commands.compare import compare

    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        compare(list(arguments))
    return time.perf_counter() - start


def listing(outputs: Path) -> float:
    """Return the time in seconds that MLflow takes to list a page of runs."""
    from lenet_exp.tracking.stores.store import connect

    start = time.perf_counter()
    client = connect(sqlite_uri(outputs / "mlflow.db"))
    client.search_runs(["1"], "tags.kind = 'run'", max_results=1000)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
