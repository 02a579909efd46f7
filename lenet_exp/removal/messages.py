"""What `lenet-sweep rm` prints: what goes, what stays and why, and how MLflow's trash is emptied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lenet_exp.amounts import megabytes, number_of

FEW = 10  # runs that are named


@dataclass(frozen=True)
class Removal:
    """One sweep, or runs of no sweep, as it is shown.

    Attributes:
        words: what it is.
        is_sweep: whether there is a sweep's folder.
        going: the first run folders that go, by name and id, and how many go.
        bytes: of all folders that go.
        staying: the first run folders that stay, by name, id and reason, and how many stay.
        stores: address, and how many MLflow runs and models go there.
        kept: MLflow runs whose folder goes, and why they are kept.
        notes: what else there is to know.
    """

    words: str
    is_sweep: bool
    going: Sequence[tuple[str, str]]
    runs: int
    bytes: int
    staying: Sequence[tuple[str, str, str]]
    stay: int
    stores: Sequence[tuple[str, int, int]]
    kept: Sequence[tuple[str, str]]
    notes: Sequence[str] = field(default_factory=list)


def print_removal(removal: Removal, *, done: bool) -> None:
    """Args:
    done: it is removed now; else it would be.
    """
    went = "went" if done else "goes"
    print(removal.words)
    folders = ["the sweep's folder"] if removal.is_sweep else []
    folders += [number_of(removal.runs, "run folder")] if removal.runs else []
    if folders:
        print(f"  {went}: {' and '.join(folders)}, {megabytes(removal.bytes)} MB")
    for name, run in removal.going:
        print(f"    {run[:8]}  {name}")
    if removal.runs > len(removal.going):
        print(f"    and {removal.runs - len(removal.going):,} more")
    for store, count, models in removal.stores:
        if count:
            print(f"  {went}: {number_of(count, 'MLflow run')} and {number_of(models, 'model')} in {store}")
    for name, run, why in removal.staying:
        print(f"  stays: {run[:8]}  {name}: {why}")
    if removal.stay > len(removal.staying):
        print(f"  stays: {number_of(removal.stay - len(removal.staying), 'more run')}, for such reasons")
    for run_id, why in removal.kept[:FEW]:
        print(f"  stays: MLflow run {run_id}: {why}")
    for note in removal.notes:
        print(f"  note: {note}")


def print_trash(stores: Sequence[str]) -> None:
    """How the stores' trash is emptied, for good.

    Args:
        stores: their addresses.
    """
    for store in stores:
        where = store if not store.startswith("http") else "<the server's database>"
        print(
            "MLflow can restore what was deleted, and so its files are still there. This deletes for good all that was "
            f"ever deleted in this store:\n  mlflow gc --tracking-uri {store} --backend-store-uri {where}"
        )
