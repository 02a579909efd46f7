"""All checks before training: flags, and PyTorch's own checks of the network and optimizer."""

from __future__ import annotations

import json
from functools import lru_cache

import torch

from lenet_exp.config.check import check_flags
from lenet_exp.config.schema import Config
from lenet_exp.config.targets import option_name
from lenet_exp.errors import ConfigError
from lenet_exp.training.network import build_network
from lenet_exp.training.optimizer import KNOWN, build_optimizer
from lenet_exp.training.snapshot import optimizer_state


def check_config(config: Config) -> None:
    """Check a configuration completely.

    Raises:
        ConfigError: a value is invalid; the message names the flag, its value, and the allowed values.
    """
    check_flags(config)
    _check_activation(config)
    _check_optimizer(config)


def _check_activation(config: Config) -> None:
    dropout_rate = 0.5 if config.regularization.dropout_rate else 0.0  # the rate's range was checked before
    _try_network(json.dumps([config.activation, dropout_rate], sort_keys=True, default=str))


# The jobs of a sweep differ in few options, so successful checks are cached; errors are not.
@lru_cache(maxsize=1024)
def _try_network(options: str) -> None:
    activation, dropout_rate = json.loads(options)
    state = torch.random.get_rng_state()
    try:
        model = build_network(activation, dropout_rate, noise=torch.Generator())
        model.train()(torch.linspace(-1, 1, 2 * 32 * 32).reshape(2, 1, 32, 32))
    except ConfigError:
        raise
    except Exception as e:
        raise ConfigError(f"activation={option_name(activation)}: cannot be used in LeNet-5: {e}") from e
    if not torch.equal(state, torch.random.get_rng_state()):
        raise ConfigError(
            f"activation={option_name(activation)}: uses the global random state, so runs cannot be reproduced. "
            "Give the class a `generator` attribute (see lenet_exp/training/activations.py)."
        )


def _check_optimizer(config: Config) -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    optimizer = build_optimizer(config, [parameter])
    if "lr" not in optimizer.param_groups[0]:
        raise ConfigError(f"optimizer={option_name(config.optimizer)}: must have an lr, for schedules and curves")
    if type(optimizer) in KNOWN:  # skip the step, which would load torch's compiler
        return
    try:
        optimizer.step()
    except Exception as e:  # LBFGS needs a closure, SparseAdam sparse gradients
        raise ConfigError(f"optimizer={option_name(config.optimizer)}: cannot be used to train LeNet-5: {e}") from e
    try:
        optimizer_state(optimizer)
    except TypeError as e:
        raise ConfigError(
            f"optimizer={option_name(config.optimizer)}: its state must consist of tensors, numbers, and strings, "
            f"or runs cannot be resumed: {e}"
        ) from e
