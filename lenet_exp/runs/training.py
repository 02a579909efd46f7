"""Training of a run: connects the training loop to the run folder, the terminal, and `model_path`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from lenet_exp.data.images import TrainingData
from lenet_exp.errors import first_line
from lenet_exp.files import DISK_ERRORS
from lenet_exp.folders.checkpoints import Checkpoints, keeps_state
from lenet_exp.folders.final_record import final_record
from lenet_exp.folders.model_file import ModelFile
from lenet_exp.folders.records import History, Outcome, Record
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.reports.files.mistakes import find_mistakes, mistakes_picture
from lenet_exp.reports.terminal.progress import Display
from lenet_exp.stopping import Terminated, stop_signal
from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.fit import Divergence, fit, steps_an_epoch
from lenet_exp.training.network import in_training_format, rebuild
from lenet_exp.training.state import Best, TrainingState

log = logging.getLogger("lenet_exp")


@dataclass
class RunTraining:
    """Training of a run, from the current state of its lane.

    Attributes:
        folder: folder of the run.
        begun: record of the run, as created at its start.
        lane: state of the run during training.
        data: training data on the lane's device.
        checkpoints: checkpoints of the run.
        model_file: file for the best weights; None if `model_path` is not set.
        display: display that shows the progress.
        prune: function called with the result of every epoch except the last, and again with the
            results of epochs from an earlier attempt. If it returns True, the run ends as `pruned`
            and can be resumed later.
    """

    folder: RunFolder
    begun: Record
    lane: TrainingState
    data: TrainingData
    checkpoints: Checkpoints
    model_file: ModelFile | None
    display: Display
    prune: Callable[[EpochResult], bool] = lambda result: False

    def __post_init__(self) -> None:
        self.num_epoch = self.lane.config.num_epoch
        self.steps = steps_an_epoch(self.lane, self.data)
        self.start = time.perf_counter() - self.checkpoints.seconds

    def train(self) -> Record:
        """Train the run with checkpoints, and return its record, which is saved no matter how
        training ends.

        If training raises an exception, the record says `failed` or `killed`, even after the last
        epoch.
        """
        name = self.begun.name
        log.log(self.display.level_alone(), "%s: run folder %s", name, self.folder.path)
        outcome, reason, end_state = Outcome.failed, "", ""
        history: History | None = None
        try:
            with self.display.run(name, self.num_epoch, self.steps):
                outcome, reason = self._epochs()
            history = self.checkpoints.write_results(
                self.lane.best
            )  # first, because the result matters more
            if outcome is Outcome.finished:
                end_state = self._keep_state()
        except (KeyboardInterrupt, Terminated) as e:
            outcome, reason = Outcome.killed, type(e).__name__
            raise
        except BaseException as e:
            outcome = Outcome.failed  # also if the error occurred after the last epoch
            reason = (
                f"{type(e).__name__}: {first_line(e)}"
                if isinstance(e, Exception)
                else first_line(e)
            )
            log.debug("%s: failed", name, exc_info=True)
            if isinstance(e, Exception):
                raise
            raise RuntimeError(reason) from e  # a network's SystemExit must not end the command
        finally:
            best = self.lane.best
            if history is None:
                history = self.checkpoints.write_results(best)
            record = final_record(
                self.begun,
                outcome,
                history,
                seconds=time.perf_counter() - self.start,
                stopped_early=self.lane.stopped_early,
                end_state=end_state,
                best=best,
                last_right=self.lane.last_right,
                data=self.data,
                reason=reason,
            )
            if outcome.is_result and best is not None and self.lane.config.tracking.plots:
                self._show_mistakes(best)
            record = self._finish(record)
        if self.model_file is not None and best is not None:
            self.model_file.replace(best.weights, record)
        return record

    def _keep_state(self) -> str:
        """Save the final training state, which a run with a larger `num_epoch` continues.

        Returns:
            The digest of the state; an empty string if it is not kept, because it is not wanted or
            cannot be written.
        """
        if not keeps_state(self.lane.config):
            return ""
        try:
            return self.checkpoints.write_state(self.lane)
        except OSError as e:  # the run has its result, which needs less space than the state
            log.warning(
                "%s: final training state not kept (%s)",
                self.begun.name,
                e.strerror or first_line(e),
            )
            return ""

    def _finish(self, record: Record) -> Record:
        """Save the final record, and return it as stored.

        If the disk has no room for it, files that the result does not need make room.
        """
        try:
            return self.folder.finish(record)
        except OSError as e:
            if e.errno not in DISK_ERRORS:
                raise
            removed = self.folder.remove_optional_files()
            if not removed:
                raise
            files = " and ".join(removed)
            log.warning(
                "%s: removed %s to save the result (%s)",
                self.begun.name,
                files,
                e.strerror or first_line(e),
            )
            return self.folder.finish(replace(record, end_state=""))

    def _show_mistakes(self, best: Best) -> None:
        """Save a picture of the images that the best weights misclassify.

        A separate network is used, so that the lane does not change.
        """
        try:
            network = in_training_format(
                rebuild(self.begun.config, best.weights).to(self.data.images.device)
            )
            picture = mistakes_picture(
                find_mistakes(network, self.data, best.predictions), self.data, self.begun.name
            )
            if picture is not None:
                self.folder.save_picture("mistakes", picture)
        except Exception as e:  # a picture that cannot be drawn or saved must not make the run fail
            log.warning("%s: mistakes.png could not be saved (%s)", self.begun.name, first_line(e))

    def _epochs(self) -> tuple[Outcome, str]:
        """Train the remaining epochs. Return the outcome and the reason for it, which is empty for
        `finished`.
        """
        trained = self.lane.position.epoch - 1
        for earlier in [] if self._ended() else self.checkpoints.epochs[:trained]:
            if self.prune(earlier):  # other trials may have improved in the meantime
                by = f", by its epoch {earlier.epoch}" if earlier.epoch < trained else ""
                return Outcome.pruned, f"after epoch {trained}{by}"
        for result in fit(
            self.lane, self.data, self.display.echo, stop=lambda: stop_signal() is not None
        ):
            if isinstance(result, Divergence):
                reason = f"loss {result.loss} in epoch {result.epoch}, iteration {result.step}"
                log.log(self.display.level_alone(), "%s: diverged: %s", self.begun.name, reason)
                self.checkpoints.diverged = result.step_losses
                return Outcome.diverged, reason
            self.display.epoch(result, self.num_epoch, result.epoch * self.steps, self.begun.metric)
            self.checkpoints.add(result)
            best = self.lane.best
            assert best is not None
            if self.model_file is not None and result.improved:
                so_far = replace(self.begun, outcome=Outcome.running, best_epoch=best.epoch)
                so_far = replace(
                    so_far, best_val_accuracy=best.val_accuracy, best_val_metric=best.val_metric
                )
                self.model_file.replace(best.weights, so_far)
            if not self._ended() and self.checkpoints.due():
                self._commit()
            if not self._ended() and self.prune(result):
                self._commit()
                return Outcome.pruned, f"after epoch {result.epoch}"
        which = stop_signal()
        if which is None or self._ended():
            if self.lane.stopped_early:
                log.info(
                    "%s: stopped early after epoch %d",
                    self.begun.name,
                    self.lane.position.epoch - 1,
                )
            return Outcome.finished, ""
        self._commit()
        return Outcome.killed, which.name

    def _ended(self) -> bool:
        return self.lane.position.epoch > self.num_epoch or self.lane.stopped_early

    def _commit(self) -> None:
        self.checkpoints.write(self.lane, time.perf_counter() - self.start)
