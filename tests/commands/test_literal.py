"""`key=value` for the commands that are no Hydra apps: taken as typed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lenet_exp.commands.literal import parse, run_command
from lenet_exp.errors import ConfigError

KNOWN = {"sweep": "last", "output": None}


@pytest.mark.parametrize("value", ["", "a=b", "[1,2]", "${x}", " 'é\n", "sweep="])
def test_a_value_is_taken_as_typed_and_the_last_of_several_wins(value):
    assert parse([f"output={value}"], KNOWN) == {"sweep": "last", "output": value}
    assert parse(["sweep=x", f"sweep={value}"], KNOWN) == {"sweep": value, "output": None}
    assert KNOWN == {"sweep": "last", "output": None}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--Output=x", "output=?"),
        ("report.html", ""),
        ("", ""),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(typed, meant):
    with pytest.raises(ConfigError) as raised:
        parse([typed], KNOWN)
    said, _, hint = str(raised.value).partition(";")
    assert said.startswith(f"{typed}: ")
    assert said.endswith("sweep=, output=")
    assert hint.endswith(meant)
    assert bool(hint) == bool(meant)
    with pytest.raises(ConfigError, match=r"^sweep=last: .*nothing"):
        parse(["sweep=last"], {})


def _wrong(arguments: list[str]) -> int:
    raise ConfigError("x=1: allowed is\n2")


def _interrupted(arguments: list[str]) -> int:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("typed", "main", "status", "out", "err"),
    [
        (["--help"], _wrong, 0, "how to use it\n", ""),
        (["x=1"], _wrong, 2, "", "lenet-x: x=1: allowed is 2\n"),
        (["x=1"], _interrupted, 130, "", "lenet-x: stopped\n"),
        (["x=1"], len, 1, "", ""),
    ],
)
def test_how_a_command_ends(typed, main, status, out, err, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lenet-x", *typed])
    with pytest.raises(SystemExit) as left:
        run_command("lenet-x", "\nhow to use it\n", main)
    assert left.value.code == status
    assert capsys.readouterr() == (out, err)


def test_a_reader_that_has_seen_enough_gets_no_traceback():
    code = (
        "from lenet_exp.commands.literal import run_command\n"
        "run_command('lenet-x', '', lambda a: [print('line') for _ in range(100_000)] and 0)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 0
