"""Properties of this machine and process, for use in records: host, CPU, versions, git commit, and
command.
"""

from __future__ import annotations

import getpass
import os
import platform
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lenet_exp.addresses import hide_password

# Prefixes of environment variables that affect the numerical kernels of torch and the libraries
# that it uses. These variables can change exact results.
KERNEL_PREFIXES = (
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
# Endings of variables that cannot change results despite such a prefix. These variables control
# printing, caching, waiting, or the number of threads, which is passed to torch explicitly.
HARMLESS_ENDINGS = (
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

PACKAGES = (
    "lenet_exp",
    "torch",
    "torchvision",
    "numpy",
    "hydra-core",
    "omegaconf",
    "mlflow",
    "scikit-learn",
)


def cpu_count() -> int:
    """Return the number of cores that this process is allowed to use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def let_waiting_threads_sleep() -> None:
    """Make waiting OpenMP threads sleep after a short time instead of spinning.

    Spinning threads can make a run up to 40 times slower if one other process is busy. Call this
    function before torch is imported, because OpenMP reads the setting from the environment at that
    time. The setting does not change the trained weights.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def now_ms() -> int:
    """Return the current time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def user() -> str:
    """Return the name of the current user, or `unknown` if the name cannot be determined."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # this machine has no user with this ID, as in some containers
        return "unknown"


@cache
def host() -> str:
    """Return this machine's host name."""
    return socket.gethostname()


def cpu_model() -> str:
    """Return the CPU's name as the system reports it, for example `Intel(R) Xeon(R) Gold 6230`."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def cpu_numbers() -> dict[str, str]:
    """Return the CPU's family and model numbers, as assigned by the vendor, if the system reports
    them.

    The keys are `cpu_family` and `cpu_model`. CPUs with different capabilities can have the same
    name; these numbers distinguish them.
    """
    info = _cpuinfo()
    # Linux uses the second name of each pair on ARM.
    numbers = {
        "cpu_family": info.get("cpu family", info.get("CPU implementer")),
        "cpu_model": info.get("model", info.get("CPU part")),
    }
    return {key: number for key, number in numbers.items() if number}


def kernel_settings(environment: Mapping[str, str] = os.environ) -> str:
    """Return the environment variables that affect numerical kernels, as sorted `NAME=value` pairs
    joined by spaces.
    """
    settings: list[str] = []
    for name in sorted(environment):
        if name.startswith(KERNEL_PREFIXES) and not name.endswith(HARMLESS_ENDINGS):
            settings.append(f"{name}={environment[name]}")
    return " ".join(settings)


@cache
def _cpuinfo() -> dict[str, str]:
    """Return the fields that Linux reports for the first core; empty on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    first_core = text.partition("\n\n")[0]
    fields: dict[str, str] = {}
    for line in first_core.splitlines():
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    return fields


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    version_by_package = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            version_by_package[package] = version(package)
    return version_by_package


def command_line() -> str:
    """Return the command that started this process; see `shell_command`."""
    return shell_command(sys.argv)


def shell_command(arguments: Sequence[str]) -> str:
    """Quote a command for a shell, without the folder of its program and without secrets in
    addresses.

    Args:
        arguments: the program and its arguments, as in `sys.argv`.
    """
    program = Path(arguments[0]).name
    return hide_password(shlex.join([program, *arguments[1:]]))


@cache
def git_state() -> dict[str, str]:
    """Return the git commit of the running code and whether the checkout has uncommitted changes.

    The keys are `git_commit` and `git_dirty`. The dict is empty if the code is not in its own git
    checkout.
    """
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return {}
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changes = _git(root, "status", "--porcelain")
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"git_commit": commit, "git_dirty": "true" if changes else "false"}


def _git(root: Path, *arguments: str) -> str:
    # Without locks, because a killed command would leave .git/index.lock, and git would refuse to
    # commit.
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()
