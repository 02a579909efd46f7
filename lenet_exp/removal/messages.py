"""Prints the output of `lenet-sweep rm`: what is removed, and what stays (and why)."""

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
    action = "removed" if done else "would remove"
    print(printable(plan.words))
    _print_folders(plan, action)
    for change in changes:
        _print_deleted(change, action)
    _print_staying(plan)
    _print_kept(changes)
    for note in plan.notes:
        print(printable(f"  note: {note}"))


def _print_folders(plan: Plan, action: str) -> None:
    sweeps = plan.all_sweeps()
    runs = plan.runs_to_remove()
    counts = []
    if sweeps:
        counts.append(number_of(len(sweeps), "sweep folder"))
    if runs:
        counts.append(number_of(len(runs), "run folder"))

    if counts:
        paths = [*(sweep.path for sweep in sweeps), *(run.path for run in runs)]
        size = sum(size_of(path) for path in paths)
        print(f"  {action}: {' and '.join(counts)}, {megabytes(size)} MB")
    lines = [f"    {run.id[:8]}  {_name(run)}" for run in runs[:FEW]]
    _print_few(lines, len(runs))


def _print_deleted(change: Changes, action: str) -> None:
    if not change.delete:
        return
    runs = number_of(len(change.delete), "MLflow run")
    models = sum(len(run.outputs.model_outputs) for run in change.delete if run.outputs)
    print(f"  {action}: {runs} and {number_of(models, 'model')} in {change.store.name}")


def _print_staying(plan: Plan) -> None:
    lines = []
    for run, reason in list(plan.staying.items())[:FEW]:
        name = _name(RunFolder(plan.runs / run))
        lines.append(f"  kept: {run[:8]}  {name}: {reason}")
    _print_few(lines, len(plan.staying))


def _print_kept(changes: Sequence[Changes]) -> None:
    lines = []
    for change in changes:
        for run_id, reason in change.kept.items():
            lines.append(f"  kept: MLflow run {run_id}: {reason}; to delete it, use MLflow's UI")
    _print_few(lines[:FEW], len(lines))


def _print_few(lines: Sequence[str], count: int) -> None:
    """Print lines, and how many of all `count` lines are missing from them."""
    for line in lines:
        print(printable(line))
    if count > FEW:
        print(f"    and {count - FEW:,} more")


def _name(folder: RunFolder) -> str:
    begun = folder.begun()
    return "not trained" if begun is None else begun.name


def size_of(path: Path) -> int:
    """Return the size in bytes of a file, or of all files in a folder, as reported by `ls -l`."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size

    size = 0
    for folder, _, names in os.walk(path):
        for name in names:
            size += Path(folder, name).lstat().st_size
    return size
