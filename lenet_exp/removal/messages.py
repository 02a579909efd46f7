"""Prints the output of `lenet-sweep rm`: what is removed, what stays (and why), and what the user
must do.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lenet_exp.amounts import megabytes, number_of
from lenet_exp.errors import printable
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.removal.plan import Plan
from lenet_exp.removal.stored_runs import Changes

FEW = 10  # maximum number of runs to list


def print_plan(plan: Plan, changes: Sequence[Changes], *, done: bool) -> None:
    """Print what is removed, what stays, and why it stays.

    Args:
        done: whether the sweep is actually removed; if not, this is a dry run.
    """
    went = "removed" if done else "would remove"
    going = plan.all_going()
    sweeps = plan.all_sweeps()
    print(printable(plan.words))
    folders = [number_of(len(sweeps), "sweep folder")] if sweeps else []
    folders += [number_of(len(going), "run folder")] if going else []
    if folders:
        size = sum(
            map(size_of, [*(sweep.path for sweep in sweeps), *(folder.path for folder in going)])
        )
        print(f"  {went}: {' and '.join(folders)}, {megabytes(size)} MB")
    _print_few([f"    {folder.id[:8]}  {_name(folder)}" for folder in going[:FEW]], len(going))
    for change in changes:
        if change.delete:
            models = sum(len(run.outputs.model_outputs) for run in change.delete if run.outputs)
            runs = number_of(len(change.delete), "MLflow run")
            print(f"  {went}: {runs} and {number_of(models, 'model')} in {change.store.name}")
    staying = [
        (run, _name(RunFolder(plan.runs / run)), why)
        for run, why in list(plan.staying.items())[:FEW]
    ]
    _print_few(
        [f"  kept: {run[:8]}  {name}: {why}" for run, name, why in staying], len(plan.staying)
    )
    kept = [
        f"  kept: MLflow run {run_id}: {why}"
        for change in changes
        for run_id, why in change.kept.items()
    ]
    _print_few([f"{line}; to delete it, use MLflow's UI" for line in kept[:FEW]], len(kept))
    for note in plan.notes:
        print(printable(f"  note: {note}"))


def _print_few(lines: Sequence[str], count: int) -> None:
    for line in lines:
        print(printable(line))
    if count > FEW:
        print(f"    and {count - FEW:,} more")


def _name(folder: RunFolder) -> str:
    begun = folder.begun()
    return begun.name if begun is not None else "not trained"


def size_of(path: Path) -> int:
    """Return the size in bytes of a file, or of all files in a folder, as reported by `ls -l`."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(
        Path(folder, name).lstat().st_size for folder, _, names in os.walk(path) for name in names
    )
