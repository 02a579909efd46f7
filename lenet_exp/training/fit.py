"""THE training loop: a generator that yields, for each epoch, one result per lane.

Who listens (run folder, progress, MLflow) is not known here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenet_exp.config.schema import Shape
from lenet_exp.data.images import TrainingData
from lenet_exp.training.augmentation import augment, augments
from lenet_exp.training.average import follow
from lenet_exp.training.evaluate import evaluate
from lenet_exp.training.lane import Best, Lane, Position
from lenet_exp.training.schedule import lr_factor


@dataclass(frozen=True)
class EpochResult:
    """What one epoch of one lane gave.

    Accuracies are fractions, times seconds. `train_*` are running means over the epoch's batches, of what is minimised
    (augmented images, smoothed labels); `lr` is that of the epoch's last step. `step_losses` holds
    (iteration from 1, loss, milliseconds since 1970) every `num_iter_echo` iterations; `time_ms` is the epoch's end.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    lr: float
    epoch_seconds: float
    images_per_second: float
    step_losses: list[tuple[int, float, int]]
    time_ms: int
    improved: bool


@dataclass(frozen=True)
class Divergence:
    """The loss became NaN or infinite: in which epoch and iteration (both from 1), and the step losses before."""

    epoch: int
    step: int
    loss: float
    step_losses: list[tuple[int, float, int]]


Echo = Callable[[int, float], None]  # (iteration, loss), every num_iter_echo iterations


def fit(
    lanes: Sequence[Lane],
    data: TrainingData,
    echo: Echo | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[list[EpochResult | Divergence]]:
    """Trains the lanes from where they stand to `num_epoch` epochs and keeps the best weights of each in `lane.best`.

    Selection: best validation accuracy at the end of an epoch, the earlier one of equals. A lane whose loss is no
    longer finite yields a `Divergence` and ends; one that `stopped_early` ends after the epoch that decided it.

    Args:
        lanes: one, for now.
        data: on the lanes' device.
        echo: called every `num_iter_echo` iterations.
        stop: asked after each step; if it says so, the training ends there, and `lane.position` says where. Going on
            from it gives the same bits as never having stopped.
    """
    (lane,) = lanes
    batch_size, every = lane.config.batch_size, lane.config.num_iter_echo
    n, device = len(data.train_index), data.images.device
    steps = math.ceil(n / batch_size)
    step = solo_step(lane, data, steps * lane.config.num_epoch)
    losses = torch.zeros(steps, device=device)
    weights = torch.full((steps,), batch_size / n, device=device)
    weights[-1] = (n - batch_size * (steps - 1)) / n
    for epoch in range(lane.position.epoch, lane.config.num_epoch + 1):
        if lane.stopped_early:
            return
        at, start = lane.position, time.perf_counter() - lane.position.seconds
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
                step_losses.append((first + done, loss, _now_ms()))
                if echo is not None:
                    echo(first + done, loss)
            if stop():
                seconds = time.perf_counter() - start
                lane.position = Position(
                    epoch, done, losses[:done].cpu(), int(correct), tuple(step_losses), seconds, order_state
                )
                return
        bad = (~losses[:done].isfinite()).nonzero()
        if len(bad):
            yield [Divergence(epoch, first + int(bad[0]) + 1, float(losses[int(bad[0])]), step_losses)]
            return
        train_loss, train_accuracy = float(losses @ weights), int(correct) / n
        train_seconds = time.perf_counter() - start
        val_loss, predictions = evaluate(lane.judged, data.images, data.labels, data.val_index)
        if not math.isfinite(val_loss):  # the last step spoilt the weights
            yield [Divergence(epoch, first + steps, val_loss, step_losses)]
            return
        val_accuracy = float((predictions == data.labels[data.val_index].cpu()).double().mean())
        improved = lane.best is None or val_accuracy > lane.best.val_accuracy
        if improved:
            copied = {name: t.detach().to("cpu", copy=True) for name, t in lane.judged.state_dict().items()}
            lane.best = Best(epoch, val_accuracy, copied, predictions)
        lane.note_accuracy(epoch, val_accuracy)
        lane.position = Position(epoch + 1)
        yield [
            EpochResult(
                epoch,
                train_loss,
                train_accuracy,
                val_loss,
                val_accuracy,
                lane.optimizer.param_groups[0]["lr"],
                time.perf_counter() - start,
                n / train_seconds,
                step_losses,
                _now_ms(),
                improved,
            )
        ]


def solo_step(lane: Lane, data: TrainingData, steps: int) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
    """How one step of one lane is done: a function from a batch's index (n,) and the step (from 0, of `steps` in the
    whole training) to the batch's mean loss and number of hits."""
    model, optimizer, average = lane.model, lane.optimizer, lane.average
    options, augmentation, schedule = lane.config.training, lane.config.augmentation, lane.config.schedule
    peak = lane.lr
    changing, augmenting = schedule.shape is not Shape.constant, augments(augmentation)
    parameters = list(model.parameters())

    def step(batch: Tensor, number: int) -> tuple[Tensor, Tensor]:
        images, labels = data.images[batch], data.labels[batch]
        if augmenting:
            images = augment(images, augmentation, lane.distortions)
        if changing:
            for group in optimizer.param_groups:
                group["lr"] = peak * lr_factor(schedule, number, steps)
        logits = model(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=options.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if options.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, options.clip_norm)
        optimizer.step()
        if average is not None and options.ema_decay is not None:
            follow(average, model, options.ema_decay, number + 1)
        return loss.detach(), (logits.detach().argmax(1) == labels).sum()

    return step


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
