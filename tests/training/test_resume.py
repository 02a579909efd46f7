"""A stopped training resumes to the bits of an uninterrupted training."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.fit import fit
from lenet_exp.training.snapshot import restore, snapshot
from lenet_exp.training.state import Best, TrainingState
from lenet_exp.training.trained.weights import load_weights, save_weights
from tests.training.small import configure, digest, start

LINE = (
    "num_epoch=3",
    "dataset.train_size=120",
    "batch_size=25",
    "dataset.val_size=100",
)  # 5 steps an epoch
STEPS = 15
_OPTIONS = """
    activation=rrelu regularization.dropout_rate=0.3 schedule=one_cycle
    augmentation=[shift,affine,elastic,flip,erase] training.label_smoothing=0.1 training.clip_norm=1
    training.ema_decay=0.9 training.patience=2 training.min_delta=0.001
"""
OPTIONS = tuple(_OPTIONS.split())
PARTS = "tests.training.clumsy.parts"
OWN = (
    f"+augmentation.own={{_target_:{PARTS}.Noise}}",
    f"+schedule.own={{_target_:{PARTS}.triangle}}",
)


def train(
    overrides: tuple[str, ...], stops: tuple[int, ...], path: Path
) -> tuple[TrainingState, list[EpochResult]]:
    """Train, stop after each of these steps (counted over the whole training), and resume in a new
    state.
    """
    results: list[EpochResult] = []
    state, data = start(configure(*LINE, *overrides))
    done = 0
    for at in (*stops, None):
        seen = done

        def stop(at: int | None = at) -> bool:
            nonlocal seen
            seen += 1
            return seen == at

        results += list(fit(state, data, stop=stop))
        if at is None:
            break
        assert seen == at
        done = at
        tensors, values = snapshot(state)
        save_weights(path, tensors, {"values": json.dumps(values)})
        tensors, metadata = load_weights(path)
        best, (state, _) = state.best, start(state.config)
        restore(state, tensors, json.loads(metadata["values"]))
        if best is not None:
            predictions = tensors["best_predictions"].to(torch.int64)
            state.best = Best(
                best.epoch, best.val_accuracy, best.weights, predictions, val_metric=best.val_metric
            )
    return state, results


def numbers(result: EpochResult) -> tuple:
    """Return the parts of a result that do not depend on the clock."""
    losses = [(iteration, loss) for iteration, loss, _ in result.step_losses]
    validation = result.val_loss, result.val_accuracy, result.val_metric
    return result.epoch, result.train_loss, result.train_accuracy, *validation, losses


def same(
    one: tuple[TrainingState, list[EpochResult]], other: tuple[TrainingState, list[EpochResult]]
) -> None:
    assert [numbers(r) for r in one[1]] == [numbers(r) for r in other[1]]
    assert digest(one[0]) == digest(other[0])
    for a, b in zip(
        one[0].model.state_dict().values(), other[0].model.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)


@cache
def whole(overrides: tuple[str, ...]) -> tuple[TrainingState, list[EpochResult]]:
    """Return the training state and the results of an uninterrupted training."""
    return train(overrides, (), Path())


@pytest.mark.parametrize(
    ("optimizer", "more"),
    [
        ("sgd", ("activation=prelu", "schedule=linear", "schedule.warmup=0.2")),
        ("adam", ("optimizer.amsgrad=true", "schedule=cosine")),
        ("adamw", ("activation=rrelu", "regularization.dropout_rate=0.3", "schedule=step")),
        ("rmsprop", ("activation=prelu", "num_iter_echo=2")),
        ("sgd", ("training.select=last",)),
        (
            "sgd",
            (
                f"optimizer._target_={PARTS}.Grouped",
                "+optimizer.mult=3",
                "schedule=linear",
                "regularization=none",
            ),
        ),
        ("sgd", ("model=convnet", "model.residual=true", "training.ema_decay=0.9")),
        ("sgd", (*OWN, "loss=focal", "loss.class_weights=balanced", "metric=loss")),
    ],
)
def test_training_stopped_twice_resumes_with_each_optimizer(optimizer, more, tmp_path):
    line = (f"optimizer={optimizer}", "optimizer.lr=0.003", *more)
    same(train(line, (3, 9), tmp_path / "state"), whole(line))


@settings(max_examples=4)
@given(stops=st.sets(st.integers(1, STEPS), min_size=1, max_size=4))
@example(stops={5})  # after the last step of an epoch
@example(stops={1, STEPS})
def test_training_stopped_anywhere_resumes_with_all_options(stops, tmp_path_factory):
    one = train(OPTIONS, tuple(sorted(stops)), tmp_path_factory.mktemp("stopped") / "state")
    same(one, whole(OPTIONS))
    averages = (state.average.state_dict().values() for state, _ in (one, whole(OPTIONS)))
    assert all(torch.equal(a, b) for a, b in zip(*averages, strict=True))


def test_patience_continues_after_interruption(tmp_path):
    line = ("optimizer.lr=1e-9", "training.patience=2", "num_epoch=9")
    interrupted = train(line, (7, 12), tmp_path / "state")
    same(interrupted, whole(line))
    assert len(interrupted[1]) == 3


def test_unsupported_optimizer_state_is_named():
    state, data = start(configure(*LINE))
    next(fit(state, data))
    next(iter(state.optimizer.state.values()))["odd"] = [1, 2]
    with pytest.raises(TypeError, match="`odd`"):
        snapshot(state)
