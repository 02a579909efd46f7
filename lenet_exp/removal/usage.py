"""Implements `lenet-sweep du`: reports the disk usage of an outputs folder and what can be removed."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from pathlib import Path

from lenet_exp.addresses import sqlite_uri
from lenet_exp.amounts import megabytes, number_of
from lenet_exp.cache import NoCache, cache_folder
from lenet_exp.errors import printable
from lenet_exp.folders.checkpoints import END
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.removal.pending import FOLDER as REMOVING
from lenet_exp.removal.references import trained_alone, users_of

FEW = 10  # maximum number of sweeps to list
STATES = "final training states"
KINDS = {"mlartifacts": "MLflow artifacts", "weights": "given weights", REMOVING: "being removed"}
WIDTH = 70  # columns for the description, followed by nine for megabytes


def print_usage(outputs: Path) -> None:
    """Print the disk usage by kind of file, largest first, and the removable items, each with the command to run."""
    kinds = kinds_of(outputs)
    print(f"{outputs} (sizes in MB)")
    for words, size in kinds.most_common():
        _line(words, size)
    _line("total", kinds.total())
    with contextlib.suppress(NoCache):
        _line("not included: compiled kernels in the cache", size_of(cache_folder("")))
    print("\ncan be removed")
    for words, size, how in removable(outputs):
        _line(words, size, f"\n  {how}")
    _line(STATES, kinds[STATES], "\n  lenet-sweep clean dry_run=false")
    _line("interrupted removal", kinds["being removed"], "\n  lenet-sweep list (prints the command that finishes it)")
    if kinds["MLflow database"]:
        uri = sqlite_uri(outputs / "mlflow.db")
        how = f"mlflow gc --tracking-uri {uri} --backend-store-uri {uri}"
        print(f"to permanently remove runs that were deleted in MLflow, run:\n  {how}")


def remove_end_states(outputs: Path, *, dry_run: bool) -> None:
    """Remove the final training states of all runs, or only print how many there are."""
    states = _end_states(outputs)
    print(f"{'would remove' if dry_run else 'removed'} {number_of(len(states), 'final training state')},", end=" ")
    print(f"{megabytes(sum(map(_size, states)))} MB{'; to remove, add dry_run=false' if dry_run and states else ''}")
    for state in () if dry_run else states:
        state.unlink(missing_ok=True)


def kinds_of(outputs: Path) -> Counter[str]:
    """Return the size in bytes of each kind of file in an outputs folder."""
    kinds: Counter[str] = Counter()
    for path in outputs.iterdir():
        other = "MLflow database" if path.name.startswith("mlflow.db") else path.name
        kinds[KINDS.get(path.name, other)] += size_of(path)
    kinds[STATES] = sum(map(_size, _end_states(outputs)))
    kinds["runs"] -= kinds[STATES]
    return +kinds


def _end_states(outputs: Path) -> list[Path]:
    return list((outputs / "runs").glob(f"*/{END}"))


def removable(outputs: Path) -> list[tuple[str, int, str]]:
    """Return the removable items as tuples of description, size in bytes, and command.

    The items are the largest sweeps, each with the runs that no other sweep needs. The last item includes all runs that
    are not part of a sweep.

    Raises:
        DamagedError: the jobs of a sweep are corrupt.
    """
    users = users_of(outputs, ())
    runs = {path.name: size_of(path) for path in (outputs / "runs").glob("*")}
    found = []
    for path in (started.parent for started in (outputs / "sweeps").glob("*/sweep.json")):
        before = trained_alone(SweepFolder(path), outputs)
        own = [run for run in runs if users.get(run) == [path.name] and run not in before]
        plan = SweepFolder(path).kept_plan()
        words = f"sweep {path.name}, {number_of(len(own), 'run')}: {plan.command if plan is not None else ''}"
        found.append((words, size_of(path) + sum(runs[run] for run in own), f"lenet-sweep rm sweep={path.name}"))
    alone = [run for run in runs if run not in users and RunFolder(outputs / "runs" / run).begun() is not None]
    how = "lenet-sweep rm run=<run id> (for each run)"
    lone = (f"{number_of(len(alone), 'run')} not part of a sweep", sum(runs[run] for run in alone), how)
    return [*sorted(found, key=lambda part: -part[1])[:FEW], lone]


def size_of(path: Path) -> int:
    """Return the size in bytes of a file, or of all files in a folder, as reported by `ls -l`."""
    if path.is_symlink() or not path.is_dir():
        return _size(path)
    return sum(_size(Path(folder, name)) for folder, _, names in os.walk(path) for name in names)


def _size(file: Path) -> int:
    try:
        return file.lstat().st_size
    except FileNotFoundError:  # the file has been deleted in the meantime
        return 0


def _line(words: str, size: int, more: str = "") -> None:
    if size:
        shown = printable(words if len(words) < WIDTH else f"{words[: WIDTH - 4]}...")
        print(f"{shown:<{WIDTH}}{megabytes(size):>9}{more}")
