"""How a run is executed: device, threads, versions, host, commit. Part of the record, not of the fingerprint."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from lenet_exp.config.schema import Config, Device
from lenet_exp.errors import ConfigError

PACKAGES = ("lenet_exp", "torch", "torchvision", "numpy", "hydra-core", "omegaconf", "mlflow", "scikit-learn")


def cpu_count() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_device(device: Device) -> torch.device:
    """The torch device for a `device` flag; CUDA is told to repeat its bits.

    Raises:
        ConfigError: this machine has no such device.
    """
    have = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device is Device.auto:
        return choose_device(next(d for d in (Device.cuda, Device.mps, Device.cpu) if have[d.value]))
    if not have[device.value]:
        allowed = ", ".join(["auto", *(name for name, there in have.items() if there)])
        raise ConfigError(f"device={device.value}: not on this machine; allowed is {allowed}")
    if device is Device.cuda:
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    return torch.device(device.value)


def use_threads(config: Config, *defaults: int | None) -> None:
    """Sets the number of threads: `num_threads`, else the first default that is one. `config` keeps it."""
    config.num_threads = next(n for n in (config.num_threads, *defaults) if n)
    torch.set_num_threads(config.num_threads)


def describe_execution(config: Config, device: torch.device) -> dict[str, str | int]:
    """What the weights' bits may depend on besides the fingerprint."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model()
    return {
        "device": device.type,
        "device_model": name,
        "num_threads": config.num_threads or cpu_count(),
        "kernel": "eager",
        "stack": "solo",
    }


@cache
def versions() -> dict[str, str]:
    """Versions of Python and the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | {"torch": torch.__version__}


@cache
def host() -> str:
    return socket.gethostname()


@cache
def cpu_model() -> str:
    """As the system names it, for example `Intel(R) Xeon(R) Gold 6230`."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@cache
def git_state() -> dict[str, str]:
    """`git_commit` and `git_dirty` of the code that runs; empty where it isn't in a git checkout of its own."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return {}
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return {"git_commit": commit, "git_dirty": str(bool(_git(root, "status", "--porcelain"))).lower()}
    except (OSError, subprocess.SubprocessError):
        return {}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()
