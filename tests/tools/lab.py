"""The servers of a lab on loopback, in folders of a test: PostgreSQL, an MLflow server on it, and
nginx in front.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tools.commands import ROOT, free_port, serving

SUPERUSER = "postgres"


def postgres_tool(name: str) -> str | None:
    """Return the path of a PostgreSQL program; Debian does not add initdb and pg_ctl to PATH."""
    in_path = shutil.which(name)
    if in_path is not None:
        return in_path
    of_releases = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    newest = max(of_releases, key=lambda path: int(path.parts[-3]), default=None)
    return None if newest is None else str(newest)


@dataclass
class Postgres:
    """A PostgreSQL cluster in a folder, which listens on a port of 127.0.0.1 while it runs."""

    folder: Path
    port: int

    def start(self) -> None:
        self._ctl("-l", f"{self.folder}/log", "-o", f"-p {self.port}", "start")

    def stop(self) -> None:
        self._ctl("-m", "immediate", "stop")

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement as the superuser over the socket in the folder, and return the output of
        psql.
        """
        tool = str(postgres_tool("psql"))
        line = [tool, "-h", str(self.folder), "-p", str(self.port), "-U", SUPERUSER, "-d", database]
        return self.run(*line, "-v", "ON_ERROR_STOP=1", "-Atc", statement)

    def run(self, *command: str) -> str:
        """Run a command as the cluster's owner, because PostgreSQL's server refuses to run as
        root.
        """
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, **_owner())
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout.strip()

    def _ctl(self, *arguments: str) -> None:
        tool = str(postgres_tool("pg_ctl"))
        options = ["-s", "-w", "-t", "120", "-D", f"{self.folder}/data"]
        subprocess.run(
            [tool, *options, *arguments],
            check=True,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,  # the server that pg_ctl starts would keep a pipe open
            **_owner(),
        )


def _owner() -> Mapping[str, object]:
    if os.getuid() != 0:
        return {}
    entry = pwd.getpwnam(SUPERUSER)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """Yield a new cluster with passwords over TCP, or skip the test without PostgreSQL."""
    if postgres_tool("initdb") is None:
        pytest.skip(
            "no PostgreSQL (initdb) in PATH and /usr/lib/postgresql; apt-get install postgresql"
        )
    # Not pytest's folder, because another user cannot enter it, and the path of a socket is limited
    # to 107 bytes.
    with tempfile.TemporaryDirectory(prefix="lenet_exp-postgres-") as temporary:
        folder = Path(temporary)
        if os.getuid() == 0:
            shutil.chown(folder, SUPERUSER, SUPERUSER)
        cluster = Postgres(folder, free_port())
        initdb = str(postgres_tool("initdb"))
        options = ["-D", f"{folder}/data", "-U", SUPERUSER, "-E", "UTF8", "--no-sync"]
        passwords = ["--auth-local=trust", "--auth-host=scram-sha-256"]
        cluster.run(initdb, *options, "--locale=C", *passwords)

        settings = {
            "listen_addresses": "'127.0.0.1'",
            "unix_socket_directories": f"'{folder}'",
            "fsync": "off",  # a test's data need not survive a crash of the machine
        }
        with (folder / "data" / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = {value}\n" for name, value in settings.items())

        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()


def certificate(folder: Path) -> None:
    """Create ca.crt, server.crt and server.key for 127.0.0.1 with the script in deploy/."""
    subprocess.run(
        [ROOT / "deploy" / "certificate", "127.0.0.1", folder], check=True, capture_output=True
    )


def substituted(text: str, places: Mapping[str, str]) -> str:
    """Return the text with replaced hosts, ports and paths; the text must contain each of them."""
    assert [name for name in places if name not in text] == []
    names = sorted(places, key=len, reverse=True)  # a name can be part of another
    any_name = "|".join(map(re.escape, names))
    return re.sub(any_name, lambda match: places[match.group()], text)


@contextlib.contextmanager
def tls(folder: Path, port: int, upstream: int) -> Iterator[int]:
    """Run nginx with the configuration of deploy/ and other ports and paths, and yield its process
    group.
    """
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("no nginx; apt-get install nginx-light")
    if not (folder / "server.crt").exists():
        certificate(folder)
    replacements = {
        "/etc/nginx/tls/": f"{folder}/",
        "listen 8443 ": f"listen 127.0.0.1:{port} ",
        "http://mlflow:5000": f"http://127.0.0.1:{upstream}",
        "/tmp/": f"{folder}/",
    }
    text = substituted((ROOT / "deploy" / "nginx.conf").read_text(), replacements)
    (folder / "nginx.conf").write_text(text)

    directives = "daemon off;"
    if os.getuid() == 0:  # nginx would run workers as another user
        folder.chmod(0o755)
        directives = "daemon off; user root;"
    command = [nginx, "-c", f"{folder}/nginx.conf", "-p", str(folder), "-e", "stderr"]
    address = f"https://127.0.0.1:{port}/health"
    log = folder / "nginx.log"
    ca = str(folder / "ca.crt")
    with serving([*command, "-g", directives], {}, log, address, verify=ca) as group:
        yield group
