from __future__ import annotations

import os
from pathlib import Path

import pytest

from lenet_exp.api import compose
from lenet_exp.config.schema import Config


@pytest.fixture(scope="session")
def real_data() -> str:
    """The folder with real MNIST and FashionMNIST."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    root = os.environ.get("LENET_EXP_DATA") or (str(beside) if beside.is_dir() else "")
    if not root or not (Path(root) / "MNIST" / "raw").is_dir():
        pytest.skip(f"no real MNIST in LENET_EXP_DATA={root or '(not set)'}")
    return root


@pytest.fixture(scope="session")
def digits() -> Config:
    return compose(["dataset=digits"])
