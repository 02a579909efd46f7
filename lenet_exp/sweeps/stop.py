"""Stops a sweep from another process."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from lenet_exp.errors import ConfigError
from lenet_exp.folders.sweep_folder import SweepFolder

WAIT_SECONDS = 120.0


def stop_sweep(sweep: SweepFolder) -> int:
    """Asks (SIGTERM) and waits until it has stopped; 0, or 1 where it has not after two minutes.

    Raises:
        ConfigError: it does not run, or not on this machine.
    """
    owner = sweep.owner()
    if owner is None:
        raise ConfigError(f"sweep {sweep.id} is not running")
    if not owner.pid:
        raise ConfigError(f"sweep {sweep.id} is owned by a process that is not known; a moment later it may be")
    if not owner.here:
        raise ConfigError(f"sweep {sweep.id} runs on {owner.host} (process {owner.pid}); stop it there")
    with contextlib.suppress(ProcessLookupError):
        os.kill(owner.pid, signal.SIGTERM)
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if sweep.owner() != owner:
            print(f"sweep {sweep.id} has stopped; to go on: lenet-train -m sweep.resume={sweep.id}")
            return 0
        time.sleep(0.2)
    print(f"sweep {sweep.id}: process {owner.pid} was asked and still runs")
    return 1
