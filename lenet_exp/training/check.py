"""Checks a configuration's flags and classes, such as the network and the optimizer, before
training.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import lru_cache, partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from lenet_exp.config.check import check_flags
from lenet_exp.config.class_groups import option_name
from lenet_exp.config.image_shape import ImageShape
from lenet_exp.config.schema import Config
from lenet_exp.config.targets import instance
from lenet_exp.data.images import class_names, image_shape
from lenet_exp.errors import ConfigError, first_line
from lenet_exp.files import same_directory
from lenet_exp.stopping import raise_stop
from lenet_exp.training.losses import build_loss
from lenet_exp.training.network import build_network, in_training_format
from lenet_exp.training.optimizer import BUILT_IN_OPTIMIZERS, build_optimizer
from lenet_exp.training.schedule import factor_problem
from lenet_exp.training.snapshot import optimizer_state, restore_optimizer
from lenet_exp.training.trained.trust import OUR_MODELS, OUR_PARTS, trusted_activations
from lenet_exp.waiting import SlowStep

Build = Callable[[torch.Generator], nn.Module]

INSTEAD = "Dropout or RReLU from lenet_exp.training.activations"


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
    shape = image_shape(config)
    if own := config.schedule.own:
        build = partial(instance, "schedule.own", own)
        _try_function(f"schedule.own={option_name(own)}", build, _broken_schedule, "10 steps")
    if own := config.augmentation.own:
        build = partial(instance, "augmentation.own", own)
        broken = partial(_broken_augmentation, _images(shape, 4))
        _try_function(f"augmentation.own={option_name(own)}", build, broken, str(shape))


def check_batches(config: Config, images: int) -> None:
    """Check that no batch is too small for the network.

    Args:
        images: number of training images.

    Raises:
        ConfigError: a batch would contain a single image, but the network's batch normalization
            needs several images.
    """
    if (images - 1) % config.batch_size == 0 and not _check_network(config):
        raise ConfigError(
            f"batch_size={config.batch_size}: leaves a last batch of one image ({images:,} training images), which is "
            "too small for the model; set a different batch size"
        )


def _check_network(config: Config) -> bool:
    """Check a configuration's network. Return whether the network can train on a batch of one
    image.
    """
    dropout_rate = (
        0.5 if config.regularization.dropout_rate else 0.0
    )  # its range is already checked
    options = [config.model, config.activation, dropout_rate, asdict(image_shape(config))]
    return _try_network(json.dumps(options, sort_keys=True, default=str))


# The jobs of a sweep differ in only a few options, so successful checks are cached. Errors are not.
@lru_cache(maxsize=1024)
def _try_network(options: str) -> bool:
    model, activation, dropout_rate, images_like = json.loads(options)
    shape = ImageShape(**images_like)
    noise = torch.Generator()
    build = partial(build_network, activation, dropout_rate, noise=noise, model=model, shape=shape)
    ours = model.get("_target_") in OUR_MODELS
    named = (
        f"activation={option_name(activation)}"
        if ours and activation
        else f"model={option_name(model)}"
    )
    with _refusing(named, str(shape)):
        network, images = build(), _images(shape, 2)
        logits = in_training_format(network).train()(
            images.clone()
        )  # the format that training uses
        if not isinstance(logits, Tensor):
            raise ConfigError(
                f"{named}: forward must return a tensor with the logits, not a {type(logits).__name__}"
            )
        if logits.shape != (2, shape.num_classes):
            expected = (
                f"[2, {shape.num_classes}] (at least 10 outputs unless dataset.exact_classes=true)"
            )
            raise ConfigError(
                f"{named}: logits of two images have shape {list(logits.shape)}; expected {expected}"
            )
        known = ours and (not activation or activation["_target_"] in trusted_activations())
        if problem := "" if known else _broken_rule(network, build, noise, images, logits=logits):
            raise ConfigError(f"{named}: {problem}")
        with (
            contextlib.suppress(Exception),
            torch.inference_mode(),
        ):  # batch normalization can reject a single image
            return len(network.train()(images[:1])) == 1
    return False


@contextlib.contextmanager
def _refusing(named: str, data: str) -> Iterator[None]:
    """Report an exception of the user's own code, or its use of global random numbers, as a
    `ConfigError`.

    If the code changes the working directory, it is restored, because relative paths depend on it.

    Args:
        named: option that specifies the code, such as `model=mine`.
        data: description of the data on which the code is tried, for the message.
    """
    before, refused = _global_random(), None
    try:
        with SlowStep(f"checking {named}"), same_directory():
            yield
    except ConfigError as e:
        refused = e
    except BaseException as e:  # the user's own class can raise any exception
        raise_stop(e)
        frames = traceback.extract_tb(e.__traceback__)
        where = next(
            (f for f in reversed(frames) if f"{os.sep}torch{os.sep}" not in f.filename), frames[-1]
        )
        place = f"{os.path.basename(where.filename)}, line {where.lineno}"
        raise ConfigError(f"{named}: cannot be used on {data}: {first_line(e)} ({place})") from e
    if drawn := [now[0] for now, then in zip(_global_random(), before, strict=True) if now != then]:
        instead = (
            f"{INSTEAD}, or a `generator` attribute"
            if named.startswith(("model", "activation"))
            else "generator"
        )
        raise ConfigError(
            f"{named}: uses {drawn[0]}'s global random state; use {instead}"
        ) from refused
    if refused is not None:
        raise refused


def _images(shape: ImageShape, n: int) -> Tensor:
    return torch.linspace(-1, 1, math.prod(shape.batch(n))).reshape(shape.batch(n))


def _global_random() -> list[tuple[str, object]]:
    """Return the libraries whose global random state a network could use by mistake, and these
    states.
    """
    numpy = np.random.get_state(legacy=False)["state"]["pos"]  # each draw advances the position
    return [
        ("torch", torch.random.get_rng_state().tolist()),
        ("NumPy", numpy),
        ("Python", random.getstate()),
    ]


def _broken_rule(
    network: nn.Module, build: Build, noise: torch.Generator, images: Tensor, logits: Tensor
) -> str:
    """Return the rule that a user's network breaks, or an empty string.

    The models of lenet_exp with activations of lenet_exp or torch are not checked, because torch's
    backward pass hangs with some environment variables, such as ATEN_CPU_CAPABILITY=default with
    OMP_DYNAMIC=true. The native engine can train with these variables.

    Args:
        network: network after its first forward pass in training mode.
        build: function that returns a new instance with weights from a generator. The instance
            continues from the state dict of `network`, as when a run is resumed or a trained model
            is loaded.
        noise: generator of all instances.
        images: two images.
        logits: logits from the first forward pass.
    """
    if not (logits.requires_grad and logits.is_floating_point()):
        return "forward must return floating-point logits that depend on a parameter with requires_grad=True"
    logits.sum().backward()
    if idle := next(
        (n for n, p in network.named_parameters() if p.requires_grad and p.grad is None), None
    ):
        return f"its parameter {idle} receives no gradient; use it, or set requires_grad=False"
    state = network.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            return f"its state {name} cannot be saved, because it is not a tensor, but a {type(value).__name__}"
        if value.dtype is torch.bfloat16:
            return f"its state {name} cannot be saved, because it is bfloat16; use float32"
    state, position, given = (
        {name: t.clone() for name, t in state.items()},
        noise.get_state(),
        images.clone(),
    )
    once, again, alone, _ = outputs = _outputs(network, given)
    if not torch.equal(given, images):
        return "forward must not change its input in eval mode"
    if (once.shape, alone.shape) != (logits.shape, logits[:1].shape):
        shapes = f"{list(once.shape)} for two images and {list(alone.shape)} for one image"
        return f"in eval mode, logits have shapes {shapes}; expected {list(logits.shape)} and {list(logits[:1].shape)}"
    if not torch.equal(once, again):
        return "returns different logits on each call in eval mode; it must be deterministic"
    noise.set_state(position)
    second = in_training_format(build(torch.Generator().manual_seed(1)))
    unmatched = (
        second.load_state_dict(state, strict=False) or ()
    )  # a user's own method may return None
    if any(unmatched) or not all(map(torch.equal, outputs, _outputs(second, images))):
        return "forward uses unsaved state or unseeded random numbers; use persistent buffers and a `generator`"
    return ""


def _outputs(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Return logits in eval mode (twice, then for a single image) and in a training step."""
    with torch.inference_mode():
        evaluated = [network.eval()(images), network(images), network(images[:1])]
    logits = network.train()(images.clone())
    logits.sum().backward()
    return [t.detach().nan_to_num() for t in (*evaluated, logits)]  # NaN differs from itself


