"""One run from its configuration to its record: data -> fit -> run folder -> MLflow."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.config.schema import Config
from lenet_exp.config.targets import option_name
from lenet_exp.data.images import TrainingData, data_digests, load_training_data
from lenet_exp.errors import first_line
from lenet_exp.folders.commits import Commits
from lenet_exp.folders.record import conclude, freeze, same_bits
from lenet_exp.folders.results import RunResult
from lenet_exp.folders.run_folder import ENDED, RunFolder, run_id
from lenet_exp.machine import cpu_count
from lenet_exp.outputs import check_outputs, outputs_dir
from lenet_exp.reports.augmented import augmented_picture
from lenet_exp.reports.mistakes import find_mistakes, mistakes_picture
from lenet_exp.reports.progress import display, log_to_file
from lenet_exp.stopping import asked, graceful
from lenet_exp.tracking.adopt import adopt_one
from lenet_exp.tracking.delivery import Deliverer, Delivery
from lenet_exp.tracking.model import rebuild
from lenet_exp.training.augmentation import augments
from lenet_exp.training.check import check_config
from lenet_exp.training.execution import choose_device, use_threads
from lenet_exp.training.fit import Divergence, fit
from lenet_exp.training.lane import Best, Lane, new_lane
from lenet_exp.training.model_file import ModelFile

log = logging.getLogger("lenet_exp")


def run(
    config: Config,
    *,
    name: str | None = None,
    default_threads: int | None = None,
    folder_id: str | None = None,
    delivery: Deliverer | None = None,
    on_start: Callable[[RunFolder], None] = lambda folder: None,
    force_before: float | None = None,
) -> RunResult:
    """Trains one configuration to its end, from where an earlier try stopped; or returns the result that is there.

    Args:
        name: of the MLflow run; by default data set, activation and optimizer.
        default_threads: for `num_threads=null`; by default all cores, or what the earlier try had.
        folder_id: the run folder's name; by default that of experiment and fingerprint.
        delivery: who sends it to MLflow; by default this process.
        on_start: is told the run folder once it is ready and before anything is trained.
        force_before: trains again what was started before this time (ms since 1970); by default everything if
            `sweep.force`, else nothing.

    Raises:
        ConfigError, DataError, StoreError: before anything is trained.
        BaseException: whatever ended the training; the record says `failed`, or `killed` for an interrupt.
    """
    config = copy.deepcopy(config)  # the threads that are chosen below belong to this run, not to the caller
    check_config(config)
    check_outputs()
    if force_before is None:
        force_before = math.inf if config.sweep.force else 0.0
    device = choose_device(config.device)
    name = name or f"{config.dataset.name} {option_name(config.activation)} {option_name(config.optimizer)}"
    what = fingerprint(config, data_digests(config))
    folder_id = folder_id or run_id(config.tracking.experiment, what)
    folder = RunFolder(outputs_dir() / "runs" / folder_id)
    model_file = ModelFile(config.model_path, config.dataset.name, folder.id) if config.model_path else None
    delivery = delivery or Delivery(config.tracking)
    with folder.claim():
        if isinstance(delivery, Delivery) and not config.sweep.force:
            adopt_one(folder, what, delivery)
        earlier, record = folder.job(), folder.result()
        if earlier is not None and earlier["created_ms"] < force_before:
            earlier = record = None
        if record is not None:
            folder.tidy()
            weights = folder.best_weights()
            if model_file is not None and weights is not None:
                model_file.replace(weights, record["best_epoch"], record["best_val_accuracy"], record)
            return RunResult(folder.path, record, delivery.send(folder), repeated=True)
        use_threads(config, (earlier or {}).get("execution", {}).get("num_threads"), default_threads or cpu_count())
        data = load_training_data(config, device)
        job, lane = freeze(config, data, device, name), new_lane(config, device)
        with graceful():
            try:
                with log_to_file(folder.log_file):
                    job, commits = _begin(folder, earlier, job, lane)
                    if config.tracking.plots and augments(config.augmentation):
                        picture = augmented_picture(data, config.augmentation, config.seed)
                        folder.keep_picture("augmentation", picture)
                    on_start(folder)
                    record = _Training(folder, job, lane, data, commits, delivery, model_file).to_its_end()
            finally:
                mlflow_run_id = delivery.send(folder)
    return RunResult(folder.path, record, mlflow_run_id, repeated=False)


def _begin(
    folder: RunFolder, earlier: dict[str, Any] | None, job: dict[str, Any], lane: Lane
) -> tuple[dict[str, Any], Commits]:
    """Goes on where an earlier try stopped, if the bits will be the same; otherwise starts over."""
    if earlier is None:
        return job, folder.start(job)
    if same_bits(earlier, job):
        commits = folder.go_on()
        if commits.restore(lane):
            log.info("%s: goes on in epoch %d after %d steps", job["name"], lane.position.epoch, lane.position.steps)
            return earlier, commits
        if folder.has_no_points():
            return earlier, commits
    else:
        log.info(
            "%s: was begun with %s, torch %s; now %s, torch %s: it starts over, since its bits would differ",
            job["name"],
            earlier["execution"],
            earlier["versions"].get("torch"),
            job["execution"],
            job["versions"].get("torch"),
        )
    return job, folder.start(job)


@dataclass
class _Training:
    """A training from where the lane stands; its listeners are the folder, the terminal, MLflow and `model_path`."""

    folder: RunFolder
    job: dict[str, Any]
    lane: Lane
    data: TrainingData
    commits: Commits
    delivery: Deliverer
    model_file: ModelFile | None

    def __post_init__(self) -> None:
        self.num_epoch = self.lane.config.num_epoch
        self.steps = math.ceil(len(self.data.train_index) / self.lane.config.batch_size)
        self.start = time.perf_counter() - self.commits.seconds

    def to_its_end(self) -> dict[str, Any]:
        """Trains, commits what comes, and leaves a record, however it ends."""
        name = self.job["name"]
        log.log(display.level_alone(), "%s: run folder %s", name, self.folder.path)
        self.delivery.live(self.folder)
        outcome, reason = "failed", ""
        try:
            with display.run(name, self.num_epoch, self.steps):
                outcome, reason = self._epochs()
        except Exception as e:
            reason = f"{type(e).__name__}: {first_line(e)}"
            log.debug("%s: failed", name, exc_info=True)
            raise
        except BaseException as e:
            outcome, reason = "killed", type(e).__name__
            raise
        finally:
            best = self.lane.best
            self.commits.write_results(best)
            record = conclude(
                self.job,
                outcome,
                epochs=self.lane.position.epoch - 1,
                seconds=time.perf_counter() - self.start,
                seconds_to_best=self.commits.seconds_to(best.epoch if best else None),
                resumed=self.commits.resumed,
                stopped_early=self.lane.stopped_early,
                best=best,
                data=self.data,
                reason=reason,
            )
            if outcome in ENDED and best is not None and self.lane.config.tracking.plots:
                self._show_mistakes(best)
            self.folder.finish(record)
        if self.model_file is not None and best is not None:
            self.model_file.replace(best.weights, best.epoch, best.val_accuracy, record)
        return record

    def _show_mistakes(self, best: Best) -> None:
        """Draws what the best weights got wrong, in a network of its own: the lane stays as it is."""
        try:
            network = rebuild(self.job["config"], best.weights).to(self.data.images.device)
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as in training
            picture = mistakes_picture(find_mistakes(network, self.data), self.data, self.job["name"])
        except Exception as e:  # the result is worth more than a picture of it
            log.warning("%s: mistakes.png could not be drawn (%s)", self.job["name"], first_line(e))
            return
        if picture is not None:
            self.folder.keep_picture("mistakes", picture)

    def _epochs(self) -> tuple[str, str]:
        """Outcome and, where it did not finish, the reason."""
        for (result,) in fit([self.lane], self.data, display.echo, stop=lambda: asked() is not None):
            if isinstance(result, Divergence):
                reason = f"loss {result.loss} in epoch {result.epoch}, iteration {result.step}"
                log.log(display.level_alone(), "%s: diverged: %s", self.job["name"], reason)
                return "diverged", reason
            display.epoch(result, self.num_epoch, result.epoch * self.steps)
            self.commits.add(result)
            best = self.lane.best
            assert best is not None
            if self.model_file is not None and result.improved:
                so_far = {"outcome": "running", "best_epoch": best.epoch, "best_val_accuracy": best.val_accuracy}
                self.model_file.replace(best.weights, best.epoch, best.val_accuracy, self.job | so_far)
            if not self._ended() and self.commits.due():
                self._commit()
                self.delivery.live(self.folder)
        which = asked()
        if which is None or self._ended():
            if self.lane.stopped_early:
                log.info("%s: stopped early, after epoch %d", self.job["name"], self.lane.position.epoch - 1)
            return "finished", ""
        self._commit()
        return "killed", which.name

    def _ended(self) -> bool:
        return self.lane.position.epoch > self.num_epoch or self.lane.stopped_early

    def _commit(self) -> None:
        self.commits.write(self.lane, time.perf_counter() - self.start)
