"""Train the published results and write their table: each recipe with twenty seeds, tested once per
seed.

The benchmark uses the commands `lenet-train` and `lenet-predict`, like a user, and reads the
results from MLflow. Models are selected on validation data. The runs are added to
benchmarks/manifest.json after every six runs. Runs in the manifest are not trained again, so you
can interrupt the command and rerun it, also on another machine. To train all runs again, set
`--retrain`; `python -m benchmarks.manifest check` then compares them with the manifest.

    python -m benchmarks.results --output benchmarks/results.md

With `--retrain`, this takes an estimated five hours on two idle cores.

Data folder: $LENET_EXP_DATA (default: `data`). Outputs folder: $LENET_EXP_OUTPUTS (default:
`outputs`).
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.manifest import (
    EXPERIMENT,
    MANIFEST,
    NAMES,
    Runs,
    add,
    current_runs,
    manifest,
    spread,
    stored,
)
from benchmarks.measure import positive
from benchmarks.recipes import RECIPES, Row
from lenet_exp.api import compose
from lenet_exp.tracking.stores.store import open_store
from lenet_exp.training.network import count_parameters

# measured durations of runs, in seconds, by row and engine
SECONDS = MANIFEST.with_name("seconds.json")
TEST_IMAGES = 10_000  # number of test images in each dataset
ENGINES = ("native", "torch")  # the torch engine can train each recipe
TIMED_EPOCHS = 3
BATCH = 6  # number of runs after which the manifest is updated
# Validation and test accuracy, in percent, of one run of 50 epochs per dataset, from the README of
# the original script.
PUBLISHED = {"mnist": (99.13, 98.94), "fashion_mnist": (90.94, 90.36)}


HEAD = (
    "| dataset | recipe | parameters | epochs | best validation, % | test, % | sampling error | n "
    "| native, s | PyTorch, s |",
    "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
)


def main() -> None:
    """Train the recipes and print the table of results. If `--output` is set, also write it to that
    file.
    """
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--recipes", nargs="+", default=[r.name for r in RECIPES], help="default: all"
    )
    options.add_argument("--workers", type=positive, help="runs side by side (default: one a core)")
    options.add_argument(
        "--retrain", action="store_true", help="also train runs that are in the manifest"
    )
    options.add_argument(
        "--as-is", action="store_true", help="train nothing: show the runs in the manifest"
    )
    options.add_argument(
        "--time", action="store_true", help="measure how long a run takes (on an idle machine)"
    )
    options.add_argument("--output", type=Path, metavar="FILE", help="write the table there")
    arguments = options.parse_args()

    for row in RECIPES:
        if row.name not in arguments.recipes:
            continue
        if not arguments.as_is:
            complete(row, arguments.workers, retrain=arguments.retrain)
        if arguments.time:
            measure(row)

    lines = table(RECIPES)
    print("\n".join(lines))
    if arguments.output:
        arguments.output.write_text("\n".join(lines) + "\n")


def complete(row: Row, workers: int | None, *, retrain: bool = False) -> None:
    """Train and test the runs of a row that are not in the manifest, and add them to the manifest.

    Runs that are already trained are skipped, and a run that has a test result is not tested again.

    Raises:
        RuntimeError: a run did not finish.
    """
    earlier_runs = {} if retrain else current_runs(row)
    missing = [seed for seed in row.seeds if str(seed) not in earlier_runs]
    for first in range(0, len(missing), BATCH):
        _train_and_test(row, missing[first : first + BATCH], workers)
        if not retrain:  # otherwise, the manifest stays as it is, for comparison
            add(row)

    runs = current_runs(row)
    lost = [seed for seed in missing if str(seed) not in runs]
    if lost:
        raise RuntimeError(f"{row.key}: no result for seeds {lost}")


def _train_and_test(row: Row, seeds: Sequence[int], workers: int | None) -> None:
    flags = [
        *row.overrides,
        f"seed={','.join(map(str, seeds))}",
        f"tracking.experiment={EXPERIMENT}",
        f"engine={row.engine}",
        "num_threads=1",
        f"tracking.tags.recipe={row.name}",
        "tracking.plots=false",
    ]
    if workers:
        flags.append(f"sweep.workers={workers}")
    _run("train", "-m", *flags)

    store = open_store(compose([f"tracking.experiment={EXPERIMENT}"]).tracking)
    untested = []
    for run in stored(row, store).values():
        if "test_accuracy" not in run.data.metrics:
            untested.append(run.info.run_id)

    def test(run_id: str) -> None:
        _run("predict", f"dataset={row.dataset}", f"trained_model=runs:/{run_id}", "num_threads=1")

    with ThreadPoolExecutor(workers or 2) as pool:
        list(pool.map(test, untested))  # raises what a test raised


def measure(row: Row) -> None:
    """Measure how long a run takes with each engine on one thread, including validation, from three
    epochs.
    """
    store = open_store(compose([f"tracking.experiment={EXPERIMENT}"]).tracking)
    epochs = compose(row.overrides).num_epoch
    seconds = {}
    for engine in ENGINES[ENGINES.index(row.engine) :]:
        tag = f"{row.key} {engine}"
        flags = [
            *row.overrides,
            f"num_epoch={TIMED_EPOCHS}",
            f"engine={engine}",
            "num_threads=1",
            "sweep.force=true",
            f"tracking.experiment={EXPERIMENT}",
            f"tracking.tags.timed={tag}",
            "tracking.plots=false",
            "tracking.models=none",
        ]
        _run("train", *flags)
        run, *_ = store.client.search_runs([store.experiment_id], f"tags.timed = '{tag}'")
        points = store.client.get_metric_history(run.info.run_id, "epoch_seconds")
        seconds[engine] = round(epochs * median(point.value for point in points))

    seconds_by_row = _measured_seconds() | {row.key: seconds}
    SECONDS.write_text(json.dumps(seconds_by_row, indent=1, sort_keys=True) + "\n")


def _measured_seconds() -> dict[str, dict[str, int]]:
    """Return the measured durations of runs, keyed by row and engine."""
    if not SECONDS.exists():
        return {}
    seconds_by_row: dict[str, dict[str, int]] = json.loads(SECONDS.read_text())
    return seconds_by_row


def table(rows: Iterable[Row]) -> list[str]:
    """Return the table of results in Markdown: the published results of the original script, and
    those of the recipes in the manifest."""
    runs_by_row = manifest()
    seconds_by_row = _measured_seconds()
    lines = [*HEAD]
    for dataset, (validation, test) in PUBLISHED.items():
        error = sampling_error(test / 100)
        cells = [NAMES[dataset], "original script, published", "61,706", "50"]
        cells += [str(validation), str(test), error, "1"]
        lines.append(f"| {' | '.join(cells)} | | |")
        for row in rows:
            if row.dataset != dataset or not runs_by_row.get(row.key):
                continue
            cells = [
                NAMES[dataset],
                f"`{row.name}`",
                f"{parameters(row):,}",
                str(compose(row.overrides).num_epoch),
                *results_cells(runs_by_row[row.key]),
            ]
            seconds = seconds_by_row.get(row.key, {})
            for engine in ENGINES:
                cells.append(f"{seconds[engine]:,}" if engine in seconds else "")
            lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", fast_words(runs_by_row)]


def results_cells(runs: Runs) -> list[str]:
    """Return the validation accuracy, the test accuracy, its sampling error, and n, as text."""
    error = sampling_error(mean(float(run["test_accuracy"]) for run in runs.values()))
    return [spread(runs, "best_val_accuracy"), spread(runs, "test_accuracy"), error, str(len(runs))]


def parameters(row: Row) -> int:
    """Return the number of parameters of a row's network."""
    return count_parameters(compose(row.overrides))


