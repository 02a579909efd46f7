"""`lenet-train experiment=mnist_fast` is at least 80 times as fast as 50 epochs of the original
script.

The time for the command includes imports, two epochs, tracking, the model in MLflow, and plots. The
store exists, the engine is compiled, and a previous run has finished. The time for 50 epochs of the
original script is extrapolated from a fifth of an epoch, without imports. The benchmark alternates
between the command and the script. It also prints how long each part of the command takes.
results.md lists the accuracies of both.

    python -m benchmarks.command
    python -m benchmarks.command --fresh       # use a new outputs folder without a store for each
                                               command

Data folder: $LENET_EXP_DATA (default: `data`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from itertools import count, pairwise
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import interleave, keep, parser, show_ratio, show_seconds

EPOCHS = 50
RECIPE = "mnist_fast"
ANCESTOR = f"ancestor, {EPOCHS} epochs, extrapolated"
COMMAND = f"lenet-train experiment={RECIPE}"
# Functions that the process of the command calls one after another. Each key is a label for the
# time from the call of its function to the call of the next function.
MARKS = {
    "Python and Hydra": None,
    "torch and the rest of the program": "lenet_exp.commands.train:train_alone",
    "network and optimizer tried": "lenet_exp.runs.jobs:lone_job",
    "the store checked": "lenet_exp.tracking.uploader.uploads:uploads",
    "data set read, resized, split": "lenet_exp.runs.run:load_training_data",
    "the run's folder and its record": "lenet_exp.runs.run:begin",
    "training and validation": "lenet_exp.runs.training:RunTraining.train",
    "mistakes drawn": "lenet_exp.runs.training:RunTraining._save_mistakes",
    "the result printed": "lenet_exp.reports.terminal.run_summary:print_result",
    "waiting for uploads": "lenet_exp.tracking.uploader.uploads:_complete",
    "the end": "lenet_exp.reports.terminal.run_summary:print_view",
}
# environment variable with the path of the file to which a process writes its times
TIMED = "BENCHMARK_TIMED"
# labels from `MARKS`, with the times of their first calls in seconds since 1970
Noted = list[tuple[str, float]]


def main() -> None:
    """Time the command and the script alternately, and print the ratio."""
    if TIMED in os.environ:
        noted(Path(os.environ[TIMED]))
        return
    options = parser(__doc__, repeats=5)
    options.add_argument("--fresh", action="store_true", help="each command makes its store")
    options.add_argument(
        "--fraction", type=float, default=0.2, help="of an epoch of the script is timed, and scaled"
    )
    settings = options.parse_args()

    from benchmarks.training import Ancestor, torchvision_images
    from lenet_exp.config.compose import compose

    config = compose(["dataset=mnist"])
    images = torchvision_images(config, "command")
    ancestor = Ancestor(images, config.dataset.val_size, settings.fraction)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        seeds = count()
        ways: dict[str, Callable[[], float]] = {
            ANCESTOR: lambda: EPOCHS * ancestor.epoch(),
            COMMAND: lambda: run(scratch, next(seeds), settings.fresh),
        }
        seconds = interleave(ways, settings.repeats)
        show_seconds(seconds, "seconds")
        show_ratio("ancestor / command", seconds[ANCESTOR], seconds[COMMAND], ">= 80")
        parts = []
        for _ in range(settings.repeats):
            parts.append(run_noted(scratch, next(seeds), settings.fresh))

    print(f"\n{'part of the command, seconds':<36}   median      min      max")
    for name in MARKS:
        values = [part[name] for part in parts]
        print(f"{name:<36} {median(values):8.3f} {min(values):8.3f} {max(values):8.3f}")
    keep(settings, "command", {**seconds, "parts": parts})


def run(scratch: Path, seed: int, fresh: bool, **environment: str) -> float:
    """Run the command with a seed and return its wall time in seconds."""
    outputs = scratch / (f"outputs-{seed}" if fresh else "outputs")
    line = ["-m", "lenet_exp", "train"]
    if TIMED in environment:
        line = ["-m", "benchmarks.command"]
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *line, f"experiment={RECIPE}", "engine=native", f"seed={seed}"],
        env={**os.environ, **environment, "LENET_EXP_OUTPUTS": str(outputs)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - start


def run_noted(scratch: Path, seed: int, fresh: bool) -> dict[str, float]:
    """Run the command with a seed and return the duration of each part in seconds, keyed by
    label.
    """
    file = scratch / "noted.json"
    start = time.time()
    run(scratch, seed, fresh, **{TIMED: str(file)})
    end = time.time()

    first_calls = dict(json.loads(file.read_text()))
    first_label, *_ = MARKS
    labels = [first_label]
    times = [start]
    for label in MARKS:
        if label in first_calls:
            labels.append(label)
            times.append(first_calls[label])
    times.append(end)

    seconds = dict.fromkeys(MARKS, 0.0)
    for label, (begin, next_begin) in zip(labels, pairwise(times), strict=True):
        seconds[label] = next_begin - begin
    return seconds


def noted(file: Path) -> None:
    """Run lenet-train in this process, and write the time of the first call of each function in
    `MARKS` to a file.
    """
    first_calls: Noted = []
    first, *others = [(label, place) for label, place in MARKS.items() if place is not None]

    def mark(label: str, place: str, then: Callable[[], None] = lambda: None) -> None:
        module, _, path = place.partition(":")
        *classes, last = path.split(".")
        holder: Any = import_module(module)
        for part in classes:
            holder = getattr(holder, part)
        function = getattr(holder, last)

        def marked(*arguments: Any, **named: Any) -> Any:
            if label not in dict(first_calls):
                first_calls.append((label, time.time()))
                then()
            return function(*arguments, **named)

        setattr(holder, last, marked)

    def mark_others() -> None:
        for label, place in others:
            mark(label, place)

    # The others are marked when the command itself imports their modules.
    mark(*first, then=mark_others)
    sys.argv[0] = "lenet-train"
    try:
        import_module("lenet_exp.commands.train").main()
    finally:
        file.write_text(json.dumps(first_calls))


if __name__ == "__main__":
    main()
