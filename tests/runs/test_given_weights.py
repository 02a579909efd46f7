"""A run can start from trained weights, whose digest is part of its fingerprint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from safetensors.numpy import save_file
from safetensors.torch import save as to_bytes

from lenet_exp.config.compose import composed, composing
from lenet_exp.errors import ConfigError
from lenet_exp.folders.given_weights import FOLDER
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.runs.jobs import freeze_jobs, lone_job
from lenet_exp.searches.plan import plan_search
from lenet_exp.training.network import load_given, network_of
from lenet_exp.training.state import new_training_state
from lenet_exp.training.trained.weights import load_weights, save_weights, weights_digest
from tests.searches.searched import only_sweep
from tests.tools.commands import SMALL, end, lenet_train, refused, start, succeeded
from tests.tools.configs import compose

LINE = (
    *SMALL,
    "dataset.train_size=320",
    "num_epoch=1",
    "num_threads=1",
    "tracking.plots=false",
    "tracking.models=none",
)


def frozen(*line: str) -> str:
    """Return the value of `init_from` in the frozen configuration of a run."""
    value = lone_job(compose([*LINE, *line])).config.init_from
    assert value is not None
    return value


def weights_file(folder: Path, *line: str, seed: int = 7) -> Path:
    """Write a file with random weights for a configuration."""
    network = network_of(compose([*LINE, *line]), torch.Generator().manual_seed(seed))
    save_weights(folder / f"{seed}.safetensors", network.state_dict(), {})
    return folder / f"{seed}.safetensors"


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_both_engines_start_from_given_weights(engine, outputs, tmp_path):
    config = compose([*LINE, f"engine={engine}", "training.ema_decay=0.9"])
    given, _ = load_weights(weights_file(tmp_path))
    state = new_training_state(config, torch.device("cpu"), given)
    assert state.average is not None
    for network in (state.model, state.average):
        assert weights_digest(network.state_dict()) == weights_digest(given)


def test_fingerprint_depends_on_weights_but_not_on_their_name(outputs, tmp_path):
    first = weights_file(tmp_path)
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "other.safetensors"
    copy.write_bytes(first.read_bytes())
    lines = [
        (),
        (f"init_from={first}",),
        (f"init_from={copy}",),
        (f"init_from={weights_file(tmp_path, seed=8)}",),
    ]
    random, one, same, other = (lone_job(compose([*LINE, *line])) for line in lines)
    assert (one.fingerprint, one.config.init_from) == (same.fingerprint, same.config.init_from)
    assert len({job.fingerprint for job in (random, one, other)}) == 3


def test_weights_of_another_split_are_reported(ready):
    assert lenet_train(*LINE, "split_seed=1", outputs=ready).returncode == 0
    (run,) = (ready / "runs").iterdir()
    line = ("-m", *LINE, f"init_from={run.name}", "sweep.dry_run=true")
    for split, known in ((1, False), (2, True)):
        done = lenet_train(*line, f"split_seed={split}", outputs=ready)
        assert ("another split" in done.stderr) == known


def test_overrides_of_jobs_contain_the_frozen_value(outputs, tmp_path):
    file = weights_file(tmp_path)
    lines = [[*LINE, "init_from=null"], [*LINE, f"init_from={file}"]]
    random, given = freeze_jobs(["init_from"], lines, [compose(line) for line in lines])
    assert "init_from=null" in random.overrides
    assert given.swept["init_from"] == given.config.init_from
    assert f"init_from={given.config.init_from}" in given.overrides
    assert f"init_from={file}" not in given.overrides


def test_search_finds_weights_once(outputs, tmp_path):
    file = weights_file(tmp_path)
    with composing():
        parsed = OverridesParser.create().parse_overrides(
            [*LINE, f"init_from={file}", "optimizer.lr=0.1,0.01", "n_trials=2"]
        )
        planned = plan_search(parsed, composed)
        file.unlink()  # as if a champion changed
        jobs = [planned.maker.job({"optimizer.lr": lr}, seed=7) for lr in ("0.1", "0.01")]
    assert len({job.config.init_from for job in (*jobs, *planned.corners)}) == 1


def test_frozen_value_stands_for_same_weights_after_file_changes(outputs, tmp_path):
    file = weights_file(tmp_path)
    value = frozen(f"init_from={file}")
    file.write_bytes(weights_file(tmp_path, seed=8).read_bytes())
    assert frozen(f"init_from='{value}'") == value
    assert frozen(f"init_from={file}") != value


def test_layer_of_other_size_keeps_random_weights_and_is_named(outputs, tmp_path, caplog):
    caplog.set_level("INFO")
    config = compose([*LINE])
    weights = dict(load_weights(weights_file(tmp_path))[0])
    weights |= {"fc3.weight": torch.zeros(26, 84), "fc3.bias": torch.zeros(26)}
    network = network_of(config, torch.Generator().manual_seed(1))
    before = network.state_dict()["fc3.weight"].clone()
    assert load_given(network, weights) == ["fc3.weight", "fc3.bias"]
    assert torch.equal(network.state_dict()["fc3.weight"], before)
    assert torch.equal(network.state_dict()["conv1.weight"], weights["conv1.weight"])
    save_weights(tmp_path / "letters.safetensors", weights, {})
    frozen(f"init_from={tmp_path / 'letters.safetensors'}")
    assert any("fc3.weight and fc3.bias" in text for text in caplog.messages)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("model.channels=[8,16]", "conv1.weight"),
        ("model=lenet_300_100", "does not exist"),
    ],
)
def test_weights_of_other_network_are_refused(line, named, outputs, tmp_path):
    file = weights_file(tmp_path)
    with pytest.raises(ConfigError, match="init_from=") as refusal:
        lone_job(compose([*LINE, line, f"init_from={file}"]))
    assert named in str(refusal.value)
    assert not (outputs / "runs").exists()


BFLOAT16 = to_bytes({"a": torch.zeros(1, dtype=torch.bfloat16)})


@pytest.mark.parametrize("content", [b"", b"not safetensors", BFLOAT16, None])
def test_unusable_file_is_one_line(content, ready, tmp_path):
    file = tmp_path / "given.safetensors"
    if content is not None:
        file.write_bytes(content)
    refused(
        lenet_train(*LINE, f"init_from={file}", outputs=ready),
        f"init_from={file}: ",
        program="train",
    )


@pytest.mark.parametrize(
    "value", ["champion", "champion:cifar10", "0123456789abcdef", "x@0123456789abcdef", "1e234567"]
)
def test_unknown_weights_are_one_line(value, ready):
    refused(
        lenet_train(*LINE, f"init_from={value}", outputs=ready),
        f"init_from={value}",
        program="train",
    )


def test_corrupt_copy_is_one_line(ready, tmp_path):
    value = frozen(f"init_from={weights_file(tmp_path)}")
    (copy,) = (ready / FOLDER).iterdir()
    save_file({"a": np.zeros(1)}, copy)
    refused(lenet_train(*LINE, f"init_from='{value}'", outputs=ready), str(copy), program="train")


def test_dry_run_copies_nothing(ready):
    done = lenet_train(
        "-m", *LINE, "init_from=null,champion:mnist", "sweep.dry_run=true", outputs=ready
    )
    assert done.returncode == 0
    assert not (ready / FOLDER).exists()


@pytest.mark.slow(seconds=12)
def test_sweep_starts_from_run_and_champion_and_is_reproduced(ready):
    assert lenet_train(*LINE, "num_epoch=8", outputs=ready).returncode == 0
    (first,) = (ready / "runs").iterdir()
    line = ("-m", *LINE, f"init_from=null,{first.name[:8]},champion:mnist", "seed=1")
    done = succeeded(end(start(*line, outputs=ready)))
    assert done.stdout.count(f"{first.name[:8]}@") >= 1
    sweep = only_sweep(ready)
    records = [RunFolder(ready / "runs" / run).record() for run in sweep.run_ids()]
    at_random, tuned, transferred = (record.best_val_accuracy for record in records)
    assert at_random < min(tuned, transferred)
    run = sweep.run_ids()[1]
    assert (
        "identical"
        in succeeded(end(start(f"run={run}", outputs=ready, program="reproduce"))).stdout
    )