def fast_words(runs_by_row: Mapping[str, Mapping[str, Any]]) -> str:
    """Describe how two epochs of `mnist_fast` compare with 50 epochs of `ancestor`, over their
    common seeds.

    Args:
        runs_by_row: the manifest.
    """
    from scipy.stats import ttest_rel

    fast = runs_by_row["mnist_fast mnist"]
    ancestor = runs_by_row["ancestor mnist"]
    seeds = sorted(fast.keys() & ancestor.keys())
    comparisons = []
    for images, accuracy in (("test", "test_accuracy"), ("validation", "best_val_accuracy")):
        fast_values = [100 * fast[seed][accuracy] for seed in seeds]
        ancestor_values = [100 * ancestor[seed][accuracy] for seed in seeds]
        p = float(ttest_rel(fast_values, ancestor_values).pvalue)
        lead = mean(fast_values) - mean(ancestor_values)
        word = "better" if lead > 0 else "worse"
        comparisons.append(
            f"{abs(lead):.2f} points {word} than `ancestor` on {images} images (p = {p:.1g})"
        )
    return (
        f"On MNIST, `mnist_fast` is {' and '.join(comparisons)}, in paired t tests over "
        f"{len(seeds)} shared seeds."
    )


def sampling_error(accuracy: float) -> str:
    """Format the binomial standard error of a test accuracy, in percentage points."""
    return f"{100 * math.sqrt(accuracy * (1 - accuracy) / TEST_IMAGES):.2f}"


def _run(command: str, *line: str) -> None:
    subprocess.run([sys.executable, "-m", "lenet_exp", command, *line], check=True)


if __name__ == "__main__":
    main()
