"""Run a real Slurm cluster of two single-core nodes on this machine, and remove it afterwards."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.tools.commands import free_port

NODES = ("n0", "n1")
PROGRAMS = (
    "munged",
    "slurmctld",
    "slurmd",
    "sbatch",
    "squeue",
    "scancel",
    "scontrol",
    "srun",
    "setpriv",
)
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2
MpiDefault=none
ReturnToService=2
SlurmdTimeout=20
KillWait=5
MinJobAge=60
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n/slurmd.log
{nodes}
PartitionName=main Nodes=n0,n1 Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """Return why Slurm cannot run here, or an empty string."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"no {', '.join(missing)} (Debian: slurmctld slurmd slurm-client munge)"
    return "" if os.geteuid() == 0 else "Slurm's daemons require root"


@dataclass(frozen=True)
class Slurm:
    """A Slurm cluster in a folder with a short path, because socket paths are limited to 107
    bytes.
    """

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with which Slurm's commands find the cluster."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _path()}

    def start(self) -> None:
        self.folder.chmod(0o755)
        ports = [free_port() for _ in range(3)]
        host = os.uname().nodename
        line = "NodeName=n{} NodeHostname={} NodeAddr=127.0.0.1 Port={} CPUs=1"
        nodes = [line.format(n, host, port) for n, port in enumerate(ports[1:])]
        conf = CONF.format(host=host, port=ports[0], folder=self.folder, nodes="\n".join(nodes))
        (self.folder / "slurm.conf").write_text(conf)
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        for name in ("state", *NODES):
            (self.folder / name).mkdir()
        self._start_munge()
        self._run("slurmctld")
        for node in NODES:
            self.start_node(node)
        self._wait_until_idle()

    def start_node(self, node: str) -> None:
        self._run("slurmd", "-N", node)

    def lose_node(self, node: str) -> int:
        """Kill a node's daemon and all its processes, as in a power failure, and return their
        number.

        The controller is informed, because it would need half a minute to notice.
        """
        lost = kill_all(lambda process: self._is_of(process, node))
        self.command("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")
        return lost

    def command(self, *arguments: str) -> str:
        environment = os.environ | self.environment
        done = subprocess.run(
            arguments, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def living(self) -> list[str]:
        """Return the jobs that have not ended."""
        return self.command("squeue", "--noheader", "--array", "--format=%F_%K %T %N").splitlines()

    def end(self) -> None:
        kill_all(self._is_mine)

    def _start_munge(self) -> None:
        munge = self.folder / "munge"
        munge.mkdir()
        (munge / "key").write_bytes(secrets.token_bytes(1024))
        (munge / "key").chmod(0o400)
        for path in (munge, munge / "key"):
            shutil.chown(path, "munge", "munge")
        files = [
            f"--{name}={munge / name}"
            for name in ("socket", "key-file", "pid-file", "log-file", "seed-file")
        ]
        files[1] = f"--key-file={munge / 'key'}"
        self._run("setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "munged", *files)

    def _run(self, *command: str) -> None:
        environment = {"HOME": "/", "USER": getpass.getuser()} | self.environment
        log = self.folder / "daemons.log"
        with log.open("a") as out:
            done = subprocess.run(
                command, env=environment, cwd=self.folder, stdout=out, stderr=out, timeout=60
            )
        assert done.returncode == 0, f"{command}: {log.read_text()}"

    def _wait_until_idle(self) -> None:
        deadline = time.monotonic() + 30
        while set(
            states := self.command("sinfo", "--noheader", "--Node", "--format=%T").split()
        ) != {"idle"}:
            assert time.monotonic() < deadline, states
            time.sleep(0.2)

    def _is_of(self, process: psutil.Process, node: str) -> bool:
        environment = process.environ()
        in_cluster = environment.get("SLURM_CONF") == str(self.folder / "slurm.conf")
        return process.cwd() == str(self.folder / node) or (
            in_cluster and environment.get("SLURMD_NODENAME") == node
        )

    def _is_mine(self, process: psutil.Process) -> bool:
        return (
            Path(process.cwd()).is_relative_to(self.folder)
            or str(self.folder) in " ".join(process.cmdline())
            or any(self._is_of(process, node) for node in NODES)
        )


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """Run a Slurm cluster in a folder."""
    found = Slurm(folder)
    try:
        found.start()
        yield found
    finally:
        found.end()


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def kill_all(which: Callable[[psutil.Process], bool]) -> int:
    """Kill processes and their new child processes until none is left, and return their number."""
    killed: set[int] = set()
    while True:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if (
                    process.pid != os.getpid()
                    and process.status() != psutil.STATUS_ZOMBIE
                    and which(process)
                ):
                    process.kill()
                    found.append(process.pid)
        if not found:
            return len(killed)
        killed.update(found)
