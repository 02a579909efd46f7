"""Activations of one's own that tell what happens in the process that trains with them, or end it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

FOLDER = "LENET_EXP_TEST_FOLDER"  # where they write
REAL_BATCH = 3  # the check before training has a smaller one


def training(module: torch.nn.Module, x: Tensor) -> bool:
    return module.training and len(x) >= REAL_BATCH and FOLDER in os.environ


class Spy(torch.nn.Module):
    """ReLU that writes down who trains with it: process, session, threads, imported modules, environment."""

    def forward(self, x: Tensor) -> Tensor:
        if training(self, x):
            told = {
                "pid": os.getpid(),
                "session": os.getsid(0),
                "threads": torch.get_num_threads(),
                "modules": sorted(sys.modules),
            }
            (Path(os.environ[FOLDER]) / f"spy-{os.getpid()}.json").write_text(json.dumps(told))
        return x.relu()


class Dies(torch.nn.Module):
    """ReLU that ends its process once for each file `die-*` in the folder, in its batch number `after`.

    Args:
        how: `kill` (SIGKILL), `hang` (sleeps for ever) or `raise`.
    """

    def __init__(self, after: int = 60, how: str = "kill") -> None:
        super().__init__()
        self.after = after
        self.how = how
        self.batches = 0

    def forward(self, x: Tensor) -> Tensor:
        if training(self, x):
            self.batches += 1
            if self.batches == self.after:
                self._die()
        return x.relu()

    def _die(self) -> None:
        for file in sorted(Path(os.environ[FOLDER]).glob("die-*")):
            try:
                file.unlink()  # one process takes it
            except FileNotFoundError:
                continue
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif self.how == "hang":
                time.sleep(3600)
            raise RuntimeError("broken on purpose")


class Pauses(torch.nn.Module):
    """ReLU that waits once, at the named pipes `reached` and `go` in the folder."""

    paused = False

    def forward(self, x: Tensor) -> Tensor:
        if training(self, x) and not Pauses.paused:
            Pauses.paused = True
            (Path(os.environ[FOLDER]) / "reached").write_text("here")  # waits for the reader
            (Path(os.environ[FOLDER]) / "go").read_text()  # waits for the writer
        return x.relu()
