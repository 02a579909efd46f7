"""`key=value` for the commands that are no Hydra apps: taken as typed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenet_exp.commands.literal import parse, run_command
from lenet_exp.errors import ConfigError

KNOWN = {"sweep": "last", "output": None}


@given(st.text())
def test_a_value_is_taken_as_typed(value):
    assert parse([f"sweep={value}"], KNOWN) == {"sweep": value, "output": None}


@given(st.lists(st.tuples(st.sampled_from(sorted(KNOWN)), st.text())))
def test_the_last_of_several_wins_and_the_defaults_stay_as_they_are(pairs):
    assert parse([f"{key}={value}" for key, value in pairs], KNOWN) == KNOWN | dict(pairs)
    assert KNOWN == {"sweep": "last", "output": None}


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("sweeps=last", "sweeps=last: allowed is sweep=, output=; did you mean sweep=?"),
        ("--Output=x", "--Output=x: allowed is sweep=, output=; did you mean output=?"),
        ("last", "last: allowed is sweep=, output=; did you mean sweep=last?"),
        ("2e57", "2e57: allowed is sweep=, output=; did you mean sweep=2e57?"),
        ("report.html", "report.html: allowed is sweep=, output=; did you mean output=report.html?"),
        ("sqlite:///x.db", "sqlite:///x.db: allowed is sweep=, output="),
        ("relu", "relu: allowed is sweep=, output="),
        ("", ": allowed is sweep=, output="),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(typed, says):
    with pytest.raises(ConfigError) as raised:
        parse([typed], KNOWN)
    assert str(raised.value) == says


def test_a_command_without_flags_says_so():
    with pytest.raises(ConfigError, match="sweep=last: nothing is allowed here"):
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
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(60) == 0
