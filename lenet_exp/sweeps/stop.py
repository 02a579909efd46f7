"""Stops a sweep from another process, on the same machine or a different machine."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from lenet_exp.errors import ConfigError
from lenet_exp.executors.queues import cancel, queued
from lenet_exp.folders.config_dir import resume_command
from lenet_exp.folders.owner import Owner
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.stopping import raise_discarded

WAIT_SECONDS = 120.0


def stop_sweep(sweep: SweepFolder) -> int:
    """Stop a sweep, and wait until it has stopped. Return exit status 0, or 1 if it is still
    running after two minutes.

    If the sweep has no process, its jobs in Slurm's queue are canceled.

    Raises:
        ConfigError: the sweep is not running, or its process is not known yet.
    """
    owner = sweep.owner()
    if owner is None:
        return _cancel_queued(sweep)
    _ask_to_stop(sweep, owner)

    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        raise_discarded()
        if sweep.owner() != owner:
            _print_stopped(sweep)
            return 0
        time.sleep(0.2)
    print(
        f"sweep {sweep.id}: process {owner.pid} is still running; to end it immediately, run: "
        f"lenet-sweep stop sweep={sweep.id}; "
        f"to watch it, run: lenet-sweep watch sweep={sweep.id}"
    )
    return 1


def _cancel_queued(sweep: SweepFolder) -> int:
    """Cancel the queued jobs of a sweep that has no process. Return exit status 0."""
    allocations = queued(sweep.path)
    if not allocations:
        raise ConfigError(f"sweep {sweep.id} is not running")

    cancel(sweep.path, allocations)
    print(f"sweep {sweep.id}: canceled Slurm jobs {', '.join(allocations)}")
    if sweep.started().outcome is not Outcome.finished:
        _print_stopped(sweep)
    return 0


def _ask_to_stop(sweep: SweepFolder, owner: Owner) -> None:
    """Ask the process of a sweep to stop, with a signal or, on another machine, with a file."""
    if not owner.here:
        # The process on the other machine regularly checks for this file in the sweep folder.
        sweep.ask_to_stop()
        return
    if not owner.pid:
        raise ConfigError(
            f"sweep {sweep.id}: its process is not known yet; try again in a few seconds"
        )
    with contextlib.suppress(ProcessLookupError):
        os.kill(owner.pid, signal.SIGTERM)


def _print_stopped(sweep: SweepFolder) -> None:
    print(f"sweep {sweep.id} has stopped; to resume it, run: {resume_command(sweep)}")