def _check_optimizer(config: Config) -> None:
    parameter = torch.nn.Parameter(torch.ones(1))
    parameter.grad = torch.ones(1)
    optimizer = build_optimizer(config, [parameter])
    if "lr" not in optimizer.param_groups[0]:
        raise ConfigError(
            f"optimizer={option_name(config.optimizer)}: must have an lr, which schedules require"
        )
    if type(optimizer) in BUILT_IN_OPTIMIZERS:  # skip the step, which would load torch's compiler
        return
    try:
        for _ in range(3):
            optimizer.step()
        kept, copied = optimizer_state(optimizer), torch.nn.Parameter(parameter.detach().clone())
        copied.grad = torch.ones(1)
        resumed = build_optimizer(config, [copied])
        restore_optimizer(resumed, kept)
        optimizer.step()
        resumed.step()
    except Exception as e:  # LBFGS needs a closure; SparseAdam needs sparse gradients
        problem = f"cannot be used for training: {first_line(e)}"
        raise ConfigError(f"optimizer={option_name(config.optimizer)}: {problem}") from e
    if not torch.equal(parameter.nan_to_num(), copied.nan_to_num()):
        problem = (
            "its next step depends on state that its state_dict lacks, so runs could not resume"
        )
        raise ConfigError(f"optimizer={option_name(config.optimizer)}: {problem}")


