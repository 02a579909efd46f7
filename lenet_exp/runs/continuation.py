"""Continues an equal run with a smaller `num_epoch`, so that no epoch is trained twice."""

from __future__ import annotations

import logging
from dataclasses import replace

from lenet_exp.config.class_groups import option_name
from lenet_exp.config.fingerprint import shorter_fingerprints
from lenet_exp.config.schema import Schedule
from lenet_exp.folders.checkpoints import END, Checkpoints
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome, Record
from lenet_exp.folders.run_folder import RunFolder, run_id
from lenet_exp.runs.jobs import execution_of
from lenet_exp.training.schedule import depends_on_length
from lenet_exp.training.state import TrainingState

log = logging.getLogger("lenet_exp")


def continue_shorter_run(
    job: Job, new: Record, state: TrainingState, since_ms: int
) -> tuple[Record, Checkpoints | None]:
    """Restore the final state of the run with the most epochs that the new run can continue.

    The results are bit-identical to those of an uninterrupted run.

    Args:
        job: job of the new run.
        new: record of the new run.
        state: initial training state of the new run, which is updated in place.
        since_ms: time in milliseconds since 1970; runs that started before this time are ignored.

    Returns:
        The record of the new run, which contains the ID of the other run, and the other run's
        restored checkpoints; None instead of checkpoints if the new run starts from the beginning.
    """
    schedule = job.config.schedule

    for folder, record in _shorter_runs(job, new, since_ms):
        run = f"{folder.id[:8]} (num_epoch={record.config.num_epoch})"

        if depends_on_length(schedule):
            flag = _flag_of(schedule)
            reason = f"{flag} depends on num_epoch"
            log.info("%s: not continuing run %s, because %s", new.name, run, reason)
            return new, None

        if record.outcome is Outcome.finished and not (folder.path / END).exists():
            reason = "its final training state was not kept"
            log.info("%s: not continuing run %s, because %s", new.name, run, reason)
            continue

        checkpoints = Checkpoints(folder.path)
        if checkpoints.restore_end(state, record):
            epochs = len(checkpoints.epochs)
            log.info("%s: continuing run %s after epoch %d", new.name, run, epochs)
            return replace(new, continued_from=folder.id, inherited_epochs=epochs), checkpoints

    return new, None


def _flag_of(schedule: Schedule) -> str:
    """Return the flag that sets a schedule, such as `schedule.shape=cosine`."""
    if schedule.own:
        return f"schedule.own={option_name(schedule.own)}"
    return f"schedule.shape={schedule.shape}"


def _shorter_runs(job: Job, new: Record, since_ms: int) -> list[tuple[RunFolder, Record]]:
    """Return the ended runs that differ only in a smaller `num_epoch`, most epochs first.

    A run has ended if it is finished or pruned.
    """
    experiment = job.config.tracking.experiment
    runs = []
    for fingerprint in shorter_fingerprints(job.config, new.data_digests):
        for execution in ((), execution_of(job.executed)):
            folder = RunFolder(job.outputs / "runs" / run_id(experiment, fingerprint, *execution))
            if not (folder.path / "record.json").exists():
                continue

            record = folder.record()
            if record is None or record.outcome not in {Outcome.finished, Outcome.pruned}:
                continue
            if record.created_ms >= since_ms and not record.execution_differences(new):
                runs.append((folder, record))

    return sorted(runs, key=lambda run: -run[1].epochs)
