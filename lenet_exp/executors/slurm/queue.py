"""Submits, lists, and cancels Slurm jobs.

This module calls only `sbatch`, `squeue`, and `scancel`, as a user would. It needs no accounting
database.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lenet_exp.errors import ConfigError

COMMAND_SECONDS = 60.0  # time limit for a command; a busy controller responds slowly
FORMAT = "%F|%K|%T|%j|%r"  # of `squeue`: job ID, member of the array, state, name, and reason

# States of jobs that have ended, and of jobs that wait for a node.
OVER = frozenset({"CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "TIMEOUT"})
WAITS = frozenset(
    {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
)


@dataclass(frozen=True)
class QueuedJob:
    """A job in Slurm's queue.

    Attributes:
        id: job ID, such as `12_0` for a member of an array.
        name: name of the job.
        state: state of the job, such as PENDING or RUNNING.
        reason: Slurm's reason why the job is not running.
    """

    id: str
    name: str
    state: str
    reason: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the job has ended and will not run again."""
        return self.state in OVER

    @property
    def may_wait_again(self) -> bool:
        """Whether the job lost its node and may be requeued.

        A requeued job appears as pending shortly afterward.
        """
        return self.state in {"NODE_FAIL", "PREEMPTED"}

    @property
    def is_alive(self) -> bool:
        """Whether the job is running or will run.

        A COMPLETING job is not alive, because it is about to end.
        """
        return not self.is_over and self.state != "COMPLETING"

    @property
    def waits(self) -> bool:
        """Whether the job is waiting for a node. If so, it has no running processes."""
        return self.state in WAITS


class Queue:
    """The queue of a Slurm cluster.

    Raises:
        ConfigError: Slurm's commands were not found.
    """

    def __init__(self) -> None:
        for command in ("sbatch", "squeue", "scancel"):
            if shutil.which(command) is None:
                raise ConfigError(
                    f"hydra/launcher=cluster_slurm: {command} not found on the PATH; "
                    "run the command on a machine that has Slurm's commands"
                )

    def submit(
        self, script: Path, name: str, log: str, count: int, arguments: Sequence[str]
    ) -> list[str]:
        """Submit an array of jobs, and return the job IDs of its members.

        Args:
            script: path of the job script.
            name: name of the jobs.
            log: path of the logs; `%A` is replaced with the array's ID, and `%a` with the member's
                number.
            count: number of jobs.
            arguments: additional `sbatch` arguments.

        Raises:
            ConfigError: Slurm refused the array, or `sbatch` timed out.
        """
        output = self._sbatch(
            "--parsable",
            f"--job-name={name}",
            f"--output={log}",
            f"--array=0-{count - 1}",
            *arguments,
            str(script),
        )
        job_id = output.partition(";")[0].strip()  # `<id>` or `<id>;<cluster>`
        return [f"{job_id}_{n}" for n in range(count)]

    def check(self, script: Path, arguments: Sequence[str]) -> None:
        """Check with `sbatch --test-only` that Slurm would accept a job.

        Raises:
            ConfigError: Slurm would refuse the job, or `sbatch` timed out.
        """
        self._sbatch("--test-only", *arguments, str(script))

    def jobs(self, prefix: str) -> list[QueuedJob] | None:
        """Return the user's jobs whose names begin with `prefix`, also those that ended recently.

        Return None if Slurm's controller does not respond.
        """
        options = ["--me", "--noheader", "--array", "--states=all", f"--format={FORMAT}"]
        try:
            done = _run(["squeue", *options])
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode != 0:
            return None
        return [job for job in parsed(done.stdout) if job.name.startswith(prefix)]

    def cancel(self, ids: Sequence[str]) -> None:
        """Cancel the jobs with these IDs. Running jobs first receive a signal."""
        if ids:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                _run(["scancel", "--quiet", *ids])

    @staticmethod
    def _sbatch(*arguments: str) -> str:
        try:
            done = _run(["sbatch", *arguments])
        except subprocess.TimeoutExpired as e:
            raise ConfigError(
                f"hydra/launcher=cluster_slurm: sbatch timed out after {e.timeout:g} s"
            ) from e
        if done.returncode != 0:
            reason = _last_errors(done.stderr) or f"status {done.returncode}"
            raise ConfigError(f"hydra/launcher=cluster_slurm: {reason}")
        return done.stdout


def _last_errors(stderr: str) -> str:
    """Return the last two messages of `sbatch`; empty if it printed none."""
    lines = stderr.strip().replace("sbatch: error: ", "sbatch: ").splitlines()
    messages = [line.removeprefix("allocation failure: ") for line in lines if line]
    return "; ".join(messages[-2:])


def parsed(text: str) -> list[QueuedJob]:
    """Parse the output of `squeue` with `FORMAT`.

    For example, `12|0|PENDING|lenet-a-1|Resources` is job 12_0, which waits. Other lines are
    ignored.
    """
    jobs = []
    for line in text.splitlines():
        parts = line.split("|", 4)
        if len(parts) != 5:
            continue
        job_id, member, state, name, reason = parts
        if member.isdigit():  # a member of an array
            job_id = f"{job_id}_{member}"
        jobs.append(QueuedJob(job_id, name, state, reason))
    return jobs


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    # SLURM_* variables describe the current job. Submitted jobs must not inherit them.
    environment = dict(os.environ)
    for name in os.environ:
        if name.startswith("SLURM_") and name != "SLURM_CONF":
            del environment[name]
    return subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
    )
