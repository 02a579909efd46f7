"""Real trainings with the native engine: stored digests, other threads and CPUs, torch's losses,
interruptions.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lenet_exp.training.engine import TorchEngine
from lenet_exp.training.execution import NATIVE_ADAPTIVE, NATIVE_AUGMENTATION, NATIVE_KERNEL
from lenet_exp.training.fit import Divergence, fit
from lenet_exp.training.native.engine import NativeEngine
from lenet_exp.training.snapshot import restore, snapshot
from lenet_exp.training.trained.weights import load_weights, save_weights
from tests.training.native import trained
from tests.training.native.trained import (
    CONFIGURATIONS,
    IN_CI,
    SHAPES,
    fit_native,
    started,
    state_digest,
    train_mnist,
    train_native,
    train_shape,
)

NOTED = json.loads(trained.NOTED.read_text())
DIGESTS = NOTED["digits"]
BY_HAND = pytest.mark.by_hand
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_training_matches_stored_digest(kernels, name):
    """After an intended change, raise `NATIVE_KERNEL` (or only `NATIVE_ADAPTIVE` or
    `NATIVE_AUGMENTATION`) and run `python -m tests.training.native.trained` to store the new
    digests."""
    assert train_native(kernels, name) == DIGESTS[name]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in IN_CI else BY_HAND) for name in SHAPES]
)
def test_training_of_another_shape_matches_stored_digest(kernels, name):
    assert train_shape(name, threads=1) == NOTED["shapes"][name]
    assert train_shape(name, threads=2) == NOTED["shapes"][name]


def test_training_on_mnist_matches_stored_digest(kernels, real_data):
    assert train_mnist(kernels, real_data) == NOTED["mnist"]


def test_stored_digests_belong_to_current_kernels():
    assert NOTED["kernel"] == NATIVE_KERNEL
    assert NOTED["adaptive"] == NATIVE_ADAPTIVE
    assert NOTED["augmentation"] == NATIVE_AUGMENTATION


@pytest.mark.slow(seconds=6)
def test_digests_do_not_depend_on_torch_code_for_other_cpus(kernels):
    line = [sys.executable, "-m", "tests.training.native.trained", kernels._library._name, "2"]
    done = subprocess.run(
        line,
        env=os.environ | {"ATEN_CPU_CAPABILITY": "default"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    digests = {}
    for printed in done.stdout.splitlines():
        digest, name = printed.split(" ", 1)
        digests[name] = digest
    assert digests == DIGESTS


@pytest.mark.parametrize(
    "name", ["selu, nesterov", "relu, adam, averaged", "prelu, rmsprop, clipped"]
)
def test_losses_match_torch(kernels, name):
    line = ("num_epoch=1", "num_iter_echo=1")
    native_state, data = started(name, *line)
    torch_state, _ = started(name, *line)

    (native,) = fit_native(kernels, native_state, data)
    (expected,) = fit(torch_state, data, engine=TorchEngine())

    assert len(native.step_losses) == len(expected.step_losses)
    for i, (_, expected_loss, _) in enumerate(expected.step_losses):
        assert native.step_losses[i][1] == pytest.approx(expected_loss, rel=2e-3)
    assert native.lr == pytest.approx(expected.lr, rel=1e-12)
    assert native.val_loss == pytest.approx(expected.val_loss, rel=5e-3)


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("rrelu, adamw, dropout", 1),
        ("relu, adam, averaged", 7),  # the last step of an epoch
        ("prelu, rmsprop, clipped", 11),
        ("moved", 4),
    ],
)
def test_stopped_training_resumes_with_other_threads(kernels, name, at, tmp_path):
    state, data = started(name)
    calls = itertools.count(1)
    fit_native(kernels, state, data, stop=lambda: next(calls) == at)
    tensors, values = snapshot(state)
    save_weights(tmp_path / "commit", tensors, {"values": values})

    tensors, metadata = load_weights(tmp_path / "commit")
    resumed, data = started(name, "num_threads=2")
    restore(resumed, tensors, metadata["values"])
    resumed.best = state.best
    fit_native(kernels, resumed, data)

    assert state_digest(resumed) == DIGESTS[name]


def test_diverging_training_reports_divergence(kernels):
    state, data = started("selu, nesterov", "optimizer.lr=1e4", "num_epoch=5")
    result = fit_native(kernels, state, data)[-1]
    assert isinstance(result, Divergence)
    assert not math.isfinite(result.loss)


@pytest.mark.parametrize(
    ("what", "number"), [("labels", 10), ("labels", -1), ("train_index", 10**6)]
)
def test_labels_and_indices_out_of_range_are_refused(kernels, what, number):
    state, data = started("elu")
    numbers = getattr(data, what)  # shared with other tests
    original = int(numbers[3])
    numbers[3] = number
    try:
        with pytest.raises(ValueError, match=str(number)):
            NativeEngine(kernels).stepper(state, data, 10)
    finally:
        numbers[3] = original
