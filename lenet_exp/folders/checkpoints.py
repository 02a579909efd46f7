"""Checkpoints from which a run can resume. Each checkpoint is written in a single atomic step.

history.json             epochs so far, the best epoch, and the two newest checkpoints (key
                         `commits`); written last
state-<epoch>-<steps>.safetensors   network, optimizer, random generators, and position in training
best-<epoch>.safetensors            the best weights
end.safetensors          training state after the last epoch, from which a run with a larger
                         num_epoch continues; its digest is in record.json

A checkpoint exists once history.json lists its files and their digests.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from lenet_exp.config.schema import Config
from lenet_exp.config.typed_json import read_as
from lenet_exp.errors import first_line
from lenet_exp.files import check_regular, json_text, write_json
from lenet_exp.folders.damage import read_or_none
from lenet_exp.folders.digests import RETRAIN_ADVICE, verified, with_digest
from lenet_exp.folders.records import BestWeights, Checkpoint, History, Record
from lenet_exp.folders.stored import to_json
from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.schedule import depends_on_length
from lenet_exp.training.trained.weights import load_weights, save_weights

if TYPE_CHECKING:
    from torch import Tensor

    from lenet_exp.training.state import Best, TrainingState

# The minimum interval: fsync after every epoch would slow down runs with short epochs.
CHECKPOINT_SECONDS = 2.0

END = "end.safetensors"

# The number of checkpoints kept: the newest and, in case it is corrupt, the previous one.
KEPT = 2

log = logging.getLogger("lenet_exp")


def keeps_state(config: Config) -> bool:
    """Return whether a run with this configuration should keep its final training state."""
    return config.keep_state and not depends_on_length(config.schedule)


class CorruptCheckpoint(Exception):
    """Raised if a checkpoint cannot be used; the message contains the reason."""


class Checkpoints:
    """Reader and writer of the checkpoints in a run folder. This process must own the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds = 0.0  # seconds of training before this process took over
        self.resumed = 0  # number of times the run resumed
        # step losses of the epoch in which the run diverged
        self.diverged: list[tuple[int, float, int]] = []
        # all epochs so far, including epochs before an interruption
        self.epochs: list[EpochResult] = []
        self._checkpoints: list[Checkpoint] = []
        self._written_at = 0.0

    def add(self, result: EpochResult) -> None:
        """Add an epoch's result for the next `write`.

        Nothing is added if the history already contains a result for this epoch.
        """
        if result.epoch > len(self.epochs):
            self.epochs.append(result)

    def due(self) -> bool:
        """Return whether the last checkpoint is at least `CHECKPOINT_SECONDS` old."""
        return time.monotonic() - self._written_at >= CHECKPOINT_SECONDS

    def write(self, state: TrainingState, seconds: float) -> None:
        """Write a checkpoint of a run's training state.

        Args:
            state: training state of the run.
            seconds: training time so far in seconds, including time before interruptions.
        """
        name = f"state-{state.position.epoch}-{state.position.steps}.safetensors"
        digest = self.write_state(state, name)
        best = self._write_best(state.best)

        checkpoint = Checkpoint(name, digest, best, seconds)
        others = [other for other in self._checkpoints if other.state != name]
        self._checkpoints = [checkpoint, *others][:KEPT]

        # Older files are removed last, because history.json lists them until it is replaced.
        self._write_history(best)
        self._remove_files(keep=self._file_names())
        self._written_at = time.monotonic()

    def write_state(self, state: TrainingState, name: str = END) -> str:
        """Write a run's training state, and return the digest of the file.

        Args:
            name: name of the file; by default, that of the state after the last epoch.
        """
        from lenet_exp.training.snapshot import snapshot

        tensors, values = snapshot(state)
        save_weights(self.path / name, tensors, {"values": values})
        return file_sha256(self.path / name)

    def inherit(self, other: Checkpoints, state: TrainingState) -> None:
        """Write this run's first checkpoint, whose state another run's checkpoints restored."""
        self.epochs = other.epochs
        self.seconds = other.seconds
        self.write(state, self.seconds)

    def write_results(self, best: Best | None) -> History:
        """Write the epochs' results and the best weights at the end of training.

        No new checkpoint is written.

        Returns:
            the stored history.
        """
        stored_best = self._write_best(best)
        return self._write_history(stored_best)

    def restore_end(self, state: TrainingState, record: Record) -> bool:
        """Restore the state in which another run ended, and return whether it is intact.

        Corruption is logged.

        Args:
            state: initial training state of a run, which is updated in place.
            record: record of the other run, which is finished or pruned.
        """
        history = read_history(self.path)
        if record.end_state:
            ends = [Checkpoint(END, record.end_state, history.best, record.seconds)]
        else:
            ends = history.commits

        for end in ends:
            try:
                state.best = self._restore(state, end)
            except CorruptCheckpoint as e:
                log.warning("%s: its final training state is corrupt (%s)", self.path, e)
                continue

            self.epochs = history.epochs
            self.seconds = end.seconds
            return True
        return False

    def restore(self, state: TrainingState) -> bool:
        """Restore a run's training state from the newest intact checkpoint.

        Corrupt checkpoints are logged. If no checkpoint is intact, the run starts over.

        Args:
            state: initial training state of the run, which is updated in place.

        Returns:
            whether an intact checkpoint was found.
        """
        history = read_or_none(self.path / "history.json", _history, "the run starts over")
        if history is not None:
            if self._restore_newest(state, history):
                return True
            log.info("%s: no usable checkpoint; the run starts over", self.path)

        self.epochs = []
        self._checkpoints = []
        return False

    def _restore_newest(self, state: TrainingState, history: History) -> bool:
        for checkpoint in history.commits:
            try:
                state.best = self._restore(state, checkpoint)
            except CorruptCheckpoint as e:
                log.warning(
                    "%s: a checkpoint is corrupt (%s); trying the previous one", self.path, e
                )
                continue

            self.epochs = history.epochs
            self._checkpoints = [checkpoint]
            self.seconds = checkpoint.seconds
            self.resumed = history.resumed + 1
            return True
        return False

    def clean(self) -> None:
        """Remove all checkpoints of a run that has ended, but keep its history and best weights."""
        history = read_or_none(self.path / "history.json", _history, "its checkpoints are kept")
        if history is None:
            return

        self._checkpoints = []
        write_history(self.path, replace(history, commits=[]))
        best_files = {history.best.weights} if history.best is not None else set()
        self._remove_files(keep=best_files)

    def _write_best(self, best: Best | None) -> BestWeights | None:
        if best is None:
            return None

        for checkpoint in self._checkpoints:
            stored_best = checkpoint.best
            if stored_best is not None and stored_best.epoch == best.epoch:
                return stored_best
        return save_best(
            self.path, best.epoch, best.val_accuracy, best.val_metric, weights=best.weights
        )

    def _write_history(self, best: BestWeights | None) -> History:
        history = History(
            self.epochs, best, self._checkpoints, self.resumed, diverged=self.diverged
        )
        write_json(self.path / "history.json", with_digest(to_json(history)))
        return history

    def _file_names(self) -> set[str]:
        names = set()
        for checkpoint in self._checkpoints:
            names.add(checkpoint.state)
            if checkpoint.best is not None:
                names.add(checkpoint.best.weights)
        return names

    def _remove_files(self, keep: set[str]) -> None:
        states = self.path.glob("state-*.safetensors")
        weights = self.path.glob("best-*.safetensors")
        for path in (*states, *weights):
            if path.name not in keep:
                path.unlink(missing_ok=True)

    def _restore(self, state: TrainingState, checkpoint: Checkpoint) -> Best | None:
        from torch import int64

        from lenet_exp.training.snapshot import restore
        from lenet_exp.training.state import Best

        tensors, metadata = self._load(checkpoint.state, checkpoint.sha256)
        stored_best = checkpoint.best
        best = None
        if stored_best is not None:
            weights, _ = self._load(stored_best.weights, stored_best.sha256)
            predictions = tensors["best_predictions"].to(int64)
            best = Best(
                stored_best.epoch,
                stored_best.val_accuracy,
                weights,
                predictions,
                val_metric=stored_best.val_metric,
            )

        try:
            restore(state, tensors, metadata["values"])
        except (KeyError, ValueError, RuntimeError, TypeError) as e:
            raise CorruptCheckpoint(f"{checkpoint.state} is from a different program: {e}") from e
        return best

    def _load(self, name: str, sha256: str) -> tuple[dict[str, Tensor], dict[str, str]]:
        try:
            if file_sha256(self.path / name) != sha256:
                raise CorruptCheckpoint(f"{name} was changed after it was written")
            return load_weights(self.path / name)
        except (OSError, ValueError, SafetensorError) as e:
            raise CorruptCheckpoint(f"{name}: {first_line(e)}") from e


