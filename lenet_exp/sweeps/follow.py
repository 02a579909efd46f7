"""Follows a sweep that runs in another process, until the sweep ends or the user interrupts the command."""

from __future__ import annotations

import time
from collections import Counter

from rich.console import Console

from lenet_exp.errors import printable
from lenet_exp.executors.queues import queued
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_progress import SweepMonitor
from lenet_exp.reports.terminal.progress import Display

TICK_SECONDS = 1.0
RESTS = 9  # length of a pause, as a multiple of the time that a check takes; checking 10,000 runs is slow
QUEUE_SECONDS = 10.0  # time between two queries of Slurm's controller, which all users share


def follow(sweep: SweepFolder) -> None:
    """Show the progress of a sweep until it ends. If stdout is not a terminal, print one line every 30 s."""
    asked_at, waits, monitor = 0.0, "", SweepMonitor(sweep)
    display = Display(Console(), say=lambda line: print(printable(f"sweep {sweep.id}: {line}"), flush=True))
    with display.sweep():
        while True:
            start = time.monotonic()
            if sweep.owner() is not None:
                display.show_sweep(monitor.progress())
            else:
                if time.monotonic() - asked_at > QUEUE_SECONDS:
                    waits, asked_at = driver_status(sweep), time.monotonic()
                if not waits:
                    return
                display.waiting(waits)
            time.sleep(max(TICK_SECONDS, RESTS * (time.monotonic() - start)))


def driver_status(sweep: SweepFolder) -> str:
    """Describe the Slurm job that will run a detached sweep. Return an empty string if there is no such job."""
    driver, _ = queued(sweep.path)
    if driver is None:
        return ""
    return f"Slurm job {driver.id} will run the sweep ({driver.state}{f': {driver.reason}' if driver.waits else ''})"


def allocation_status(sweep: SweepFolder) -> str:
    """Describe a sweep's allocations in Slurm's queue. Return an empty string if there are none."""
    driver, allocations = queued(sweep.path)
    if not allocations:
        return ""
    if sweep.owner() is None and driver is None:
        ids = ", ".join(job.id for job in allocations)
        stop = f"lenet-sweep stop sweep={sweep.id}"
        return f"Slurm allocations {ids} are still in the queue; rerun the same command to use them, or run: {stop}"
    states = Counter(f"{job.state} ({job.reason})" if job.waits else job.state for job in allocations)
    counts = ", ".join(f"{count} {state}" for state, count in states.most_common())
    also = f"; Slurm job {driver.id}, which runs the sweep, also takes a core" if driver is not None else ""
    return f"Slurm allocations: {counts}{also if any(job.waits for job in allocations) else ''}"
