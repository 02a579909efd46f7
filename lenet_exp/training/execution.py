"""How a run is executed: device, threads and engine. Part of the record, not of the fingerprint."""

from __future__ import annotations

import torch

from lenet_exp.config.schema import Config
from lenet_exp.errors import ConfigError
from lenet_exp.machine import cpu_count, cpu_model

SWEEP_THREADS = 1  # for num_threads=null: the cores are for runs side by side


def choose_device(device: str) -> torch.device:
    """The torch device for a `device` flag; CUDA is told to repeat its bits.

    Raises:
        ConfigError: this machine has no such device.
    """
    have = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return choose_device(next(name for name in ("cuda", "mps", "cpu") if have[name]))
    kind, _, number = device.partition(":")
    if not have[kind] or (number and int(number) >= torch.cuda.device_count()):
        allowed = ["auto", *(name for name, there in have.items() if there)]
        allowed += [f"cuda:{n}" for n in range(torch.cuda.device_count())]
        raise ConfigError(f"device={device}: not on this machine; allowed is {', '.join(allowed)}")
    if kind == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    return torch.device(device)


def use_threads(*wanted: int | None) -> int:
    """Sets the number of threads: the first that is one."""
    threads = next(n for n in wanted if n)
    torch.set_num_threads(threads)
    return threads


def describe_execution(config: Config, device: torch.device) -> dict[str, str | int]:
    """What the weights' bits may depend on besides the fingerprint.

    Args:
        config: with the engine and the number of threads that were chosen.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model()
    return {
        "device": device.type,
        "device_model": name,
        "num_threads": config.num_threads or cpu_count(),
        "engine": config.engine.value,
        "kernel": "eager",
        "stack": "solo",
    }
