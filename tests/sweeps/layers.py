"""Custom activations that interrupt training, added with --config-dir as a user would add them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch
from torch import Tensor

from lenet_exp.stopping import stop_signal

REACHED = "LENET_EXP_TEST_REACHED"  # names a named pipe
REAL_BATCH = 3  # the check before training uses a smaller batch


class _Counts(torch.nn.Module):
    """A ReLU that calls `act` once, before batch `after` + 1."""

    def __init__(self, after: int = 60) -> None:
        super().__init__()
        self.after = after
        self.batches = 0

    def forward(self, x: Tensor) -> Tensor:
        self.batches += self.training and len(x) >= REAL_BATCH
        if self.batches == self.after + 1:
            self.act()
        return x.relu()

    def act(self) -> None:
        raise NotImplementedError


class Raises(_Counts):
    def act(self) -> None:
        raise RuntimeError("broken on purpose,\nin two lines")


class Waits(_Counts):
    waited = False

    def __init__(self, after: int = 60, stubborn: bool = False) -> None:
        super().__init__(after)
        self.stubborn = stubborn

    def act(self) -> None:
        if REACHED in os.environ and not Waits.waited:
            Waits.waited = True
            Path(os.environ[REACHED]).write_text("here")  # blocks until the pipe has a reader
            while self.stubborn or stop_signal() is None:
                time.sleep(0.02)