def _check_loss(config: Config) -> None:
    classes = len(class_names(config))
    build = partial(build_loss, config, torch.ones(classes, dtype=torch.int64))
    if config.loss.get("_target_") in OUR_PARTS:
        build()
        return
    labels = _labels(classes)
    outputs = image_shape(config).num_classes
    logits = torch.linspace(-2, 2, len(labels) * outputs).reshape(-1, outputs).requires_grad_()
    broken = partial(_broken_loss, logits, labels)
    _try_function(f"loss={option_name(config.loss)}", build, broken, _words(labels, logits))


def _check_metric(config: Config) -> None:
    option = config.metric
    if option.get("_target_") in OUR_PARTS:
        return
    labels = _labels(len(class_names(config)))
    logits = torch.eye(image_shape(config).num_classes)[labels]
    broken = partial(_broken_metric, labels, logits)
    build = partial(instance, "metric", option)
    _try_function(f"metric={option_name(option)}", build, broken, _words(labels, logits))


def _labels(classes: int) -> Tensor:
    """Return labels that cover all classes, because a loss or a metric can use some classes only;
    shape (n,).
    """
    return torch.arange(max(classes, 4)) % classes


def _words(labels: Tensor, logits: Tensor) -> str:
    """Describe labels and logits: `12 labels from 0 to 11 and logits of shape [12, 12]`."""
    return f"{len(labels)} labels from 0 to {labels.max()} and logits of shape {list(logits.shape)}"


def _try_function(
    named: str, build: Callable[[], Any], broken: Callable[..., str], data: str
) -> None:
    """Check a loss or an own function.

    Args:
        named: option that specifies the function, such as `loss=mine`.
        build: function that returns the loss or the own function.
        broken: function that returns the rule that it breaks, or an empty string.
        data: description of the data on which it is tried, for the message.
    """
    with _refusing(named, data):
        problem = broken(build())
    if problem:
        raise ConfigError(f"{named}: {problem}")


def _broken_loss(logits: Tensor, labels: Tensor, loss: nn.Module) -> str:
    if any(True for _ in loss.parameters()):
        return "must not have parameters, because they would not be trained"
    losses, again = loss(logits, labels), loss(logits, labels)
    if not isinstance(losses, Tensor) or losses.shape != labels.shape:
        found = (
            f"shape {list(losses.shape)}"
            if isinstance(losses, Tensor)
            else f"a {type(losses).__name__}"
        )
        return f"must return one loss per image, shape [{len(labels)}] for {len(labels)} images, not {found}"
    if not losses.isfinite().all():
        return f"returns {losses[~losses.isfinite()][0].item()} for logits from -2 to 2; must be finite"
    if not losses.requires_grad:
        return "has no gradient; compute the losses from the logits with torch operations"
    losses.sum().backward()
    if logits.grad is None or not logits.grad.isfinite().all() or not logits.grad.any():
        return f"its gradient must be finite and not 0; it is {'missing' if logits.grad is None else 'not'}"
    return (
        ""
        if torch.equal(losses, again)
        else "returns different losses for the same logits; must be deterministic"
    )


def _broken_metric(labels: Tensor, logits: Tensor, metric: Callable[..., Any]) -> str:
    found = float(metric(labels, logits))
    return (
        ""
        if math.isfinite(found)
        else f"must return a finite number for (labels, logits), not {found}"
    )


def _broken_schedule(factor: Callable[[int, int], Any]) -> str:
    steps = 10
    values = [float(factor(step, steps)) for step in range(steps)]
    for step, value in enumerate(values):
        problem = factor_problem(value, step, steps)
        if problem:
            return problem
    again = [float(factor(step, steps)) for step in range(steps)]
    return (
        ""
        if values == again
        else "returns different values for the same step; must be deterministic"
    )


def _broken_augmentation(
    images: Tensor, change: Callable[[Tensor, torch.Generator], object]
) -> str:
    found, again = (change(images.clone(), torch.Generator().manual_seed(1)) for _ in range(2))
    if not isinstance(found, Tensor) or (found.shape, found.dtype) != (images.shape, images.dtype):
        return (
            f"must return images with shape {list(images.shape)} and type float32 for such images"
        )
    if not found.isfinite().all():
        return "returns values that are not finite"
    return (
        ""
        if torch.equal(found, cast(Tensor, again))
        else "returns different images for the same generator state"
    )
