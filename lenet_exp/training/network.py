"""Construction of a configuration's network; no other module constructs one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lenet_exp.config.schema import LENET5, Config, Option
from lenet_exp.config.targets import keywords, option_class, option_name
from lenet_exp.errors import ConfigError, first_line
from lenet_exp.training.activations import ActivationFactory

IN_CHANNELS, IMAGE_SIZE, NUM_CLASSES = 1, 32, 10  # images are (n, 1, 32, 32), logits (n, 10)


def build_network(
    activation: Option,
    dropout_rate: float,
    weights: torch.Generator | None = None,
    noise: torch.Generator | None = None,
    *,
    model: Option = LENET5,
) -> nn.Module:
    """Return a network with initial weights, in training mode on the CPU. Torch's global random state is unchanged.

    Args:
        activation: an activation's option (`_target_`, keywords, `monotone`).
        dropout_rate: dropout rate, in [0, 1).
        weights: generator whose state the initial weights are drawn from; it is not advanced.
        noise: generator for dropout masks and random slopes, on the device that the network will train on.
        model: a model's option (`_target_`, keywords). Its class gets the shape of images, the number of classes, the
            activation, and the dropout rate, if its signature has these parameters.

    Raises:
        ConfigError: the class of the model or of the activation rejects its keywords.
    """
    cls, given = option_class("model", model), keywords("model", model)
    supplied = {
        "in_channels": IN_CHANNELS,
        "num_classes": NUM_CLASSES,
        "image_size": IMAGE_SIZE,
        "activation": ActivationFactory(activation),
        "dropout_rate": dropout_rate,
    }
    accepted = inspect.signature(cls).parameters
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state((weights or torch.Generator()).get_state())
        try:
            network: nn.Module = cls(**{k: v for k, v in supplied.items() if k in accepted}, **given)
        except ConfigError:
            raise
        except Exception as e:  # the user's own class can raise any exception
            why = first_line(e)
            if why.partition("=")[0] in given:
                raise ConfigError(f"model.{why}") from e
            shown = ", ".join(f"{k}={v}" for k, v in given.items())
            raise ConfigError(f"model={option_name(model)}: {cls.__name__}({shown}): {why}") from e
    for module in network.modules():
        if hasattr(module, "generator"):
            module.generator = noise  # type: ignore[assignment]
    return network


def network_of(
    config: Config, weights: torch.Generator | None = None, noise: torch.Generator | None = None
) -> nn.Module:
    """Return the network of a configuration with initial weights; see `build_network`."""
    return build_network(config.activation, config.regularization.dropout_rate, weights, noise, model=config.model)


def rebuild(config: Config, weights: Mapping[str, Tensor]) -> nn.Module:
    """Return the network of a configuration with trained weights, in eval mode on the CPU.

    Args:
        config: configuration, of which only the model, activation, and dropout rate are read.
    """
    network = network_of(config)
    network.load_state_dict(weights)
    return network.eval()
