"""A `lenet-*` script as pip installs it, for tests/tools/warm.py: the working directory is not on its path."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path


def main() -> None:
    """Runs the program that sys.argv names."""
    said = os.environ.get("PYTHONPATH", "")
    sys.path[:1] = [str(Path(sys.executable).parent), *filter(None, said.split(os.pathsep))]
    program = sys.argv[0].removeprefix("lenet-")
    importlib.import_module(f"lenet_exp.commands.{program}").main()
