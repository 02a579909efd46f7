"""The page for a class: the teacher's server with accounts, and students who train at the same
time.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.tools.commands import ROOT, free_port, serving
from tests.tools.stores import runs

PAGE = ROOT / "docs" / "tutorials" / "classroom.md"
STUDENTS = ("ada", "ben", "cleo")


def blocks(port: int) -> list[str]:
    """Return the code blocks of the page for a server on this port, with commands of this
    checkout.
    """
    text = PAGE.read_text().replace("teacher.example.org:5000", f"127.0.0.1:{port}")
    text = text.replace("--host 0.0.0.0 --port 5000", f"--host 127.0.0.1 --port {port}")
    text = text.replace(
        "dataset=mnist dataset.train_size=10000 batch_size=64 num_epoch=3",
        "dataset=digits num_epoch=1",
    )
    text = re.sub(
        r"^(\s*)lenet-(\w+)", rf"\1{sys.executable} -m lenet_exp \2", text, flags=re.MULTILINE
    )
    text = re.sub(r"^mlflow ", f"{sys.executable} -m mlflow ", text, flags=re.MULTILINE)
    return re.findall(r"^```(?:bash|text)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def bash(script: str, folder: Path, user: str) -> subprocess.Popen[str]:
    """Start a script as this user, in a folder of the user's own."""
    folder.mkdir(exist_ok=True)
    environment = os.environ | {
        "LOGNAME": user,
        "PYTHONPATH": str(ROOT),
        "LENET_EXP_OUTPUTS": str(folder / "outputs"),
    }
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(["bash", "-ec", script], cwd=folder, env=environment, **pipes)


def output(process: subprocess.Popen[str]) -> str:
    """Wait for a script, check that it succeeded, and return its output."""
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    return out


@pytest.mark.by_hand
def test_students_train_at_once_and_compare_their_runs(tmp_path, monkeypatch):
    port = free_port()
    settings, server, accounts, login, sweep, comparisons = blocks(port)
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    (teacher / "auth.ini").write_text(settings)
    command = ["bash", "-ec", f"cd {teacher}\n{server}"]

    with serving(command, {}, tmp_path / "log", f"http://127.0.0.1:{port}/health"):
        created = output(bash(accounts, tmp_path / "accounts", "teacher"))
        assert created.count('"username"') == len(STUDENTS), created
        scripts = {name: login.replace("ada", name) + sweep for name in STUDENTS}
        students = [bash(script, tmp_path / name, name) for name, script in scripts.items()]
        for student in students:
            assert "6 runs: 6 finished" in output(student)

        of_class, of_team, of_ada = comparisons.strip().splitlines()
        for line in (of_class, of_team):
            compared = output(bash(f"{login}{line}", tmp_path / "ada", "ada"))
            assert "digits: 18 runs" in compared
            assert "n = 3)" in compared  # equal runs of several students count once
        assert (tmp_path / "ada" / "class.html").is_file()
        assert "digits: 6 runs" in output(bash(f"{login}{of_ada}", tmp_path / "ben", "ben"))

        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "teacher")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "lecture-seven")
        users = [run.data.tags["users"] for run in runs(MlflowClient(f"http://127.0.0.1:{port}"))]
        assert sorted(users) == sorted(STUDENTS * 6)
