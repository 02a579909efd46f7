"""Run deploy/ without Docker: its commands, settings, and scripts, with hosts, ports, and paths of
this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

import lenet_exp
from tests.commands.test_cli import is_one_line
from tests.tools.commands import ROOT, SECRET, SMALL, end, free_port, start
from tests.tools.lab import postgres, postgres_tool, serving, substituted, tls
from tests.tools.stores import files, models, runs
from tests.tracking.stores.test_store import counts, leaks

DEPLOY = ROOT / "deploy"
COMPOSE = (DEPLOY / "compose.yaml").read_text()
SERVICES = yaml.safe_load(COMPOSE)["services"]
GUIDE = (ROOT / "docs" / "how-to" / "server.md").read_text()
VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::([?-])([^}]*))?\})")


def interpolated(text, variables):
    """Interpolate variables in a text as Docker Compose does."""

    def value(match):
        name, kind, rest = match.groups()
        if name is None:
            return "$"
        if variables.get(name):
            return variables[name]
        if kind == "?":
            raise ValueError(f"required variable {name} is missing a value: {rest}")
        return rest if kind == "-" else ""

    return VARIABLE.sub(value, text)


def example():
    """Return the variables in .env.example."""
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_each_secret_is_a_required_environment_variable():
    variables = VARIABLE.findall(COMPOSE)
    required = {name for name, kind, _ in variables if kind == "?"}

    assert {name for name, _, _ in variables if name} == set(example())
    assert required == {name for name, value in example().items() if not value}
    for name in required:
        message = rf"{name} is missing a value: set {name} in deploy/\.env"
        with pytest.raises(ValueError, match=message):
            interpolated(COMPOSE, dict.fromkeys(required - {name}, "x"))


def instructions(name):
    """Return the instructions of a Dockerfile."""
    without_comments = re.sub(r"^#.*\n", "", (DEPLOY / name).read_text(), flags=re.MULTILINE)
    joined = without_comments.replace("\\\n", " ")
    return [tuple(line.split(" ", 1)) for line in joined.splitlines() if line]


def test_training_image_copies_all_files_of_the_build():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    metadata = project["project"]
    needed = {
        "pyproject.toml",
        metadata["readme"],
        *metadata["license-files"],
        *wheel["packages"],
        *wheel["force-include"],
    }

    copied = set()
    for instruction, arguments in instructions("train.Dockerfile"):
        if instruction == "COPY":
            copied |= set(arguments.split()[:-1])
    assert copied == needed
    assert all((ROOT / path).exists() for path in copied)

    not_ignored = set()
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            not_ignored.add(line[1:])
    assert not_ignored == copied


def test_images_install_required_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    torch = {name for name in project["dependencies"] if name.startswith("torch")}
    of_tests = project["optional-dependencies"]["test"]
    (driver,) = [name for name in of_tests if name.startswith("psycopg")]

    assert torch <= set(installed_by("train.Dockerfile"))
    of_server = installed_by("server.Dockerfile")
    assert driver in of_server
    assert any(word.startswith("mlflow[auth]>=") for word in of_server)


def installed_by(name):
    """Return the words of the `pip install` commands of a Dockerfile."""
    words = []
    for _, arguments in instructions(name):
        if arguments.startswith("pip install"):
            words += shlex.split(arguments)
    return words


def test_entry_point_of_training_image_runs_lenet_exp(tmp_path):
    entry_points = []
    for instruction, arguments in instructions("train.Dockerfile"):
        if instruction == "ENTRYPOINT":
            entry_points.append(json.loads(arguments))
    ((program, *arguments),) = entry_points
    assert program == "python"

    environment = {**os.environ, "LENET_EXP_OUTPUTS": str(tmp_path), "PYTHONPATH": str(ROOT)}
    line = [sys.executable, *arguments, "sweep", "list"]
    done = subprocess.run(line, capture_output=True, text=True, env=environment)

    assert done.returncode == 0, done.stderr
    assert "lenet-train" in done.stdout


DOCKER = '''#!{python}
"""Replaces `docker compose`: runs a service's command on this machine."""
import json, os, signal, sys, time
settings = json.loads(os.environ["SERVICES"])
assert sys.argv[1] == "compose", sys.argv
action, rest = sys.argv[2], sys.argv[3:]
words = [word for word in rest if word not in ("-T", "--rm", "--no-deps")]
print(action, *words, file=open(settings["log"], "a"))
if action in ("exec", "run"):
    assert "-T" in rest, "without -T, files on stdin or stdout are corrupted"
    service, *command = words
    if action == "exec" and service == "mlflow":
        os.kill(settings["groups"]["mlflow"], 0)  # the server must run
    os.environ.update(settings["environment"][service])
    command = [settings["paths"].get(word, word) for word in command]
    os.execvp(command[0], command)
