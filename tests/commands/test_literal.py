"""Literal `key=value` arguments of the commands that are not Hydra apps."""

from __future__ import annotations

import pytest

from lenet_exp.commands.literal import parse
from lenet_exp.errors import ConfigError

KNOWN = {"sweep": "last", "output": None}


@pytest.mark.parametrize("value", ["", "a=b", "[1,2]", "${x}", " 'é\n", "sweep="])
def test_value_is_taken_literally_and_last_value_wins(value):
    assert parse([f"output={value}"], KNOWN) == {"sweep": "last", "output": value}
    assert parse(["sweep=x", f"sweep={value}"], KNOWN) == {"sweep": value, "output": None}
    assert KNOWN == {"sweep": "last", "output": None}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--Output=x", "output=?"),
        ("report.html", ""),
        ("c5bb", "sweep=c5bb?"),
        ("last", "sweep=last?"),
        ("", ""),
    ],
)
def test_unknown_argument_is_reported_with_known_flags(typed, meant):
    with pytest.raises(ConfigError) as raised:
        parse([typed], KNOWN)
    problem, _, hint = str(raised.value).partition(";")
    assert problem.startswith(f"{typed}: ")
    assert problem.endswith("sweep=, output=")
    assert hint.endswith(meant)
    assert bool(hint) == bool(meant)
