"""Ensembles: the mean of the class probabilities of models that were trained with different seeds.

Source: Lakshminarayanan, Pritzel, and Blundell 2017, section 2.4.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenet_exp.errors import ConfigError
from lenet_exp.prediction.score import TestOutputs
from lenet_exp.tracking.models.load import TrainedModel


def mean_log_probabilities(logits: Iterable[Tensor]) -> Tensor:
    """Return the logarithm of the mean probabilities, shape (n, classes), of models with logits of this shape.

    Like logits, the result gives probabilities through softmax. These are the mean probabilities.
    """
    log_p = torch.stack([F.log_softmax(each, dim=1) for each in logits])
    return torch.logsumexp(log_p, dim=0) - math.log(len(log_p))


def ensemble_outputs(members: Sequence[TestOutputs]) -> TestOutputs:
    """Return the outputs of the ensemble for a test set, given the outputs of its members for the same test set."""
    return replace(members[0], logits=mean_log_probabilities(m.logits.double() for m in members))


class EnsembleNetwork(nn.Module):
    """A network that returns the logarithm of the mean probabilities of several networks."""

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        """Return the log-probabilities, shape (n, classes), for images (n, channels, size, size)."""
        return mean_log_probabilities(network(images) for network in self.networks)


@dataclass(frozen=True)
class EnsembleModel(TrainedModel):
    """An ensemble of trained models.

    Attributes:
        members: models of the ensemble. The record of the ensemble is that of its first member, which has the same
            images and classes.
    """

    members: tuple[TrainedModel, ...] = ()


def ensemble_of(members: Sequence[TrainedModel], name: str) -> EnsembleModel:
    """Return the ensemble of models that have the same input.

    Raises:
        ConfigError: there are fewer than two models, or their images have different shapes or scales.
    """
    if len(members) < 2:
        raise ConfigError(f"ensemble=true: {name} has only {len(members)} finished run; train more seeds")
    first = members[0]
    if any((m.shape, m.normalization) != (first.shape, first.normalization) for m in members):
        raise ConfigError(f"ensemble=true: the runs of {name} scale their images differently")
    network = EnsembleNetwork(m.network for m in members).eval()
    return EnsembleModel(network, name, first.record, members=tuple(members))
