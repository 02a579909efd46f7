"""One run from its configuration to its record: data -> fit -> run folder -> MLflow."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenet_exp.config.check import check_config
from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.config.schema import Config
from lenet_exp.config.targets import option_name
from lenet_exp.data.images import TrainingData, load_training_data
from lenet_exp.errors import first_line
from lenet_exp.execution import cpu_count, prepare
from lenet_exp.outputs import check_outputs, outputs_dir
from lenet_exp.record import conclude, freeze
from lenet_exp.reports.progress import display, log_to_file
from lenet_exp.sweeps.run_folder import RunFolder, run_id
from lenet_exp.tracking.delivery import Delivery
from lenet_exp.training.fit import Divergence, fit
from lenet_exp.training.lane import Lane, new_lane
from lenet_exp.training.model_file import ModelFile

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        folder: the run folder.
        record: as `record.conclude` makes it; the outcome, the best accuracy and epoch, the digests are there.
        mlflow_run_id: None where the store was away.
        repeated: it had been trained before, and only its result was returned.
    """

    folder: Path
    record: dict[str, Any]
    mlflow_run_id: str | None
    repeated: bool

    @property
    def outcome(self) -> str:
        """finished, diverged, failed or killed."""
        return self.record["outcome"]

    @property
    def value(self) -> float:
        """Best validation accuracy as a fraction, what a sweep optimises; NaN unless the run finished."""
        return self.record["best_val_accuracy"] if self.outcome == "finished" else math.nan


def run(
    config: Config,
    *,
    name: str | None = None,
    default_threads: int | None = None,
    open_delivery: Callable[[Config], Delivery] = lambda config: Delivery(config.tracking),
    on_start: Callable[[RunFolder], None] = lambda folder: None,
    force_older: float = math.inf,
) -> RunResult:
    """Trains one configuration, unless its result is there already.

    Args:
        name: of the MLflow run; by default data set, activation and optimizer.
        default_threads: for `num_threads=null`; by default all cores.
        open_delivery: connects to MLflow.
        on_start: is told the run folder before anything is trained, and so knows it however the training ends.
        force_older: `sweep.force` trains again only what was started before (ms since 1970); by default everything.

    Raises:
        ConfigError, DataError, StoreError: before anything is trained.
        BaseException: whatever ended the training; the record says `failed`, or `killed` for an interrupt.
    """
    config = copy.deepcopy(config)  # the threads that are chosen below belong to this run, not to the caller
    check_config(config)
    check_outputs()
    device = prepare(config, default_threads or cpu_count())
    data = load_training_data(config, device)
    name = name or f"{config.dataset.name} {option_name(config.activation)} {option_name(config.optimizer)}"
    path = outputs_dir() / "runs" / run_id(config.tracking.experiment, fingerprint(config, data.digests))
    folder = RunFolder(path)
    model_file = ModelFile(config.model_path, config.dataset.name, folder.id) if config.model_path else None
    delivery = open_delivery(config)
    with folder.claim():
        record = folder.record()
        forced = config.sweep.force and record is not None and record["created_ms"] < force_older
        if record is not None and record["outcome"] in {"finished", "diverged"} and not forced:
            weights = folder.best_weights()
            if model_file is not None and weights is not None:
                model_file.replace(weights, record["best_epoch"], record["best_val_accuracy"], record)
            return RunResult(path, record, delivery.send(folder), repeated=True)
        job = freeze(config, data, device, name)
        folder.start(job)
        on_start(folder)
        try:
            with log_to_file(folder.log_file):
                record = _train(folder, job, new_lane(config, device), data, delivery, model_file)
        finally:
            mlflow_run_id = delivery.send(folder)
        return RunResult(path, record, mlflow_run_id, repeated=False)


def _train(
    folder: RunFolder,
    job: dict[str, Any],
    lane: Lane,
    data: TrainingData,
    delivery: Delivery,
    model_file: ModelFile | None,
) -> dict[str, Any]:
    """Trains to the end, commits what comes, and leaves a record, however it ends."""
    config = lane.config
    steps = math.ceil(len(data.train_index) / config.batch_size)
    log.log(display.level_alone(), "%s: run folder %s", job["name"], folder.path)
    delivery.live(folder)
    outcome, reason, epochs, start = "finished", "", 0, time.perf_counter()
    try:
        with display.run(job["name"], config.num_epoch, steps):
            for (result,) in fit([lane], data, display.echo):
                if isinstance(result, Divergence):
                    outcome = "diverged"
                    reason = f"loss {result.loss} in epoch {result.epoch}, iteration {result.step}"
                    log.log(display.level_alone(), "%s: diverged: %s", job["name"], reason)
                    break
                epochs = result.epoch
                display.epoch(result, config.num_epoch, epochs * steps)
                best = lane.best
                assert best is not None
                committed = folder.commit(result, best, final=epochs == config.num_epoch)
                if model_file is not None and result.improved:
                    model_file.replace(best.weights, best.epoch, best.val_accuracy, job | _so_far(lane))
                if committed:
                    delivery.live(folder)
    except Exception as e:
        outcome, reason = "failed", f"{type(e).__name__}: {first_line(e)}"
        log.debug("%s: failed", job["name"], exc_info=True)
        raise
    except BaseException as e:
        outcome, reason = "killed", type(e).__name__
        raise
    finally:
        folder.flush(lane.best)
        record = conclude(
            job,
            outcome,
            epochs=epochs,
            seconds=time.perf_counter() - start,
            best=lane.best,
            data=data,
            reason=reason,
        )
        folder.finish(record)
    if model_file is not None and lane.best is not None:
        model_file.replace(lane.best.weights, lane.best.epoch, lane.best.val_accuracy, record)
    return record


def _so_far(lane: Lane) -> dict[str, Any]:
    best = lane.best
    assert best is not None
    return {"outcome": "running", "best_epoch": best.epoch, "best_val_accuracy": best.val_accuracy}
