from __future__ import annotations

import pytest

from lenet_exp.training.native import library
from lenet_exp.training.native.library import Kernels


@pytest.fixture(scope="session")
def kernels() -> Kernels:
    """Return this machine's kernels, compiled once into the user's cache (six seconds of a
    core).
    """
    kernels = library.kernels()
    if isinstance(kernels, str):
        pytest.skip(f"no native engine here: {kernels}")
    return kernels
