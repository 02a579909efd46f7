"""User-defined activations that record the state of the training process, or end it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

FOLDER = "LENET_EXP_TEST_FOLDER"  # the folder to which the activations write
REAL_BATCH = 3  # the check before training uses a smaller batch


def training(module: torch.nn.Module, x: Tensor) -> bool:
    return module.training and len(x) >= REAL_BATCH and FOLDER in os.environ


class Spy(torch.nn.Module):
    """A ReLU that records the training process: its ID, session, threads and imported modules."""

    def forward(self, x: Tensor) -> Tensor:
        if training(self, x):
            state = {
                "pid": os.getpid(),
                "session": os.getsid(0),
                "threads": torch.get_num_threads(),
                "modules": sorted(sys.modules),
            }
            (Path(os.environ[FOLDER]) / f"spy-{os.getpid()}.json").write_text(json.dumps(state))
        return x.relu()


class Dies(torch.nn.Module):
    """A ReLU that ends its process in batch number `after`, once for each file `die-*` in the
    folder.

    Args:
        how: `kill` (SIGKILL), `hang` (sleeps forever) or `raise`.
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
                file.unlink()  # only one process succeeds
            except FileNotFoundError:
                continue
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif self.how == "hang":
                time.sleep(3600)
            raise RuntimeError("broken on purpose")


class Pauses(torch.nn.Module):
    """A ReLU that waits once, at the named pipes `reached` and `go` in the folder."""

    paused = False

    def forward(self, x: Tensor) -> Tensor:
        if training(self, x) and not Pauses.paused:
            Pauses.paused = True
            # blocks until the pipe has a reader
            (Path(os.environ[FOLDER]) / "reached").write_text("here")
            (Path(os.environ[FOLDER]) / "go").read_text()  # blocks until the pipe has a writer
        return x.relu()
