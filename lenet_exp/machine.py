"""What this machine and this process are: host, cores, versions, commit, command. For records."""

from __future__ import annotations

import os
import platform
import shlex
import socket
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lenet_exp.addresses import hide_password

PACKAGES = ("lenet_exp", "torch", "torchvision", "numpy", "hydra-core", "omegaconf", "mlflow", "scikit-learn")


def cpu_count() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    """What was typed, quoted for a shell, without the password that a store's address may carry."""
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
