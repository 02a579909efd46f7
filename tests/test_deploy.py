"""deploy/ without Docker: its own commands, settings and scripts, with this machine's hosts, ports and paths."""

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
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

import lenet_exp
from tests.commands import ROOT, SECRET, SMALL, end, free_port, start
from tests.lab import postgres, postgres_tool, serving, substituted, tls
from tests.stores import files, models, runs
from tests.tracking.test_store import leaks

DEPLOY = ROOT / "deploy"
COMPOSE = (DEPLOY / "compose.yaml").read_text()
SERVICES = yaml.safe_load(COMPOSE)["services"]
GUIDE = (ROOT / "docs" / "server.md").read_text()
VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::([?-])([^}]*))?\})")


def filled_in(text, variables):
    """A value of the compose file, as Compose reads it."""

    def value(found):
        name, kind, rest = found.groups()
        if name is None:
            return "$"
        if kind == "?" and not variables.get(name):
            raise ValueError(f"required variable {name} is missing a value: {rest}")
        return variables.get(name) or (rest if kind == "-" else "")

    return VARIABLE.sub(value, text)


def example():
    """The variables of .env.example."""
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_each_secret_comes_from_the_environment_and_its_lack_is_told():
    needed = {name for name, kind, _ in VARIABLE.findall(COMPOSE) if kind == "?"}
    assert {name for name, _, _ in VARIABLE.findall(COMPOSE) if name} == set(example())
    assert needed == {name for name, value in example().items() if not value}
    for name in needed:
        with pytest.raises(ValueError, match=rf"{name} is missing a value: set {name} in deploy/\.env"):
            filled_in(COMPOSE, dict.fromkeys(needed - {name}, "x"))


def test_images_have_a_major_version_and_services_a_health_check():
    dockerfiles = [DEPLOY / "server.Dockerfile", DEPLOY / "train.Dockerfile"]
    images = [service["image"] for service in SERVICES.values() if "image" in service]
    images += re.findall("^FROM (.*)", "\n".join(path.read_text() for path in dockerfiles), re.MULTILINE)
    assert len(images) == 4
    assert all(re.fullmatch(r"\w+:\d[\w.-]*", image) for image in images)
    assert all("healthcheck" in service for service in SERVICES.values())
    for service in SERVICES.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in yaml.safe_load(COMPOSE)["volumes"] or source == "./tls" or (DEPLOY / source).is_file()


def instructions(name):
    """The instructions of a Dockerfile."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / name).read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(" ", 1)) for line in text.splitlines() if line]


def test_the_training_image_copies_all_that_the_package_is_built_of():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    needed |= {*wheel["packages"], *wheel["force-include"]}
    copied = {path for word, rest in instructions("train.Dockerfile") if word == "COPY" for path in rest.split()[:-1]}
    assert copied == needed
    assert all((ROOT / path).exists() for path in copied)
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept == copied


def pip_words(name, **variables):
    """What `pip install` gets in a Dockerfile, word by word, as its shell reads it."""
    environment = {"PATH": os.environ["PATH"], **variables}
    lines = [rest for word, rest in instructions(name) if word == "RUN" and rest.startswith("pip install")]
    script = "pip() { printf '%s\\n' \"$@\"; }\n" + "\n".join(lines)
    return subprocess.check_output(["sh", "-c", script], env=environment, text=True).splitlines()


def test_images_install_what_the_project_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    plain, with_index = pip_words("train.Dockerfile"), pip_words("train.Dockerfile", TORCH_INDEX="a b")
    assert "--index-url" not in plain
    assert with_index[with_index.index("--index-url") + 1] == "a b"
    assert {r for r in project["dependencies"] if r.startswith("torch")} <= set(plain)
    (ours,) = [word for word in plain if word.startswith("/src")]
    assert set(ours.removeprefix("/src[").removesuffix("]").split(",")) <= set(extras)
    server = pip_words("server.Dockerfile")
    assert set(extras["postgres"]) <= set(server)
    (ends,) = [r.rpartition("<")[2] for r in project["dependencies"] if r.startswith("mlflow")]
    assert any(word.startswith("mlflow[auth]") and word.endswith(f"<{ends}") for word in server)


@pytest.mark.slow(seconds=6)
def test_the_training_images_entry_point(tmp_path):
    (entry,) = [json.loads(rest) for word, rest in instructions("train.Dockerfile") if word == "ENTRYPOINT"]
    assert entry[0] == "python"
    environment = {**os.environ, "LENET_EXP_OUTPUTS": str(tmp_path), "PYTHONPATH": str(ROOT)}
    for arguments, said in ((["train", "--help"], "num_epoch"), (["sync"], "left: nothing")):
        done = subprocess.run([sys.executable, *entry[1:], *arguments], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout


DOCKER = '''#!{python}
"""Stands for `docker compose`: runs a service's command on this machine."""
import json, os, signal, sys, time
settings = json.loads(os.environ["SERVICES"])
assert sys.argv[1] == "compose", sys.argv
action, rest = sys.argv[2], sys.argv[3:]
words = [word for word in rest if word not in ("-T", "--rm", "--no-deps")]
print(action, *words, file=open(settings["log"], "a"))
if action in ("exec", "run"):
    assert "-T" in rest, "without -T a file on its stdin or stdout is spoiled"
    service, *command = words
    if action == "exec" and service == "mlflow":
        os.kill(settings["groups"]["mlflow"], 0)  # has to be there
    os.environ.update(settings["environment"][service])
    command = [settings["paths"].get(word, word) for word in command]
    os.execvp(command[0], command)
