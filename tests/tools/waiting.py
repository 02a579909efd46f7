"""Commands whose training waits, so that tests can observe them while they run."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lenet_exp.folders.owner import owner_of
from tests.sweeps.layers import REACHED
from tests.tools.commands import MINE, SMALL, start
from tests.tools.until import until

QUICK = (*SMALL, "tracking.plots=false", "tracking.models=none")
WAITS = (f"--config-dir={MINE}", *QUICK, "num_epoch=3", "num_threads=1", "activation=waits")


@contextmanager
def waiting(
    *arguments: str, outputs: Path, tmp_path: Path, is_uploaded: bool = True
) -> Iterator[subprocess.Popen[str]]:
    """Start a command whose training waits in its second epoch for a signal.

    Args:
        is_uploaded: whether to wait until MLflow shows a run, too.
    """
    reached = tmp_path / "reached"
    os.mkfifo(reached)
    process = start(*arguments, outputs=outputs, env={REACHED: str(reached)})
    pipe = os.open(reached, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert select.select([pipe], [], [], 300)[0], "training did not get there"
        if is_uploaded:
            until(lambda: list(outputs.glob("runs/*/delivered.json")), process)
        yield process
    finally:
        process.kill()
        process.communicate()
        os.close(pipe)
        reached.unlink()


def wait_until_left(folder: Path) -> None:
    """Wait until no process owns the folder; a worker of a killed sweep writes a checkpoint and
    exits.
    """
    deadline = time.monotonic() + 60
    while owner_of(folder) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
