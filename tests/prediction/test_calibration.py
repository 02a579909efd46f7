"""Calibration of test results, and temperature scaling."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch.nn import functional as F

import lenet_exp
from lenet_exp.prediction.score import BINS, Temperature, measure_calibration
from lenet_exp.prediction.temperature import fit_temperature
from lenet_exp.tracking.models.load import load_run
from tests.prediction.test_export import METADATA, READERS, without_record
from tests.tools.commands import SMALL, refused
from tests.tools.stores import client, files, runs


def scaled_logits(n: int, temperature: float, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits scaled by `temperature`, and labels drawn from the probabilities of the unscaled logits."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(n, classes, generator=generator) * 2
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    return logits * temperature, labels


def test_calibration_measures_match_definitions():
    logits, labels = scaled_logits(500, 1.7)
    found = measure_calibration(logits, labels, Temperature(2.0, 30))
    log_p = log_softmax(logits.double().numpy() / 2, axis=1)
    p, truth = np.exp(log_p), labels.numpy()
    assert found.nll == pytest.approx(-log_p[np.arange(500), truth].mean())
    assert found.brier == pytest.approx(((p - np.eye(4)[truth]) ** 2).sum(1).mean())
    top, right, ece = p.max(1), p.argmax(1) == truth, 0.0
    for m in range(BINS):
        inside = (top > m / BINS) & (top <= (m + 1) / BINS)
        if inside.any():
            ece += inside.mean() * abs(top[inside].mean() - right[inside].mean())
    assert found.ece == pytest.approx(ece)
    assert sum(b.images for b in found.bins) == 500
    assert (found.temperature, found.val_images) == (2.0, 30)


def test_certain_and_uniform_predictions_have_known_calibration():
    labels = torch.tensor([0, 1, 2, 3])
    certain = measure_calibration(F.one_hot(labels, 4) * 1e4, labels)
    assert (certain.ece, certain.nll, certain.brier) == (0, 0, 0)
    uniform = measure_calibration(torch.zeros(4, 4), labels)
    assert (uniform.ece, uniform.nll, uniform.brier) == pytest.approx((0, np.log(4), 0.75))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_fitted_temperature_recovers_true_temperature(temperature):
    logits, labels = scaled_logits(20_000, temperature)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.05)
    before, after = (measure_calibration(logits, labels, Temperature(t)) for t in (1.0, found))
    assert after.nll <= before.nll
    assert after.ece < 0.02


def test_no_temperature_fits_separable_or_useless_logits():
    labels = torch.arange(4).repeat(5)
    right = F.one_hot(labels, 4).float()
    assert fit_temperature(right, labels) is None
    assert fit_temperature(-right, labels) is None


@pytest.fixture(scope="module")
def outputs_of_one(trained_outputs):
    return trained_outputs(*SMALL, "num_epoch=2", "num_threads=1", "tracking.plots=false")


def test_calibrated_results_are_printed_written_logged_and_exported(outputs_of_one, main, workdir, monkeypatch):
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(outputs_of_one))
    store = client(outputs_of_one)
    (run,) = runs(store)
    assert main("dataset=digits", "output=before.json", program="predict").returncode == 0
    done = main("dataset=digits", "calibrate=true", "output=test.json", program="predict", status=0)
    written = json.loads((workdir / "test.json").read_text())
    assert json.loads((workdir / "before.json").read_text())["scaled"] is None
    plain, scaled = written["calibration"], written["scaled"]
    metrics = store.get_run(run.info.run_id).data.metrics
    for name in ("ece", "nll", "brier"):
        assert metrics[f"test_{name}"] == plain[name]
        assert metrics[f"test_{name}_scaled"] == scaled[name]
        assert f"{plain[name]:.4f}" in done.stdout
        assert f"{scaled[name]:.4f}" in done.stdout
    (from_python,) = lenet_exp.predict(["dataset=digits", "calibrate=true", "num_threads=1"])
    assert from_python["scaled"] == scaled
    assert metrics["temperature"] == scaled["temperature"] != 1
    assert files(store, run.info.run_id) >= {"test_reliability_diagram.png", "test_confusion_matrix.svg"}

    main("dataset=digits", "format=pt2", "calibrate=true", "output=m.pt2", program="export", status=0)
    images = torch.rand(5, 1, 32, 32) * 2 - 1
    answer = READERS["pt2"](workdir / "m.pt2", images)
    network = load_run(run.info.run_id, f"sqlite:///{outputs_of_one}/mlflow.db").network
    with torch.inference_mode():
        torch.testing.assert_close(answer, network(images) / scaled["temperature"])
    assert float(METADATA["pt2"](workdir / "m.pt2")["temperature"]) == scaled["temperature"]
    refused(main("dataset=digits", "format=safetensors", "calibrate=true", program="export"))


def test_model_without_record_cannot_be_calibrated(main, workdir, tmp_path):
    from lenet_exp.prediction.portable import write_portable

    write_portable(without_record(), "safetensors", tmp_path / "old.safetensors")
    done = main("dataset=digits", "calibrate=true", f"trained_model={tmp_path / 'old.safetensors'}", program="predict")
    assert (done.returncode, done.stderr.splitlines()[-1].count("calibrate=true")) == (2, 1), done.stderr
