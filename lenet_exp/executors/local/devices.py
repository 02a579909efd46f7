"""Assigns the CUDA devices of this machine to the workers of a sweep, round robin.

A run with `device=cuda` or `device=auto` uses the current CUDA device of its process. A run with
`device=cuda:<number>` does not depend on its worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch

from lenet_exp.config.params import shown
from lenet_exp.errors import ConfigError


def worker_devices(flags: Iterable[str], allowed: Sequence[int]) -> list[int]:
    """Return the CUDA devices for the workers of a sweep.

    The list is empty if no run uses the device of its worker.

    Args:
        flags: value of `device` in each run.
        allowed: value of `sweep.devices`; empty for all CUDA devices.

    Raises:
        ConfigError: a device in `allowed` was not found.
    """
    count = torch.cuda.device_count()  # does not initialize CUDA
    missing = [number for number in allowed if number >= count]
    if missing:
        raise ConfigError(
            f"sweep.devices={shown(allowed)}: CUDA device {missing[0]} not found; "
            f"this machine has {count or 'none'}"
        )

    if not {"auto", "cuda"} & set(flags):
        return []
    return list(allowed or range(count))


def prepare_worker(prepare: Callable[[], object], devices: Sequence[int], slot: int) -> None:
    """Select the CUDA device of this worker process, if there are any, and then call `prepare`.

    Args:
        prepare: function to call.
        devices: see `WorkSpec`.
        slot: slot of the worker; a number that no other worker has at the same time.
    """
    if devices:
        torch.cuda.set_device(devices[slot % len(devices)])
    prepare()
