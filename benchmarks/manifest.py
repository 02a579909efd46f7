"""Record the runs behind the published results in a manifest, and check the results against it.

    python -m benchmarks.results                  # train the runs
    python -m benchmarks.manifest write           # write the digests of the runs to benchmarks/manifest.json
    python -m benchmarks.manifest check           # compare the manifest with the published table and the MLflow store

The store is MLFLOW_TRACKING_URI or, if this is not set, mlflow.db in the outputs folder. If a run is not in the store,
the check prints its seed but does not fail, because the repository does not contain runs. If a row differs, the check
fails with status 1. To retrain a run, use `lenet-reproduce`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from statistics import mean, stdev

from benchmarks.results import FIRST_SEED, MANIFEST, NAMES, RECIPES, SEEDS, runs_of

ROOT = MANIFEST.parent.parent
# Runs keyed by seed. Each run has the keys fingerprint, weights_digest, best_val_accuracy, and test_accuracy.
Runs = dict[str, dict[str, str | float]]


def main() -> None:
    """Write the manifest or check it, as the command line specifies."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("what", choices=["write", "check"])
    if options.parse_args().what == "write":
        write()
        return
    faults = [*against_table(manifest(), pages()), *against_store(manifest())]
    print("\n".join(faults) or "all that is tied agrees")
    sys.exit(bool(faults))


def pages() -> str:
    """Return the text of README.md and all documentation pages, one of which contains the table of results."""
    return "\n".join(path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))])


def manifest() -> dict[str, Runs]:
    """Read the manifest: the runs for each row of the table, keyed by `<recipe> <dataset>`."""
    found: dict[str, Runs] = json.loads(MANIFEST.read_text())
    return found


def write() -> None:
    """Update the manifest with the runs for the current recipes in the store. Rows without such runs are kept."""
    kept = manifest() if MANIFEST.exists() else {}
    for recipe, dataset in RECIPES:
        if runs := stored(recipe, dataset):
            kept[f"{recipe} {dataset}"] = runs
    MANIFEST.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def stored(recipe: str, dataset: str) -> Runs:
    """Return the runs in the store for a row of the table, keyed by seed."""
    found: Runs = {}
    for run in runs_of(recipe, dataset, range(FIRST_SEED, FIRST_SEED + SEEDS)):
        metrics, tags = run.data.metrics, run.data.tags
        if "test_accuracy" in metrics:
            digests = {name: tags[name] for name in ("fingerprint", "weights_digest")}
            accuracies = {name: metrics[name] for name in ("best_val_accuracy", "test_accuracy")}
            found[run.data.params["seed"]] = {**digests, **accuracies}
    return found


def against_table(kept: dict[str, Runs], text: str) -> list[str]:
    """Compare the table of results in a text with the manifest, and return a line for each difference.

    A row without runs in the manifest must be marked with †.
    """
    faults = []
    for dataset, recipe, validation, test, n, tied in _rows(text):
        runs = kept.get(f"{recipe} {dataset}")
        if runs is None:
            if tied:
                faults.append(f"results: {recipe} on {dataset} has no runs in the manifest, and is not marked so")
            continue
        said = (validation, test, n)
        true = (_spread(runs, "best_val_accuracy"), _spread(runs, "test_accuracy"), str(len(runs)))
        if said != true:
            faults.append(f"results: {recipe} on {dataset} is {' / '.join(said)}, its runs say {' / '.join(true)}")
    return faults


def against_store(kept: dict[str, Runs]) -> list[str]:
    """Compare the manifest with the store, and return a line for each difference. Print runs that the store lacks."""
    faults = []
    for row, runs in kept.items():
        recipe, dataset = row.split()
        here = stored(recipe, dataset)
        for seed, run in runs.items():
            if seed not in here:
                print(f"{row} seed {seed}: not in this store")
            elif here[seed] != run:
                other = [name for name, value in run.items() if here[seed][name] != value]
                faults.append(f"{row} seed {seed}: {', '.join(other)} differ in this store")
    return faults


def _rows(text: str) -> list[tuple[str, str, str, str, str, bool]]:
    """Return the rows of the table of results in a text.

    Each row consists of the dataset, the recipe, the validation accuracy, the test accuracy, n, and whether the row
    has runs in the manifest according to its mark.
    """
    datasets = {name: dataset for dataset, name in NAMES.items()}
    pattern = r"^\| (\w+) \| `(\w+)`( †)? \| \d+ \| ([^|]+) \| ([^|]+) \| [\d.]+ \| (\d+) \|"
    found = re.findall(pattern, text, re.MULTILINE)
    return [(datasets[name], recipe, v, t, n, not mark) for name, recipe, mark, v, t, n in found]


def _spread(runs: Runs, what: str) -> str:
    values = [float(run[what]) for run in runs.values()]
    return f"{mean(values) * 100:.2f} ± {stdev(values) * 100:.2f}"


if __name__ == "__main__":
    main()
