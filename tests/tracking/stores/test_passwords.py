"""A store's password never appears on the terminal, even if Hydra prints the overrides."""

from __future__ import annotations

import pytest

from tests.tools.commands import SECRET, SMALL, end, lenet_train, start

URI = f"tracking.uri=http://me:{SECRET}@127.0.0.1:9"
LINE = (*SMALL, "num_epoch=1")
LINES = [
    ("train", "-m", *LINE, "optimizer.lr=-1,1", URI),  # in a job
    ("train", *LINE, f"{URI},http://host"),  # several values
    ("train", *LINE, URI, f"{URI}]["),  # cannot be parsed
    ("train", *LINE, URI.replace("uri", "urii")),
    ("train", *LINE, f"tracking.uri=http://me:{SECRET}/{SECRET}@host"),
    ("train", *LINE, f"tracking.uri=http://{SECRET}/{SECRET}@host"),
    ("sync", f"tracking.uri=http://me:1/{SECRET}@host"),
    ("train", *LINE, f"tracking.uri=ftp://host/?token={SECRET}"),
    ("ui", f"tracking.uri2=http://{SECRET * 60}@host"),  # too long to be shown completely
    ("ui", URI.replace("uri", "uri2")),
    ("sync", f"tracking.uri=ftp://me:{SECRET}@host"),
    ("compare", "filter=", URI),
]


@pytest.mark.parametrize("line", LINES)
def test_password_is_hidden(main, outputs, line):
    program, *arguments = line
    done = main(*arguments, program=program)
    assert done.returncode == 2
    assert "tracking.uri" in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_password_is_hidden_in_hydra_cfg_output(outputs):
    done = lenet_train(*LINE, URI, "--cfg", "all", outputs=outputs)
    assert "override_dirname" in done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_password_is_hidden_in_hydra_message_about_failed_job(outputs):
    """With `HYDRA_FULL_ERROR=1`, Hydra's sweeper prints the overrides of the failed job."""
    line = ("-m", "hydra/sweeper=basic", "hydra/launcher=basic", *LINE, "optimizer.lr=-1", URI)
    done = end(start(*line, outputs=outputs, env={"HYDRA_FULL_ERROR": "1"}))
    assert "with overrides" in done.stderr
    assert SECRET not in done.stdout + done.stderr
