"""A run on disk: outputs/runs/<run ID>/.

MLflow receives only results that are in a checkpoint in this folder.

job.json              frozen configuration, fingerprint, and name; written first, later included in
                      record.json
history.json, state-*, best-*   checkpoints (checkpoints.py)
mistakes.png          the worst mistakes that the best weights make on validation images, if any
record.json           outcome and all data needed to reproduce the result; written last
run.log               the run's log, with the traceback if it failed
delivered.json        the part of the run that each MLflow store has received
test.json             the test accuracy, once lenet-predict has evaluated the run
abandoned.json        MLflow runs from abandoned attempts, in folders from release 0.3
lock, owner.json      the current owner of the run (owner.py)
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from lenet_exp.errors import DamagedError
from lenet_exp.files import DISK_ERRORS, remove, write_atomic, write_json
from lenet_exp.folders.checkpoints import (
    END,
    Checkpoints,
    file_sha256,
    read_history,
    rewrite_history,
)
from lenet_exp.folders.damage import damage_error, read_checked, read_or_none, warn_once
from lenet_exp.folders.delivered import (
    Delivered,
    DeliveredRun,
    read_delivered,
    upload_lock,
    write_delivered,
)
from lenet_exp.folders.digests import (
    RETRAIN_ADVICE,
    record_with_digests,
    verified,
    verified_with_history,
    with_digest,
)
from lenet_exp.folders.owner import DELIVERED, locked_folder
from lenet_exp.folders.records import (
    History,
    Progress,
    Record,
    TestResult,
    record_from_json,
    record_to_json,
    test_result_from_json,
)
from lenet_exp.folders.stored import from_stored, to_json
from lenet_exp.training.trained.weights import Arrays, load_arrays

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("lenet_exp")

# NFS can cache a folder's names for this long (acdirmax).
HIDDEN_SECONDS = 60.0

CHANGED = "it was changed after it was written"

# The files that stay when a run starts over.
KEPT = {"lock", "owner.json", "run.log", DELIVERED, "abandoned.json"}

# The maximum number of cached runs per process, 15 kB each.
CACHED_RUNS = 50_000


def run_id(experiment: str, fingerprint: str, *execution: object) -> str:
    """Return the ID of a run (32 hex digits), which is the name of its folder.

    Args:
        experiment: name of the MLflow experiment.
        fingerprint: fingerprint of the run's configuration.
        execution: device and number of threads, if a sweep trains configurations with the same
            fingerprint on several devices or with several numbers of threads.
    """
    parts = (experiment, fingerprint, *execution)
    text = "\n".join(str(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class RunFolder:
    """Reader and writer of a run folder. A process must own the folder (`claim`) to write to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        """The ID of the run, which is the name of the folder."""
        return self.path.name

    @property
    def log_file(self) -> Path:
        """The path of run.log."""
        return self.path / "run.log"

    def claim(self) -> AbstractContextManager[None]:
        """Own the run folder for the duration of a `with` block.

        If another process owns it, wait for that process.
        """
        return locked_folder(self.path, "this run")

    def upload_lock(self) -> AbstractContextManager[None]:
        """Prevent other processes from uploading the run for the duration of a `with` block.

        Only processes on this machine are affected.
        """
        return upload_lock(self.path)

    def start(self, begun: Record) -> Checkpoints:
        """Start the run over: empty the folder except for the log, and write job.json.

        Args:
            begun: record of the run, without an outcome. Its start time tells the next upload that
                the entries in delivered.json are about an earlier attempt.
        """
        # record.json is removed first, because it is invalid without its history.
        paths = sorted(self.path.iterdir(), key=lambda path: path.name != "record.json")
        for path in paths:
            if path.name not in KEPT:
                remove(path)

        self.begin(begun)
        return Checkpoints(self.path)

    def begin(self, begun: Record) -> None:
        """Write the first record of a run."""
        write_json(self.path / "job.json", with_digest(record_to_json(begun)))

    def resume(self) -> Checkpoints:
        """Remove the final record of a run that was killed or failed, so that it can resume."""
        record = self.record()
        if not (self.path / "job.json").exists() and record is not None:
            self.begin(record)

        (self.path / "record.json").unlink(missing_ok=True)
        return Checkpoints(self.path)

    def save_picture(self, name: str, png: bytes) -> None:
        """Save a picture as `<name>.png` for the process that uploads the run.

        Args:
            png: content of the file.
        """
        write_atomic(self.path / f"{name}.png", png)

    def pictures(self) -> list[Path]:
        """Return the paths of the saved pictures."""
        return sorted(path for path in self.path.glob("*.png") if path.is_file())

    def begun(self) -> Record | None:
        """Return the record from the start of the current attempt.

        The result is None if the folder contains no run.
        """
        begun = read_or_none(self.path / "job.json", _verified_record, RETRAIN_ADVICE)
        return self.record() if begun is None else begun

    def inherited_epochs(self) -> int:
        """Return the number of epochs inherited from a run with a smaller `num_epoch`."""
        begun = self.begun()
        return 0 if begun is None else begun.inherited_epochs

    def history(self) -> History:
        """Return the history of the run, which is empty if the run has no checkpoint."""
        return read_history(self.path)

    def progress(self) -> Progress:
        """Return the run's progress up to its last checkpoint.

        history.json is read again only if it has changed.
        """
        return _progress(self.path, _stamp(self.path / "history.json"))

    def best_weights(self) -> dict[str, Tensor] | None:
        """Return the best weights as tensors; see `best_arrays`."""
        import torch

        arrays = self.best_arrays()
        if arrays is None:
            return None
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def best_arrays(self) -> Arrays | None:
        """Return the best weights as arrays, or None if they are missing or corrupt.

        Corruption is logged.
        """
        best = self.history().best
        if best is None:
            return None

        path = self.path / best.weights
        try:
            if best.sha256 and file_sha256(path) != best.sha256:
                raise ValueError(CHANGED)
            arrays, _ = load_arrays(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, SafetensorError) as e:
            warn_once(damage_error(path, e, "to retrain the run, set sweep.force=true"))
            return None
        return arrays

    def finish(self, record: Record) -> Record:
        """Write the final record, and return it as stored.

        If the run has a result, the checkpoints are removed.
        """
        rewrite_history(self.path)  # in this release's format, so that the digest stays valid
        value = record_with_digests(record_to_json(record), self.path / "history.json")
        write_json(self.path / "record.json", value)
        self.clean_up()
        return record_from_json(value)

    def remove_optional_files(self) -> list[str]:
        """Remove the final training state and the pictures of a run.

        Returns:
            names of the removed files.
        """
        optional_paths = [self.path / END, *self.pictures()]
        files = [path for path in optional_paths if path.is_file()]
        for path in files:
            path.unlink()
        return [path.name for path in files]

    def needs_cleanup(self) -> bool:
        """Return whether the run has a result but its process died before the cleanup."""
        return (self.path / "job.json").exists() and self.result() is not None

    def clean_up(self) -> None:
        """Remove the checkpoints of the run if it has a result.

        If the disk is full, log a warning. The next command for this run repeats the cleanup.
        """
        if not self.needs_cleanup():
            return

        try:
            Checkpoints(self.path).clean()
            # removed last, because it marks an unfinished cleanup
            (self.path / "job.json").unlink()
        except OSError as e:
            if e.errno not in DISK_ERRORS:
                raise
            log.warning("%s: checkpoints not removed (%s)", self.path, e.strerror)

    def record(self) -> Record | None:
        """Return the final record, or None if it is missing or corrupt; corruption is logged."""
        try:
            return self.checked_record()
        except DamagedError as e:
            warn_once(e)
            return None

    def checked_record(self) -> Record | None:
        """Return the final record, or None if it is missing.

        Raises:
            DamagedError: the record or its history was edited or is corrupt.
        """
        path = self.path / "record.json"
        return _record(path, _stamp(path), _stamp(self.path / "history.json"))

    def await_record(self) -> None:
        """Wait up to a minute for record.json, which a network file system can show late."""
        deadline = time.monotonic() + HIDDEN_SECONDS
        while not (self.path / "record.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
            # Opening a folder refreshes its cached names (close-to-open consistency).
            with contextlib.suppress(OSError):
                os.listdir(self.path)

    def result(self) -> Record | None:
        """Return the record if it is a result: finished or diverged."""
        record = self.record()
        if record is None or not record.is_result:
            return None
        return record

    def checked_result(self) -> Record | None:
        """Return the record if it is a result and the file with the best weights is not corrupt.

        Otherwise, the result is None. The file with the best weights can be missing. Corruption is
        logged.

        Raises:
            DamagedError: this user must not read the record or the weights. Retraining would
                replace an intact result.
        """
        try:
            record = self.checked_record()
        except DamagedError as e:
            if e.is_denied:
                raise
            warn_once(e)
            return None
        if record is None or not record.is_result:
            return None

        error = self.weights_error()
        if error is None:
            return record
        if error.is_denied:
            raise error
        warn_once(error)
        return None

    def weights_error(self) -> DamagedError | None:
        """Return the error for a corrupt file with the best weights.

        The result is None if the file is intact or missing.
        """
        best = self.progress().best
        if best is None or not best.sha256:
            return None

        weights = self.path / best.weights
        if not weights.exists():
            return None

        try:
            digest = _digest(weights, _stamp(weights))
        except OSError as e:
            return damage_error(weights, e, RETRAIN_ADVICE)
        return None if digest == best.sha256 else damage_error(weights, CHANGED, RETRAIN_ADVICE)

    def test_result(self) -> TestResult | None:
        """Return the test result of the best weights.

        The result is None if `lenet-predict sweep=` has not evaluated these weights.
        """
        remedy = "to evaluate the run again, run lenet-predict"
        test_result = read_or_none(self.path / "test.json", test_result_from_json, remedy)
        if test_result is None:
            return None

        record = self.result()
        if record is None or record.weights_digest != test_result.weights_digest:
            return None
        return test_result

    def save_test_result(self, result: TestResult) -> None:
        """Save the test result of a finished run.

        Raises:
            OSError: the folder cannot be written to.
        """
        with self.claim():
            write_json(self.path / "test.json", with_digest(to_json(result)))

    def delivered(self) -> Delivered:
        """Return the part of the run that each MLflow store has received; empty if unknown."""
        return read_delivered(self.path, Delivered) or Delivered()

    def set_delivered(self, run: DeliveredRun) -> None:
        """Record which part of the run an MLflow store has received."""
        delivered = self.delivered()
        entries = [*delivered.other_runs(run.store), run]
        write_delivered(self.path, replace(delivered, mlflow_runs=entries))

    def forget_upload(self, store: str) -> None:
        """Record that an MLflow store may lack any result of this run.

        The next upload sends all results.
        """
        with self.upload_lock():
            entry = self.delivered().run_in(store)
            if entry is not None:
                nothing = replace(entry, begun=False, epochs=0, ended_ms=None, model=False)
                self.set_delivered(nothing)

    def has_no_metrics(self, created_ms: int) -> bool:
        """Return whether no MLflow store has metrics from an attempt at this run.

        In that case, starting over cannot log a metric twice.

        Args:
            created_ms: start time of the attempt, in milliseconds since 1970.
        """
        entries = self.delivered().mlflow_runs
        of_attempt = [entry for entry in entries if entry.created_ms in (0, created_ms)]
        return all(entry.epochs == 0 for entry in of_attempt)

    def abandoned(self) -> list[DeliveredRun]:
        """Return the MLflow runs from abandoned attempts at this run that release 0.3 recorded."""
        remedy = "MLflow may show earlier attempts as RUNNING"
        runs_from_json = partial(from_stored, list[DeliveredRun])
        return read_or_none(self.path / "abandoned.json", runs_from_json, remedy) or []


def _verified_record(value: Any) -> Record:
    return record_from_json(verified(value))


# Parsed files are cached until the file changes, because a sweep reads each record about ten times.
# A file that was replaced or written has a different stamp. The stamp is taken before reading, so a
# concurrent write causes a new read.


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(CACHED_RUNS)
def _record(path: Path, *stamps: object) -> Record | None:
    def record_of(value: Any) -> Record | None:
        verified_value = verified_with_history(value, path)
        return None if verified_value is None else record_from_json(verified_value)

    return read_checked(path, record_of, RETRAIN_ADVICE)


@lru_cache(CACHED_RUNS)
def _progress(folder: Path, stamp: object) -> Progress:
    history = read_history(folder)
    ends = tuple(epoch.time_ms for epoch in history.epochs)
    seconds = tuple(epoch.epoch_seconds for epoch in history.epochs)
    return Progress(ends, history.best, seconds)


@lru_cache(CACHED_RUNS)
def _digest(path: Path, stamp: object) -> str:
    return file_sha256(path)
