"""The optimizer an option file names, in its fastest form."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import cast

import torch
from torch import nn

from lenet_exp.config.schema import Config
from lenet_exp.config.targets import keywords, option_class
from lenet_exp.errors import ConfigError

KNOWN = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop)  # to do on LeNet-5, and natively
NOT_COMPILED = ("state_dict", "load_state_dict", "zero_grad", "add_param_group")


def build_optimizer(config: Config, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of a run; `fused` where torch has it.

    Raises:
        ConfigError: torch refuses a value or a combination, or the class has no weight decay and one is asked for.
    """
    cls = option_class("optimizer", config.optimizer)
    kwargs = keywords("optimizer", config.optimizer)
    accepted = inspect.signature(cls).parameters
    weight_decay = config.regularization.weight_decay
    if "weight_decay" in accepted:
        kwargs["weight_decay"] = weight_decay
    elif weight_decay:
        raise ConfigError(f"regularization.weight_decay={weight_decay}: {cls.__name__} has none; must be 0")
    if "fused" in accepted:
        kwargs["fused"] = True
    _load_no_compiler()
    try:
        return cast(torch.optim.Optimizer, cls(parameters, **kwargs))
    except (TypeError, ValueError, RuntimeError) as e:
        shown = ", ".join(f"{k}={v}" for k, v in kwargs.items() if k != "fused")
        raise ConfigError(f"optimizer: {cls.__name__}({shown}) is refused: {e}") from e


def _load_no_compiler() -> None:
    """torch leaves some methods out of what it compiles, and imports its compiler (a second) at the first call of any
    of them to say so. Nothing is compiled here: they are noted as left out."""
    for name in NOT_COMPILED:
        method = getattr(getattr(torch.optim.Optimizer, name), "__wrapped__", None)
        if method is not None and not hasattr(method, "__dynamo_disable"):
            method.__dynamo_disable = method
