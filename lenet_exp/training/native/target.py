"""Detection of the best instruction set that both the CPU and the kernels support."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# CPU flags of x86-64-v3, a level of the psABI, and the additional ones of x86-64-v4.
_V3 = {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe", "abm"}
_V4 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


@dataclass(frozen=True)
class Target:
    """A target to compile for.

    Attributes:
        name: name of the instruction set, for messages.
        march: value of `-march` for gcc and clang.
        zig: arguments that select the system and CPU for zig.
    """

    name: str
    march: str
    zig: tuple[str, ...]


AVX512 = Target("avx512", "x86-64-v4", ("-target", "x86_64-linux-gnu.2.17", "-mcpu=x86_64_v4"))
AVX2 = Target("avx2", "x86-64-v3", ("-target", "x86_64-linux-gnu.2.17", "-mcpu=x86_64_v3"))
NEON = Target("neon", "armv8-a", ("-target", "aarch64-linux-gnu.2.17", "-mcpu=generic"))


def find_target(machine: str | None = None, cpuinfo: str | None = None) -> Target | str:
    """Return the best target for a CPU, or a phrase that says why the kernels do not support it.

    Args:
        machine: value of `platform.machine()`; by default, the value on this machine.
        cpuinfo: content of /proc/cpuinfo; by default, the content on this machine.
    """
    machine = platform.machine() if machine is None else machine
    if machine in {"aarch64", "arm64"}:
        return NEON
    if machine not in {"x86_64", "AMD64"}:
        return f"the native engine does not support {machine or 'this'} CPUs"

    if cpuinfo is None:
        try:
            cpuinfo = CPUINFO.read_text()
        except OSError:
            return f"{CPUINFO} cannot be read, so the CPU's features are unknown"
    flags = _cpu_flags(cpuinfo)
    if not flags >= _V3:
        return "the CPU has no AVX2 with FMA"
    return AVX512 if flags >= _V4 else AVX2


def _cpu_flags(cpuinfo: str) -> set[str]:
    """Return the flags of the first CPU, from a line such as `flags : fpu vme de`."""
    for line in cpuinfo.splitlines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()
