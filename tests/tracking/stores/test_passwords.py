"""A store's password is nowhere on the terminal, whoever prints the overrides."""

from __future__ import annotations

import pytest

from tests.tools.commands import SECRET, SMALL, end, lenet_train, start

URI = f"tracking.uri=http://me:{SECRET}@127.0.0.1:9"
LINE = (*SMALL, "num_epoch=1")
LINES = [
    ("train", "-m", *LINE, "optimizer.lr=-1,1", URI),  # of a job
    ("train", *LINE, f"{URI},http://host"),  # several values
    ("train", *LINE, URI, f"{URI}]["),  # can't be read
    ("train", *LINE, URI.replace("uri", "urii")),
    ("train", *LINE, f"tracking.uri=http://me:{SECRET}/{SECRET}@host"),
    ("train", *LINE, f"tracking.uri=http://{SECRET}/{SECRET}@host"),
    ("sync", f"tracking.uri=http://me:1/{SECRET}@host"),
    ("train", *LINE, f"tracking.uri=ftp://host/?token={SECRET}"),
    ("ui", f"tracking.uri2=http://{SECRET * 60}@host"),  # too long to be shown whole
    ("ui", URI.replace("uri", "uri2")),
    ("sync", f"tracking.uri=ftp://me:{SECRET}@host"),
    ("compare", "filter=", URI),
]


@pytest.mark.parametrize(("program", "arguments"), [(program, line) for program, *line in LINES])
def test_password_is_hidden(main, outputs, program, arguments):
    done = main(*arguments, program=program)
    assert done.returncode == 2
    assert "tracking.uri" in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_it_is_hidden_where_hydra_tells_of_itself(outputs):
    done = lenet_train(*LINE, URI, "--cfg", "all", outputs=outputs)
    assert "override_dirname" in done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_it_is_hidden_in_hydras_line_on_a_failed_job(outputs):
    """`HYDRA_FULL_ERROR=1` is for those who want to see all; Hydra's own sweeper says it anyway."""
    line = ("-m", "hydra/sweeper=basic", "hydra/launcher=basic", *LINE, "optimizer.lr=-1", URI)
    done = end(start(*line, outputs=outputs, env={"HYDRA_FULL_ERROR": "1"}))
    assert "with overrides" in done.stderr
    assert SECRET not in done.stdout + done.stderr
