"""What is being removed: outputs/removing/<name>/, out of everybody's sight, until MLflow has been told.

sweep/        the folder of the sweep, where it is one; moved here first
runs/<run>/   run folders, which say what MLflow has of them
told          MLflow knows; what is left here is only to be deleted

Nothing is told to MLflow before all folders are here, so no run folder stands in runs/ whose MLflow run is deleted, and
lenet-sync has nothing to deliver again. And none is deleted before MLflow has been told, so no MLflow run is forgotten.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lenet_exp.errors import ConfigError
from lenet_exp.files import open_lock
from lenet_exp.folders.owner import Owner, move_away
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder

FOLDER = "removing"


class Removing:
    """One of them.

    Args:
        outputs: the outputs folder.
        name: the sweep's id, or another name for runs of no sweep.
    """

    def __init__(self, outputs: Path, name: str) -> None:
        self.outputs = outputs
        self.name = name
        self.path = outputs / FOLDER / name

    @property
    def sweep(self) -> SweepFolder | None:
        """The sweep's folder, where one has been moved here."""
        return SweepFolder(self.path / "sweep") if (self.path / "sweep").is_dir() else None

    def runs(self) -> list[RunFolder]:
        """The run folders that have been moved here."""
        runs = self.path / "runs"
        return [RunFolder(path) for path in sorted(runs.iterdir())] if runs.is_dir() else []

    @property
    def is_empty(self) -> bool:
        """Whether it was killed before anything was moved here, or after all was deleted."""
        return not self.is_told and self.sweep is None and not self.runs()

    @property
    def is_told(self) -> bool:
        """Whether only the files are left to be deleted."""
        return (self.path / "told").exists()

    def take_sweep(self, sweep: SweepFolder) -> Owner | None:
        """Moves a sweep's folder here. Its living owner, where it has one: then nothing is moved."""
        self.path.mkdir(parents=True, exist_ok=True)
        owner = move_away(sweep.path, self.path / "sweep")
        if owner is not None:
            self._remove_empty()
        return owner

    def take_run(self, folder: RunFolder) -> Owner | None:
        """Moves a run folder here. Its living owner, where it has one: then it stays."""
        to = self.path / "runs" / folder.id
        to.parent.mkdir(parents=True, exist_ok=True)
        number = 0
        while to.exists():  # it was trained anew after a removal that was killed
            number += 1
            to = to.with_name(f"{folder.id}-{number}")
        with folder.delivery_lock():
            return move_away(folder.path, to)

    def told(self) -> None:
        """MLflow has been told all; nothing to note where all has stayed."""
        if self.path.is_dir():
            (self.path / "told").touch()

    def delete(self) -> None:
        """Deletes what is here; told is the last file, since what is left without it has to be told."""
        for part in ("runs", "sweep"):
            if (self.path / part).is_dir():
                shutil.rmtree(self.path / part)
        (self.path / "told").unlink(missing_ok=True)
        self._remove_empty()

    def _remove_empty(self) -> None:
        for folder in (self.path, self.path.parent):
            try:
                folder.rmdir()
            except OSError:  # another one's, or a kill left something
                return


def all_removing(outputs: Path) -> list[Removing]:
    """Those that did not come to their end, the latest first."""
    folder = outputs / FOLDER
    paths = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    found = [Removing(outputs, path.name) for path in sorted(paths, key=lambda p: p.stat().st_mtime, reverse=True)]
    return [removing for removing in found if not removing.is_empty]


@contextmanager
def alone(outputs: Path) -> Iterator[None]:
    """One process at a time removes something from an outputs folder.

    Raises:
        ConfigError: another one does.
    """
    with open_lock(outputs / f".{FOLDER}.lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise ConfigError(f"{outputs}: another lenet-sweep rm is at work there; allowed once it has ended") from e
        yield
