"""lenet-predict with ensemble=true, and lenet-export with sweep=."""

from __future__ import annotations

import json

import pytest
import torch

import lenet_exp
from lenet_exp.tracking.models.load import load_run
from tests.prediction.test_export import EVERY, METADATA, READERS
from tests.tools.commands import SMALL, refused
from tests.tools.stores import client, runs

pytestmark = pytest.mark.slow(seconds=3)

SWEEP = (
    "-m",
    "hydra/launcher=basic",
    *SMALL,
    "model=convnet",
    "tracking.plots=false",
    "num_epoch=2",
    "num_threads=1",
)


@pytest.fixture(scope="module")
def outputs_of_three(trained_outputs):
    return trained_outputs(*SWEEP, "seed=range(3)")


@pytest.fixture
def swept(outputs_of_three, monkeypatch):
    """Return the networks of the sweep's seeds."""
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(outputs_of_three))
    uri = f"sqlite:///{outputs_of_three}/mlflow.db"
    return [load_run(run.info.run_id, uri).network for run in runs(client(outputs_of_three))]


@pytest.mark.slow(seconds=8)
def test_ensemble_and_members_are_scored_in_one_evaluation(swept, main, workdir, outputs_of_three):
    done = main("sweep=last", "ensemble=true", "output=test.json", program="predict", status=0)

    (result,) = json.loads((workdir / "test.json").read_text())
    ensemble = result["ensemble"]
    store = client(outputs_of_three)
    assert {run.data.tags["test_opened"] for run in runs(store)} == {"1"}
    parent = runs(store, "sweep")[0]
    metrics = parent.data.metrics
    assert metrics["test_accuracy_ensemble"] == ensemble["accuracy"]
    artifacts = {artifact.path for artifact in store.list_artifacts(parent.info.run_id)}
    assert {
        "test_reliability_diagram_ensemble.png",
        "test_confusion_matrix_ensemble.svg",
    } <= artifacts
    for name in ("ece", "nll", "brier"):
        assert metrics[f"test_{name}_ensemble"] == ensemble["calibration"][name]
    # The negative log-likelihood and the Brier score are convex in the probabilities.
    for name in ("nll", "brier"):
        mean = sum(run["score"]["calibration"][name] for run in result["runs"]) / 3
        assert mean == pytest.approx(metrics[f"test_{name}"])
        assert ensemble["calibration"][name] < mean
    assert f"{ensemble['accuracy'] * 100:.2f}%" in done.stdout

    (repeated,) = lenet_exp.predict(["sweep=last", "ensemble=true", "num_threads=1"])
    assert repeated["ensemble"]["accuracy"] == ensemble["accuracy"]


@pytest.mark.parametrize("name", EVERY)
def test_exported_sweep_is_best_seed_of_leader(name, swept, main, workdir, outputs_of_three):
    path = workdir / f"one.{name}"

    done = main("sweep=last", f"format={name}", f"output={path.name}", program="export")

    assert done.returncode == 0
    members = runs(client(outputs_of_three))
    best = max(members, key=lambda run: run.data.metrics["best_val_accuracy"])
    record = json.loads(METADATA[name](path)["record"])
    assert record["config"]["seed"] == int(best.data.params["seed"])
    images = torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        logits = READERS[name](path, images)
        expected = lenet_exp.load(f"runs:/{best.info.run_id}")(images)
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-3)


def test_invalid_ensemble_request_gives_one_line_error(swept, main, workdir):
    for program, line in (
        ("predict", "ensemble=true dataset=digits"),
        ("export", "format=pt2 sweep=none"),
        ("export", "format=pt2 sweep=last dataset=mnist"),
    ):
        refused(main(*line.split(), program=program))
    assert list(workdir.iterdir()) == []


def test_ensemble_of_single_seed_is_refused(main, ready, workdir):
    assert main(*SWEEP, "num_epoch=1", "activation=relu,selu").returncode == 0
    refused(main("sweep=last", "ensemble=true", program="predict"))
    assert not any("test_opened" in run.data.tags for run in runs(client(ready)))
