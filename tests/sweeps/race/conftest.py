"""A race that has ended, and copies of its outputs folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.sweeps.race.race_results import GRID, WITHIN
from tests.tools.commands import Done, lenet_train, succeeded


@pytest.fixture(scope="package")
def raced(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """The outputs folder of a race, and the command that trained it."""
    outputs = Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("within") / "outputs"))
    return outputs, succeeded(lenet_train(*GRID, WITHIN, "sweep.workers=2", outputs=outputs))


@pytest.fixture
def copy(raced: tuple[Path, Done], tmp_path: Path) -> Path:
    """A copy of the outputs folder of the race."""
    return Path(shutil.copytree(raced[0], tmp_path / "outputs"))
