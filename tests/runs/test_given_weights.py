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
    weights, _ = load_weights(weights_file(tmp_path))
    state = new_training_state(config, torch.device("cpu"), weights)
    assert state.average is not None
    for network in (state.model, state.average):
        assert weights_digest(network.state_dict()) == weights_digest(weights)


def test_fingerprint_depends_on_weights_but_not_on_their_name(outputs, tmp_path):
    first = weights_file(tmp_path)
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "other.safetensors"
    copy.write_bytes(first.read_bytes())
    second = weights_file(tmp_path, seed=8)

    random = lone_job(compose([*LINE]))
    from_first = lone_job(compose([*LINE, f"init_from={first}"]))
    from_copy = lone_job(compose([*LINE, f"init_from={copy}"]))
    from_second = lone_job(compose([*LINE, f"init_from={second}"]))

    assert from_first.fingerprint == from_copy.fingerprint
    assert from_first.config.init_from == from_copy.config.init_from
    assert len({job.fingerprint for job in (random, from_first, from_second)}) == 3


def test_weights_of_another_split_are_reported(ready):
    assert lenet_train(*LINE, "split_seed=1", outputs=ready).returncode == 0
    (run,) = (ready / "runs").iterdir()
    line = ("-m", *LINE, f"init_from={run.name}", "sweep.dry_run=true")
    same_split = lenet_train(*line, "split_seed=1", outputs=ready)
    assert "another split" not in same_split.stderr
    other_split = lenet_train(*line, "split_seed=2", outputs=ready)
    assert "another split" in other_split.stderr


def test_overrides_of_jobs_contain_the_frozen_value(outputs, tmp_path):
    file = weights_file(tmp_path)
    lines = [[*LINE, "init_from=null"], [*LINE, f"init_from={file}"]]
    configs = [compose(line) for line in lines]

    random, from_file = freeze_jobs(["init_from"], lines, configs)

    assert "init_from=null" in random.overrides
    assert from_file.swept["init_from"] == from_file.config.init_from
    assert f"init_from={from_file.config.init_from}" in from_file.overrides
    assert f"init_from={file}" not in from_file.overrides


def test_search_finds_weights_once(outputs, tmp_path):
    file = weights_file(tmp_path)
    line = [*LINE, f"init_from={file}", "optimizer.lr=0.1,0.01", "n_trials=2"]
    with composing():
        planned = plan_search(OverridesParser.create().parse_overrides(line), composed)
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
    of_ten_classes, _ = load_weights(weights_file(tmp_path))
    of_other_size = {"fc3.weight": torch.zeros(26, 84), "fc3.bias": torch.zeros(26)}
    weights = {**of_ten_classes, **of_other_size}
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
    done = lenet_train(*LINE, f"init_from={file}", outputs=ready)
    refused(done, f"init_from={file}: ", program="train")


@pytest.mark.parametrize(
    "value", ["champion", "champion:cifar10", "0123456789abcdef", "x@0123456789abcdef", "1e234567"]
)
def test_unknown_weights_are_one_line(value, ready):
    done = lenet_train(*LINE, f"init_from={value}", outputs=ready)
    refused(done, f"init_from={value}", program="train")


def test_corrupt_copy_is_one_line(ready, tmp_path):
    value = frozen(f"init_from={weights_file(tmp_path)}")
    (copy,) = (ready / FOLDER).iterdir()
    save_file({"a": np.zeros(1)}, copy)
    done = lenet_train(*LINE, f"init_from='{value}'", outputs=ready)
    refused(done, str(copy), program="train")


def test_dry_run_copies_nothing(ready):
    line = ("-m", *LINE, "init_from=null,champion:mnist", "sweep.dry_run=true")
    done = lenet_train(*line, outputs=ready)
    assert done.returncode == 0
    assert not (ready / FOLDER).exists()


@pytest.mark.slow(seconds=12)
def test_sweep_starts_from_run_and_champion_and_is_reproduced(ready):
    assert lenet_train(*LINE, "num_epoch=8", outputs=ready).returncode == 0
    (first,) = (ready / "runs").iterdir()
    line = ("-m", *LINE, f"init_from=null,{first.name[:8]},champion:mnist", "seed=1")

    done = succeeded(end(start(*line, outputs=ready)))

    assert f"{first.name[:8]}@" in done.stdout
    run_ids = only_sweep(ready).run_ids()
    accuracies = []
    for run_id in run_ids:
        record = RunFolder(ready / "runs" / run_id).record()
        accuracies.append(record.best_val_accuracy)
    at_random, tuned, transferred = accuracies
    assert at_random < tuned
    assert at_random < transferred

    _, tuned_run, _ = run_ids
    reproduced = end(start(f"run={tuned_run}", outputs=ready, program="reproduce"))
    assert "identical" in succeeded(reproduced).stdout
