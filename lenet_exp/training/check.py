"""Checks a configuration's flags, network, and optimizer before training."""

from __future__ import annotations

import json
import math
import os
import traceback
from dataclasses import asdict
from functools import lru_cache

import torch
from torch import Tensor, nn

from lenet_exp.config.check import check_flags
from lenet_exp.config.image_shape import ImageShape
from lenet_exp.config.schema import Config
from lenet_exp.config.targets import option_name
from lenet_exp.data.images import image_shape
from lenet_exp.errors import ConfigError, first_line
from lenet_exp.training.network import build_network, in_training_format
from lenet_exp.training.optimizer import KNOWN, build_optimizer
from lenet_exp.training.snapshot import optimizer_state
from lenet_exp.training.trained.trust import OUR_MODELS, trusted_activations

DRAW_GLOBALLY = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
    nn.RReLU,
)
INSTEAD = "Dropout or RReLU from lenet_exp.training.activations"


def check_config(config: Config) -> None:
    """Check a configuration's flags, network, and optimizer.

    Raises:
        ConfigError: a value is invalid; the message contains the flag, its value, and the allowed values.
        DataError: the names of the classes are not set, and the dataset cannot be read.
    """
    check_flags(config)
    _check_network(config)
    _check_optimizer(config)


def check_batches(config: Config, images: int) -> None:
    """Check that no batch is too small for the network.

    Args:
        images: number of training images.

    Raises:
        ConfigError: a batch would contain a single image, but the network's batch normalization needs several images.
    """
    if (images - 1) % config.batch_size == 0 and not _check_network(config):
        raise ConfigError(
            f"batch_size={config.batch_size}: leaves a last batch of one image ({images:,} training images), which is "
            "too small for the model; set a different batch size"
        )


def _check_network(config: Config) -> bool:
    """Check a configuration's network. Return whether the network can train on a batch of one image."""
    dropout_rate = 0.5 if config.regularization.dropout_rate else 0.0  # its range is already checked
    options = [config.model, config.activation, dropout_rate, asdict(image_shape(config))]
    return _try_network(json.dumps(options, sort_keys=True, default=str))


# The jobs of a sweep differ in only a few options, so successful checks are cached. Errors are not.
@lru_cache(maxsize=1024)
def _try_network(options: str) -> bool:
    model, activation, dropout_rate, images_like = json.loads(options)
    shape = ImageShape(**images_like)
    state = torch.random.get_rng_state()
    network = build_network(activation, dropout_rate, noise=torch.Generator(), model=model, shape=shape)
    ours = model["_target_"] in OUR_MODELS
    named = f"activation={option_name(activation)}" if ours and activation else f"model={option_name(model)}"
    if foreign := next((type(m).__name__ for m in network.modules() if isinstance(m, DRAW_GLOBALLY)), None):
        raise ConfigError(f"{named}: contains nn.{foreign}, which makes runs impossible to reproduce; use {INSTEAD}")
    try:
        images = torch.linspace(-1, 1, math.prod(shape.batch(2))).reshape(shape.batch(2))
        logits = in_training_format(network).train()(images)  # the format that training uses
        if not isinstance(logits, Tensor):
            raise ConfigError(f"{named}: forward must return a tensor with the logits, not a {type(logits).__name__}")
        if logits.shape != (2, shape.num_classes):
            raise ConfigError(
                f"{named}: two images produce logits of shape {list(logits.shape)}; "
                f"the shape must be [2, {shape.num_classes}] (at least 10 outputs unless dataset.exact_classes=true)"
            )
        if not torch.equal(state, torch.random.get_rng_state()):
            raise ConfigError(
                f"{named}: uses the global random state, so runs cannot be reproduced. "
                "Give the class a `generator` attribute (see lenet_exp/training/activations.py)."
            )
        known = ours and (not activation or activation["_target_"] in trusted_activations())
        return known or _check_own_network(named, network, images, logits)
    except ConfigError:
        raise
    except Exception as e:  # the user's own class can raise any exception
        frames = traceback.extract_tb(e.__traceback__)
        where = next((f for f in reversed(frames) if f"{os.sep}torch{os.sep}" not in f.filename), frames[-1])
        place = f"{os.path.basename(where.filename)}, line {where.lineno}"
        raise ConfigError(f"{named}: cannot be used on {shape}: {first_line(e)} ({place})") from e


def _check_own_network(named: str, network: nn.Module, images: Tensor, logits: Tensor) -> bool:
    """Check gradients, state, and determinism of a user's network. Return whether it can train on one image.

    The models of lenet_exp with activations of lenet_exp or torch are not checked, because torch's backward pass hangs
    with some environment variables, such as ATEN_CPU_CAPABILITY=default with OMP_DYNAMIC=true. The native engine can
    train with these variables.
    """
    logits.sum().backward()
    if idle := next((n for n, p in network.named_parameters() if p.requires_grad and p.grad is None), None):
        raise ConfigError(f"{named}: its parameter {idle} receives no gradient; use it, or set requires_grad=False")
    if other := next((n for n, t in network.state_dict().items() if not isinstance(t, Tensor)), None):
        raise ConfigError(f"{named}: its state {other} is not a tensor, so it cannot be saved")
    with torch.inference_mode():
        once, again = network.eval()(images), network(images)
        if not torch.allclose(once, again, rtol=0, atol=0, equal_nan=True):
            raise ConfigError(f"{named}: returns different logits on each call in eval mode; it must be deterministic")
        try:
            network.train()(images[:1])
        except Exception:  # such as that of batch normalization
            return False
    return True


def _check_optimizer(config: Config) -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    optimizer = build_optimizer(config, [parameter])
    if "lr" not in optimizer.param_groups[0]:
        raise ConfigError(
            f"optimizer={option_name(config.optimizer)}: must have an lr, which schedules and curves require"
        )
    if type(optimizer) in KNOWN:  # skip the step, which would load torch's compiler
        return
    try:
        optimizer.step()
    except Exception as e:  # LBFGS needs a closure; SparseAdam needs sparse gradients
        raise ConfigError(f"optimizer={option_name(config.optimizer)}: cannot be used for training: {e}") from e
    try:
        optimizer_state(optimizer)
    except TypeError as e:
        raise ConfigError(
            f"optimizer={option_name(config.optimizer)}: its state must consist of tensors, numbers, and strings, "
            f"or runs cannot be resumed: {e}"
        ) from e
