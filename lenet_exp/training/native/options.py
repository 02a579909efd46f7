"""Conversion of a configuration to the kernels' options."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache

import torch

from lenet_exp.config.class_groups import option_name, options_of
from lenet_exp.config.image_shape import GRAY, ImageShape
from lenet_exp.config.schema import Augmentation, Config
from lenet_exp.config.targets import keywords, option_class
from lenet_exp.data.images import image_shape
from lenet_exp.training.activations import RReLU
from lenet_exp.training.fully_connected import FullyConnected, Linear
from lenet_exp.training.lenet5 import LeNet5
from lenet_exp.training.losses import CrossEntropy
from lenet_exp.training.native.layout import MOST_LAYERS, NativeShape
from lenet_exp.training.native.library import Augment, Options
from lenet_exp.training.network import build_network
from lenet_exp.training.optimizer import BUILT_IN_OPTIMIZERS
from lenet_exp.training.trained.trust import OUR_PARTS

SIDES = (28, 32)
KERNEL_SIZES = (3, 5, 7)
MOST_CHANNELS = 64
MOST_CLASSES = 128
RELU = {"name": "relu", "_target_": "torch.nn.ReLU", "monotone": True}
# In the order of kernels/options.h: each class, with the keyword arguments (name, default) for
# `alpha` and `upper`.
_ACTIVATIONS: tuple[tuple[type, tuple[tuple[str, float], ...]], ...] = (
    (torch.nn.ReLU, ()),
    (torch.nn.LeakyReLU, (("negative_slope", 0.01),)),
    (torch.nn.ELU, (("alpha", 1.0),)),
    (torch.nn.SELU, ()),
    (torch.nn.Tanh, ()),
    (torch.nn.PReLU, ()),
    (RReLU, (("lower", 1 / 8), ("upper", 1 / 3))),
)


def why_unsupported(config: Config) -> str | None:
    """Return a phrase that says why the kernels cannot train a configuration, or None if they
    can.
    """
    return next(_reasons(config), None)


def _reasons(config: Config) -> Iterator[str]:
    """Yield why the kernels cannot train a configuration.

    Each check relies on the checks before it.
    """
    accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
    if config.device != "cpu" and (config.device != "auto" or accelerated):
        yield f"device={config.device} is not the CPU"

    images = image_shape(config)
    if images.channels != GRAY or images.size not in SIDES:
        yield f"the native engine does not support {images}"
    if images.num_classes > MOST_CLASSES:
        yield f"the native engine supports at most {MOST_CLASSES} classes"

    if option_class("model", config.model) not in (LeNet5, FullyConnected, Linear):
        yield f"the native engine does not support model={option_name(config.model)}"
    shape = native_shape(config)
    if shape.channels and shape.kernel_size not in KERNEL_SIZES:
        yield f"the native engine does not support model.kernel_size={shape.kernel_size}"
    if max(shape.channels, default=0) > MOST_CHANNELS:
        yield f"the native engine supports at most {MOST_CHANNELS} channels"
    if len(shape.units) >= MOST_LAYERS:
        yield f"the native engine supports at most {MOST_LAYERS - 1} hidden layers"

    if _has_activations(config):
        yield from _reasons_of_activation(config)
    if option_class("optimizer", config.optimizer) not in BUILT_IN_OPTIMIZERS:
        yield f"the native engine does not support optimizer={option_name(config.optimizer)}"
    if keywords("loss", config.loss).get("class_weights"):
        yield "the native engine does not support loss.class_weights"
    if option_class("loss", config.loss) is not CrossEntropy:
        yield f"the native engine does not support loss={option_name(config.loss)}"
    if config.metric["_target_"] not in OUR_PARTS:
        yield f"the native engine does not support metric={option_name(config.metric)}"

    for group in options_of(config):
        if "." in group:
            yield f"the native engine does not support {group}"


def _reasons_of_activation(config: Config) -> Iterator[str]:
    cls = option_class("activation", config.activation)
    slopes = keywords("activation", config.activation).get("num_parameters", 1)
    if all(cls is not supported for supported, _ in _ACTIVATIONS):
        yield f"the native engine does not support activation={option_name(config.activation)}"
    if cls is torch.nn.PReLU and slopes != 1:
        yield f"the native engine does not support activation.num_parameters={slopes}"


def network_options(config: Config, model: torch.nn.Module, threads: int) -> Options:
    """Return the kernels' options for training a network.

    The caller sets the random-number key of each step.
    """
    number = 0
    values: list[float] = []
    if _has_activations(config):
        number, values = _activation_options(config)
    alpha, upper = [*values, 0.0, 0.0][:2]

    return Options(
        activation=number,
        alpha=alpha,
        upper=upper,
        pool_first=bool(getattr(model, "pool_first", True)),
        training=True,
        dropout_rate=config.regularization.dropout_rate,
        label_smoothing=config.training.label_smoothing,
        threads=threads,
    )


def _activation_options(config: Config) -> tuple[int, list[float]]:
    """Return the number of a configuration's activation, and its values for `alpha` and `upper`.

    For example, ELU has the number 2 and one value.
    """
    cls = option_class("activation", config.activation)
    arguments = keywords("activation", config.activation)
    number = [supported for supported, _ in _ACTIVATIONS].index(cls)
    _, names_and_defaults = _ACTIVATIONS[number]
    return number, [float(arguments.get(name, default)) for name, default in names_and_defaults]


def augment_options(options: Augmentation, threads: int, background: float = -1.0) -> Augment:
    """Return the kernels' options for augmentation.

    The caller sets the random-number key of each step.

    Args:
        background: value of a black pixel.
    """
    flags = asdict(options)
    del flags["own"]
    sigma = flags.pop("elastic_sigma")
    return Augment(sigma=sigma, **flags, background=background, threads=threads)


def needs_random_numbers(config: Config) -> bool:
    """Return whether training steps need random numbers in addition to those for augmentation."""
    if not _has_activations(config):
        return False
    if config.regularization.dropout_rate > 0:
        return True
    return option_class("activation", config.activation) is RReLU


def _has_activations(config: Config) -> bool:
    """Return whether a network has activations, unlike `linear`.

    The configuration of a network without activations can lack the flag.
    """
    return native_shape(config).activations > 0


def native_shape(config: Config) -> NativeShape:
    """Return the shape of a configuration's network, which must be one that the kernels support."""
    options = [config.model, asdict(image_shape(config))]
    return _native_shape(json.dumps(options, sort_keys=True, default=str))


@lru_cache(maxsize=1024)
def _native_shape(options: str) -> NativeShape:
    model, images = json.loads(options)
    with torch.device("meta"):  # tensors that use no memory
        network = build_network(RELU, 0.0, model=model, shape=ImageShape(**images))
        return NativeShape.of(network, images["size"])
