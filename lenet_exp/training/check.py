"""Checks a configuration's flags and classes, such as network and optimizer, before training."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from lenet_exp.config.check import check_flags
from lenet_exp.config.class_groups import option_name
from lenet_exp.config.image_shape import ImageShape
from lenet_exp.config.schema import Config
from lenet_exp.config.targets import instance
from lenet_exp.data.images import class_names, image_shape
from lenet_exp.errors import ConfigError, first_line
from lenet_exp.training.checks.function_rules import (
    STEPS,
    broken_augmentation_rule,
    broken_loss_rule,
    broken_metric_rule,
    broken_schedule_rule,
)
from lenet_exp.training.checks.network_rules import (
    accepts_single_image,
    broken_network_rule,
    wrong_logits,
)
from lenet_exp.training.checks.own_code_errors import errors_as_one_line
from lenet_exp.training.losses import build_loss
from lenet_exp.training.network import build_network, in_training_format
from lenet_exp.training.optimizer import BUILT_IN_OPTIMIZERS, build_optimizer
from lenet_exp.training.snapshot import optimizer_state, restore_optimizer
from lenet_exp.training.trained.trust import OUR_MODELS, OUR_PARTS, trusted_activations


def check_config(config: Config) -> None:
    """Check a configuration's flags, network, optimizer, loss, and own functions.

    Raises:
        ConfigError: a value is invalid; the message contains the flag, its value, and the allowed
            values.
        DataError: the names of the classes are not set, and the dataset cannot be read.
    """
    check_flags(config)
    _check_network(config)
    _check_optimizer(config)
    _check_loss(config)
    _check_metric(config)
    _check_own_schedule(config)
    _check_own_augmentation(config)


def check_batches(config: Config, images: int) -> None:
    """Check that no batch is too small for the network.

    Args:
        images: number of training images.

    Raises:
        ConfigError: a batch would contain a single image, but the network's batch normalization
            needs several images.
    """
    has_batch_of_one = (images - 1) % config.batch_size == 0
    if has_batch_of_one and not _check_network(config):
        raise ConfigError(
            f"batch_size={config.batch_size}: leaves a last batch of one image "
            f"({images:,} training images), which is too small for the model; "
            "set a different batch size"
        )


def _check_network(config: Config) -> bool:
    """Check a configuration's network.

    Returns:
        Whether the network can train on a batch of one image.
    """
    # The rate is already checked. A single rate above 0 lets jobs with different rates share the
    # cached check.
    dropout_rate = 0.5 if config.regularization.dropout_rate else 0.0
    options = [config.model, config.activation, dropout_rate, asdict(image_shape(config))]
    return _try_network(json.dumps(options, sort_keys=True, default=str))


# The jobs of a sweep differ in only a few options, so successful checks are cached. Errors are not.
@lru_cache(maxsize=1024)
def _try_network(options: str) -> bool:
    """Check a network with two images.

    Args:
        options: model, activation, dropout rate, and shape of the images, as JSON.

    Returns:
        Whether the network can train on a batch of one image.
    """
    model, activation, dropout_rate, shape_values = json.loads(options)
    shape = ImageShape(**shape_values)
    noise = torch.Generator()
    build = partial(build_network, activation, dropout_rate, noise=noise, model=model, shape=shape)

    is_our_model = model.get("_target_") in OUR_MODELS
    if is_our_model and activation:
        option = f"activation={option_name(activation)}"
    else:
        option = f"model={option_name(model)}"

    with errors_as_one_line(option, str(shape)):
        network = build()
        images = _images(shape, 2)
        logits = in_training_format(network).train()(images.clone())
        is_trusted = is_our_model
        if activation and activation["_target_"] not in trusted_activations():
            is_trusted = False
        problem = wrong_logits(logits, shape)
        if not problem and not is_trusted:
            problem = broken_network_rule(network, build, noise, images, logits=logits)
        if problem:
            raise ConfigError(f"{option}: {problem}")
        return accepts_single_image(network, images)
    return False


def _images(shape: ImageShape, n: int) -> Tensor:
    """Return `n` images with pixels from -1 to 1."""
    size = shape.batch(n)
    return torch.linspace(-1, 1, math.prod(size)).reshape(size)


def _check_optimizer(config: Config) -> None:
    """Check that an optimizer can train, and that a resumed one continues in the same way."""
    option = f"optimizer={option_name(config.optimizer)}"
    parameter = _parameter_with_gradient(torch.ones(1))
    optimizer = build_optimizer(config, [parameter])
    if "lr" not in optimizer.param_groups[0]:
        raise ConfigError(f"{option}: must have an lr, which schedules require")
    if type(optimizer) in BUILT_IN_OPTIMIZERS:  # skip the step, which would load torch's compiler
        return

    try:
        for _ in range(3):
            optimizer.step()
        state = optimizer_state(optimizer)

        resumed_parameter = _parameter_with_gradient(parameter.detach().clone())
        resumed = build_optimizer(config, [resumed_parameter])
        restore_optimizer(resumed, state)
        optimizer.step()
        resumed.step()
    except Exception as e:  # LBFGS needs a closure; SparseAdam needs sparse gradients
        raise ConfigError(f"{option}: cannot be used for training: {first_line(e)}") from e

    if not torch.equal(parameter.nan_to_num(), resumed_parameter.nan_to_num()):
        raise ConfigError(
            f"{option}: its next step depends on state that its state_dict lacks, "
            "so runs could not resume"
        )


def _parameter_with_gradient(value: Tensor) -> nn.Parameter:
    """Return a parameter, shape (1,), with a gradient of 1."""
    parameter = nn.Parameter(value)
    parameter.grad = torch.ones(1)
    return parameter


def _check_loss(config: Config) -> None:
    classes = len(class_names(config))
    build = partial(build_loss, config, torch.ones(classes, dtype=torch.int64))
    if config.loss.get("_target_") in OUR_PARTS:
        build()
        return

    labels = _labels(classes)
    outputs = image_shape(config).num_classes
    # Distinct logits, shape (labels, outputs).
    logits = torch.linspace(-2, 2, len(labels) * outputs).reshape(-1, outputs).requires_grad_()
    broken = partial(broken_loss_rule, logits, labels)
    data = _describe_data(labels, logits)
    _try_function(f"loss={option_name(config.loss)}", build, broken, data)


def _check_metric(config: Config) -> None:
    option = config.metric
    if option.get("_target_") in OUR_PARTS:
        return

    labels = _labels(len(class_names(config)))
    logits = torch.eye(image_shape(config).num_classes)[labels]
    broken = partial(broken_metric_rule, labels, logits)
    build = partial(instance, "metric", option)
    data = _describe_data(labels, logits)
    _try_function(f"metric={option_name(option)}", build, broken, data)


def _check_own_schedule(config: Config) -> None:
    option = config.schedule.own
    if not option:
        return
    build = partial(instance, "schedule.own", option)
    name = f"schedule.own={option_name(option)}"
    _try_function(name, build, broken_schedule_rule, f"{STEPS} steps")


def _check_own_augmentation(config: Config) -> None:
    option = config.augmentation.own
    if not option:
        return
    shape = image_shape(config)
    build = partial(instance, "augmentation.own", option)
    broken = partial(broken_augmentation_rule, _images(shape, 4))
    _try_function(f"augmentation.own={option_name(option)}", build, broken, str(shape))


def _labels(classes: int) -> Tensor:
    """Return at least four labels that cover all classes, shape (n,).

    A loss or a metric could treat some classes differently.
    """
    return torch.arange(max(classes, 4)) % classes


def _describe_data(labels: Tensor, logits: Tensor) -> str:
    """Describe labels and logits: `12 labels from 0 to 11 and logits of shape [12, 12]`."""
    return f"{len(labels)} labels from 0 to {labels.max()} and logits of shape {list(logits.shape)}"


def _try_function(
    option: str, build: Callable[[], Any], broken: Callable[..., str], data: str
) -> None:
    """Check a loss or an own function.

    Args:
        option: option that specifies the function, such as `loss=mine`.
        build: function that returns the loss or the own function.
        broken: function that returns the rule that it breaks, or an empty string.
        data: description of the data on which it is tried, for the message.
    """
    with errors_as_one_line(option, data):
        problem = broken(build())
    if problem:
        raise ConfigError(f"{option}: {problem}")
