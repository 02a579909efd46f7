"""Clusters that queue the work of a sweep.

Their executors keep files in a subfolder of the sweep folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from lenet_exp.executors.slot_process import SlotInfo, SlotProcess
from lenet_exp.executors.work import RemoteWork
from lenet_exp.folders.sweep_folder import SweepFolder

# Subfolder of a sweep, and the module that defines the functions below for this cluster.
QUEUES = {"slurm": "lenet_exp.executors.slurm.sweep_queue"}

NewSlotProcess = Callable[[RemoteWork, bool, float | None, str], tuple[SlotProcess, SlotInfo]]


def queued(sweep: Path) -> dict[str, str]:
    """Return the states of a sweep's allocations in the queue of a cluster, keyed by ID.

    The states are in the cluster's words. If an allocation waits for a node, its state includes
    the reason.
    """
    states: dict[str, str] = {}
    for queue in _queues_of(sweep):
        states |= queue.queued(sweep)
    return states


def cancel(sweep: Path, ids: Iterable[str]) -> None:
    """Cancel allocations of a sweep. Running jobs write a checkpoint first."""
    for queue in _queues_of(sweep):
        queue.cancel(ids)


def serve_slot(queue: str, sweep: SweepFolder, new_process: NewSlotProcess) -> bool:
    """Run jobs of a sweep in an allocation until none are left.

    Args:
        queue: name of the cluster's entry in `QUEUES`.
        new_process: function that returns the process that runs the jobs, and its description,
            given the work, whether jobs ask for answers, their time limit, and the name of the
            probe file.

    Returns:
        Whether the sweep was restarted, which requires a new process.

    Raises:
        UserError, OSError, ValueError: a file in the sweep folder is missing, unreadable, or
            corrupt.
    """
    return bool(_module(queue).serve_slot(sweep, new_process))


def _queues_of(sweep: Path) -> list[Any]:
    return [_module(folder) for folder in QUEUES if (sweep / folder).is_dir()]


def _module(queue: str) -> Any:
    return import_module(QUEUES[queue])
