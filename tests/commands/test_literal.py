"""Literal `key=value` arguments of the commands that are not Hydra apps."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from lenet_exp.commands.compare import BY
from lenet_exp.commands.literal import parse
from lenet_exp.comparison.group import CompareBy
from lenet_exp.errors import ConfigError

KNOWN = {"sweep": "last", "output": None}


@pytest.mark.parametrize("value", ["", "a=b", "[1,2]", "${x}", " 'é\n", "sweep="])
def test_value_is_taken_literally_and_last_value_wins(value):
    assert parse([f"output={value}"], KNOWN) == {"sweep": "last", "output": value}
    assert parse(["sweep=x", f"sweep={value}"], KNOWN) == {"sweep": value, "output": None}
    assert KNOWN == {"sweep": "last", "output": None}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("--Output=x", "output=?"), ("report.html", ""), ("c5bb", "sweep=c5bb?"), ("last", "sweep=last?"), ("", "")],
)
def test_unknown_argument_is_reported_with_known_flags(typed, meant):
    with pytest.raises(ConfigError) as raised:
        parse([typed], KNOWN)
    problem, _, hint = str(raised.value).partition(";")
    assert problem.startswith(f"{typed}: ")
    assert problem.endswith("sweep=, output=")
    assert hint.endswith(meant)
    assert bool(hint) == bool(meant)


COMPLETED = {
    "compare": {"sweep=", "sweep=last", "by=best", "by=last", "run=true", "run=false", "output=", "tracking.uri="},
    "sweep": {"list", "rm", "sweep=last", "dry_run=true", "dry_run=false", "mlflow=false"},
    "sync": {"sweep=last", "run=", "tracking.uri="},
    "ui": {"sweep=all", "port=", "host=", "token="},
    "reproduce": {"run=", "trust=", "data_root="},
    "export": {"format=onnx", "format=pt2", "dataset=mnist", "output="},
}


@pytest.mark.parametrize("program", COMPLETED)
def test_bash_completes_flags_and_values(program, main):
    """The script registers words with `complete` and makes `=` part of a word."""
    script = main("-sc", "install=bash", program=program).stdout
    shell_code = f'{script}\ncomplete -p lenet-{program}; echo "$COMP_WORDBREAKS"'
    done = subprocess.run(["bash", "-c", shell_code], capture_output=True, text=True, check=True)
    command, breaks = done.stdout.split("\n", 1)
    words = shlex.split(command)
    assert COMPLETED[program] <= {*words[words.index("-W") + 1].split()}
    assert words[-1] == f"lenet-{program}"
    assert "=" not in breaks


def test_completed_values_of_by_match_comparison():
    assert list(CompareBy) == list(BY)
