from __future__ import annotations

import pytest

from lenet_exp.api import compose
from lenet_exp.config.schema import Config


@pytest.fixture(scope="session")
def digits() -> Config:
    return compose(["dataset=digits"])
