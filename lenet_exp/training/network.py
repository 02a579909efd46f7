"""The network of a configuration: the only place that constructs one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lenet_exp.config.schema import Config, Option
from lenet_exp.training.activations import ActivationFactory
from lenet_exp.training.lenet5 import LeNet5


def build_network(
    activation: Option,
    dropout_rate: float,
    weights: torch.Generator | None = None,
    noise: torch.Generator | None = None,
) -> LeNet5:
    """Return a network with initial weights, in training mode on the CPU. Torch's global random state stays as it was.

    Args:
        activation: an activation's option (`_target_`, keywords, `monotone`).
        dropout_rate: in [0, 1).
        weights: generator whose state the initial weights are drawn from; it is not advanced.
        noise: generator for dropout masks and random slopes, on the device that the network will train on.

    Raises:
        ConfigError: the activation rejects its keywords.
    """
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state((weights or torch.Generator()).get_state())
        network = LeNet5(ActivationFactory(activation), dropout_rate)
    for module in network.modules():
        if hasattr(module, "generator"):
            module.generator = noise  # type: ignore[assignment]
    return network


def rebuild(config: Config, weights: Mapping[str, Tensor]) -> LeNet5:
    """Return the network of a configuration with trained weights, in eval mode on the CPU.

    Args:
        config: only its activation and dropout are read.
    """
    network = build_network(config.activation, config.regularization.dropout_rate)
    network.load_state_dict(weights)
    return network.eval()
