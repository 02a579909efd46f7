"""`mlflow models serve` returns the same logits for a champion as `lenet_exp.load`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import torch
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

import lenet_exp
from tests.tools.commands import SMALL, free_port, lenet_train

MODEL = "models:/lenet5-digits@champion"


@contextlib.contextmanager
def served(outputs: Path, log: Path) -> Iterator[tuple[requests.Session, str]]:
    """Serve the champion; yield a session and its address, and end the server and its workers afterward."""
    port = free_port()
    command = ["mlflow", "models", "serve", "-m", MODEL, "--env-manager", "local", "--host", "127.0.0.1"]
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{outputs / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),  # for uvicorn
    }
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", *command, "--port", str(port)],
            env=environment,
            cwd=log.parent,  # not the checkout, because serving must not need its code
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        with requests.Session() as session:
            session.trust_env = False
            session.mount("http://", HTTPAdapter(max_retries=Retry(total=600, backoff_factor=0.05, backoff_max=0.5)))
            assert session.get(f"http://127.0.0.1:{port}/ping", timeout=60).status_code == 200, log.read_text()
            yield session, f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


@pytest.mark.by_hand
def test_served_champion_returns_logits_of_loaded_model(ready, tmp_path):
    assert lenet_train(*SMALL, "num_epoch=3", "num_threads=1", "tracking.plots=false", outputs=ready).returncode == 0
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with served(ready, tmp_path / "serve.log") as (session, address):
        answer = session.post(f"{address}/invocations", json={"inputs": images.tolist()}, timeout=120)
    assert answer.status_code == 200, answer.text
    logits = torch.tensor(answer.json()["predictions"])
    with torch.inference_mode():
        torch.testing.assert_close(logits, lenet_exp.load("lenet5-digits")(images), rtol=1e-4, atol=1e-4)
