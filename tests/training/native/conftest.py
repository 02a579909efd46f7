from __future__ import annotations

import pytest

from lenet_exp.training.native import library
from lenet_exp.training.native.library import Kernels


@pytest.fixture(scope="session")
def kernels() -> Kernels:
    """Return this machine's kernels, compiled once into the user's cache (six seconds of a
    core).
    """
    found = library.kernels()
    if isinstance(found, str):
        pytest.skip(f"no native engine here: {found}")
    return found
