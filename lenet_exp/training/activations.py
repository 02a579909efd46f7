"""Activations, and layers that draw random numbers.

These layers use a `generator` of the run instead of torch's global random state.
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

# A monotone activation may decrease by the spacing of float32 numbers near 20, which is 2^-19.
ROUNDING = 2e-6


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
        cls = option_class("activation", self.option)
        kwargs = keywords("activation", self.option)
        with torch.random.fork_rng(devices=[]):
            try:
                return cast(nn.Module, cls(**kwargs))
            except BaseException as e:  # the user's own class can raise any exception
                raise_stop(e)
                arguments = ", ".join(f"{name}={value}" for name, value in kwargs.items())
                call = f"{cls.__name__}({arguments})"
                raise ConfigError(f"activation: {call}: {first_line(e)}") from e

    @torch.no_grad()
    def is_monotone(self) -> bool:
        """Return whether the activation is monotone with its parameters.

        The result is False unless the option sets `monotone: true`.

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
                # The inputs -20.00, -19.99, ..., 20.00; shape (4001,).
                values = activation(torch.linspace(-20, 20, 4001))
            except Exception as e:  # the user's own class can raise any exception
                raise ConfigError(
                    f"activation={option_name(self.option)}: cannot be used in LeNet-5: {e}"
                ) from e

        # How far each value lies below the largest value so far, shape (4001,).
        decrease = values.cummax(0).values - values
        return bool((decrease <= ROUNDING).all())


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
            mean_slope = (self.lower + self.upper) / 2
            return nn.functional.leaky_relu(x, mean_slope)

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
        """Return the input, in training with some values dropped.

        Example: with rate 0.2, a value becomes 0 or, with probability 0.8, 1.25 times as large.
        """
        if not self.training or self.rate == 0:
            return x

        keep_rate = 1 - self.rate
        # 1 where a value is kept, 0 where it is dropped.
        mask = torch.empty_like(x).bernoulli_(keep_rate, generator=self.generator)
        return x * mask.div_(keep_rate)
