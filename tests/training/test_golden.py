"""Stored losses detect changes in the results of a configuration."""

from __future__ import annotations

import json

import pytest

from lenet_exp.config.fingerprint import TRAINING_VERSION
from tests.training.golden import CONFIGURATIONS, FILE, outcome

GOLDEN = json.loads(FILE.read_text())


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_training_matches_golden_losses(name):
    """If this test fails, undo the change, or raise TRAINING_VERSION and run `python -m
    tests.training.golden`.
    """
    now, then = outcome(name), GOLDEN["outcomes"][name]
    assert now["step_losses"] == pytest.approx(then["step_losses"], rel=1e-4)
    # Rounding errors grow over the 40 steps of the epoch.
    assert now["train_loss"] == pytest.approx(then["train_loss"], rel=2e-3)
    assert now["val_loss"] == pytest.approx(then["val_loss"], rel=2e-2)
    assert now["train_accuracy"] == pytest.approx(then["train_accuracy"], abs=5 / 1250)
    assert now["val_accuracy"] == pytest.approx(then["val_accuracy"], abs=4 / 250)


def test_golden_losses_belong_to_current_training_version():
    assert GOLDEN["training_version"] == TRAINING_VERSION
    assert set(GOLDEN["outcomes"]) == set(CONFIGURATIONS)
