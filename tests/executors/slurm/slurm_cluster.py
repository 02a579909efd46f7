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
    if os.geteuid() != 0:
        return "Slurm's daemons require root"
    return ""


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
        port, *node_ports = [free_port() for _ in range(3)]
        host = os.uname().nodename
        line = "NodeName=n{} NodeHostname={} NodeAddr=127.0.0.1 Port={} CPUs=1"
        nodes = [line.format(n, host, node_port) for n, node_port in enumerate(node_ports)]
        conf = CONF.format(host=host, port=port, folder=self.folder, nodes="\n".join(nodes))
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
        files = [f"--key-file={munge / 'key'}"]
        for name in ("socket", "pid-file", "log-file", "seed-file"):
            files.append(f"--{name}={munge / name}")
        as_munge = ("setpriv", "--reuid=munge", "--regid=munge", "--clear-groups")
        self._run(*as_munge, "munged", *files)

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
        while True:
            states = self.command("sinfo", "--noheader", "--Node", "--format=%T").split()
            if set(states) == {"idle"}:
                return
            assert time.monotonic() < deadline, states
            time.sleep(0.2)

    def _is_of(self, process: psutil.Process, node: str) -> bool:
        environment = process.environ()
        if process.cwd() == str(self.folder / node):
            return True
        in_cluster = environment.get("SLURM_CONF") == str(self.folder / "slurm.conf")
        return in_cluster and environment.get("SLURMD_NODENAME") == node

    def _is_mine(self, process: psutil.Process) -> bool:
        if Path(process.cwd()).is_relative_to(self.folder):
            return True
        if str(self.folder) in " ".join(process.cmdline()):
            return True
        return any(self._is_of(process, node) for node in NODES)


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """Run a Slurm cluster in a folder."""
    cluster = Slurm(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def kill_all(which: Callable[[psutil.Process], bool]) -> int:
    """Kill processes and their new child processes until none is left, and return their number."""
    killed: set[int] = set()
    while True:
        living = []
        for process in psutil.process_iter():
            if process.pid == os.getpid():
                continue
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and which(process):
                    process.kill()
                    living.append(process.pid)
        if not living:
            return len(killed)
        killed.update(living)
