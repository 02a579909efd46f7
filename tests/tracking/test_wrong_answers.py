"""A server that answers, but not as MLflow does: a login page, another program, another shape."""

from __future__ import annotations

import pytest

from tests.commands import SMALL
from tests.servers import erring_server

ANSWERS = {
    "an empty object": b"{}",
    "a list": b"[]",
    "a login page": b"<html>log in</html>",
    "an experiment of another shape": b'{"experiment": 5}',
    "runs of another shape": b'{"runs": 7}',
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_who_asks_it_gets_one_line(answer, main, outputs):
    with erring_server(200, body=ANSWERS[answer]) as uri:
        for program, *arguments in (
            ("compare", "filter="),
            ("ui", "sweep=all"),
            ("predict",),
            ("export", "format=pt2"),
        ):
            done = main(*arguments, f"tracking.uri={uri}", program=program)
            assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
            assert done.stderr.startswith(f"lenet-{program}: ")


@pytest.mark.parametrize("answer", ["an empty object", "an experiment of another shape"])
def test_a_run_is_trained_and_what_is_not_delivered_is_said(answer, main, outputs):
    with erring_server(200, body=ANSWERS[answer]) as uri:
        done = main(*SMALL, "num_epoch=1", f"tracking.uri={uri}")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert "its answer is not one of an MLflow server" in done.stderr
    assert "it was deleted" not in done.stderr
    assert f"not in MLflow ({uri}): 1 run, 1 model; to deliver: lenet-sync run=" in done.stderr
