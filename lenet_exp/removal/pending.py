"""A pending removal on disk: the folder outputs/removing/<name>/, which other commands do not read.

sweeps/<sweep>/  sweep folders, moved here first
runs/<run>/      run folders, which contain the IDs of their MLflow runs
told             an empty file, created after the deletions in MLflow; only files are left to delete
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lenet_exp.errors import ConfigError
from lenet_exp.files import open_lock, user_path
from lenet_exp.folders.find import find_sweep
from lenet_exp.folders.owner import Owner, move_away
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.outputs import outputs_dir

FOLDER = "removing"

log = logging.getLogger("lenet_exp")


class PendingRemoval:
    """The folder of a removal, to which the removed folders are moved before they are deleted.

    Args:
        outputs: path of the outputs folder.
        name: name of the folder: the ID of the sweep. Release 0.3 could also remove runs and
            experiments.
    """

    def __init__(self, outputs: Path, name: str) -> None:
        self.outputs = outputs
        self.name = name
        self.path = outputs / FOLDER / name

    def sweeps(self) -> list[SweepFolder]:
        """Return the sweep folders that were moved here."""
        return [SweepFolder(path) for path in sorted(self.path.glob("sweeps/*"))]

    def runs(self) -> list[RunFolder]:
        """Return the run folders that were moved here."""
        return [RunFolder(path) for path in sorted(self.path.glob("runs/*"))]

    @property
    def is_mlflow_done(self) -> bool:
        """True if the deletions in MLflow are done, so that only files are left to delete."""
        return (self.path / "told").exists()

    @property
    def is_started(self) -> bool:
        """True if an earlier `lenet-sweep rm` was interrupted after it had moved a folder."""
        return self.is_mlflow_done or bool(self.sweeps() or self.runs())

    def move_sweep(self, sweep: SweepFolder) -> Owner | None:
        """Move a sweep folder here, unless a running process owns it.

        Returns:
            the owner; None if the folder was moved.
        """
        return self._move(sweep.path, "sweeps")

    def move_run(self, folder: RunFolder) -> Owner | None:
        """Move a run folder here, unless a running process owns it.

        Returns:
            the owner; None if the folder was moved.
        """
        with folder.upload_lock():
            return self._move(folder.path, "runs")

    def mark_mlflow_done(self) -> None:
        """Record that the deletions in MLflow are done."""
        if self.path.is_dir():
            (self.path / "told").touch()

    def delete(self) -> None:
        """Delete this folder and its content; the file `told` is deleted last."""
        for part in ("runs", "sweeps"):
            if (self.path / part).is_dir():
                shutil.rmtree(self.path / part)
        (self.path / "told").unlink(missing_ok=True)

        for folder in (self.path, self.path.parent):
            # An error means that the folder does not exist, or contains another removal.
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _move(self, folder: Path, part: str) -> Owner | None:
        to = self.path / part / folder.name
        to.parent.mkdir(parents=True, exist_ok=True)
        return move_away(folder, to)


def pending_removals(outputs: Path) -> list[PendingRemoval]:
    """Return the interrupted removals in an outputs folder."""
    paths = sorted((outputs / FOLDER).glob("*"))
    removals = [PendingRemoval(outputs, path.name) for path in paths]
    return [removal for removal in removals if removal.is_started]


def find_removal(which: str) -> PendingRemoval:
    """Return the removal of a sweep, which may have been interrupted.

    Args:
        which: the sweep as the user typed it; `last` is an interrupted removal, if there is one.

    Raises:
        ConfigError: the sweep is not found, or another removal was interrupted and must be finished
            first.
    """
    path = user_path(which).absolute()
    is_path = "/" in which and path.parent.name == "sweeps"
    outputs = path.parent.parent if is_path else outputs_dir()
    interrupted = pending_removals(outputs)
    for pending in interrupted:
        is_abbreviated = len(path.name) >= 4 and pending.name.startswith(path.name)
        if which == "last" or is_abbreviated:
            return pending

    if interrupted:
        first = interrupted[0]
        instruction = f"finish the interrupted removal of {first.name} first"
        raise ConfigError(f"sweep={which}: {instruction}: {_command(first)}")

    sweep = find_sweep(which)
    return PendingRemoval(sweep.outputs, sweep.id)


def log_unfinished(outputs: Path) -> None:
    """Log a warning for each interrupted removal, with the command that finishes it."""
    for pending in pending_removals(outputs):
        command = _command(pending)
        log.warning("%s: a removal was interrupted; to finish it, run: %s", pending.path, command)


def _command(pending: PendingRemoval) -> str:
    return f"lenet-sweep rm sweep={pending.name} dry_run=false"


@contextmanager
def exclusive_removal(outputs: Path) -> Iterator[None]:
    """Allow only one removal at a time in an outputs folder.

    Raises:
        ConfigError: another removal is running in that folder.
    """
    with open_lock(outputs / f".{FOLDER}.lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise ConfigError(
                f"{outputs}: another lenet-sweep rm is running in this folder; wait until it ends"
            ) from e
        yield
