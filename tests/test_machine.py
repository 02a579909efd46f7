"""Facts about the machine and the program in a record."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import lenet_exp
from lenet_exp import machine
from lenet_exp.machine import git_state, kernel_settings
from lenet_exp.package_files import CONF_DIR, source_digest


def test_record_keeps_only_variables_that_can_change_results():
    noted = {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_CBWR": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OMP_DYNAMIC": "true",
    }
    others = {
        "OMP_NUM_THREADS": "8",
        "OMP_WAIT_POLICY": "PASSIVE",
        "MKL_VERBOSE": "1",
        "HOME": "/",
        "MKLROOT": "/opt",
    }
    expected = "ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=AVX2 OMP_DYNAMIC=true ONEDNN_MAX_CPU_ISA=SSE41"
    assert kernel_settings(others | noted) == expected
    assert kernel_settings(others) == ""


def test_source_digest_covers_code_and_options_in_any_folder(tmp_path):
    package = tmp_path / "lenet_exp"
    shutil.copytree(
        Path(lenet_exp.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(CONF_DIR, package / "conf", dirs_exist_ok=True)  # as in a wheel

    def digest() -> str:
        show = "from lenet_exp.package_files import source_digest; print(source_digest())"
        command = [sys.executable, "-c", show]
        environment = {"PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert digest() == source_digest()
    (package / "conf" / "activation" / "relu.yaml").write_text("_target_: torch.nn.Tanh\n")
    changed = digest()
    assert changed != source_digest()
    (package / "seeds.py").write_text("# nothing\n")
    assert len({digest(), changed, source_digest()}) == 3


def test_git_state_does_not_write_to_the_repository(tmp_path, monkeypatch):
    """If git wrote its index, a killed command would leave a lock, after which git refuses to
    commit.
    """
    code = tmp_path / "lenet_exp" / "machine.py"
    code.parent.mkdir()
    code.write_text("first\n")
    author = [
        "-c",
        "user.name=ada",
        "-c",
        "user.email=ada@example.org",
        "-c",
        "commit.gpgsign=false",
    ]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(machine, "__file__", str(code))
    os.utime(code, (1, 1))  # git status would write the new time to its index
    index = (tmp_path / ".git" / "index").read_bytes()
    assert git_state.__wrapped__()["git_dirty"] == "false"  # without its cache
    assert (tmp_path / ".git" / "index").read_bytes() == index
