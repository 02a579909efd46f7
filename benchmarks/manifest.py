"""Ties each number of the published results to the runs that it comes from, and looks whether a store has them so.

    python -m benchmarks.results                  # trains them
    python -m benchmarks.manifest write           # keeps their digests in benchmarks/manifest.json
    python -m benchmarks.manifest check           # the table against the manifest, the manifest against the store

The store is MLFLOW_TRACKING_URI, else mlflow.db in the outputs folder. A row whose runs the store does not have is
named and is no error, since the runs are not in the repository; one that differs is: status 1. `lenet-reproduce` trains
a run again.
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
    """Writes the manifest, or checks it."""
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
    """The runs of each row, by `<recipe> <data set>`."""
    found: dict[str, Runs] = json.loads(MANIFEST.read_text())
    return found


def write() -> None:
    """Takes in what the store has of the recipes as they are now; rows of others stay."""
    kept = manifest() if MANIFEST.exists() else {}
    for recipe, dataset in RECIPES:
        if runs := stored(recipe, dataset):
            kept[f"{recipe} {dataset}"] = runs
    MANIFEST.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def stored(recipe: str, dataset: str) -> Runs:
    """What the store has of a row, by seed."""
    found: Runs = {}
    for run in runs_of(recipe, dataset, range(FIRST_SEED, FIRST_SEED + SEEDS)):
        metrics, tags = run.data.metrics, run.data.tags
        if "test_accuracy" in metrics:
            digests = {name: tags[name] for name in ("fingerprint", "weights_digest")}
            accuracies = {name: metrics[name] for name in ("best_val_accuracy", "test_accuracy")}
            found[run.data.params["seed"]] = {**digests, **accuracies}
    return found


def against_table(kept: dict[str, Runs], text: str) -> list[str]:
    """What the table in a text says otherwise, and the rows that have no runs and do not say so."""
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
    """Where the store has a run of the manifest otherwise; what it lacks is printed."""
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
    """Data set, recipe, validation, test, n of each row of the results, and whether it claims to be tied to runs."""
    datasets = {name: dataset for dataset, name in NAMES.items()}
    pattern = r"^\| (\w+) \| `(\w+)`( †)? \| \d+ \| ([^|]+) \| ([^|]+) \| [\d.]+ \| (\d+) \|"
    found = re.findall(pattern, text, re.MULTILINE)
    return [(datasets[name], recipe, v, t, n, not mark) for name, recipe, mark, v, t, n in found]


def _spread(runs: Runs, what: str) -> str:
    values = [float(run[what]) for run in runs.values()]
    return f"{mean(values) * 100:.2f} ± {stdev(values) * 100:.2f}"


if __name__ == "__main__":
    main()
