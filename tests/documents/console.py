"""Run a `lenet-*` script as installed by pip, without the working directory on its path (see
tests/tools/warm.py).
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path


def main() -> None:
    """Run the program that sys.argv names."""
    python_path = os.environ.get("PYTHONPATH", "")
    sys.path[:1] = [str(Path(sys.executable).parent), *filter(None, python_path.split(os.pathsep))]
    program = sys.argv[0].removeprefix("lenet-")
    importlib.import_module(f"lenet_exp.commands.{program}").main()
