"""Servers that are not MLflow: a login page, another program, or JSON of another shape."""

from __future__ import annotations

import pytest

from tests.commands.test_cli import is_one_line
from tests.tools.commands import SMALL
from tests.tools.servers import erring_server
from tests.tracking.stores.test_store import counts

ANSWERS = {
    "an empty object": b"{}",
    "a login page": b"<html>log in</html>",
    "an experiment of another shape": b'{"experiment": 5}',
}
ASK = {"compare": ["filter="], "ui": ["sweep=all"], "predict": [], "export": ["format=pt2"]}


@pytest.mark.parametrize("answer", ANSWERS)
def test_server_with_foreign_answers_gives_one_line_error(answer, main, outputs):
    with erring_server(200, body=ANSWERS[answer]) as uri:
        for program, arguments in ASK.items():
            done = main(*arguments, f"tracking.uri={uri}", program=program)
            assert done.returncode == 2
            assert is_one_line(done.stderr, f"lenet-{program}"), done.stderr
        if answer == "a login page":
            return
        done = main(*SMALL, "num_epoch=1", f"tracking.uri={uri}")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    last = done.stderr.splitlines()[-1]
    assert uri in last
    assert "lenet-sync run=" in last
    assert counts(last) == [1, 1]
