"""A sweep of 16 runs with 5 epochs on MNIST is at least 12 times as fast as the original script.

The duration of the sweep is the time from the start of the command until MLflow shows the last run
as finished. This includes imports, a new store, tracking, models, and figures. The original script,
called "ancestor" in the output, trains one run after another. Its time for all runs is extrapolated
from three epochs. The benchmark alternates between the script and the sweep.

    python -m benchmarks.sweep

Data folder: $LENET_EXP_DATA (default: `data`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Seconds, keep, parser, positive, show_ratio, show_seconds
from benchmarks.training import Ancestor, torchvision_images
from lenet_exp.addresses import sqlite_uri
from lenet_exp.config.compose import compose

RUNS = 16
EPOCHS = 5
ANCESTOR_EPOCHS = 3


def sweep(line: list[str]) -> tuple[float, float]:
    """Run a sweep, and return the times in seconds until MLflow shows the last run as finished and
    until it ends.
    """
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory() as folder:
        environment = {"LENET_EXP_OUTPUTS": folder}
        for name, value in os.environ.items():
            if name != "LENET_EXP_OUTPUTS" and not name.startswith("MLFLOW_"):
                environment[name] = value

        start = time.time()
        subprocess.run(
            [sys.executable, "-m", "lenet_exp", "train", "-m", *line],
            env=environment,
            capture_output=True,
            check=True,
        )
        whole = time.time() - start

        store = MlflowClient(sqlite_uri(Path(folder) / "mlflow.db"))
        experiment_ids = [experiment.experiment_id for experiment in store.search_experiments()]
        runs = store.search_runs(experiment_ids, 'tags.kind = "run"')
        if [run.info.status for run in runs] != ["FINISHED"] * RUNS:
            sys.exit(f"benchmarks.sweep: {len(runs)} runs, not all finished")
        last_end_ms = max(run.info.end_time for run in runs)
        return last_end_ms / 1000 - start, whole


def main() -> None:
    """Time the script and the sweep alternately, and print the ratio."""
    options = parser(__doc__, repeats=3)
    options.add_argument("--engine", default="auto", choices=["auto", "native", "torch"])
    options.add_argument(
        "--ancestor-epochs", type=positive, default=ANCESTOR_EPOCHS, help="timed in a round (3)"
    )
    arguments = options.parse_args()

    config = compose(["dataset=mnist"])
    ancestor = Ancestor(torchvision_images(config, "sweep"), config.dataset.val_size, 1.0)
    line = [
        f"num_epoch={EPOCHS}",
        f"seed=range({RUNS})",
        f"engine={arguments.engine}",
        f"data_root={config.data_root}",
    ]
    seconds: Seconds = {"ancestor": [], "sweep": [], "whole command": []}
    ancestor.epoch()  # warm-up, which is not timed
    for _ in range(arguments.repeats):
        epochs = [ancestor.epoch() for _ in range(arguments.ancestor_epochs)]
        seconds["ancestor"].append(sum(epochs) / len(epochs) * RUNS * EPOCHS)
        finished, whole = sweep(line)
        seconds["sweep"].append(finished)
        seconds["whole command"].append(whole)
    show_seconds(seconds, f"seconds of {RUNS} runs")
    show_ratio("ancestor / sweep", seconds["ancestor"], seconds["sweep"], ">= 12")
    print(
        f"{RUNS} runs of {EPOCHS} epochs, {arguments.repeats} rounds; "
        "the ancestor's time is extrapolated"
    )
    keep(arguments, "sweep", seconds)


if __name__ == "__main__":
    main()
