from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Tests run side by side (`-n auto`); what one of them trains is too small for two threads."""
    torch.set_num_threads(1)
