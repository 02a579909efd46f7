"""Uploading and exporting processes for which the disk is full when a model is exported."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

from lenet_exp import processes
from lenet_exp.tracking.models import exporter
from lenet_exp.tracking.uploader import process
from lenet_exp.training.trained import exported

EXPORTER = "exporter"  # argument of the exporting process


def main() -> None:
    """Run the uploading process or, with the argument, the exporting process that it starts."""
    if sys.argv[1:] == [EXPORTER]:
        exported.export_trained = _fail
        exporter.main()
        return
    start_module = processes.start_module
    processes.start_module = lambda module, **options: start_module(
        "tests.tools.failing_export", EXPORTER, **options
    )
    process.main()


def _fail(*_: Any) -> bytes:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "archive")
