"""A real Slurm of one machine: two nodes with a core each, all daemons of its own, and nothing of it is left."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.commands import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "srun", "setpriv")
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
PartitionName=apart Nodes=n2 MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """Why there can be none here; empty where there can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"no {', '.join(missing)} (Debian: slurmctld slurmd slurm-client munge)"
    return "" if os.geteuid() == 0 else "Slurm's daemons are started as root"


@dataclass(frozen=True)
class Slurm:
    """Its folder has a short name: the path of a socket has an end at 107 letters."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """By which Slurm's commands find it."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _path()}

    def start(self) -> None:
        self.folder.chmod(0o755)
        ports = [free_port() for _ in range(4)]
        host = os.uname().nodename
        nodes = [
            f"NodeName=n{n} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1"
            for n, port in enumerate(ports[1:])
        ]
        conf = CONF.format(host=host, port=ports[0], folder=self.folder, nodes="\n".join(nodes))
        (self.folder / "slurm.conf").write_text(conf)
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        for name in ("state", "n0", "n1", "n2", "hidden"):
            (self.folder / name).mkdir()
        self._start_munge()
        self._run("slurmctld")
        for node in ("n0", "n1"):
            self.start_node(node)
        self._wait_for("n0", "n1")

    def start_node(self, node: str, *around: str) -> None:
        """Args:
        around: the command by which its daemon is started.
        """
        self._run(*around, "slurmd", "-N", node)

    def start_apart(self) -> None:
        """Node n2, partition `apart`: it does not see what lies in the folder `hidden`."""
        mount = f'mount -t tmpfs none {self.folder / "hidden"} && exec "$@"'
        self.start_node("n2", "unshare", "--mount", "sh", "-c", mount, "sh")
        self._wait_for("n2")

    def lose_node(self, node: str) -> int:
        """As if its power were cut: its daemon and all that it started die at once; how many. That it is down is told
        to the controller, which would find it out in half a minute."""
        lost: list[int] = []
        while found := [pid for pid in _processes() if self._is_of(pid, node)]:  # some are being started just now
            lost += found
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.command("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")
        return len(set(lost))

    def command(self, *arguments: str) -> str:
        environment = os.environ | self.environment
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def living(self) -> list[str]:
        """The jobs that have not ended."""
        return self.command("squeue", "--noheader", "--array", "--format=%F_%K %T %N").splitlines()

    def end(self) -> None:
        while found := [pid for pid in _processes() if self._is_mine(pid)]:
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _start_munge(self) -> None:
        munge = self.folder / "munge"
        munge.mkdir()
        (munge / "key").write_bytes(secrets.token_bytes(1024))
        (munge / "key").chmod(0o400)
        for path in (munge, munge / "key"):
            shutil.chown(path, "munge", "munge")
        files = [f"--{name}={munge / name}" for name in ("socket", "key-file", "pid-file", "log-file", "seed-file")]
        files[1] = f"--key-file={munge / 'key'}"
        self._run("setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "munged", *files)

    def _run(self, *command: str) -> None:
        environment = {"HOME": "/", "USER": getpass.getuser()} | self.environment
        log = self.folder / "daemons.log"
        with log.open("a") as out:
            done = subprocess.run(command, env=environment, cwd=self.folder, stdout=out, stderr=out, timeout=60)
        assert done.returncode == 0, f"{command}: {log.read_text()}"

    def _wait_for(self, *nodes: str) -> None:
        deadline = time.monotonic() + 30
        while True:
            states = self.command("sinfo", "--noheader", "--Node", "--format=%N %T").split()
            if all(state == "idle" for node, state in zip(states[::2], states[1::2], strict=True) if node in nodes):
                return
            assert time.monotonic() < deadline, states
            time.sleep(0.2)

    def _is_of(self, pid: int, node: str) -> bool:
        wanted = {f"SLURMD_NODENAME={node}", f"SLURM_CONF={self.folder / 'slurm.conf'}"}
        return _folder(pid) == self.folder / node or wanted <= set(_environment(pid))

    def _is_mine(self, pid: int) -> bool:
        return pid != os.getpid() and (
            self.folder in [_folder(pid), *(_folder(pid) or Path("/")).parents]
            or str(self.folder) in _command(pid)
            or (bool(_environment(pid)) and any(self._is_of(pid, node) for node in ("n0", "n1", "n2")))
        )


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """One that runs."""
    found = Slurm(folder)
    try:
        found.start()
        yield found
    finally:
        found.end()


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _folder(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _environment(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
