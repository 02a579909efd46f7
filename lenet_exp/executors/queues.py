"""Clusters that queue the work of a sweep. Their executors keep files in a subfolder of the sweep
folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from lenet_exp.executors.host import SlotInfo, SlotProcess
from lenet_exp.executors.work import RemoteWork
from lenet_exp.folders.sweep_folder import SweepFolder

QUEUES = {
    "slurm": "lenet_exp.executors.slurm.sweep_queue"
}  # subfolder of a sweep, and module with these functions


SlotProcessOf = Callable[[RemoteWork, bool, float | None, str], tuple[SlotProcess, SlotInfo]]


def queued(sweep: Path) -> dict[str, str]:
    """Return the states of a sweep's allocations in the queue of a cluster, in the cluster's words,
    keyed by ID.

    The state of an allocation that waits for a node includes the reason.
    """
    return {one: state for queue in _queues_of(sweep) for one, state in queue.queued(sweep).items()}


def cancel(sweep: Path, ids: Iterable[str]) -> None:
    """Cancel allocations of a sweep. Running jobs write a checkpoint first."""
    for queue in _queues_of(sweep):
        queue.cancel(ids)


def serve_place(queue: str, sweep: SweepFolder, host_of: SlotProcessOf) -> bool:
    """Run jobs of a sweep in an allocation until none are left. Return whether the sweep was
    restarted, which requires a new process.

    Args:
        queue: name of the cluster's entry in `QUEUES`.
        host_of: function that returns the process that runs the jobs, and its description, given
            the work, whether jobs ask for answers, their time limit, and the name of the probe
            file.

    Raises:
        UserError, OSError, ValueError: a file in the sweep folder is missing, unreadable, or
            corrupt.
    """
    return bool(_module(queue).serve_place(sweep, host_of))


def _queues_of(sweep: Path) -> list[Any]:
    return [_module(folder) for folder in QUEUES if (sweep / folder).is_dir()]


def _module(queue: str) -> Any:
    return import_module(QUEUES[queue])
