"""Small real trainings on digits, for tests."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from lenet_exp.config.schema import Config
from lenet_exp.data.images import TrainingData, load_training_data
from lenet_exp.package_files import CONF_DIR
from lenet_exp.seeds import generator
from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.execution import choose_device, use_threads
from lenet_exp.training.fit import Divergence, fit
from lenet_exp.training.state import TrainingState, new_training_state
from lenet_exp.training.trained.weights import weights_digest
from tests.tools.configs import compose

ACTIVATIONS = sorted(file.stem for file in (CONF_DIR / "activation").glob("*.yaml"))
OPTIMIZERS = sorted(file.stem for file in (CONF_DIR / "optimizer").glob("*.yaml"))


def configure(*overrides: str) -> Config:
    """Return a configuration of one epoch on digits with torch and batches of 32, unless
    overridden.
    """
    small = [
        "dataset=digits",
        "batch_size=32",
        "num_epoch=1",
        "num_threads=1",
        "device=cpu",
        "engine=torch",
    ]
    return compose([*small, *overrides])


def start(config: Config) -> tuple[TrainingState, TrainingData]:
    """Return the initial training state and the data that `fit` needs."""
    device = choose_device(config.device)
    config = replace(config, num_threads=use_threads(config.num_threads, 1))
    return new_training_state(config, device), load_training_data(config, device)


def train(*overrides: str) -> tuple[TrainingState, list[EpochResult | Divergence]]:
    """Train completely, and return the training state and the results of the epochs."""
    state, data = start(configure(*overrides))
    return state, list(fit(state, data))


def digest(state: TrainingState) -> str:
    """Return the digest of the best weights."""
    assert state.best is not None
    return weights_digest(state.best.weights)


@dataclass(frozen=True)
class Step:
    """One step of an explicit training: epoch and iteration from 1, and the loss and hit of each
    image.
    """

    epoch: int
    iteration: int
    losses: torch.Tensor
    hits: torch.Tensor


def by_hand(config: Config) -> Iterator[Step]:
    """Train with an explicit loop, without listeners or running sums, and yield the loss of each
    image.
    """
    state, data = start(config)
    order, iteration = generator(config.seed, "order"), 0
    for epoch in range(1, config.num_epoch + 1):
        indices = data.train_index[torch.randperm(len(data.train_index), generator=order)]
        for first in range(0, len(indices), config.batch_size):
            batch = indices[first : first + config.batch_size]
            state.model.train()
            logits = state.model(data.images[batch])
            losses = F.cross_entropy(logits, data.labels[batch], reduction="none")
            state.optimizer.zero_grad()
            losses.mean().backward()
            state.optimizer.step()
            iteration += 1
            yield Step(epoch, iteration, losses.detach(), logits.argmax(1) == data.labels[batch])


def first_divergence(config: Config) -> tuple[int, int]:
    """Return epoch and iteration of the first loss that is not finite in an explicit training."""
    return next(
        (s.epoch, s.iteration) for s in by_hand(config) if not math.isfinite(s.losses.mean())
    )
