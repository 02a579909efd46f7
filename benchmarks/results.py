"""The README's results: trains each recipe over five seeds, opens the test set once a seed, and reads MLflow.

Everything goes through `lenet-train` and `lenet-predict`, as a person would type it; stopped, it goes on when typed
again. Selection is on validation data. The seeds (100 to 104) are none that a recipe was searched with, but
fashion_fast and fashion_best were changed after test results on some of them were known (search.md).

    python -m benchmarks.results --output benchmarks/results.md

Takes about an hour on two cores. Data: $LENET_EXP_DATA, else `data`; outputs: $LENET_EXP_OUTPUTS, else
`outputs`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import TYPE_CHECKING

from benchmarks.measure import keep, parser, positive
from lenet_exp.api import compose
from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.data.images import data_digests
from lenet_exp.errors import DataError
from lenet_exp.tracking.store import open_store

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

MANIFEST = Path(__file__).resolve().parent / "manifest.json"
EXPERIMENT = "results"
FIRST_SEED = 100
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
# Validation and test accuracy in % of one run each, 50 epochs, as the ancestor's README has them.
PUBLISHED = {
    "mnist": (99.13, 98.94),
    "fashion_mnist": (90.94, 90.36),
    "kmnist": (97.98, 94.16),
    "qmnist": (99.07, 98.88),
}


@dataclass(frozen=True)
class Reached:
    """What the seeds of one recipe came to: fractions, and one number a seed."""

    validation: list[float]
    test: list[float]
    epochs: int
    seconds: list[float]


def main() -> None:
    """Prints the table; writes it with `--output`."""
    options = parser(__doc__, repeats=5)
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
            found = read(recipe, dataset, asked.repeats)
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
    """All seeds of a recipe; those that are there already cost nothing."""
    seeds = f"seed=range({FIRST_SEED},{FIRST_SEED + asked.repeats})"
    line = [f"experiment={recipe}", f"dataset={dataset}", seeds, f"tracking.experiment={EXPERIMENT}"]
    workers = [f"sweep.workers={asked.workers}"] if asked.workers else []
    _run("train", "-m", *line, "engine=torch", f"tracking.tags.recipe={recipe}", *workers)


def runs_of(recipe: str, dataset: str, seeds: range) -> list[Run]:
    """The finished MLflow runs of a recipe as it is now: the store may hold some of what it was before."""
    store = open_store(compose([f"tracking.experiment={EXPERIMENT}"]).tracking)
    configs = [compose([f"experiment={recipe}", f"dataset={dataset}", f"seed={seed}"]) for seed in seeds]
    try:
        fingerprints = {fingerprint(config, data_digests(config)) for config in configs}
    except DataError:  # and so there can be no run
        return []
    query = f"tags.recipe = '{recipe}' and tags.kind = 'run' and attributes.status = 'FINISHED'"
    found = store.client.search_runs([store.experiment_id], query)
    return [run for run in found if run.data.tags["fingerprint"] in fingerprints]


def read(recipe: str, dataset: str, n: int) -> Reached:
    """What MLflow has of a recipe's runs, after the test set has been opened for those where it was not yet."""
    store = open_store(compose([f"tracking.experiment={EXPERIMENT}"]).tracking)
    seeds = range(FIRST_SEED, FIRST_SEED + n)
    for run in runs_of(recipe, dataset, seeds):
        if "test_accuracy" not in run.data.metrics:
            _run("predict", f"dataset={dataset}", f"trained_model=runs:/{run.info.run_id}")
    found = runs_of(recipe, dataset, seeds)
    return Reached(
        [r.data.metrics["best_val_accuracy"] for r in found],
        [r.data.metrics["test_accuracy"] for r in found],
        int(found[0].data.params["num_epoch"]) if found else 0,
        [_seconds(store.client.get_metric_history(r.info.run_id, "epoch_seconds")) for r in found],
    )


def table(reached: dict[tuple[str, str], Reached], datasets: list[str]) -> list[str]:
    """Markdown: for each data set what the ancestor published and what each recipe reached; † without runs in the
    manifest."""
    tied = json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {}
    lines = [
        "| data set | recipe | epochs | best validation, % | test, % | n | seconds a run |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for dataset in datasets:
        validation, test = PUBLISHED[dataset]
        lines.append(f"| {NAMES[dataset]} | ancestor, published | 50 | {validation} | {test} | 1 | |")
        for (recipe, of), r in reached.items():
            if of == dataset:
                mark = "" if f"{recipe} {dataset}" in tied else " †"
                cells = [NAMES[dataset], f"`{recipe}`{mark}", str(r.epochs), _spread(r.validation), _spread(r.test)]
                lines.append(f"| {' | '.join(cells)} | {len(r.test)} | {median(r.seconds):,.0f} |")
    return lines


def _seconds(history: list[Metric]) -> float:
    return float(sum(point.value for point in history))


def _spread(values: list[float]) -> str:
    """Mean and sample standard deviation in percent."""
    spread = f" ± {stdev(values) * 100:.2f}" if len(values) > 1 else ""
    return f"{mean(values) * 100:.2f}{spread}"


def _run(command: str, *line: str) -> None:
    subprocess.run([sys.executable, "-m", "lenet_exp", command, *line], check=True)


if __name__ == "__main__":
    main()
