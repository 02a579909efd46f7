"""Trains a run: connects the training loop to the run folder, the terminal, and `model_path`."""

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
    """Training of a run, from its current training state.

    Attributes:
        folder: folder of the run.
        begun: record of the run, as created at its start.
        state: training state of the run.
        data: training data on the device of `state`.
        checkpoints: checkpoints of the run.
        model_file: file for the best weights; None if `model_path` is not set.
        display: display that shows the progress.
        prune: function called with the result of every epoch except the last, and again with the
            results of epochs from an earlier attempt. If it returns True, the run ends as `pruned`
            and can be resumed later.
    """

    folder: RunFolder
    begun: Record
    state: TrainingState
    data: TrainingData
    checkpoints: Checkpoints
    model_file: ModelFile | None
    display: Display
    prune: Callable[[EpochResult], bool] = lambda result: False

    def __post_init__(self) -> None:
        self.num_epoch = self.state.config.num_epoch
        self.steps = steps_an_epoch(self.state, self.data)
        self.start = time.perf_counter() - self.checkpoints.seconds

    def train(self) -> Record:
        """Train the run with checkpoints, and return its record.

        The record is saved no matter how training ends. If training raises an exception, the record
        says `failed` or `killed`, even after the last epoch.
        """
        name = self.begun.name
        log.log(self.display.level_alone(), "%s: run folder %s", name, self.folder.path)
        outcome = Outcome.failed
        reason = ""
        end_state = ""
        history: History | None = None

        try:
            with self.display.run(name, self.num_epoch, self.steps):
                outcome, reason = self._train_epochs()
            # The results are written before the state, because they matter more.
            history = self.checkpoints.write_results(self.state.best)
            if outcome is Outcome.finished:
                end_state = self._keep_state()

        except (KeyboardInterrupt, Terminated) as e:
            outcome = Outcome.killed
            reason = type(e).__name__
            raise

        except BaseException as e:
            outcome = Outcome.failed  # also if the error occurred after the last epoch
            reason = _reason_of(e)
            log.debug("%s: failed", name, exc_info=True)
            if isinstance(e, Exception):
                raise
            raise RuntimeError(reason) from e  # a network's SystemExit must not end the command

        finally:
            best = self.state.best
            if history is None:
                history = self.checkpoints.write_results(best)

            record = final_record(
                self.begun,
                outcome,
                history,
                seconds=time.perf_counter() - self.start,
                stopped_early=self.state.stopped_early,
                end_state=end_state,
                best=best,
                last_right=self.state.last_right,
                data=self.data,
                reason=reason,
            )
            has_plots = outcome.is_result and self.state.config.tracking.plots
            if has_plots and best is not None:
                self._save_mistakes(best)
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
        if not keeps_state(self.state.config):
            return ""

        try:
            return self.checkpoints.write_state(self.state)
        except OSError as e:  # the run has its result, which needs less space than the state
            problem = e.strerror or first_line(e)
            log.warning("%s: final training state not kept (%s)", self.begun.name, problem)
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
            problem = e.strerror or first_line(e)
            log.warning("%s: removed %s to save the result (%s)", self.begun.name, files, problem)
            return self.folder.finish(replace(record, end_state=""))

    def _save_mistakes(self, best: Best) -> None:
        """Save a picture of the images that the best weights misclassify.

        A separate network is used, so that the training state does not change.
        """
        try:
            network = rebuild(self.begun.config, best.weights).to(self.data.images.device)
            network = in_training_format(network)
            mistakes = find_mistakes(network, self.data, best.predictions)
            picture = mistakes_picture(mistakes, self.data, self.begun.name)
            if picture is not None:
                self.folder.save_picture("mistakes", picture)
        except Exception as e:  # a picture that cannot be drawn or saved must not make the run fail
            log.warning("%s: mistakes.png could not be saved (%s)", self.begun.name, first_line(e))

    def _train_epochs(self) -> tuple[Outcome, str]:
        """Train the remaining epochs.

        Returns:
            The outcome, and the reason for it, which is empty for `finished`.
        """
        reason = self._prune_again()
        if reason:
            return Outcome.pruned, reason

        for result in fit(self.state, self.data, self.display.echo, stop=_is_stopping):
            if isinstance(result, Divergence):
                return Outcome.diverged, self._keep_divergence(result)

            self._keep_result(result)
            if self._ended():
                continue
            if self.checkpoints.due():
                self._write_checkpoint()
            if self.prune(result):
                self._write_checkpoint()
                return Outcome.pruned, f"after epoch {result.epoch}"

        signal = stop_signal()
        if signal is not None and not self._ended():
            self._write_checkpoint()
            return Outcome.killed, signal.name

        if self.state.stopped_early:
            last_epoch = self.state.position.epoch - 1
            log.info("%s: stopped early after epoch %d", self.begun.name, last_epoch)
        return Outcome.finished, ""

    def _prune_again(self) -> str:
        """Return why an earlier attempt's epochs are pruned now; empty if they are not.

        Other trials may have improved since these epochs were trained.
        """
        if self._ended():
            return ""

        trained = self.state.position.epoch - 1
        for result in self.checkpoints.epochs[:trained]:
            if not self.prune(result):
                continue
            if result.epoch < trained:
                return f"after epoch {trained}, by its epoch {result.epoch}"
            return f"after epoch {trained}"
        return ""

    def _keep_divergence(self, divergence: Divergence) -> str:
        """Keep and log a divergence, and return a description of it."""
        reason = f"loss {divergence.loss} in epoch {divergence.epoch}, iteration {divergence.step}"
        log.log(self.display.level_alone(), "%s: diverged: %s", self.begun.name, reason)
        self.checkpoints.diverged = divergence.step_losses
        return reason

    def _keep_result(self, result: EpochResult) -> None:
        """Show an epoch's result, add it to the checkpoints, and write improved weights."""
        steps_done = result.epoch * self.steps
        self.display.epoch(result, self.num_epoch, steps_done, self.begun.metric)
        self.checkpoints.add(result)

        best = self.state.best
        assert best is not None
        if self.model_file is None or not result.improved:
            return
        record = replace(
            self.begun,
            outcome=Outcome.running,
            best_epoch=best.epoch,
            best_val_accuracy=best.val_accuracy,
            best_val_metric=best.val_metric,
        )
        self.model_file.replace(best.weights, record)

    def _ended(self) -> bool:
        return self.state.position.epoch > self.num_epoch or self.state.stopped_early

    def _write_checkpoint(self) -> None:
        self.checkpoints.write(self.state, time.perf_counter() - self.start)


def _is_stopping() -> bool:
    return stop_signal() is not None


def _reason_of(error: BaseException) -> str:
    """Return an error in one line; the name of its class only if it is an `Exception`."""
    if isinstance(error, Exception):
        return f"{type(error).__name__}: {first_line(error)}"
    return first_line(error)
