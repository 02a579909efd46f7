"""How long training to a test accuracy takes on one core.

The benchmark times the published recipe for MNIST that needs the fewest multiply-adds to reach the
accuracy, in the mean of its seeds in benchmarks/manifest.json (`python -m benchmarks.results`
trained and tested them). For each of these seeds, it prints three times, on one core and with the
native engine already compiled:

  training          the training steps alone
  with data         reading, resizing, and splitting the dataset, training, and validation
  whole command     `lenet-train` with its imports, tracking, and the model in MLflow, in an
                    existing store

    python -m benchmarks.time_to 0.99

The goal is at most 1.2 s of training for 0.99. Data folder: $LENET_EXP_DATA (default: `data`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentTypeError
from statistics import mean

from benchmarks.measure import Seconds, keep, parser, show_seconds
from benchmarks.recipes import RECIPES, Row
from lenet_exp.api import compose

GOAL = 1.2  # seconds of training


def main() -> None:
    """Time the recipe once with each of its seeds."""
    options = parser(__doc__, repeats=1)
    options.add_argument("accuracy", type=accuracy, help="mean test accuracy, such as 0.99")
    options.add_argument(
        "--alone",
        nargs=2,
        metavar=("RECIPE", "SEED"),
        help="time training in this process, as JSON",
    )
    arguments = options.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # subprocesses inherit the core
    if arguments.alone:
        recipe, seed = arguments.alone
        print(json.dumps(train(recipe, seed)))
        return

    row, reached = quickest(arguments.accuracy)
    print(f"{row.name}: {100 * reached:.2f}% on test images, mean of {len(row.seeds)} seeds")
    seconds: Seconds = {"training": [], "with data": [], "whole command": []}
    with tempfile.TemporaryDirectory() as outputs:
        command(row, min(row.seeds) - 1, outputs)  # compiles the engine, and creates the store
        for seed in list(row.seeds) * arguments.repeats:
            for name, value in train_alone(arguments.accuracy, row, seed).items():
                seconds[name].append(value)
            seconds["whole command"].append(command(row, seed, outputs))

    show_seconds(seconds, "seconds")
    print(f"training, mean: {mean(seconds['training']):.2f} s, goal <= {GOAL} s for 0.99")
    keep(arguments, "time_to", seconds)


def quickest(accuracy: float) -> tuple[Row, float]:
    """Return the recipe for MNIST that reaches a mean test accuracy with the fewest multiply-adds,
    and its accuracy.

    Raises:
        SystemExit: no recipe reaches it.
    """
    candidates = []
    for row in RECIPES:
        if row.dataset != "mnist":
            continue
        reached = reached_by(row)
        if reached >= accuracy:
            candidates.append((multiply_adds(row), row.name, row, reached))
    if not candidates:
        sys.exit(
            f"benchmarks.time_to: {accuracy}: no recipe for MNIST in benchmarks/manifest.json "
            "reaches it"
        )
    _, _, row, reached = min(candidates)
    return row, reached


def reached_by(row: Row) -> float:
    """Return the mean test accuracy of a row's runs in the manifest; 0 without runs."""
    from benchmarks.manifest import current_runs

    runs = current_runs(row)
    if not runs:
        return 0.0
    return mean(float(run["test_accuracy"]) for run in runs.values())


def multiply_adds(row: Row) -> int:
    """Return the multiply-adds for an image, times the images of all epochs."""
    from lenet_exp.training.network import network_size

    config = compose(row.overrides)
    images = config.dataset.train_size or 60_000 - config.dataset.val_size
    return network_size(config).multiply_adds * images * config.num_epoch


def train_alone(accuracy: float, row: Row, seed: int) -> dict[str, float]:
    """Call `train` in a new process."""
    line = [str(accuracy), "--alone", row.name, str(seed)]
    output = subprocess.check_output([sys.executable, "-m", "benchmarks.time_to", *line], text=True)
    seconds: dict[str, float] = json.loads(output)
    return seconds


def train(recipe: str, seed: str) -> dict[str, float]:
    """Train a recipe in this process, and return the seconds of training, and of training with data
    and validation.
    """
    import torch

    from lenet_exp.data.images import load_training_data
    from lenet_exp.training.epoch import EpochResult
    from lenet_exp.training.fit import fit
    from lenet_exp.training.state import new_training_state

    torch.set_num_threads(1)
    config = compose([f"experiment={recipe}", f"seed={seed}", "engine=native", "num_threads=1"])
    start = time.perf_counter()
    data = load_training_data(config, torch.device("cpu"))
    state = new_training_state(config, torch.device("cpu"))
    seconds_of_epochs = []
    for result in fit(state, data):
        if isinstance(result, EpochResult):
            seconds_of_epochs.append(len(data.train_index) / result.images_per_second)
    whole = time.perf_counter() - start
    return {"training": sum(seconds_of_epochs), "with data": whole}


def command(row: Row, seed: int, outputs: str) -> float:
    """Run `lenet-train` with a seed, and return its wall time in seconds."""
    line = [*row.overrides, f"seed={seed}", "engine=native", "num_threads=1"]
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "lenet_exp", "train", *line],
        env={**os.environ, "LENET_EXP_OUTPUTS": outputs},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - start


def accuracy(text: str) -> float:
    """Parse an accuracy, which must be greater than 0 and less than 1."""
    number = float(text)
    if not 0 < number < 1:
        raise ArgumentTypeError(f"{text}: must be between 0 and 1")
    return number


if __name__ == "__main__":
    main()
