"""A loss that becomes NaN or infinite ends a run, and the step is reported."""

from __future__ import annotations

import math

import pytest

from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.fit import Divergence, fit
from tests.training.small import configure, first_divergence, start, train

FAST = ["optimizer.lr=1e6"]  # diverges in the first epoch
LATE = ["activation=relu", "optimizer.maximize=true", "optimizer.lr=0.006", "num_epoch=4"]  # gradient ascent


@pytest.mark.parametrize(
    ("every", "overrides"), [(1, FAST), (3, FAST), (1000, FAST), (20, ["optimizer.lr=20", "activation=relu"])]
)
def test_divergence_is_detected_at_first_nonfinite_loss(every, overrides):
    lane, data = start(configure(*overrides, f"num_iter_echo={every}"))
    echoed = []
    (end,) = fit(lane, data, lambda iteration, loss: echoed.append((iteration, loss)))
    assert isinstance(end, Divergence)
    assert (end.epoch, end.step) == first_divergence(configure(*overrides))
    assert not math.isfinite(end.loss)
    assert all(math.isfinite(loss) for _, loss in echoed)
    if every == 1:
        assert [(i, loss) for i, loss, _ in end.step_losses] == echoed
        assert [i for i, _ in echoed] == list(range(1, end.step))


def test_divergence_keeps_earlier_epochs_and_counts_all_iterations():
    lane, results = train(*LATE)
    *before, end = results
    assert isinstance(end, Divergence)
    assert (end.epoch, end.step) == first_divergence(configure(*LATE))
    assert end.epoch > 1
    assert end.step > 40 * (end.epoch - 1)
    assert [r.epoch for r in before if isinstance(r, EpochResult)] == list(range(1, end.epoch))
    assert lane.best.val_accuracy == max(r.val_accuracy for r in before)


def test_divergence_in_last_step_is_detected_in_validation():
    lane, ((end),) = train("optimizer.lr=1e30", "dataset.train_size=32")
    assert isinstance(end, Divergence)
    assert (end.epoch, end.step) == (1, 1)
    assert not math.isfinite(end.loss)
    assert lane.best is None
