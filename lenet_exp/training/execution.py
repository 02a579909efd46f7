"""Execution settings of a run: device, threads, engine, and CPU.

They are in its record, but not in its fingerprint.
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

# Number of threads for num_threads=null in a sweep, which uses the cores for parallel runs.
SWEEP_THREADS = 1

# Versions of the native engine. Increase one if a run's exact results change; see
# tests/training/native/digests.json.
NATIVE_KERNEL = "native 1"
NATIVE_ADAPTIVE = "native 2"  # instead of NATIVE_KERNEL, for optimizers other than SGD
NATIVE_AUGMENTATION = "native 1"  # in addition, for augmented runs


def choose_device(device: str) -> torch.device:
    """Return the torch device for a `device` flag; for CUDA, also select deterministic algorithms.

    Raises:
        ConfigError: the device is not available on this machine.
    """
    is_available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device == "auto":
        return choose_device(next(kind for kind in ("cuda", "mps", "cpu") if is_available[kind]))

    kind, _, number = device.partition(":")
    is_found = is_available[kind]
    if is_found and number:
        is_found = int(number) < torch.cuda.device_count()
    if not is_found:
        kinds = [kind for kind in is_available if is_available[kind]]
        gpus = [f"cuda:{gpu}" for gpu in range(torch.cuda.device_count())]
        expected = ", ".join(["auto", *kinds, *gpus])
        raise ConfigError(
            f"device={device}: not found on this machine; expected one of: {expected}"
        )

    if kind == "cuda":
        # The only setting for cuBLAS's workspace.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    return torch.device(device)


def use_threads(*candidates: int | None) -> int:
    """Set torch's number of threads to the first argument that is not None.

    Returns:
        that number.
    """
    threads = next(candidate for candidate in candidates if candidate)
    torch.set_num_threads(threads)
    return threads


def describe_execution(
    config: Config, device: torch.device, engine_why: str = ""
) -> dict[str, str | int]:
    """Return the properties of a run's execution that can affect its exact weights.

    The engine determines which of these properties matter; see `exact_result_properties`. The CPU
    also matters for runs on a GPU, because it creates the initial weights and the images.

    Args:
        config: configuration with the engine and number of threads already chosen.
        engine_why: reason for choosing the engine, as a short phrase.
    """
    if device.type == "cuda":
        device_model = torch.cuda.get_device_name(device)
    else:
        device_model = cpu_model()
    execution: dict[str, str | int] = {
        "device": device.type,
        "device_model": device_model,
        "num_threads": config.num_threads or cpu_count(),
        "engine": config.engine.value,
    }
    if engine_why:
        execution["engine_why"] = engine_why

    if config.engine is EngineName.native:
        execution["compiled"] = describe_kernels()
        if augments(config.augmentation):
            execution["augmentation"] = NATIVE_AUGMENTATION
    execution["kernel"] = _kernel(config)

    execution["stack"] = "solo"
    execution["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
    execution.update(cpu_numbers())
    execution["environment"] = kernel_settings()
    return execution


def _kernel(config: Config) -> str:
    """Return the version of the kernel that trains a run."""
    if config.engine is not EngineName.native:
        return "eager"
    if option_class("optimizer", config.optimizer) is torch.optim.SGD:
        return NATIVE_KERNEL
    return NATIVE_ADAPTIVE
