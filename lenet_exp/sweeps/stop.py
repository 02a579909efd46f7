"""Stops a sweep from another process, on the same machine or a different machine."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from lenet_exp.errors import ConfigError
from lenet_exp.executors.queues import cancel, queued
from lenet_exp.folders.config_dir import resume_command
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
        if not (left := queued(sweep.path)):
            raise ConfigError(f"sweep {sweep.id} is not running")
        cancel(sweep.path, left)
        print(f"sweep {sweep.id}: canceled Slurm jobs {', '.join(left)}")
        return 0 if sweep.started().outcome is Outcome.finished else _stopped(sweep)
    if owner.here and not owner.pid:
        raise ConfigError(
            f"sweep {sweep.id}: its process is not known yet; try again in a few seconds"
        )
    if owner.here:
        with contextlib.suppress(ProcessLookupError):
            os.kill(owner.pid, signal.SIGTERM)
    else:
        # the process on the other machine regularly checks for a file in the sweep folder
        sweep.ask_to_stop()
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        raise_discarded()
        if sweep.owner() != owner:
            return _stopped(sweep)
        time.sleep(0.2)
    print(
        f"sweep {sweep.id}: process {owner.pid} is still running; to end it immediately, run: lenet-sweep stop "
        f"sweep={sweep.id}; to watch it, run: lenet-sweep watch sweep={sweep.id}"
    )
    return 1


def _stopped(sweep: SweepFolder) -> int:
    print(f"sweep {sweep.id} has stopped; to resume it, run: {resume_command(sweep)}")
    return 0
