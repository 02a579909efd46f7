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
from collections.abc import Iterable, Mapping
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

    runs_by_row = manifest()
    differences = against_table(runs_by_row, pages())
    differences += against_store(runs_by_row, [*RECIPES, *FRONTIER])
    print("\n".join(differences) or "all that is tied agrees")
    sys.exit(bool(differences))


def pages() -> str:
    """Return the text of README.md and all documentation pages, one of which contains the table of
    results.
    """
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return "\n".join(path.read_text() for path in paths)


def manifest() -> dict[str, Runs]:
    """Read the manifest: the runs for each row of the table, keyed by `<recipe> <dataset>`."""
    if not MANIFEST.exists():
        return {}
    runs_by_row: dict[str, Runs] = json.loads(MANIFEST.read_text())
    return runs_by_row


def current_runs(row: Row) -> Runs:
    """Return the runs of a row that are in the manifest and belong to the current version of its
    configuration.
    """
    runs = manifest().get(row.key, {})
    seeds = [seed for seed in row.seeds if str(seed) in runs]
    current = {}
    for seed, digest in fingerprints(row, seeds).items():
        run = runs[str(seed)]
        if run["fingerprint"] == digest:
            current[str(seed)] = run
    return current


def add(row: Row) -> None:
    """Add the tested runs of a row in the store to the manifest and to the histories."""
    store = open_store(compose([f"tracking.experiment={EXPERIMENT}"]).tracking)
    earlier_runs = current_runs(row)
    tested_runs = {}
    for seed, run in stored(row, store).items():
        if "test_accuracy" in run.data.metrics:
            tested_runs[seed] = run

    runs_by_row = manifest()
    runs_by_row[row.key] = dict(earlier_runs)
    for seed, run in tested_runs.items():
        runs_by_row[row.key][seed] = entry(run)
    MANIFEST.write_text(json.dumps(runs_by_row, indent=1, sort_keys=True) + "\n")

    path = HISTORIES / f"{row.name}_{row.dataset}.csv"
    columns = {}
    for seed, column in _read_histories(path).items():
        if seed in earlier_runs:
            columns[seed] = column
    for seed, run in tested_runs.items():
        points = store.client.get_metric_history(run.info.run_id, "val_accuracy")
        points.sort(key=lambda point: point.step)
        columns[seed] = [f"{point.value:.6g}" for point in points]
    _write_histories(path, columns)


def _read_histories(path: Path) -> dict[str, list[str]]:
    """Return the accuracies in a file, keyed by seed."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        heads, *lines = csv.reader(file)
    columns = {}
    for head, *column in zip(heads, *lines, strict=True):
        if head != "epoch":
            columns[head.removeprefix("seed ")] = column
    return columns


def _write_histories(path: Path, columns: Mapping[str, list[str]]) -> None:
    """Write accuracies, keyed by seed, with a line for each epoch."""
    seeds = sorted(columns, key=int)
    epochs = zip(*[columns[seed] for seed in seeds], strict=True)
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["epoch", *(f"seed {seed}" for seed in seeds)])
        for epoch, accuracies in enumerate(epochs, start=1):
            lines.writerow([epoch, *accuracies])


def fingerprints(row: Row, seeds: Iterable[int]) -> dict[int, str]:
    """Return the fingerprints of a row's current configuration, keyed by seed."""
    digests = {}
    for seed in seeds:
        config = compose([*row.overrides, f"seed={seed}"])
        digests[seed] = fingerprint(config, data_digests(config))
    return digests


def stored(row: Row, store: Store) -> dict[str, Run]:
    """Return the finished MLflow runs of the current version of a row, keyed by seed."""
    seeds = {digest: str(seed) for seed, digest in fingerprints(row, row.seeds).items()}
    query = f"tags.recipe = '{row.name}' and tags.kind = 'run' and attributes.status = 'FINISHED'"
    runs = {}
    for run in store.client.search_runs([store.experiment_id], query):
        digest = run.data.tags["fingerprint"]
        if digest in seeds:
            runs[seeds[digest]] = run
    return runs


def entry(run: Run) -> dict[str, str | float]:
    """Return what the manifest contains about a run."""
    values: dict[str, str | float] = {}
    for name in ("fingerprint", "weights_digest"):
        values[name] = run.data.tags[name]
    for name in ("best_val_accuracy", "test_accuracy"):
        if name in run.data.metrics:
            values[name] = run.data.metrics[name]
    return values


def against_table(runs_by_row: Mapping[str, Runs], text: str) -> list[str]:
    """Compare the table of results in a text with the manifest, and return a line for each
    difference.
    """
    differences = []
    for dataset, recipe, *cells in _rows(text):
        runs = runs_by_row.get(f"{recipe} {dataset}")
        if runs is None:
            differences.append(f"results: {recipe} on {dataset} has no runs in the manifest")
            continue
        expected = [
            spread(runs, "best_val_accuracy"),
            spread(runs, "test_accuracy"),
            str(len(runs)),
        ]
        if cells != expected:
            differences.append(
                f"results: {recipe} on {dataset} is {' / '.join(cells)}, "
                f"its runs say {' / '.join(expected)}"
            )
    return differences


def against_store(runs_by_row: Mapping[str, Runs], rows: Iterable[Row]) -> list[str]:
    """Compare the manifest with the store, and return a line for each difference. Print runs that
    the store lacks.
    """
    differences = []
    store = open_store(compose([f"tracking.experiment={EXPERIMENT}"]).tracking)
    for row in rows:
        stored_runs = stored(row, store)
        for seed, run in runs_by_row.get(row.key, {}).items():
            if seed not in stored_runs:
                print(f"{row.key} seed {seed}: not in this store")
                continue
            stored_run = entry(stored_runs[seed])
            if stored_run == run:
                continue
            names = [name for name, value in run.items() if stored_run.get(name) != value]
            differences.append(f"{row.key} seed {seed}: {', '.join(names)} differ in this store")
    return differences


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

    rows = []
    for name, *row in recipes:
        rows.append([datasets[name], *row])
    for name, channels, kernel_size, units, *row in networks:
        units_of_layers = units.split(", ") if units else []
        model = network_name(channels.split(", "), units_of_layers, kernel_size)
        rows.append([datasets[name], model, *row])
    return rows


def spread(runs: Runs, accuracy: str) -> str:
    """Format the mean and the sample standard deviation of an accuracy, in percent."""
    values = [float(run[accuracy]) for run in runs.values()]
    return f"{mean(values) * 100:.2f} ± {stdev(values) * 100:.2f}"


if __name__ == "__main__":
    main()
