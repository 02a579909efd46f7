"""Slurm's queue: what is submitted to it, who of it lives, what is taken out of it.

Only `sbatch`, `squeue` and `scancel` are called, as a person would; no accounting database has to be there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lenet_exp.errors import ConfigError

COMMAND_SECONDS = 60.0  # a controller that is busy takes its time
OVER = frozenset({"CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "TIMEOUT"})
WAITS = frozenset({"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"})


@dataclass(frozen=True)
class QueuedJob:
    """A job as the queue shows it.

    Attributes:
        id: of a member of an array `12_0`.
        state: Slurm's word: PENDING, RUNNING, ...
        reason: why it does not run.
    """

    id: str
    name: str
    state: str
    reason: str = ""

    @property
    def is_over(self) -> bool:
        """Whether it will not run again."""
        return self.state in OVER

    @property
    def may_wait_again(self) -> bool:
        """Whether it lost its node, and nobody knows yet whether it gets another: it shows as that for a moment before
        it waits once more."""
        return self.state in {"NODE_FAIL", "PREEMPTED"}

    @property
    def is_alive(self) -> bool:
        """Whether it runs or will: one that is COMPLETING has been told to end."""
        return not self.is_over and self.state != "COMPLETING"

    @property
    def waits(self) -> bool:
        """Whether it has no node: none of its processes lives."""
        return self.state in WAITS


class Queue(Protocol):
    """The interface of a queue that an executor uses."""

    def submit(self, script: Path, name: str, log: str, count: int, arguments: Sequence[str]) -> list[str]:
        """Submits an array; the ids of its members.

        Args:
            log: where they print; `%a` stands for a member's number.

        Raises:
            ConfigError: it is refused.
        """

    def jobs(self, prefix: str) -> list[QueuedJob] | None:
        """One's jobs whose names begin so, with those that ended lately; None: the queue does not answer now."""

    def cancel(self, ids: Sequence[str]) -> None:
        """Ends jobs; those that run hear of it first."""


class SlurmQueue:
    """A `Queue`.

    Raises:
        ConfigError: Slurm's commands are not there.
    """

    def __init__(self) -> None:
        for command in ("sbatch", "squeue", "scancel"):
            if shutil.which(command) is None:
                raise ConfigError(
                    f"hydra/launcher=cluster_slurm: there is no {command} on this machine's PATH; "
                    "type the line where Slurm's commands are"
                )

    def submit(self, script: Path, name: str, log: str, count: int, arguments: Sequence[str]) -> list[str]:
        given = [f"--array=0-{count - 1}", f"--job-name={name}", f"--output={log}", *arguments, str(script)]
        job = self._sbatch("--parsable", *given).partition(";")[0].strip()
        return [f"{job}_{n}" for n in range(count)]

    def submit_one(self, script: Path, name: str, log: str, arguments: Sequence[str]) -> str:
        """Submits a job that is no array; its id."""
        given = [f"--job-name={name}", f"--output={log}", *arguments, str(script)]
        return self._sbatch("--parsable", *given).partition(";")[0].strip()

    def check(self, script: Path, arguments: Sequence[str]) -> None:
        """Raises:
        ConfigError: Slurm would refuse it.
        """
        self._sbatch("--test-only", *arguments, str(script))

    def jobs(self, prefix: str) -> list[QueuedJob] | None:
        try:
            done = _run(["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%F|%K|%T|%j|%r"])
        except (OSError, subprocess.TimeoutExpired):
            return None
        return [job for job in parsed(done.stdout) if job.name.startswith(prefix)] if done.returncode == 0 else None

    def cancel(self, ids: Sequence[str]) -> None:
        if ids:
            try:
                _run(["scancel", "--quiet", *ids])
            except (OSError, subprocess.TimeoutExpired):
                return

    @staticmethod
    def _sbatch(*arguments: str) -> str:
        try:
            done = _run(["sbatch", *arguments])
        except subprocess.TimeoutExpired as e:
            raise ConfigError(f"hydra/launcher=cluster_slurm: sbatch does not answer for {e.timeout:g} s") from e
        if done.returncode != 0:
            said = [line for line in done.stderr.strip().splitlines() if line] or [f"status {done.returncode}"]
            raise ConfigError("hydra/launcher=cluster_slurm: " + "; ".join(_plainly(line) for line in said[-2:]))
        return done.stdout


def parsed(text: str) -> list[QueuedJob]:
    """Parse the output of `squeue --format=%F|%K|%T|%j|%r`."""
    found = []
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) >= 5:
            job, member, state, name, reason = *parts[:4], "|".join(parts[4:])
            found.append(QueuedJob(f"{job}_{member}" if member.isdigit() else job, name, state, reason))
    return found


def _plainly(line: str) -> str:
    return line.replace("sbatch: error: ", "sbatch: ").removeprefix("allocation failure: ")


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    # What Slurm tells a job of itself is not for the jobs that this one submits.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_") or k == "SLURM_CONF"}
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_SECONDS
    )
