"""A store's password is nowhere on the terminal, whoever prints the overrides."""

from __future__ import annotations

import pytest

from tests.commands import SECRET, SMALL, end, start

URI = f"tracking.uri=http://me:{SECRET}@127.0.0.1:9"
LINE = (*SMALL, "num_epoch=1")
SAID = {
    "train": {
        "(job: ": ("-m", *LINE, "optimizer.lr=-1,1", URI),
        "several values need -m": (*LINE, f"{URI},http://host"),
        "can't be read": (*LINE, URI, f"{URI}]["),
        "tracking.urii": (*LINE, URI.replace("uri", "urii")),
        "allowed is a host": (*LINE, f"tracking.uri=http://me:{SECRET}/{SECRET}@host"),
    },
    "ui": {"tracking.uri2": (URI.replace("uri", "uri2"),)},
    "sync": {"allowed is http(s)": (f"tracking.uri=ftp://me:{SECRET}@host",)},
    "reproduce": {"can't be reached": ("run=runs:/0123", URI)},
    "compare": {"can't be reached": ("filter=", URI)},
}


@pytest.mark.parametrize(("program", "says"), [(program, says) for program in SAID for says in SAID[program]])
def test_it_is_hidden(main, outputs, program, says):
    done = main(*SAID[program][says], program=program)
    assert says in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_it_is_hidden_where_hydra_tells_of_itself(outputs):
    done = end(start(*LINE, URI, "--cfg", "all", outputs=outputs))
    assert "override_dirname" in done.stdout
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize("sweeper", [(), ("-m", "hydra/sweeper=basic", "hydra/launcher=basic")], ids=["run", "sweep"])
def test_it_is_hidden_in_hydras_line_on_a_failed_job(outputs, sweeper):
    """`HYDRA_FULL_ERROR=1` is for those who want to see all; Hydra's own sweeper says it anyway."""
    done = end(start(*sweeper, *LINE, "optimizer.lr=-1", URI, outputs=outputs, env={"HYDRA_FULL_ERROR": "1"}))
    assert "Error executing job with overrides" in done.stderr
    assert SECRET not in done.stdout + done.stderr
