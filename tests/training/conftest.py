from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Use one thread, because tests run in parallel (`-n auto`) and train too little for two
    threads.
    """
    torch.set_num_threads(1)