elif action == "stop":
    for service in words:
        os.killpg(settings["groups"][service], signal.SIGTERM)
elif action != "up":
    sys.exit("docker compose " + action + ": not known here")
'''


ONE = (*SMALL, "num_epoch=1", "num_threads=1", "tracking.plots=false")
SWEEP = ("-m", "hydra/launcher=basic", *ONE)


@dataclass(frozen=True)
class Lab:
    """A server with users behind TLS; `direct` is its address without TLS."""

    address: str
    direct: str
    folder: Path
    admin: str

    @property
    def ca(self):
        return str(self.folder / "tls" / "ca.crt")

    def add(self, name):
        """Create a user with the guide's command and return the environment for that user's
        commands.
        """
        password = f"{SECRET}-of-{name}"
        replacements = {
            "deploy/tls/ca.crt": self.ca,
            "https://mlflow.example.org": self.address,
            "alice": name,
            "alices-password": password,
        }
        guide_command = next(line for line in GUIDE.splitlines() if line.startswith("curl "))

        done = subprocess.run(
            ["bash", "-c", substituted(guide_command, replacements)],
            env={**os.environ, "MLFLOW_ADMIN_PASSWORD": self.admin},
            capture_output=True,
            text=True,
        )

        assert f'"username":"{name}"' in done.stdout, (done.stdout, done.stderr)
        return {
            "MLFLOW_TRACKING_URI": self.address,
            "MLFLOW_TRACKING_SERVER_CERT_PATH": self.ca,
            "MLFLOW_TRACKING_USERNAME": name,
            "MLFLOW_TRACKING_PASSWORD": password,
        }

    def command(self, user, folder, *arguments, program="train"):
        done = end(start(*arguments, program=program, outputs=self.folder / folder, env=user))
        assert SECRET not in done.stdout + done.stderr
        return done


@pytest.mark.by_hand
def test_lab_server_can_be_used_and_restored_from_backup(tmp_path, monkeypatch):
    """This is a single test because a server takes long to start."""
    port = free_port()
    upstream = free_port()
    variables = {name: value or f"{SECRET}{name.lower()}" for name, value in example().items()}
    variables["MLFLOW_HOST"] = "127.0.0.1"
    variables["MLFLOW_PORT"] = str(port)
    programs = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", os.pathsep.join([programs, os.environ["PATH"]]))
    artifacts = tmp_path / "artifacts"
    admin = variables["MLFLOW_ADMIN_PASSWORD"]
    lab = Lab(f"https://127.0.0.1:{port}", f"http://127.0.0.1:{upstream}", tmp_path, admin)

    with postgres() as cluster, contextlib.ExitStack() as stack:
        database_password = variables["POSTGRES_PASSWORD"]
        cluster.sql(f"CREATE ROLE mlflow SUPERUSER LOGIN PASSWORD '{database_password}'")
        cluster.sql("CREATE DATABASE mlflow OWNER mlflow")
        command, environment = service_of(
            "mlflow", variables, tmp_path, cluster.port, upstream, artifacts
        )
        database_address = {"@postgres:5432/": f"@127.0.0.1:{cluster.port}/"}
        auth = substituted((DEPLOY / "auth.ini").read_text(), database_address)

        def up(permission):
            """Start both servers and return their process groups."""
            (tmp_path / "auth.ini").write_text(substituted(auth, {"= EDIT": f"= {permission}"}))
            log = tmp_path / "mlflow.log"
            server = serving(command, environment, log, f"{lab.direct}/health")
            mlflow = stack.enter_context(server)
            proxy = stack.enter_context(tls(tmp_path / "tls", port, upstream))
            return {"mlflow": mlflow, "proxy": proxy}

        groups = up("EDIT")
        check_health("mlflow", "python", 5000, upstream)
        check_health("proxy", "curl", 8443, port)

        alice = lab.add("alice")
        bob = lab.add("bob")
        # all users may write to alice's experiment
        for user, seed in ((alice, "seed=0,1"), (bob, "seed=9")):
            done = lab.command(user, user["MLFLOW_TRACKING_USERNAME"], *SWEEP, seed)
            assert done.returncode == 0, done.stderr
            assert lab.address not in done.stderr, done.stderr

        shim = docker(tmp_path, groups, cluster, artifacts)
        subprocess.run(documented("deploy/backup"), check=True, env=shim, cwd=tmp_path)
        assert lab.command(alice, "alice", *SWEEP, "seed=2,3").returncode == 0
        cluster.sql("DROP DATABASE mlflow WITH (FORCE)")
        shutil.rmtree(artifacts)
        artifacts.mkdir()
        subprocess.run(documented("deploy/restore"), check=True, env=shim, cwd=tmp_path)
        stack.pop_all().close()
        up("READ")

        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", lab.ca)
        store = MlflowClient(lab.address.replace("//", f"//admin:{admin}@"))
        assert sorted(run.data.params["seed"] for run in runs(store)) == ["0", "1", "9"]

        synced = lab.command(alice, "alice", "again=true", program="sync")
        assert synced.returncode == 0, (synced.stdout, synced.stderr)
        # A sweep uploads the best model of each configuration; each sweep has one configuration.
        assert counts(synced.stdout) == [4, 2, 2]

        logged_runs = runs(store)
        assert sorted(run.data.params["seed"] for run in logged_runs) == ["0", "1", "2", "3", "9"]
        assert {run.info.status for run in (*logged_runs, *runs(store, "sweep"))} == {"FINISHED"}
        assert all("record.json" in files(store, run.info.run_id) for run in logged_runs)
        sources = {model.source_run_id for model in models(store)}
        assert len(sources) == 3  # one for each of the three sweeps
        assert sources <= {run.info.run_id for run in logged_runs}

        check_colleague_writes_only_own_experiment(lab, bob, store)
        check_unusable_store_is_one_line_error(lab, alice)
        check_commands_read_credentials_file(lab, alice)

        # No password is in a folder, in the server's artifacts, or in a table, which holds only
        # hashes.
        assert leaks(tmp_path / "alice") == []
        assert leaks(tmp_path / "bob") == []
        assert leaks(artifacts) == []
        socket = ["-h", str(cluster.folder), "-p", str(cluster.port), "-U", "postgres"]
        assert SECRET not in cluster.run(str(postgres_tool("pg_dump")), *socket, "mlflow")

        for name, value in alice.items():
            monkeypatch.setenv(name, value)
        for run_id in sources:
            model = lenet_exp.load(f"runs:/{run_id}", tracking_uri=lab.address)
            assert model.training is False


def check_health(service, program, port_of_container, port):
    """Run the health check of a service with another port if its program is installed."""
    test = SERVICES[service]["healthcheck"]["test"]
    kind, *command = [word.replace(f":{port_of_container}", f":{port}") for word in test]
    assert kind == "CMD"
    assert command[0] == program
    if shutil.which(program):
        assert subprocess.run(command, capture_output=True).returncode == 0


def check_colleague_writes_only_own_experiment(lab, bob, store):
    """A missing permission is named, but does not prevent training; another user's champion causes
    one warning.
    """
    done = lab.command(bob, "bob", *ONE, "seed=10")
    assert done.returncode == 0, done.stderr
    assert "bob" in done.stderr
    assert "tracking.experiment=" in done.stderr

    scored = lab.command(bob, "bob", "dataset=digits", program="predict")  # alice's champion
    assert scored.returncode == 0, scored.stderr
    assert "bob" in scored.stderr

    own = lab.command(bob, "bob", *SWEEP, "num_epoch=12", "seed=0,1", "tracking.experiment=bobs")
    assert own.returncode == 0, own.stderr
    assert own.stderr.count("lenet5-digits: permission denied") == 1
    assert {run.info.status for run in runs(store, experiment="bobs")} == {"FINISHED"}


def check_unusable_store_is_one_line_error(lab, alice):
    ca = {"MLFLOW_TRACKING_SERVER_CERT_PATH": lab.ca}
    login = {name: value for name, value in alice.items() if name not in ca}
    without_tls = lab.address.replace("https", "http")
    with_tls = lab.direct.replace("http", "https")
    with_login = lab.address.replace("//", f"//me:{SECRET}@")
    mistakes = (
        ("certificate", login),
        ("/no", alice | {"MLFLOW_TRACKING_SERVER_CERT_PATH": "/no"}),
        ("/no", login | {"REQUESTS_CA_BUNDLE": "/no"}),
        ("use https://", alice | {"MLFLOW_TRACKING_URI": without_tls}),
        ("use http://", alice | {"MLFLOW_TRACKING_URI": with_tls}),
        ("MLFLOW_TRACKING_USERNAME", ca | {"MLFLOW_TRACKING_URI": lab.address}),
        ("alice", alice | {"MLFLOW_TRACKING_PASSWORD": f"{SECRET}-of-bob"}),
        ("in the store's URI", ca | {"MLFLOW_TRACKING_URI": with_login}),
    )
    for expected, environment in mistakes:
        done = lab.command(environment, "nobody", *ONE)
        assert done.returncode == 2, done.stderr
        assert is_one_line(done.stderr), done.stderr
        assert expected in done.stderr
        assert not (lab.folder / "nobody" / "runs").exists()


def check_commands_read_credentials_file(lab, alice):
    home = lab.folder / "home"
    (home / ".mlflow").mkdir(parents=True)
    user = alice["MLFLOW_TRACKING_USERNAME"]
    password = alice["MLFLOW_TRACKING_PASSWORD"]
    content = (
        f"[mlflow]\nmlflow_tracking_username = {user}\nmlflow_tracking_password = {password}\n"
    )
    environment = {
        "HOME": str(home),
        "MLFLOW_TRACKING_URI": lab.address,
        "REQUESTS_CA_BUNDLE": lab.ca,
    }
    lines = (["compare", "filter="], ["ui"], ["predict", "dataset=digits"], ["train", *ONE])

    for credentials, status in ((content, 0), ("", 2)):
        (home / ".mlflow" / "credentials").write_text(credentials)
        for program, *arguments in lines:
            done = lab.command(environment, f"at home {status}", *arguments, program=program)
            assert done.returncode == status, (program, done.stdout, done.stderr)


def docker(folder, groups, cluster, artifacts):
    """Return an environment in which `docker compose` runs the script above."""
    program = folder / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(DOCKER.replace("{python}", sys.executable))
    program.chmod(0o755)

    path = os.environ["PATH"]
    folder_of_postgres = Path(str(postgres_tool("initdb"))).parent
    settings = {
        "log": str(folder / "docker.log"),
        "groups": groups,
        "paths": {"/artifacts": str(artifacts)},
        "environment": {
            "mlflow": {},
            "postgres": {
                "PGHOST": str(cluster.folder),
                "PGPORT": str(cluster.port),
                "PATH": f"{folder_of_postgres}:{path}",
            },
        },
    }
    return os.environ | {
        "PATH": f"{program.parent}:{path}",
        "SERVICES": json.dumps(settings),
    }


def service_of(name, variables, folder, database_port, port, artifacts):
    """Return a service's command and environment from the compose file, with paths of this
    machine.
    """
    replacements = {
        "@postgres:5432/": f"@127.0.0.1:{database_port}/",
        "/etc/mlflow/auth.ini": str(folder / "auth.ini"),
        "--host 0.0.0.0 --port 5000 --workers 2": f"--host 127.0.0.1 --port {port} --workers 1",
        "/artifacts": str(artifacts),
    }
    service = SERVICES[name]
    text = json.dumps([service["command"], service["environment"]])
    text = substituted(interpolated(text, variables), replacements)
    command, environment = json.loads(text)
    return command, environment


def documented(script):
    """Return the guide's command for a script, with the script's absolute path."""
    line = next(line for line in GUIDE.splitlines() if line.startswith(script))
    return [str(ROOT / script), *shlex.split(line, comments=True)[1:]]
