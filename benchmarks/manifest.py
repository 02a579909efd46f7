"""Links between the published results and the runs that they come from, checked against a store.

    python -m benchmarks.results                  # trains them
    python -m benchmarks.manifest write           # stores their digests in benchmarks/manifest.json
    python -m benchmarks.manifest check           # compares the manifest with the table and with the store

The store is MLFLOW_TRACKING_URI, or mlflow.db in the outputs folder if it is not set. A row whose runs are not in the
store is listed but is not an error, because the repository does not contain runs. A row that differs is an error
(status 1). `lenet-reproduce` retrains a run.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from statistics import mean, stdev

from benchmarks.results import FIRST_SEED, MANIFEST, NAMES, RECIPES, SEEDS, runs_of

ROOT = MANIFEST.parent.parent
Runs = dict[str, dict[str, str | float]]  # by seed: fingerprint, weights_digest, best_val_accuracy, test_accuracy


def main() -> None:
    """Write the manifest, or check it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("what", choices=["write", "check"])
    if options.parse_args().what == "write":
        write()
        return
    faults = [*against_table(manifest(), pages()), *against_store(manifest())]
    print("\n".join(faults) or "all that is tied agrees")
    sys.exit(bool(faults))


def pages() -> str:
    """Return the text of README.md and all pages; one of them has the table of results."""
    return "\n".join(path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))])


def manifest() -> dict[str, Runs]:
    """Return the runs of each row, by `<recipe> <dataset>`."""
    found: dict[str, Runs] = json.loads(MANIFEST.read_text())
    return found


def write() -> None:
    """Add the store's runs of the current recipes to the manifest; other rows stay."""
    kept = manifest() if MANIFEST.exists() else {}
    for recipe, dataset in RECIPES:
        if runs := stored(recipe, dataset):
            kept[f"{recipe} {dataset}"] = runs
    MANIFEST.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def stored(recipe: str, dataset: str) -> Runs:
    """Return the store's runs of a row, by seed."""
    found: Runs = {}
    for run in runs_of(recipe, dataset, range(FIRST_SEED, FIRST_SEED + SEEDS)):
        metrics, tags = run.data.metrics, run.data.tags
        if "test_accuracy" in metrics:
            digests = {name: tags[name] for name in ("fingerprint", "weights_digest")}
            accuracies = {name: metrics[name] for name in ("best_val_accuracy", "test_accuracy")}
            found[run.data.params["seed"]] = {**digests, **accuracies}
    return found


def against_table(kept: dict[str, Runs], text: str) -> list[str]:
    """Return the differences between the table in a text and the manifest, and rows without runs that do not say so."""
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
    """Return the differences between the manifest and the store; print the runs that the store lacks."""
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
    """Yield dataset, recipe, validation, test, and n of each row of results, and whether it claims to have runs."""
    datasets = {name: dataset for dataset, name in NAMES.items()}
    pattern = r"^\| (\w+) \| `(\w+)`( †)? \| \d+ \| ([^|]+) \| ([^|]+) \| [\d.]+ \| (\d+) \|"
    found = re.findall(pattern, text, re.MULTILINE)
    return [(datasets[name], recipe, v, t, n, not mark) for name, recipe, mark, v, t, n in found]


def _spread(runs: Runs, what: str) -> str:
    values = [float(run[what]) for run in runs.values()]
    return f"{mean(values) * 100:.2f} ± {stdev(values) * 100:.2f}"


if __name__ == "__main__":
    main()
