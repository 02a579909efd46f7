"""Activations, and layers that draw random numbers from a `generator` of the run instead of torch's
global state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from lenet_exp.config.class_groups import option_name
from lenet_exp.config.schema import Option
from lenet_exp.config.targets import keywords, option_class
from lenet_exp.errors import ConfigError, first_line
from lenet_exp.stopping import raise_stop


@dataclass(frozen=True)
class ActivationFactory:
    """Factory for a network's activation modules.

    Attributes:
        option: option of the activation, with `_target_`, keyword arguments, and `monotone`.
    """

    option: Option

    def __call__(self) -> nn.Module:
        """Return a new module without changing torch's global random state.

        Raises:
            ConfigError: the activation's class rejects its keyword arguments.
        """
        cls, kwargs = option_class("activation", self.option), keywords("activation", self.option)
        with torch.random.fork_rng(devices=[]):
            try:
                return cast(nn.Module, cls(**kwargs))
            except BaseException as e:  # the user's own class can raise any exception
                raise_stop(e)
                shown = ", ".join(f"{k}={v}" for k, v in kwargs.items())
                raise ConfigError(f"activation: {cls.__name__}({shown}): {first_line(e)}") from e

    @torch.no_grad()
    def is_monotone(self) -> bool:
        """Return whether the option sets `monotone: true` and the activation is monotone with its
        parameters.

        Raises:
            ConfigError: the activation cannot be applied to test values.
        """
        if not self.option.get("monotone", False):
            return False
        # A random activation has no generator yet. `count_parameters` constructs networks on a
        # device without values.
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            activation = self()
            try:
                values = activation(torch.linspace(-20, 20, 4001))
            except Exception as e:  # the user's own class can raise any exception
                raise ConfigError(
                    f"activation={option_name(self.option)}: cannot be used in LeNet-5: {e}"
                ) from e
        return bool(
            (values.cummax(0).values - values <= 2e-6).all()
        )  # tolerate one unit in the last place


class RReLU(nn.Module):
    """Randomized leaky ReLU (Xu et al. 2015, section 2.3).

    In training, slopes are drawn from U(lower, upper). In evaluation, the slope is the mean of this
    distribution.

    Args:
        lower, upper: bounds of the slopes for negative inputs.

    Raises:
        ValueError: the bounds do not satisfy 0 <= lower <= upper.
    """

    generator: torch.Generator | None = None

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3) -> None:
        super().__init__()
        if not 0 <= lower <= upper:
            raise ValueError(f"lower={lower}, upper={upper}: must satisfy 0 <= lower <= upper")
        self.lower = lower
        self.upper = upper

    def forward(self, x: Tensor) -> Tensor:
        """Return the activations, which have the same shape as the input."""
        if not self.training:
            return nn.functional.leaky_relu(x, (self.lower + self.upper) / 2)
        slopes = torch.empty_like(x).uniform_(self.lower, self.upper, generator=self.generator)
        return torch.where(x >= 0, x, x * slopes)


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014), scaled in training so that evaluation is the identity.

    Args:
        rate: fraction of values set to zero, in [0, 1).
    """

    generator: torch.Generator | None = None

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return the input with some values dropped in training, or the unchanged input in
        evaluation.
        """
        if not self.training or self.rate == 0:
            return x
        keep = torch.empty_like(x).bernoulli_(1 - self.rate, generator=self.generator)
        return x * keep.div_(1 - self.rate)
