"""Reproduces a run from its record, by retraining it in a separate folder."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace

from lenet_exp.folders.owner import locked_folder
from lenet_exp.folders.records import Outcome, Record
from lenet_exp.machine import command_line, now_ms
from lenet_exp.outputs import check_outputs
from lenet_exp.reproduction.repeatable import RepeatableRun, repeatable
from lenet_exp.reproduction.reproduce_result import (
    ReproduceResult,
    ReproduceStatus,
    compare_trainings,
    not_comparable,
)
from lenet_exp.runs.run import run
from lenet_exp.tracking.models.recorded import RecordedRun
from lenet_exp.training.epoch import EpochResult

log = logging.getLogger("lenet_exp")


def reproduce(
    recorded: RecordedRun,
    *,
    data_root: str | None = None,
    file: str | None = None,
    trust: str | None = None,
) -> ReproduceResult:
    """Retrain a run with its recorded settings, and compare each epoch with the original run.

    The original run is not changed. The retrained run is stored in `outputs/reproduced/<run>`,
    where it can be resumed. Once it is complete, it is kept only if its results are not identical
    to the original results. If two processes reproduce the same run, the second process waits for
    the first.

    Args:
        recorded: run to reproduce.
        data_root, file, trust: see `repeatable`.

    Raises:
        ConfigError: `trust` contains an invalid name, `file` cannot be used for this run, or the
            outputs folder cannot be written to.
        BaseException: training failed or was interrupted; the original exception is raised.
    """
    ready = repeatable(recorded, data_root, file, trust)
    if isinstance(ready, ReproduceResult):
        return ready
    record = ready.record
    if not record.epochs and record.outcome is not Outcome.diverged:
        return not_comparable(f"{record.outcome} before the end of its first epoch")

    check_outputs(ready.job.outputs)
    if ready.excuse:
        log.info("results may differ on this machine: %s", ready.excuse)
    folder = ready.job.folder
    with locked_folder(ready.job.outputs, "the retrained run"):
        retrained, epochs = _retrain(ready)
        result = compare_trainings(record, recorded.epochs, retrained, epochs, excuse=ready.excuse)
        if result.verdict is ReproduceStatus.identical:
            shutil.rmtree(folder.path.parent)
            return result
    return replace(result, details=[*result.details, f"retrained run: {folder.path}"])


def _retrain(ready: RepeatableRun) -> tuple[Record, list[EpochResult]]:
    """Retrain a run.

    If an earlier retraining was interrupted, it is resumed. If it was complete, the run starts
    over.
    """
    original = ready.record
    folder = ready.job.folder

    # A pruned, killed, or failed run has no more epochs to compare.
    def has_enough_epochs(result: EpochResult) -> bool:
        return not original.is_result and result.epoch >= original.epochs

    earlier = folder.record()
    forced_ms = 0
    if earlier is not None and earlier.outcome not in {Outcome.killed, Outcome.failed}:
        forced_ms = now_ms()

    retrained = run(
        ready.job,
        command=command_line(),
        default_threads=ready.job.config.num_threads or 1,
        forced_ms=forced_ms,
        prune=has_enough_epochs,
    )
    return retrained.record, folder.history().epochs
