"""Slurm options for a sweep, and the job scripts and arguments created from them.

This module starts no processes.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

BEAT_SECONDS = 5.0  # time between two heartbeats of a job slot
NOTICE = "USR2@60"  # signal that Slurm sends, and number of seconds before the time limit


@dataclass
class SlurmOptions:
    """Options of the Slurm launcher (`hydra.launcher.*`).

    Attributes:
        allocations: maximum number of allocations, which are Slurm jobs submitted as an array.
        tasks: number of simultaneous runs in each allocation.
        cpus: number of CPUs per run.
        partition, account, time: values of the `sbatch` options; None for the cluster's default.
        requeue: whether Slurm may restart an allocation that was preempted or lost its node.
        sbatch: additional `sbatch` options, such as `{"mem-per-cpu": "2G", "exclusive": True}`.
        before: Bash commands that run before Python starts.
        lost_after: number of seconds without a heartbeat, or without an entry in the queue, after
            which a process or allocation counts as lost.
        workers: maximum number of simultaneous runs; None for no limit.
    """

    allocations: int = 1
    tasks: int = 1
    cpus: int | None = None
    partition: str | None = None
    account: str | None = None
    time: str | None = None
    requeue: bool = True
    sbatch: dict[str, Any] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    lost_after: float = 60.0
    workers: int | None = None

    @property
    def slots(self) -> int:
        """Maximum number of simultaneous runs."""
        num_tasks = self.allocations * self.tasks
        return min(num_tasks, self.workers or num_tasks)


def allocation_arguments(options: SlurmOptions) -> list[str]:
    """Return the `sbatch` arguments for an allocation."""
    values = {
        "ntasks": options.tasks,
        "cpus-per-task": options.cpus,
        "signal": NOTICE,
        "open-mode": "append",
        "partition": options.partition,
        "account": options.account,
        "time": options.time,
        "requeue" if options.requeue else "no-requeue": True,
        **{name.replace("_", "-"): value for name, value in options.sbatch.items()},
    }

    arguments = []
    for name, value in values.items():
        if value is True:
            arguments.append(f"--{name}")
        elif value is not None and value is not False:
            arguments.append(f"--{name}={value}")
    return arguments


def allocation_script(options: SlurmOptions, command: Sequence[str]) -> str:
    """Return the Bash script for an allocation.

    The script executes a command in each task; the tasks end independently.
    """
    srun = [
        "srun",
        f"--ntasks={options.tasks}",
        f"--cpus-per-task={options.cpus}",
        "--kill-on-bad-exit=0",
        "--wait=0",
        "--unbuffered",
    ]
    start_tasks = f"exec {shlex.join([*srun, *command])}"
    return "\n".join(["#!/bin/bash", *options.before, start_tasks, ""])


def job_name(sweep: str, arguments: Sequence[str], script: str) -> str:
    """Return the Slurm job name of a sweep's allocations.

    Allocations with different options have different names.
    """
    content = "\0".join([*arguments, script])
    digest = hashlib.sha256(content.encode()).hexdigest()
    return f"{job_prefix(sweep)}{digest[:8]}"


def job_prefix(sweep: str) -> str:
    """Return the prefix of the Slurm job names of all allocations of a sweep."""
    return f"lenet-{sweep}-"
