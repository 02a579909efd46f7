"""Activations of one's own, as a person would add them through --config-dir; these get in the way of training."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch
from torch import Tensor

from lenet_exp.stopping import stop_signal

REACHED = "LENET_EXP_TEST_REACHED"  # names a named pipe
REAL_BATCH = 3  # the check before training has a smaller one


class _Counts(torch.nn.Module):
    """ReLU that acts once, before batch `after` + 1."""

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
            Path(os.environ[REACHED]).write_text("here")  # waits for the reader
            while self.stubborn or stop_signal() is None:
                time.sleep(0.02)
