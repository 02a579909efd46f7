from __future__ import annotations

import pytest

from lenet_exp.config.schema import Config
from tests.tools.configs import compose


@pytest.fixture(scope="session")
def digits() -> Config:
    return compose(["dataset=digits"])
