"""Implements `lenet-sweep clean`: removes the final training states of all runs."""

from __future__ import annotations

from pathlib import Path

from lenet_exp.amounts import megabytes, number_of
from lenet_exp.folders.checkpoints import END
from lenet_exp.removal.messages import size_of


def remove_end_states(outputs: Path, *, dry_run: bool) -> None:
    """Remove the final training states of all runs, or only print how many there are."""
    states = list((outputs / "runs").glob(f"*/{END}"))
    print(f"{'would remove' if dry_run else 'removed'} {number_of(len(states), 'final training state')},", end=" ")
    print(f"{megabytes(sum(map(size_of, states)))} MB{'; to remove, add dry_run=false' if dry_run and states else ''}")
    for state in () if dry_run else states:
        state.unlink(missing_ok=True)
