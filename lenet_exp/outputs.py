"""The outputs folder, which contains the folders of all runs and sweeps."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lenet_exp.errors import ConfigError
from lenet_exp.files import user_path

VARIABLE = "LENET_EXP_OUTPUTS"


def outputs_dir() -> Path:
    """Return the absolute path of the outputs folder, which need not exist.

    The path is the value of LENET_EXP_OUTPUTS or, by default, `outputs` in the working directory.
    """
    return user_path(os.environ.get(VARIABLE) or "outputs").absolute()


@contextmanager
def fixed_outputs_dir() -> Iterator[None]:
    """Keep the outputs folder in a `with` block, in which the user's own code may change the
    working directory.

    Raises:
        ConfigError: LENET_EXP_OUTPUTS is not a valid path.
    """
    value_before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(outputs_dir())
    try:
        yield
    finally:
        if value_before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = value_before


def check_outputs(folder: Path) -> None:
    """Check that an outputs folder is writable or can be created. The folder is not created.

    Raises:
        ConfigError: the folder is not writable and cannot be created.
    """
    existing_folder = _existing_folder(folder)
    try:
        with tempfile.TemporaryDirectory(prefix=".lenet_exp-", dir=existing_folder):
            pass
    except OSError as e:
        problem = e.strerror
        if not existing_folder.exists():
            problem = f"{existing_folder} is a symbolic link whose target does not exist"
        raise ConfigError(
            f"outputs folder {folder}: cannot be written ({problem}); "
            "set LENET_EXP_OUTPUTS to another folder"
        ) from e


def _existing_folder(folder: Path) -> Path:
    """Return the folder or the closest folder above it that exists, which can be a broken link."""
    while not os.path.lexists(folder):
        folder = folder.parent
    return folder
