"""Create the table of results: train each recipe with twenty seeds, and evaluate the test set once per seed.

The benchmark uses the commands `lenet-train` and `lenet-predict`, like a user, and reads the results from MLflow. If it
is interrupted, rerun the same command to resume. Models are selected on validation data.

No recipe was found or selected with the seeds of this benchmark (300 to 319), with one exception: mnist_fast clips
gradients, because a run with one of these seeds diverged without clipping (search.md). The duration of a run with each
engine is measured separately, based on three epochs per engine, one run at a time.

    python -m benchmarks.results --output benchmarks/results.md

This takes about an hour and a half on two cores.

Data folder: $LENET_EXP_DATA (default: `data`). Outputs folder: $LENET_EXP_OUTPUTS (default: `outputs`).
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import TYPE_CHECKING, Any

from benchmarks.measure import keep, parser, positive
from lenet_exp.api import compose
from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.data.images import data_digests
from lenet_exp.errors import DataError
from lenet_exp.tracking.stores.store import Store, open_store

if TYPE_CHECKING:
    from mlflow.entities import Run

MANIFEST = Path(__file__).resolve().parent / "manifest.json"
EXPERIMENT = "results"
FIRST_SEED = 300
SEEDS = 20
TEST_IMAGES = 10_000  # number of test images in each dataset
ENGINES = ("native", "torch")
TIMED_EPOCHS = 3
RECIPES = (
    ("ancestor", "mnist"),
    ("mnist_fast", "mnist"),
    ("mnist_best", "mnist"),
    ("ancestor", "fashion_mnist"),
    ("fashion_fast", "fashion_mnist"),
    ("fashion_best", "fashion_mnist"),
    ("ancestor", "kmnist"),
    ("kmnist_best", "kmnist"),
    ("ancestor", "qmnist"),
    ("qmnist_best", "qmnist"),
)
NAMES = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST", "qmnist": "QMNIST"}
# Validation and test accuracy, in percent, of one run of 50 epochs per dataset, from the README of the original script.
PUBLISHED = {
    "mnist": (99.13, 98.94),
    "fashion_mnist": (90.94, 90.36),
    "kmnist": (97.98, 94.16),
    "qmnist": (99.07, 98.88),
}


@dataclass(frozen=True)
class Reached:
    """The results of a recipe on a dataset.

    Attributes:
        validation: best validation accuracy for each seed, as a fraction.
        test: test accuracy for each seed, as a fraction.
        epochs: number of epochs in the recipe.
        seconds: duration of a run in seconds, keyed by engine; empty if it was not measured.
    """

    validation: list[float]
    test: list[float]
    epochs: int
    seconds: dict[str, float]


def main() -> None:
    """Train the recipes and print the table of results. If `--output` is set, also write it to that file."""
    options = parser(__doc__, repeats=SEEDS)
    options.add_argument("--datasets", nargs="+", choices=NAMES, default=["mnist", "fashion_mnist"],
                         help="default: mnist fashion_mnist")  # fmt: skip
    options.add_argument("--recipes", nargs="+", default=sorted({r for r, _ in RECIPES}), help="default: all")
    options.add_argument("--workers", type=positive, help="runs side by side (default: one a core)")
    options.add_argument("--as-is", action="store_true", help="train nothing: show the seeds that are finished")
    options.add_argument("--output", type=Path, metavar="FILE", help="write the table there")
    asked = options.parse_args()
    reached: dict[tuple[str, str], Reached] = {}
    for recipe, dataset in RECIPES:
        if recipe in asked.recipes and dataset in asked.datasets:
            if not asked.as_is:
                train(recipe, dataset, asked)
            found = read(recipe, dataset, asked.repeats, timed=not asked.as_is)
            if not asked.as_is and len(found.test) != asked.repeats:
                raise RuntimeError(f"{recipe} on {dataset}: {len(found.test)} of {asked.repeats} runs are finished")
            if found.test:
                reached[recipe, dataset] = found
    lines = table(reached, asked.datasets)
    print("\n".join(lines))
    if asked.output:
        asked.output.write_text("\n".join(lines) + "\n")
    keep(asked, "results", {f"{recipe} {dataset}": vars(r) for (recipe, dataset), r in reached.items()})


def train(recipe: str, dataset: str, asked: argparse.Namespace) -> None:
    """Train a recipe with all seeds. Runs that are already trained are skipped."""
    seeds = f"seed=range({FIRST_SEED},{FIRST_SEED + asked.repeats})"
    line = [f"experiment={recipe}", f"dataset={dataset}", seeds, f"tracking.experiment={EXPERIMENT}"]
    workers = [f"sweep.workers={asked.workers}"] if asked.workers else []
    _run("train", "-m", *line, "engine=native", f"tracking.tags.recipe={recipe}", *workers)


def runs_of(recipe: str, dataset: str, seeds: range) -> list[Run]:
    """Return the finished MLflow runs of the current version of a recipe.

    The store may also contain runs of earlier versions.
    """
    store = open_store(compose([f"tracking.experiment={EXPERIMENT}"]).tracking)
    configs = [compose([f"experiment={recipe}", f"dataset={dataset}", f"seed={seed}"]) for seed in seeds]
    try:
        fingerprints = {fingerprint(config, data_digests(config)) for config in configs}
    except DataError:  # without the data, no run can exist
        return []
    query = f"tags.recipe = '{recipe}' and tags.kind = 'run' and attributes.status = 'FINISHED'"
    found = store.client.search_runs([store.experiment_id], query)
    return [run for run in found if run.data.tags["fingerprint"] in fingerprints]


def read(recipe: str, dataset: str, n: int, *, timed: bool) -> Reached:
    """Read the results of a recipe's runs from MLflow. Evaluate the test set for runs that have no test result.

    Args:
        n: number of seeds.
        timed: whether to measure the duration of a run with each engine.
    """
    store = open_store(compose([f"tracking.experiment={EXPERIMENT}"]).tracking)
    seeds = range(FIRST_SEED, FIRST_SEED + n)
    unopened = [run for run in runs_of(recipe, dataset, seeds) if "test_accuracy" not in run.data.metrics]
    lines = [(f"dataset={dataset}", f"trained_model=runs:/{run.info.run_id}", "num_threads=1") for run in unopened]
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(lambda line: _run("predict", *line), lines):
            pass
    found = runs_of(recipe, dataset, seeds)
    epochs = compose([f"experiment={recipe}"]).num_epoch
    return Reached(
        [r.data.metrics["best_val_accuracy"] for r in found],
        [r.data.metrics["test_accuracy"] for r in found],
        epochs,
        {engine: epochs * _epoch_seconds(store, recipe, dataset, engine) for engine in ENGINES} if timed else {},
    )


def _epoch_seconds(store: Store, recipe: str, dataset: str, engine: str) -> float:
    """Return the median duration in seconds of an epoch with one thread, including validation."""
    line = [f"experiment={recipe}", f"dataset={dataset}", f"num_epoch={TIMED_EPOCHS}", f"engine={engine}"]
    tag = f"{recipe} {dataset} {engine}"
    only = ["num_threads=1", f"tracking.experiment={EXPERIMENT}", f"tracking.tags.timed={tag}", "tracking.plots=false"]
    _run("train", *line, *only, "tracking.models=none", "sweep.force=true")
    (run, *_) = store.client.search_runs([store.experiment_id], f"tags.timed = '{tag}'")
    return median(point.value for point in store.client.get_metric_history(run.info.run_id, "epoch_seconds"))


def table(reached: dict[tuple[str, str], Reached], datasets: list[str]) -> list[str]:
    """Return the table of results in Markdown: the published results of the original script, and those of the recipes.

    Rows without runs in the manifest are marked with †.
    """
    tied = json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {}
    lines = [
        "| dataset | recipe | epochs | best validation, % | test, % | sampling error | n | native, s | PyTorch, s |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for dataset in datasets:
        validation, test = PUBLISHED[dataset]
        sampling = _sampling_error(test / 100)
        row = f"original script, published | 50 | {validation} | {test} | {sampling} | 1 | | |"
        lines.append(f"| {NAMES[dataset]} | {row}")
        for (recipe, of), r in reached.items():
            if of == dataset:
                mark = "" if f"{recipe} {dataset}" in tied else " †"
                cells = [NAMES[dataset], f"`{recipe}`{mark}", str(r.epochs), _spread(r.validation), _spread(r.test)]
                cells += [_sampling_error(mean(r.test)), str(len(r.test))]
                cells += [f"{r.seconds[engine]:,.0f}" if r.seconds else "" for engine in ENGINES]
                lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", fast_words(tied)] if {"mnist_fast mnist", "ancestor mnist"} <= tied.keys() else lines


def fast_words(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Describe how two epochs of `mnist_fast` compare with 50 epochs of `ancestor`, over their common seeds.

    Args:
        runs: the manifest.
    """
    from scipy.stats import ttest_rel

    fast, ancestor = runs["mnist_fast mnist"], runs["ancestor mnist"]
    seeds = sorted(fast.keys() & ancestor.keys())
    told = []
    for name, what in (("test", "test_accuracy"), ("validation", "best_val_accuracy")):
        one, other = ([100 * of[seed][what] for seed in seeds] for of in (fast, ancestor))
        p = float(ttest_rel(one, other).pvalue)
        ahead = mean(one) - mean(other)
        word = "better" if ahead > 0 else "worse"
        told.append(f"{abs(ahead):.2f} points {word} than `ancestor` on {name} images (p = {p:.1g})")
    return f"On MNIST, `mnist_fast` is {' and '.join(told)}, in paired t tests over {len(seeds)} shared seeds."


def _sampling_error(accuracy: float) -> str:
    """Format the binomial standard error of a test accuracy, in percentage points."""
    return f"{100 * math.sqrt(accuracy * (1 - accuracy) / TEST_IMAGES):.2f}"


def _spread(values: list[float]) -> str:
    """Format the mean and the sample standard deviation of accuracies, in percent."""
    spread = f" ± {stdev(values) * 100:.2f}" if len(values) > 1 else ""
    return f"{mean(values) * 100:.2f}{spread}"


def _run(command: str, *line: str) -> None:
    subprocess.run([sys.executable, "-m", "lenet_exp", command, *line], check=True)


if __name__ == "__main__":
    main()
