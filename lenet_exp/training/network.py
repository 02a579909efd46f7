"""Construction of networks from configurations. No other module constructs networks."""

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
        activation: option of the activation: `_target_`, keyword arguments, and `monotone`.
        dropout_rate: dropout rate, in [0, 1).
        weights: generator from whose state the initial weights are drawn; the generator itself does not advance.
        noise: generator for dropout masks and random slopes, on the device that the network will train on.
        model: option of the model: `_target_` and keyword arguments. The class also receives the image shape, number of
            classes, activation, and dropout rate, if its signature has these parameters.

    Raises:
        ConfigError: the class of the model or of the activation rejects its keyword arguments.
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
    """Return a configuration's network with initial weights; see `build_network`."""
    return build_network(config.activation, config.regularization.dropout_rate, weights, noise, model=config.model)


def rebuild(config: Config, weights: Mapping[str, Tensor]) -> nn.Module:
    """Return a configuration's network with trained weights, in eval mode on the CPU.

    Args:
        config: configuration; only its model, activation, and dropout rate are used.
        weights: tensors of the network's state dict, keyed by name.
    """
    network = network_of(config)
    network.load_state_dict(weights)
    return network.eval()
