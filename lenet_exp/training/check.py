"""All checks before training: those of the flags, and PyTorch's own checks of the network and optimizer."""

from __future__ import annotations

import json
from functools import lru_cache

import torch
from torch import Tensor, nn

from lenet_exp.config.check import check_flags
from lenet_exp.config.schema import LENET5, Config
from lenet_exp.config.targets import option_name
from lenet_exp.errors import ConfigError
from lenet_exp.training.network import IMAGE_SIZE, IN_CHANNELS, NUM_CLASSES, build_network
from lenet_exp.training.optimizer import KNOWN, build_optimizer
from lenet_exp.training.snapshot import optimizer_state
from lenet_exp.training.trained.trust import OUR_MODELS

DRAW_GLOBALLY = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
    nn.RReLU,
)
INSTEAD = "lenet_exp.training.activations.Dropout, or RReLU there"


def check_config(config: Config) -> None:
    """Check a configuration completely.

    Raises:
        ConfigError: a value is invalid; the message names the flag, its value, and the allowed values.
    """
    check_flags(config)
    _check_network(config)
    _check_optimizer(config)


def check_batches(config: Config, images: int) -> None:
    """Check that no batch is too small for the network.

    Args:
        images: number of training images.

    Raises:
        ConfigError: the last batch holds one image, and batch norm needs two.
    """
    if images % config.batch_size == 1 and _check_network(config):
        raise ConfigError(
            f"batch_size={config.batch_size}: the last batch of {images:,} images has one, and batch norm needs two; "
            "must be another size"
        )


def _check_network(config: Config) -> bool:
    """Check the network of a configuration, and return whether it has batch norm."""
    dropout_rate = 0.5 if config.regularization.dropout_rate else 0.0  # the rate's range was checked before
    return _try_network(json.dumps([config.model, config.activation, dropout_rate], sort_keys=True, default=str))


# The jobs of a sweep differ in few options, so successful checks are cached; errors are not.
@lru_cache(maxsize=1024)
def _try_network(options: str) -> bool:
    model, activation, dropout_rate = json.loads(options)
    state = torch.random.get_rng_state()
    network = build_network(activation, dropout_rate, noise=torch.Generator(), model=model)
    is_lenet5 = model["_target_"] == LENET5["_target_"]
    named = f"activation={option_name(activation)}" if is_lenet5 else f"model={option_name(model)}"
    if foreign := next((type(m).__name__ for m in network.modules() if isinstance(m, DRAW_GLOBALLY)), None):
        raise ConfigError(f"{named}: has nn.{foreign}, whose runs cannot be repeated; use {INSTEAD}")
    try:
        images = torch.linspace(-1, 1, 2 * IN_CHANNELS * IMAGE_SIZE**2).reshape(2, IN_CHANNELS, IMAGE_SIZE, IMAGE_SIZE)
        logits = network.train()(images)
        if logits.shape != (2, NUM_CLASSES):
            raise ConfigError(
                f"{named}: two images give logits of shape {list(logits.shape)}; must be [2, {NUM_CLASSES}]"
            )
    except ConfigError:
        raise
    except Exception as e:
        raise ConfigError(f"{named}: cannot be used on images of {IMAGE_SIZE}x{IMAGE_SIZE} pixels: {e}") from e
    if not torch.equal(state, torch.random.get_rng_state()):
        raise ConfigError(
            f"{named}: uses the global random state, so runs cannot be reproduced. "
            "Give the class a `generator` attribute (see lenet_exp/training/activations.py)."
        )
    if model["_target_"] not in OUR_MODELS:
        try:
            _check_own_network(named, network, images)
        except RuntimeError as e:
            raise ConfigError(f"{named}: cannot be trained: {e}") from e
    return any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) for m in network.modules())


def _check_own_network(named: str, network: nn.Module, images: Tensor) -> None:
    """Check what the models of this package are known to do.

    They are left out because torch's backward pass hangs under some settings of its environment, such as
    ATEN_CPU_CAPABILITY=default with OMP_DYNAMIC=true, with which the native engine trains.
    """
    network(images).sum().backward()
    if idle := next((n for n, p in network.named_parameters() if p.requires_grad and p.grad is None), None):
        raise ConfigError(f"{named}: its parameter {idle} gets no gradient; must be used, or have requires_grad=False")
    with torch.inference_mode():
        once, again = network.eval()(images), network(images)
    if not torch.equal(once, again):
        raise ConfigError(f"{named}: gives other logits each time in eval mode; must be deterministic")
    if other := next((n for n, t in network.state_dict().items() if not isinstance(t, Tensor)), None):
        raise ConfigError(f"{named}: its state {other} is not a tensor, so it could not be saved")


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
