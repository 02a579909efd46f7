"""The outputs folder, which contains the folders of all runs and sweeps."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from lenet_exp.errors import ConfigError
from lenet_exp.files import user_path


def outputs_dir() -> Path:
    """Return the absolute path of the outputs folder, which need not exist.

    The path is the value of LENET_EXP_OUTPUTS or, by default, `outputs` in the working directory.
    """
    return user_path(os.environ.get("LENET_EXP_OUTPUTS") or "outputs").absolute()


def check_outputs(folder: Path) -> None:
    """Check that an outputs folder is writable or can be created. The folder is not created.

    Raises:
        ConfigError: the folder is not writable and cannot be created.
    """
    try:
        there = next(p for p in (folder, *folder.parents) if os.path.lexists(p))
        with tempfile.TemporaryDirectory(prefix=".lenet_exp-", dir=there):
            pass
    except OSError as e:
        why = e.strerror if there.exists() else f"{there} is a symbolic link whose target does not exist"
        raise ConfigError(
            f"outputs folder {folder}: cannot be written ({why}); set LENET_EXP_OUTPUTS to another folder"
        ) from e
