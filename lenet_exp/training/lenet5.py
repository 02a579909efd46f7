"""LeNet-5 (LeCun et al. 1998, section II.B) with max-pooling and a chosen activation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenet_exp.config.schema import Config, Option
from lenet_exp.config.targets import keywords, option_class
from lenet_exp.errors import ConfigError
from lenet_exp.training.activations import Dropout

Layer = TypeVar("Layer", bound=nn.Module)


class LeNet5(nn.Module):
    """conv 6@5x5, max-pool, conv 16@5x5, max-pool, 400-120-84-10; 61,706 parameters (PReLU adds 4).

    Weights are drawn as PyTorch draws them by default, but from `weights`; noise in training comes from `noise`.

    Args:
        activation: an activation's option (`_target_`, keywords, `monotone`).
        dropout_rate: after fc1 and fc2, in [0, 1).
        weights: generator of the initial weights.
        noise: generator of dropout masks and random slopes, on the device that the network will train on.
    """

    def __init__(
        self,
        activation: Option,
        dropout_rate: float,
        weights: torch.Generator | None = None,
        noise: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        weights = weights or torch.Generator()
        self.conv1 = _drawn_later(lambda: nn.Conv2d(1, 6, 5))
        self.act1 = build_activation(activation, weights)
        self.conv2 = _drawn_later(lambda: nn.Conv2d(6, 16, 5))
        self.act2 = build_activation(activation, weights)
        self.fc1 = _drawn_later(lambda: nn.Linear(400, 120))
        self.act3 = build_activation(activation, weights)
        self.drop1 = Dropout(dropout_rate)
        self.fc2 = _drawn_later(lambda: nn.Linear(120, 84))
        self.act4 = build_activation(activation, weights)
        self.drop2 = Dropout(dropout_rate)
        self.fc3 = _drawn_later(lambda: nn.Linear(84, 10))
        self.pool_first = bool(activation.get("monotone", False)) and _never_falls(self.act1)
        for layer in (self.conv1, self.conv2, self.fc1, self.fc2, self.fc3):
            _initialize(layer, weights)
        for module in self.modules():
            if hasattr(module, "generator"):
                module.generator = noise  # type: ignore[assignment]

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, 1, 32, 32), normalized to [-1, 1] -> logits (n, 10)."""
        x = self._pooled(self.conv1(images), self.act1)
        x = self._pooled(self.conv2(x), self.act2)
        x = self.drop1(self.act3(self.fc1(x.flatten(1))))
        x = self.drop2(self.act4(self.fc2(x)))
        return cast(Tensor, self.fc3(x))

    def _pooled(self, x: Tensor, activation: nn.Module) -> Tensor:
        # Maximum and a monotone function commute; after pooling the activation has a quarter of the work.
        if self.pool_first:
            return cast(Tensor, activation(F.max_pool2d(x, 2)))
        return F.max_pool2d(activation(x), 2)


def rebuild(config: Config, weights: Mapping[str, Tensor]) -> LeNet5:
    """The network of a configuration, of which only activation and dropout are asked, with `weights`, in eval mode on
    the CPU."""
    network = LeNet5(config.activation, config.regularization.dropout_rate)
    network.load_state_dict(weights)
    return network.eval()


def build_activation(option: Option, weights: torch.Generator) -> nn.Module:
    """A new activation module from its option.

    Raises:
        ConfigError: the class refuses its keywords.
    """
    cls, kwargs = option_class("activation", option), keywords("activation", option)
    # An activation of one's own may draw initial parameters from global random state: lend it the run's stream.
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(weights.get_state())
        try:
            return cast(nn.Module, cls(**kwargs))
        except (TypeError, ValueError, AssertionError, RuntimeError) as e:
            shown = ", ".join(f"{k}={v}" for k, v in kwargs.items())
            raise ConfigError(f"activation: {cls.__name__}({shown}) is refused: {e}") from e


def _drawn_later(layer: Callable[[], Layer]) -> Layer:
    """A layer whose first weights don't count. It leaves torch's global random state as it was; `nn.utils.skip_init`
    would, too, and import sympy for it."""
    with torch.random.fork_rng(devices=[]):
        return layer()


def _initialize(layer: nn.Module, weights: torch.Generator) -> None:
    """PyTorch's default for convolutions and linear layers: U(-b, b) with b = 1 / sqrt(fan_in)."""
    assert isinstance(layer.weight, Tensor)
    assert isinstance(layer.bias, Tensor)
    bound = layer.weight[0].numel() ** -0.5
    nn.init.uniform_(layer.weight, -bound, bound, generator=weights)
    nn.init.uniform_(layer.bias, -bound, bound, generator=weights)


@torch.no_grad()
def _never_falls(activation: nn.Module) -> bool:
    """Guards `monotone: true` against parameters that make it untrue, such as a negative slope."""
    with torch.random.fork_rng(devices=[]):  # one that draws has no generator yet
        values = activation(torch.linspace(-20, 20, 4001))
    return bool((values.cummax(0).values - values <= 2e-6).all())  # one unit in the last place is not a fall
