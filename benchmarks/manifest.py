"""The manifest of the runs behind the published results, and its comparison with the results and
with your runs.

    python -m benchmarks.manifest check           # compare the manifest with the published table
                                                  and the MLflow store

`python -m benchmarks.results` and `python -m benchmarks.frontier` add their runs to
benchmarks/manifest.json, and the validation accuracy after each epoch to benchmarks/histories. The
store is MLFLOW_TRACKING_URI or, if this is not set, mlflow.db in the outputs folder. If a run is
not in the store, the check prints its seed but does not fail, because the repository does not
contain runs. If a row differs, the check fails with status 1. To retrain a run, use
`lenet-reproduce`.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

from benchmarks.recipes import FRONTIER, RECIPES, Row, network_name
from lenet_exp.api import compose
from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.data.images import data_digests
from lenet_exp.tracking.stores.store import Store, open_store

if TYPE_CHECKING:
    from mlflow.entities import Run

MANIFEST = Path(__file__).resolve().parent / "manifest.json"
HISTORIES = MANIFEST.with_name("histories")
ROOT = MANIFEST.parent.parent
EXPERIMENT = "results"
NAMES = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST", "qmnist": "QMNIST"}
# Runs keyed by seed. Each run has the keys fingerprint, weights_digest, best_val_accuracy, and
# test_accuracy.
Runs = dict[str, dict[str, str | float]]


def main() -> None:
    """Check the manifest."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("what", choices=["check"])
    options.parse_args()
    kept = manifest()
    faults = [*against_table(kept, pages()), *against_store(kept, [*RECIPES, *FRONTIER])]
    print("\n".join(faults) or "all that is tied agrees")
    sys.exit(bool(faults))


def pages() -> str:
    """Return the text of README.md and all documentation pages, one of which contains the table of
    results.
    """
    return "\n".join(
        path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    )


def manifest() -> dict[str, Runs]:
    """Read the manifest: the runs for each row of the table, keyed by `<recipe> <dataset>`."""
    runs_by_row: dict[str, Runs] = json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {}
    return runs_by_row


def known(row: Row) -> Runs:
    """Return the runs of a row that are in the manifest and belong to the current version of its
    configuration.
    """
    kept = manifest().get(row.key, {})
    wanted = fingerprints(row, [seed for seed in row.seeds if str(seed) in kept])
    return {
        str(seed): kept[str(seed)]
        for seed, its in wanted.items()
        if kept[str(seed)]["fingerprint"] == its
    }


def add(row: Row) -> None:
    """Add the tested runs of a row in the store to the manifest and to the histories."""
    store = open_store(compose([f"tracking.experiment={EXPERIMENT}"]).tracking)
    runs = known(row)
    runs_by_seed = {
        seed: run for seed, run in stored(row, store).items() if "test_accuracy" in run.data.metrics
    }
    kept = manifest() | {row.key: runs | {seed: entry(run) for seed, run in runs_by_seed.items()}}
    MANIFEST.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    path = HISTORIES / f"{row.name}_{row.dataset}.csv"
    columns = _histories(path) if path.exists() else {}
    columns = {seed: its for seed, its in columns.items() if seed in runs}
    for seed, run in runs_by_seed.items():
        points = store.client.get_metric_history(run.info.run_id, "val_accuracy")
        columns[seed] = [f"{p.value:.6g}" for p in sorted(points, key=lambda p: p.step)]
    HISTORIES.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["epoch", *(f"seed {seed}" for seed in sorted(columns, key=int))])
        ordered = [columns[seed] for seed in sorted(columns, key=int)]
        lines.writerows(
            [epoch, *its] for epoch, its in enumerate(zip(*ordered, strict=True), start=1)
        )


def _histories(path: Path) -> dict[str, list[str]]:
    with path.open(newline="") as file:
        heads, *lines = csv.reader(file)
    return {
        head.removeprefix("seed "): list(its)
        for head, *its in zip(heads, *lines, strict=True)
        if head != "epoch"
    }


