"""Flags that a release removed are unknown, but stored sweeps and own option files of earlier
releases may set them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lenet_exp.config.flags import REMOVED
from tests.searches.searched import only_sweep
from tests.tools.commands import SMALL, lenet_train, refused, succeeded

BARE = (*SMALL, "num_epoch=1", "tracking.plots=false", "tracking.models=none")
OLD_DATASET = "defaults: [digits]\nname: mine\nshows: things\n"


@pytest.mark.parametrize("flag", REMOVED)
def test_removed_flag_is_unknown(flag, main):
    refused(main("-m", f"{flag}=null"), f"lenet-train: unknown flag '{flag}', which was removed")


def test_option_file_of_earlier_release_is_accepted(ready, tmp_path):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "mine.yaml").write_text(OLD_DATASET)
    line = (f"--config-dir={tmp_path}", *BARE, "dataset=mine", "batch_size=32")
    succeeded(lenet_train(*line, outputs=ready))


def add_override(file: Path, override: str) -> None:
    """Add an override to each line of a file of a sweep, without digests, as in release 0.1."""
    lines = []
    for line in file.read_text().splitlines():
        value = json.loads(line)
        del value["digest"]
        value["overrides"].append(override)
        lines.append(json.dumps(value) + "\n")
    file.write_text("".join(lines))


@pytest.mark.slow(seconds=6)
@pytest.mark.parametrize("flag", REMOVED)
def test_stored_search_with_removed_flag_is_resumed(flag, ready):
    line = ("-m", "hydra/sweeper=search", *BARE, "sweep.workers=1", "activation=relu,selu,tanh")
    succeeded(lenet_train(*line, "n_trials=1", outputs=ready))
    sweep = only_sweep(ready)
    file = sweep.path / "sweep.json"
    file.write_text(" ".join(file.read_text().split("\n")) + "\n")
    add_override(file, f"{flag}=digits")

    resume = ("-m", "sweep.resume=last", "n_trials=2", "sweep.workers=1")
    succeeded(lenet_train(*resume, outputs=ready))

    assert only_sweep(ready).started().runs == 2


@pytest.mark.parametrize("flag", REMOVED)
def test_stored_grid_with_removed_flag_is_confirmed(flag, ready, main, monkeypatch):
    line = ("-m", *BARE, "hydra/launcher=basic", "activation=relu,selu", "seed=0,1")
    succeeded(lenet_train(*line, outputs=ready))
    add_override(only_sweep(ready).path / "jobs.jsonl", f"{flag}=digits")
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(ready))
    planned = main("confirm=90", "against=activation=tanh", program="compare", status=0).stdout
    assert flag not in planned
