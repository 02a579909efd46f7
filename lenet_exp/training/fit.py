"""The training loop: a generator that yields one result per lane after each epoch.

A lane is the state of one run (see lane.py). The loop does not depend on the code that uses its
results, such as the run folder, the progress display, and MLflow.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from lenet_exp.config.metric import Metric
from lenet_exp.config.schema import EpochChoice
from lenet_exp.data.images import TrainingData
from lenet_exp.data.label_noise import with_label_noise
from lenet_exp.machine import now_ms
from lenet_exp.training.engine import Engine, Step, engine_of
from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.metrics import measure
from lenet_exp.training.score import packed
from lenet_exp.training.state import Best, Position, TrainingState
from lenet_exp.training.trained.weights import weights_digest


@dataclass(frozen=True)
class Divergence:
    """The result of an epoch in which the loss became NaN or infinite.

    Attributes:
        epoch: number of the epoch in which the run diverged, counted from 1.
        step: number of the step at which the run diverged, counted from 1 over the entire run.
        loss: first loss that was not finite.
        step_losses: finite losses in this epoch, recorded every `num_iter_echo` steps, and the last
            finite loss; see `EpochResult`.
    """

    epoch: int
    step: int
    loss: float
    step_losses: list[tuple[int, float, int]]


Echo = Callable[[int, float], None]  # called with (iteration, loss)


def fit(
    lane: TrainingState,
    data: TrainingData,
    echo: Echo | None = None,
    stop: Callable[[], bool] = lambda: False,
    engine: Engine | None = None,
) -> Iterator[EpochResult | Divergence]:
    """Train a lane through epoch `num_epoch`, and yield its result after each epoch.

    Training starts at `lane.position`, and the best weights are kept in `lane.best`. The best epoch
    has the highest value of the metric; ties go to the earlier epoch. With `training.select=last`,
    it is the last epoch. If the loss is not finite, training yields a `Divergence` and ends. Early
    stopping ends training after the epoch that triggers it. The caller can stop iterating after any
    result; `lane.position` is then the start of the next epoch.

    Args:
        lane: training state of a run.
        data: training data on the lane's device.
        echo: function called every `num_iter_echo` iterations, with the iteration and its loss.
        stop: function called after each step. If it returns True, training stops and stores its
            position in `lane.position`. A run resumed from this position has results bit-identical
            to those of an uninterrupted run.
        engine: engine to use; by default, the engine in the lane's configuration.

    Raises:
        ConfigError: the engine is not available on this machine.
    """
    engine = engine or engine_of(lane.config)
    step = engine.stepper(
        lane,
        with_label_noise(data, lane.config),
        steps_an_epoch(lane, data) * lane.config.num_epoch,
    )
    while lane.position.epoch <= lane.config.num_epoch and not lane.stopped_early:
        start = time.perf_counter() - lane.position.seconds
        trained = _train_epoch(lane, data, engine, step, echo=echo, stop=stop, start=start)
        if trained is None:
            return
        result = (
            trained
            if isinstance(trained, Divergence)
            else _validate_epoch(lane, data, engine, trained, start=start)
        )
        yield result
        if isinstance(result, Divergence):
            return


def steps_an_epoch(lane: TrainingState, data: TrainingData) -> int:
    """Return the number of steps per epoch."""
    return math.ceil(len(data.train_index) / lane.config.batch_size)


@dataclass(frozen=True)
class _Trained:
    """Training results of an epoch that has not been validated yet."""

    loss: float
    accuracy: float
    seconds: float
    step_losses: list[tuple[int, float, int]]


def _train_epoch(
    lane: TrainingState,
    data: TrainingData,
    engine: Engine,
    step: Step,
    echo: Echo | None,
    stop: Callable[[], bool],
    start: float,
) -> _Trained | Divergence | None:
    """Train the lane to the end of its current epoch.

    If `stop` returns True, save the lane's position and return None.
    """
    batch_size, every, epoch = (
        lane.config.batch_size,
        lane.config.num_iter_echo,
        lane.position.epoch,
    )
    n, device, steps = len(data.train_index), data.images.device, steps_an_epoch(lane, data)
    at, losses = lane.position, torch.zeros(steps, device=device)
    if at.order is not None:
        lane.order.set_state(at.order)
    order_state = lane.order.get_state()
    order = data.train_index[torch.randperm(n, generator=lane.order).to(device)]
    losses[: at.steps] = at.losses.to(device)
    correct = torch.full((), at.correct, dtype=torch.int64, device=device)
    step_losses, done, first = list(at.step_losses), at.steps, (epoch - 1) * steps
    lane.model.train()
    for batch in order.split(batch_size)[at.steps :]:
        losses[done], hits = step(batch, first + done)
        correct += hits
        done += 1
        if (first + done) % every == 0:
            loss = float(losses[done - 1])
            if not math.isfinite(loss):
                break
            step_losses.append((first + done, loss, now_ms()))
            if echo is not None:
                echo(first + done, loss)
        if stop():
            seconds = time.perf_counter() - start
            lane.position = Position(
                epoch=epoch,
                steps=done,
                losses=losses[:done].cpu(),
                correct=int(correct),
                step_losses=tuple(step_losses),
                seconds=seconds,
                order=order_state,
            )
            return None
    bad = (~losses[:done].isfinite()).nonzero()
    if len(bad):
        at_bad = first + int(bad[0]) + 1
        if len(bad) < done and (
            not step_losses or step_losses[-1][0] < at_bad - 1
        ):  # add the last finite loss
            step_losses.append((at_bad - 1, float(losses[int(bad[0]) - 1]), now_ms()))
        return Divergence(epoch, at_bad, float(losses[int(bad[0])]), step_losses)
    shares = torch.full((steps,), batch_size / n, device=device)
    shares[-1] = (n - batch_size * (steps - 1)) / n
    return _Trained(
        engine.mean(losses, shares), int(correct) / n, time.perf_counter() - start, step_losses
    )


def _validate_epoch(
    lane: TrainingState, data: TrainingData, engine: Engine, trained: _Trained, start: float
) -> EpochResult | Divergence:
    """Validate the lane after an epoch, keep its weights if they are the best so far, and advance
    to the next epoch.
    """
    epoch = lane.position.epoch
    found, labels = engine.evaluate(lane, data), data.labels[data.val_index].cpu()
    if not math.isfinite(found.loss):  # the last step made the weights invalid
        return Divergence(
            epoch, epoch * steps_an_epoch(lane, data), found.loss, trained.step_losses
        )
    val_accuracy, metric = (
        float((found.predictions == labels).double().mean()),
        Metric.of(lane.config.metric),
    )
    val_metric = None if metric.is_accuracy else measure(lane.config.metric, labels, found)
    value = val_accuracy if val_metric is None else val_metric
    selects_last = lane.config.training.select is EpochChoice.last
    improved = not selects_last and (
        lane.best is None or metric.sign * value > metric.sign * lane.best.value
    )
    if improved or selects_last:
        copied = {
            name: t.detach().to("cpu", copy=True)
            for name, t in lane.eval_model.state_dict().items()
        }
        lane.best = Best(epoch, val_accuracy, copied, found.predictions, val_metric=val_metric)
    lane.last_right = packed(found.predictions == labels)
    lane.note_progress(epoch, metric.sign * value)
    lane.position = Position(epoch + 1)
    return EpochResult(
        epoch=epoch,
        train_loss=trained.loss,
        train_accuracy=trained.accuracy,
        val_loss=found.loss,
        val_accuracy=val_accuracy,
        lr=lane.optimizer.param_groups[0]["lr"],
        epoch_seconds=time.perf_counter() - start,
        images_per_second=len(data.train_index) / trained.seconds,
        step_losses=trained.step_losses,
        time_ms=now_ms(),
        improved=improved,
        weights_digest=weights_digest(lane.eval_model.state_dict()),
        val_metric=val_metric,
    )
