"""Construction of optimizers from configurations."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import cast

import torch
from torch import nn

from lenet_exp.config.class_groups import TARGET, is_own
from lenet_exp.config.schema import Config
from lenet_exp.config.targets import keywords, option_class
from lenet_exp.errors import ConfigError, first_line
from lenet_exp.seeds import generator
from lenet_exp.training.network import network_of
from lenet_exp.training.schedule import depends_on_length

# These optimizers are known to train LeNet-5, and the native engine supports them.
BUILT_IN_OPTIMIZERS = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop)
# Methods of optimizers that torch excludes from compilation.
NOT_COMPILED = ("state_dict", "load_state_dict", "zero_grad", "add_param_group")


def build_optimizer(config: Config, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return a configuration's optimizer, fused if torch supports it.

    Raises:
        ConfigError: the optimizer rejects its arguments, or weight decay is set and the optimizer
            does not support it.
    """
    cls = option_class("optimizer", config.optimizer)
    kwargs = keywords("optimizer", config.optimizer)
    accepted = inspect.signature(cls).parameters

    weight_decay = config.regularization.weight_decay
    if "weight_decay" in accepted:
        kwargs["weight_decay"] = weight_decay
    elif weight_decay:
        raise ConfigError(
            f"regularization.weight_decay={weight_decay}: must be 0; "
            f"{cls.__name__} does not support weight decay"
        )
    if "fused" in accepted:
        kwargs["fused"] = True

    _prevent_compiler_import()
    try:
        return cast(torch.optim.Optimizer, cls(parameters, **kwargs))
    except (TypeError, ValueError, RuntimeError) as e:
        kwargs.pop("fused", None)
        arguments = ", ".join(f"{name}={value}" for name, value in kwargs.items())
        raise ConfigError(f"optimizer: {cls.__name__}({arguments}): {first_line(e)}") from e


def group_rates(optimizer: torch.optim.Optimizer) -> tuple[float, ...]:
    """Return the current learning rate of each of an optimizer's parameter groups."""
    return tuple(float(group["lr"]) for group in optimizer.param_groups)


def scheduled_rates(config: Config) -> tuple[float, ...]:
    """Return the initial learning rates of an own optimizer's parameter groups.

    The result is () unless the rates differ and a schedule changes them.

    They are part of the fingerprint: release 0.3 gave each group the scheduled rate of the first
    one.

    Raises:
        ConfigError: the network or the optimizer cannot be constructed.
    """
    if not is_own(str(config.optimizer.get(TARGET))) or not depends_on_length(config.schedule):
        return ()

    network = network_of(config, generator(config.seed, "weights"))
    rates = group_rates(build_optimizer(config, network.parameters()))
    differ = len(set(rates)) > 1
    return rates if differ else ()


def _prevent_compiler_import() -> None:
    """Prevent torch from importing its compiler, which takes a second.

    torch excludes some optimizer methods from compilation, and imports its compiler to mark each
    method on its first call. This function marks the methods instead, because lenet_exp never
    compiles networks.
    """
    for name in NOT_COMPILED:
        decorated = getattr(torch.optim.Optimizer, name)
        method = getattr(decorated, "__wrapped__", None)
        if method is not None and not hasattr(method, "__dynamo_disable"):
            method.__dynamo_disable = method
