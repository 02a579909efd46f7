"""The outputs folder, which holds everything that runs write."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from lenet_exp.errors import ConfigError
from lenet_exp.files import user_path


def outputs_dir() -> Path:
    """Return `$LENET_EXP_OUTPUTS`, or `outputs` in the working directory, as an absolute path; it need not exist."""
    return user_path(os.environ.get("LENET_EXP_OUTPUTS") or "outputs").absolute()


def check_outputs(folder: Path) -> None:
    """Check that an outputs folder can be written to, leaving nothing behind.

    Raises:
        ConfigError: the folder cannot be written to.
    """
    try:
        there = next(p for p in (folder, *folder.parents) if p.exists())
        with tempfile.TemporaryDirectory(prefix=".lenet_exp-", dir=there):
            pass
    except OSError as e:
        raise ConfigError(
            f"outputs folder {folder}: cannot be written ({e.strerror}); set LENET_EXP_OUTPUTS to another folder"
        ) from e
