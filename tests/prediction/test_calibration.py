"""Calibration of test results."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

import lenet_exp
from lenet_exp.prediction.score import BINS, measure_calibration
from tests.tools.commands import SMALL
from tests.tools.stores import client, files, runs


def test_calibration_measures_match_definitions():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(500, 4, generator=generator) * 2
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    logits *= 1.7  # too confident

    calibration = measure_calibration(logits, labels)

    log_p = log_softmax(logits.double().numpy(), axis=1)  # (images, classes)
    p = np.exp(log_p)
    truth = labels.numpy()
    one_hot = np.eye(4)[truth]
    assert calibration.nll == pytest.approx(-log_p[np.arange(500), truth].mean())
    assert calibration.brier == pytest.approx(((p - one_hot) ** 2).sum(1).mean())

    confidence = p.max(1)
    is_right = p.argmax(1) == truth
    ece = 0.0
    for i in range(BINS):
        inside = (confidence > i / BINS) & (confidence <= (i + 1) / BINS)
        if inside.any():
            gap = abs(confidence[inside].mean() - is_right[inside].mean())
            ece += inside.mean() * gap
    assert calibration.ece == pytest.approx(ece)
    assert sum(b.images for b in calibration.bins) == 500


@pytest.fixture(scope="module")
def outputs_of_one(trained_outputs):
    return trained_outputs(*SMALL, "num_epoch=2", "num_threads=1", "tracking.plots=false")


def test_calibration_is_printed_written_and_logged(outputs_of_one, main, workdir, monkeypatch):
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(outputs_of_one))
    store = client(outputs_of_one)
    (run,) = runs(store)

    done = main("dataset=digits", "output=test.json", program="predict", status=0)

    calibration = json.loads((workdir / "test.json").read_text())["calibration"]
    metrics = store.get_run(run.info.run_id).data.metrics
    for name in ("ece", "nll", "brier"):
        assert metrics[f"test_{name}"] == calibration[name]
        assert f"{calibration[name]:.4f}" in done.stdout
    (from_python,) = lenet_exp.predict(["dataset=digits", "num_threads=1"])
    assert from_python["calibration"] == calibration
    assert files(store, run.info.run_id) >= {
        "test_reliability_diagram.png",
        "test_confusion_matrix.svg",
    }