elif action == "stop":
    for service in words:
        os.killpg(settings["groups"][service], signal.SIGTERM)
elif action != "up":
    sys.exit("docker compose " + action + ": not known here")
'''


@pytest.mark.slow(seconds=60)
def test_a_lab_from_its_settings_to_a_backup_and_back(tmp_path, monkeypatch):
    variables = {name: value or f"{SECRET}{name.lower()}" for name, value in example().items()}
    port, upstream = free_port(), free_port()
    variables |= {"MLFLOW_HOST": "127.0.0.1", "MLFLOW_PORT": str(port)}
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    artifacts, address = tmp_path / "artifacts", f"https://127.0.0.1:{port}"
    with postgres() as cluster, contextlib.ExitStack() as stack:
        password = variables["POSTGRES_PASSWORD"]
        cluster.sql(f"CREATE ROLE mlflow SUPERUSER LOGIN PASSWORD '{password}'")
        cluster.sql("CREATE DATABASE mlflow OWNER mlflow")
        places = {"@postgres:5432/": f"@127.0.0.1:{cluster.port}/"}
        (tmp_path / "auth.ini").write_text(substituted((DEPLOY / "auth.ini").read_text(), places))
        command, environment = service_of("mlflow", variables, tmp_path, cluster.port, upstream, artifacts)

        def up():
            """Both servers; their groups."""
            health = f"http://127.0.0.1:{upstream}/health"
            mlflow = stack.enter_context(serving(command, environment, tmp_path / "mlflow.log", health))
            return {"mlflow": mlflow, "proxy": stack.enter_context(tls(tmp_path / "tls", port, upstream))}

        groups = up()
        for service, name in (("mlflow", "python"), ("proxy", "curl")):
            check = [part.replace(":5000", f":{upstream}").replace(":8443", f":{port}") for part in health_of(service)]
            assert check[0] == name
            assert not shutil.which(name) or subprocess.run(check, capture_output=True).returncode == 0

        ca = str(tmp_path / "tls" / "ca.crt")
        told = substituted(
            next(line for line in GUIDE.splitlines() if line.startswith("curl ")),
            {"deploy/tls/ca.crt": ca, "https://mlflow.example.org": address, "a-password-of-hers": f"{SECRET}-of-hers"},
        )
        made = subprocess.run(["bash", "-c", told], env={**os.environ, **variables}, capture_output=True, text=True)
        assert '"username":"alice"' in made.stdout, (made.stdout, made.stderr)
        hers = {
            "MLFLOW_TRACKING_URI": address,
            "MLFLOW_TRACKING_SERVER_CERT_PATH": ca,
            "MLFLOW_TRACKING_USERNAME": "alice",
            "MLFLOW_TRACKING_PASSWORD": f"{SECRET}-of-hers",
        }
        line = ("-m", *SMALL, "num_epoch=1", "num_threads=1", "tracking.plots=false")
        outputs = tmp_path / "outputs"
        first = end(start(*line, "seed=0,1", outputs=outputs, env=hers))
        assert first.returncode == 0, first.stderr
        assert "can't be" not in first.stderr

        bin_folder = tmp_path / "bin"
        bin_folder.mkdir()
        (bin_folder / "docker").write_text(DOCKER.replace("{python}", sys.executable))
        (bin_folder / "docker").chmod(0o755)
        database = {"PGHOST": str(cluster.folder), "PGPORT": str(cluster.port)}
        settings = {
            "log": str(tmp_path / "docker.log"),
            "groups": groups,
            "paths": {"/artifacts": str(artifacts)},
            "environment": {
                "mlflow": {},
                "postgres": {**database, "PATH": f"{Path(str(postgres_tool('initdb'))).parent}:{os.environ['PATH']}"},
            },
        }
        shim = {
            **os.environ,
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "SERVICES": json.dumps(settings),
        }
        backup, restore = documented("deploy/backup"), documented("deploy/restore")
        subprocess.run(backup, check=True, env=shim, cwd=tmp_path)

        second = end(start(*line, "seed=2,3", outputs=outputs, env=hers))
        assert second.returncode == 0, second.stderr
        cluster.sql("DROP DATABASE mlflow WITH (FORCE)")
        shutil.rmtree(artifacts)
        artifacts.mkdir()
        subprocess.run(restore, check=True, env=shim, cwd=tmp_path)
        stack.pop_all().close()
        up()

        admin = variables["MLFLOW_ADMIN_PASSWORD"]
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", ca)
        store = MlflowClient(address.replace("//", f"//admin:{admin}@"))
        assert sorted(run.data.params["seed"] for run in runs(store)) == ["0", "1"]
        synced = end(start(program="sync", outputs=outputs, env=hers))
        assert synced.returncode == 0, (synced.stdout, synced.stderr)
        assert "2 runs, 2 models, 1 sweep's own run" in synced.stdout, (synced.stdout, synced.stderr)
        assert "left: nothing" in synced.stdout
        found = runs(store)
        assert sorted(run.data.params["seed"] for run in found) == ["0", "1", "2", "3"]
        assert {run.info.status for run in (*found, *runs(store, "sweep"))} == {"FINISHED"}
        assert all("record.json" in files(store, run.info.run_id) for run in found)
        assert sorted(model.source_run_id for model in models(store)) == sorted(run.info.run_id for run in found)
        for name, value in hers.items():
            monkeypatch.setenv(name, value)
        for run in found:
            assert lenet_exp.load(f"runs:/{run.info.run_id}", tracking_uri=address).training is False
    assert leaks(outputs) == []


def service_of(name, variables, folder, database_port, port, artifacts):
    """A service's command and environment, as the compose file has them."""
    places = {
        "@postgres:5432/": f"@127.0.0.1:{database_port}/",
        "/etc/mlflow/auth.ini": str(folder / "auth.ini"),
        "--host 0.0.0.0 --port 5000": f"--host 127.0.0.1 --port {port}",
        "/artifacts": str(artifacts),
    }
    service = SERVICES[name]
    whole = json.dumps([service["command"], service["environment"]])
    command, environment = json.loads(substituted(filled_in(whole, variables), places))
    return command, environment


def health_of(name):
    kind, *command = SERVICES[name]["healthcheck"]["test"]
    assert kind == "CMD"
    return command


def documented(script):
    """The line of the guide that runs a script, whose path in the guide is the repository's."""
    line = next(line for line in GUIDE.splitlines() if line.startswith(script))
    return [str(ROOT / script), *shlex.split(line, comments=True)[1:]]