def save_best(
    path: Path,
    epoch: int,
    val_accuracy: float,
    val_metric: float | None,
    *,
    weights: Mapping[str, Tensor],
) -> BestWeights:
    """Save the best weights in a run folder, and return their entry for the history."""
    file = path / f"best-{epoch}.safetensors"
    save_weights(file, weights, {"epoch": str(epoch)})
    return BestWeights(epoch, val_accuracy, file.name, file_sha256(file), val_metric=val_metric)


def read_history(path: Path) -> History:
    """Return the history in a run folder, or an empty history if it is missing or corrupt.

    Corruption is logged.
    """
    return read_or_none(path / "history.json", _history, RETRAIN_ADVICE) or History()


def write_history(path: Path, history: History) -> None:
    """Write the history of a run that has ended.

    Its digest is omitted, because the run's record contains it.
    """
    write_json(path / "history.json", to_json(history))


def rewrite_history(path: Path) -> None:
    """Rewrite the history in a run folder in this release's format.

    A corrupt history is logged and replaced with an empty history.
    """
    file = path / "history.json"
    history = read_history(path)
    if not file.exists():
        return

    is_current = file.is_file() and file.read_bytes() == json_text(to_json(history)).encode()
    if not is_current:
        write_history(path, history)


def _history(value: Any) -> History:
    history = read_as(History, verified(value))
    history.other.pop("digest", None)
    return history


def file_sha256(path: Path) -> str:
    """Return the SHA-256 digest (hex) of a regular file."""
    check_regular(path)
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
