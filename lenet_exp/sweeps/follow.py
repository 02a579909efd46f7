"""Follows a sweep that runs in another process, until the sweep ends or the user interrupts the
command.
"""

from __future__ import annotations

import time
from collections import Counter
from functools import partial

from rich.console import Console

from lenet_exp.errors import printable
from lenet_exp.executors.queues import queued
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_progress import SweepMonitor
from lenet_exp.reports.terminal.progress import Display
from lenet_exp.stopping import raise_discarded

TICK_SECONDS = 1.0
# Length of a pause, as a multiple of the time that a check takes; checking 10,000 runs is slow.
PAUSE_FACTOR = 9


def follow(sweep: SweepFolder) -> None:
    """Show the progress of a sweep until it ends. If stdout is not a terminal, print one line every
    30 s.
    """
    monitor = SweepMonitor(sweep)
    display = Display(Console(), say=partial(_print_line, sweep.id))
    with display.sweep():
        while sweep.owner() is not None:
            raise_discarded()
            start = time.monotonic()
            display.show_sweep(monitor.progress())
            seconds = time.monotonic() - start
            time.sleep(max(TICK_SECONDS, PAUSE_FACTOR * seconds))


def _print_line(sweep_id: str, line: str) -> None:
    print(printable(f"sweep {sweep_id}: {line}"), flush=True)


def allocation_status(sweep: SweepFolder) -> str:
    """Describe a sweep's allocations in Slurm's queue. Return an empty string if there are none."""
    allocations = queued(sweep.path)
    if not allocations:
        return ""
    if sweep.owner() is None:
        ids = ", ".join(allocations)
        return (
            f"Slurm allocations {ids} are still in the queue; rerun the same command to use them, "
            f"or run: lenet-sweep stop sweep={sweep.id}"
        )

    count_of_state = Counter(allocations.values())
    counts = [f"{count} {state}" for state, count in count_of_state.most_common()]
    return f"Slurm allocations: {', '.join(counts)}"
