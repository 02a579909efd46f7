"""`mlflow models serve` returns the same logits for a champion as `lenet_exp.load`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import requests
import torch

import lenet_exp
from tests.tools.commands import SMALL, free_port, serving


@pytest.mark.by_hand
def test_served_champion_returns_logits_of_loaded_model(trained_outputs, tmp_path, monkeypatch):
    outputs = trained_outputs(*SMALL, "num_epoch=3", "num_threads=1", "tracking.plots=false")
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(outputs))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # for uvicorn
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.chdir(tmp_path)  # not the checkout, because serving must not need its code
    port = free_port()
    options = f"--env-manager local --host 127.0.0.1 --port {port}"
    command = f"-m mlflow models serve -m models:/lenet5-digits@champion {options}"
    environment = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{outputs / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    address = f"http://127.0.0.1:{port}"

    with serving(
        [sys.executable, *command.split()],
        environment,
        tmp_path / "serve.log",
        f"{address}/ping",
    ):
        answer = requests.post(
            f"{address}/invocations", json={"inputs": images.tolist()}, timeout=120
        )

    assert answer.status_code == 200, answer.text
    logits = torch.tensor(answer.json()["predictions"])
    with torch.inference_mode():
        expected = lenet_exp.load("lenet5-digits")(images)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
