"""The training loop: a generator that yields one result after each epoch.

The loop changes the training state of a run; see state.py. It does not depend on the code that uses
its results, such as the run folder, the progress display, and MLflow.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

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
    state: TrainingState,
    data: TrainingData,
    echo: Echo | None = None,
    stop: Callable[[], bool] = lambda: False,
    engine: Engine | None = None,
) -> Iterator[EpochResult | Divergence]:
    """Train a run through epoch `num_epoch`, and yield its result after each epoch.

    Training starts at `state.position`, and the best weights are kept in `state.best`. The best
    epoch has the highest value of the metric; ties go to the earlier epoch. With
    `training.select=last`, it is the last epoch. If the loss is not finite, training yields a
    `Divergence` and ends. Early stopping ends training after the epoch that triggers it. The caller
    can stop iterating after any result; `state.position` is then the start of the next epoch.

    Args:
        state: training state of the run, which is updated in place.
        data: training data on the device of the network.
        echo: function called every `num_iter_echo` iterations, with the iteration and its loss.
        stop: function called after each step. If it returns True, training stops and stores its
            position in `state.position`. A run resumed from this position has results bit-identical
            to those of an uninterrupted run.
        engine: engine to use; by default, the engine in the run's configuration.

    Raises:
        ConfigError: the engine is not available on this machine.
    """
    engine = engine or engine_of(state.config)
    noisy_data = with_label_noise(data, state.config)
    step = engine.stepper(state, noisy_data, steps_an_epoch(state, data) * state.config.num_epoch)

    while state.position.epoch <= state.config.num_epoch and not state.stopped_early:
        start = time.perf_counter() - state.position.seconds
        trained = _train_epoch(state, data, engine, step, echo=echo, stop=stop, start=start)
        if trained is None:
            return
        if isinstance(trained, Divergence):
            yield trained
            return

        result = _validate_epoch(state, data, engine, trained, start=start)
        yield result
        if isinstance(result, Divergence):
            return


def steps_an_epoch(state: TrainingState, data: TrainingData) -> int:
    """Return the number of steps per epoch."""
    return math.ceil(len(data.train_index) / state.config.batch_size)


@dataclass(frozen=True)
class _Trained:
    """Training results of an epoch that has not been validated yet."""

    loss: float
    accuracy: float
    seconds: float
    step_losses: list[tuple[int, float, int]]


def _train_epoch(
    state: TrainingState,
    data: TrainingData,
    engine: Engine,
    step: Step,
    echo: Echo | None,
    stop: Callable[[], bool],
    start: float,
) -> _Trained | Divergence | None:
    """Train to the end of the current epoch.

    If `stop` returns True, save the position in the training state and return None.
    """
    batch_size = state.config.batch_size
    position = state.position
    device = data.images.device
    n_train = len(data.train_index)
    steps = steps_an_epoch(state, data)
    steps_before = (position.epoch - 1) * steps  # steps in earlier epochs

    if position.order is not None:
        state.order.set_state(position.order)
    order_state = state.order.get_state()
    permutation = torch.randperm(n_train, generator=state.order).to(device)
    order = data.train_index[permutation]  # (n_train,)

    steps_done = position.steps
    step_losses = list(position.step_losses)
    losses = torch.zeros(steps, device=device)
    losses[:steps_done] = position.losses.to(device)
    correct = torch.full((), position.correct, dtype=torch.int64, device=device)  # shape ()

    state.model.train()
    for batch in order.split(batch_size)[position.steps :]:  # the last can be smaller
        batch_loss, batch_correct = step(batch, steps_before + steps_done)
        losses[steps_done] = batch_loss
        correct += batch_correct
        steps_done += 1

        iteration = steps_before + steps_done  # counted from 1 over the entire run
        if iteration % state.config.num_iter_echo == 0:
            loss = float(losses[steps_done - 1])
            if not math.isfinite(loss):
                break
            step_losses.append((iteration, loss, now_ms()))
            if echo is not None:
                echo(iteration, loss)

        if stop():
            seconds = time.perf_counter() - start
            state.position = Position(
                epoch=position.epoch,
                steps=steps_done,
                losses=losses[:steps_done].cpu(),
                correct=int(correct),
                step_losses=tuple(step_losses),
                seconds=seconds,
                order=order_state,
            )
            return None

    divergence = _divergence(
        position.epoch, losses, steps_done, steps_before, step_losses=step_losses
    )
    if divergence is not None:
        return divergence

    shares = torch.full((steps,), batch_size / n_train, device=device)
    shares[-1] = (n_train - batch_size * (steps - 1)) / n_train
    return _Trained(
        loss=engine.mean(losses, shares),
        accuracy=int(correct) / n_train,
        seconds=time.perf_counter() - start,
        step_losses=step_losses,
    )


def _divergence(
    epoch: int,
    losses: Tensor,
    steps_done: int,
    steps_before: int,
    step_losses: list[tuple[int, float, int]],
) -> Divergence | None:
    """Return the divergence of an epoch, or None if all its losses so far are finite.

    For example, with losses (0.7, 0.5, nan) after 20 steps in earlier epochs, the run diverged at
    step 23. Its last finite loss, 0.5 at step 22, is recorded even if 22 is not a multiple of
    `num_iter_echo`.

    Args:
        epoch: number of the epoch, counted from 1.
        losses: mean loss of each batch, shape (steps,); only the first `steps_done` are computed.
        steps_done: number of completed steps in the epoch.
        steps_before: number of steps in earlier epochs.
        step_losses: losses recorded so far in the epoch; the last finite loss is appended.
    """
    bad_steps = (~losses[:steps_done].isfinite()).nonzero()  # (number of bad steps, 1)
    if len(bad_steps) == 0:
        return None

    first_bad = int(bad_steps[0])
    step = steps_before + first_bad + 1
    has_finite_loss = len(bad_steps) < steps_done
    is_recorded = bool(step_losses) and step_losses[-1][0] >= step - 1
    if has_finite_loss and not is_recorded:
        last_finite_loss = float(losses[first_bad - 1])
        step_losses.append((step - 1, last_finite_loss, now_ms()))

    return Divergence(epoch, step, float(losses[first_bad]), step_losses)


def _validate_epoch(
    state: TrainingState, data: TrainingData, engine: Engine, trained: _Trained, start: float
) -> EpochResult | Divergence:
    """Validate the network after an epoch, and advance to the next epoch.

    The validated weights are kept if they are the best so far.
    """
    config = state.config
    epoch = state.position.epoch
    evaluation = engine.evaluate(state, data)
    labels = data.labels[data.val_index].cpu()  # (n_val,)
    if not math.isfinite(evaluation.loss):  # the last step made the weights invalid
        last_step = epoch * steps_an_epoch(state, data)
        return Divergence(epoch, last_step, evaluation.loss, trained.step_losses)

    val_accuracy = float((evaluation.predictions == labels).double().mean())
    metric = Metric.of(config.metric)
    val_metric = None if metric.is_accuracy else measure(config.metric, labels, evaluation)
    value = val_accuracy if val_metric is None else val_metric

    selects_last = config.training.select is EpochChoice.last
    improved = not selects_last and _is_better(value, state.best, metric)
    if improved or selects_last:
        state.best = Best(
            epoch,
            val_accuracy,
            weights=_copied_weights(state),
            predictions=evaluation.predictions,
            val_metric=val_metric,
        )
    state.last_right = packed(evaluation.predictions == labels)
    state.note_progress(epoch, metric.sign * value)
    state.position = Position(epoch + 1)

    return EpochResult(
        epoch=epoch,
        train_loss=trained.loss,
        train_accuracy=trained.accuracy,
        val_loss=evaluation.loss,
        val_accuracy=val_accuracy,
        lr=state.optimizer.param_groups[0]["lr"],
        epoch_seconds=time.perf_counter() - start,
        images_per_second=len(data.train_index) / trained.seconds,
        step_losses=trained.step_losses,
        time_ms=now_ms(),
        improved=improved,
        weights_digest=weights_digest(state.eval_model.state_dict()),
        val_metric=val_metric,
    )


def _is_better(value: float, best: Best | None, metric: Metric) -> bool:
    """Return whether a value of the metric is better than that of the best epoch so far."""
    if best is None:
        return True
    return metric.sign * value > metric.sign * best.value


def _copied_weights(state: TrainingState) -> dict[str, Tensor]:
    weights = state.eval_model.state_dict()
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights.items()}