def fingerprints(row: Row, seeds: Iterable[int]) -> dict[int, str]:
    """Return the fingerprints of a row's current configuration, keyed by seed."""
    configs = {seed: compose([*row.overrides, f"seed={seed}"]) for seed in seeds}
    return {seed: fingerprint(config, data_digests(config)) for seed, config in configs.items()}


def stored(row: Row, store: Store) -> dict[str, Run]:
    """Return the finished MLflow runs of the current version of a row, keyed by seed."""
    wanted = {its: str(seed) for seed, its in fingerprints(row, row.seeds).items()}
    query = f"tags.recipe = '{row.name}' and tags.kind = 'run' and attributes.status = 'FINISHED'"
    logged_runs = store.client.search_runs([store.experiment_id], query)
    return {
        wanted[its]: run for run in logged_runs if (its := run.data.tags["fingerprint"]) in wanted
    }


def entry(run: Run) -> dict[str, str | float]:
    """Return what the manifest contains about a run."""
    metrics, tags = run.data.metrics, run.data.tags
    digests = {name: tags[name] for name in ("fingerprint", "weights_digest")}
    return {
        **digests,
        **{
            name: metrics[name]
            for name in ("best_val_accuracy", "test_accuracy")
            if name in metrics
        },
    }


def against_table(kept: dict[str, Runs], text: str) -> list[str]:
    """Compare the table of results in a text with the manifest, and return a line for each
    difference.
    """
    faults = []
    for dataset, recipe, *said in _rows(text):
        runs = kept.get(f"{recipe} {dataset}")
        if runs is None:
            faults.append(f"results: {recipe} on {dataset} has no runs in the manifest")
            continue
        true = [spread(runs, "best_val_accuracy"), spread(runs, "test_accuracy"), str(len(runs))]
        if said != true:
            faults.append(
                f"results: {recipe} on {dataset} is {' / '.join(said)}, its runs say {' / '.join(true)}"
            )
    return faults


def against_store(kept: dict[str, Runs], rows: Iterable[Row]) -> list[str]:
    """Compare the manifest with the store, and return a line for each difference. Print runs that
    the store lacks.
    """
    faults = []
    store = open_store(compose([f"tracking.experiment={EXPERIMENT}"]).tracking)
    for row in rows:
        here = stored(row, store)
        for seed, run in kept.get(row.key, {}).items():
            if seed not in here:
                print(f"{row.key} seed {seed}: not in this store")
            elif (its := entry(here[seed])) != run:
                other = [name for name, value in run.items() if its.get(name) != value]
                faults.append(f"{row.key} seed {seed}: {', '.join(other)} differ in this store")
    return faults


def _rows(text: str) -> list[list[str]]:
    """Return the rows of the tables of results in a text.

    Each row consists of the dataset, the name of the recipe or network, the validation accuracy,
    the test accuracy, and n.
    """
    datasets = {name: dataset for dataset, name in NAMES.items()}
    results = r"\d+ \| ([^|]+) \| ([^|]+) \| [\d.]+ \| (\d+) \|"
    recipes = re.findall(rf"^\| (\w+) \| `(\w+)` \| [\d,]+ \| {results}", text, re.MULTILINE)
    # channels, kernel size, and units (empty for convnets)
    sizes = r"\| ([\d, ]+) \| (\d)x\d \| ([\d, ]*) \|"
    networks = re.findall(rf"^\| (\w+) \| [\d,]+ \| [\d,]+ {sizes} {results}", text, re.MULTILINE)
    rows = [[datasets[name], *row] for name, *row in recipes]
    for name, channels, kernel_size, units, *row in networks:
        model = network_name(channels.split(", "), units.split(", ") if units else [], kernel_size)
        rows.append([datasets[name], model, *row])
    return rows


def spread(runs: Runs, what: str) -> str:
    """Format the mean and the sample standard deviation of an accuracy, in percent."""
    values = [float(run[what]) for run in runs.values()]
    return f"{mean(values) * 100:.2f} ± {stdev(values) * 100:.2f}"


if __name__ == "__main__":
    main()
