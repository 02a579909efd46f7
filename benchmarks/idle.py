"""The workers of a search are idle less than 2% of the time, although the durations of its runs
differ tenfold.

The benchmark runs a real search on MNIST. The search is asynchronous: a free worker gets the next
trial immediately. The measurement lasts from the start of the first run to the start of the last
run. A worker is busy from the start of a run to its end, as recorded. Therefore, all work between
two runs counts as idle time: reporting the trial, requesting the next trial, and opening its run.

    python -m benchmarks.idle --trials 60

Data folder with MNIST: $LENET_EXP_DATA (default: `data`).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.kills import environment
from benchmarks.measure import keep, parser, positive
from lenet_exp.folders.find import all_runs

LINE = (
    "hydra/sweeper=search",
    "dataset=mnist",
    "dataset.train_size=20000",
    "num_threads=1",
    "num_epoch=2,5,20",
    "optimizer.lr=tag(log,interval(1e-3,1))",
    "regularization.dropout_rate=interval(0,0.5)",
    "activation=relu,selu,elu",
    "search.pruner=none",
    "tracking.plots=false",
    "tracking.models=best",
)
GOAL = 0.02


def main() -> None:
    """Run the search and print the fraction of time for which workers are idle."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--trials", type=positive, default=60)
    options.add_argument("--workers", type=positive, default=2)
    arguments = options.parse_args()
    shares = [measure(arguments.trials, arguments.workers) for _ in range(arguments.repeats)]
    for share, shortest, longest in shares:
        print(
            f"idle {share:.2%} of the workers' time, goal < {GOAL:.0%}; "
            f"runs of {shortest:.1f} to {longest:.1f} s"
        )
    keep(arguments, "idle", shares)


def measure(trials: int, workers: int) -> tuple[float, float, float]:
    """Run a search and measure how long its workers are idle.

    Returns:
        The fraction of time for which workers are idle, and the durations of the shortest and the
        longest run in seconds.
    """
    with tempfile.TemporaryDirectory() as scratch:
        outputs = Path(scratch)
        line = [*LINE, f"n_trials={trials}", f"sweep.workers={workers}"]
        command = [sys.executable, "-m", "lenet_exp", "train", "-m", *line]
        done = subprocess.run(
            command, env=environment(outputs), capture_output=True, text=True, check=False
        )
        records = []
        for run in all_runs(outputs):
            record = run.record()
            if record is not None:
                records.append(record)
    if len(records) < trials:
        sys.exit(
            f"benchmarks.idle: {len(records)} of {trials} runs\n"
            f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )

    first_start = min(record.created_ms for record in records)
    last_start = max(record.created_ms for record in records)
    busy_ms = 0
    seconds = []
    for record in records:
        busy_ms += max(0, min(record.ended_ms, last_start) - record.created_ms)
        seconds.append((record.ended_ms - record.created_ms) / 1000)
    idle_share = 1 - busy_ms / (workers * (last_start - first_start))
    return idle_share, min(seconds), max(seconds)


if __name__ == "__main__":
    main()
