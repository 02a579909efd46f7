"""Execution settings of a run: device, threads, engine, and CPU. They are in its record, but not in
its fingerprint.
"""

from __future__ import annotations

import os

import torch

from lenet_exp.config.schema import Config, EngineName
from lenet_exp.config.targets import option_class
from lenet_exp.errors import ConfigError
from lenet_exp.machine import cpu_count, cpu_model, cpu_numbers, kernel_settings
from lenet_exp.training.augmentation import augments
from lenet_exp.training.native.library import describe_kernels

SWEEP_THREADS = 1  # used for num_threads=null, because sweeps use the cores for parallel runs
NATIVE_KERNEL = (
    "native 1"  # increase if a run's exact results change; see tests/training/native/digests.json
)
NATIVE_ADAPTIVE = "native 2"  # like NATIVE_KERNEL, for optimizers other than SGD
NATIVE_AUGMENTATION = "native 1"  # like NATIVE_KERNEL, for augmented runs only


def choose_device(device: str) -> torch.device:
    """Return the torch device for a `device` flag; for CUDA, also select deterministic algorithms.

    Raises:
        ConfigError: the device is not available on this machine.
    """
    have = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device == "auto":
        return choose_device(next(name for name in ("cuda", "mps", "cpu") if have[name]))
    kind, _, number = device.partition(":")
    if not have[kind] or (number and int(number) >= torch.cuda.device_count()):
        allowed = ["auto", *(name for name, there in have.items() if there)]
        allowed += [f"cuda:{n}" for n in range(torch.cuda.device_count())]
        raise ConfigError(
            f"device={device}: not found on this machine; expected one of: {', '.join(allowed)}"
        )
    if kind == "cuda":
        os.environ.setdefault(
            "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
        )  # the only setting for cuBLAS's workspace
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    return torch.device(device)


def use_threads(*wanted: int | None) -> int:
    """Set torch's number of threads to the first argument that is not None, and return that number."""
    threads = next(n for n in wanted if n)
    torch.set_num_threads(threads)
    return threads


def describe_execution(
    config: Config, device: torch.device, engine_why: str = ""
) -> dict[str, str | int]:
    """Return the properties of a run's execution that can affect its exact weights.

    The engine determines which of these properties matter; see `exact_result_properties`. The CPU also
    matters for runs on a GPU, because it creates the initial weights and the images.

    Args:
        config: configuration with the engine and number of threads already chosen.
        engine_why: reason for choosing the engine, as a short phrase.
    """
    native = config.engine is EngineName.native
    sgd = native and option_class("optimizer", config.optimizer) is torch.optim.SGD
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model()
    return {
        "device": device.type,
        "device_model": name,
        "num_threads": config.num_threads or cpu_count(),
        "engine": config.engine.value,
        **({"engine_why": engine_why} if engine_why else {}),
        **({"compiled": describe_kernels()} if native else {}),
        **(
            {"augmentation": NATIVE_AUGMENTATION}
            if native and augments(config.augmentation)
            else {}
        ),
        "kernel": NATIVE_KERNEL if sgd else NATIVE_ADAPTIVE if native else "eager",
        "stack": "solo",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        **cpu_numbers(),
        "environment": kernel_settings(),
    }
