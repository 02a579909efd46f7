"""Follows a sweep that runs in another process, until the sweep ends or the user interrupts the
command.
"""

from __future__ import annotations

import time
from collections import Counter

from rich.console import Console

from lenet_exp.errors import printable
from lenet_exp.executors.queues import queued
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_progress import SweepMonitor
from lenet_exp.reports.terminal.progress import Display
from lenet_exp.stopping import raise_discarded

TICK_SECONDS = 1.0
# length of a pause, as a multiple of the time that a check takes; checking 10,000 runs is slow
RESTS = 9


def follow(sweep: SweepFolder) -> None:
    """Show the progress of a sweep until it ends. If stdout is not a terminal, print one line every
    30 s.
    """
    monitor = SweepMonitor(sweep)
    display = Display(
        Console(), say=lambda line: print(printable(f"sweep {sweep.id}: {line}"), flush=True)
    )
    with display.sweep():
        while sweep.owner() is not None:
            raise_discarded()
            start = time.monotonic()
            display.show_sweep(monitor.progress())
            time.sleep(max(TICK_SECONDS, RESTS * (time.monotonic() - start)))


def allocation_status(sweep: SweepFolder) -> str:
    """Describe a sweep's allocations in Slurm's queue. Return an empty string if there are none."""
    allocations = queued(sweep.path)
    if not allocations:
        return ""
    if sweep.owner() is None:
        ids = ", ".join(allocations)
        stop = f"lenet-sweep stop sweep={sweep.id}"
        return f"Slurm allocations {ids} are still in the queue; rerun the same command to use them, or run: {stop}"
    counts = ", ".join(
        f"{count} {state}" for state, count in Counter(allocations.values()).most_common()
    )
    return f"Slurm allocations: {counts}"
