"""Facts about this machine and this process, for records: host, cores, versions, commit, command."""

from __future__ import annotations

import os
import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lenet_exp.addresses import hide_password

# Environment variables that steer the kernels of torch and of the libraries below it, and so may change bits ...
STEERING = (
    "ATEN_",
    "CUBLAS_",
    "CUDNN_",
    "DNNL_",
    "GLIBC_TUNABLES",
    "MKL_",
    "NVIDIA_TF32_",
    "OMP_",
    "ONEDNN_",
    "OPENBLAS_",
    "TORCH_ALLOW_TF32_",
)
# ... but for those that say what is printed or kept, where threads wait, and how many there are: torch is told that.
HARMLESS = (
    "AFFINITY_FORMAT",
    "CACHE_CAPACITY",
    "DISPLAY_AFFINITY",
    "DISPLAY_ENV",
    "JIT_DUMP",
    "JIT_PROFILE",
    "NUM_THREADS",
    "PLACES",
    "PROC_BIND",
    "STACKSIZE",
    "VERBOSE",
    "WAIT_POLICY",
)

PACKAGES = ("lenet_exp", "torch", "torchvision", "numpy", "hydra-core", "omegaconf", "mlflow", "scikit-learn")


def cpu_count() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def let_waiting_threads_sleep() -> None:
    """Stops OpenMP's threads from spinning while they wait, which makes a run up to 40 times slower beside one busy
    neighbor. OpenMP reads this from the environment when torch is imported, and from nowhere else; the weights' bits
    do not depend on it."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


@cache
def host() -> str:
    return socket.gethostname()


def cpu_model() -> str:
    """As the system names it, for example `Intel(R) Xeon(R) Gold 6230`."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def cpu_numbers() -> dict[str, str]:
    """`cpu_family` and `cpu_model`, the maker's numbers, where the system tells them: names hide what a CPU can do."""
    info = _cpuinfo()
    found = {
        "cpu_family": info.get("cpu family", info.get("CPU implementer")),
        "cpu_model": info.get("model", info.get("CPU part")),
    }
    return {key: value for key, value in found.items() if value}


def kernel_settings(environment: Mapping[str, str] = os.environ) -> str:
    """The environment variables that steer numerical kernels: `NAME=value`, sorted, one space between; often empty."""
    names = (name for name in environment if name.startswith(STEERING) and not name.endswith(HARMLESS))
    return " ".join(f"{name}={environment[name]}" for name in sorted(names))


@cache
def _cpuinfo() -> dict[str, str]:
    """The first core as Linux describes it; empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


@cache
def versions() -> dict[str, str]:
    """Versions of Python and the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def command_line() -> str:
    """The typed command, quoted for a shell, without secrets in the address of a store."""
    return hide_password(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))


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
