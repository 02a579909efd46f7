"""Construction of networks from configurations. No other module constructs networks."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from lenet_exp.config.class_groups import option_name
from lenet_exp.config.image_shape import LENET5_SHAPE, ImageShape
from lenet_exp.config.own_code import without_package
from lenet_exp.config.schema import LENET5, Config, Option
from lenet_exp.config.targets import keywords, option_class
from lenet_exp.data.images import image_shape
from lenet_exp.errors import ConfigError, first_line
from lenet_exp.files import same_directory
from lenet_exp.stopping import raise_stop
from lenet_exp.training.activations import ActivationFactory
from lenet_exp.training.lenet5_1998 import SparseConv2d
from lenet_exp.training.trained.trust import OUR_MODELS

# Number of images with which a network is tried, as in its check. A network that uses `squeeze`
# would change the shape of a single image.
IMAGES = 2
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, SparseConv2d)


@dataclass(frozen=True, kw_only=True)
class NetworkSize:
    """The size of a network.

    Attributes:
        parameters: number of parameters, not including buffers such as those of batch
            normalization.
        multiply_adds: number of multiplications by a weight per image, in convolutions and linear
            layers.
    """

    parameters: int
    multiply_adds: int


def in_training_format(network: nn.Module) -> nn.Module:
    """Return the network in the memory format in which it is trained.

    Channels-last is faster for the networks of lenet_exp. A user's own network keeps its format:
    with channels-last and several threads, oneDNN crashes in the backward pass of a 1x1 convolution
    with stride 2, as in residual networks (seen with PyTorch 2.13 and 2.15 on AVX-512).
    """
    if f"{type(network).__module__}.{type(network).__qualname__}" not in OUR_MODELS:
        return network
    move: Any = network.to  # the annotations of some releases of torch lack `memory_format`
    return cast(nn.Module, move(memory_format=torch.channels_last))


def build_network(
    activation: Option,
    dropout_rate: float,
    weights: torch.Generator | None = None,
    noise: torch.Generator | None = None,
    *,
    model: Option = LENET5,
    shape: ImageShape = LENET5_SHAPE,
) -> nn.Module:
    """Return a network with initial weights, in training mode on the CPU.

    Torch's global random state is unchanged.

    Args:
        activation: option of the activation, with `_target_`, keyword arguments, and `monotone`.
        dropout_rate: dropout rate, in [0, 1).
        weights: generator from whose state the initial weights are drawn; the generator itself does
            not advance.
        noise: generator for dropout masks and random slopes, on the device that the network will
            train on.
        model: option of the model, with `_target_` and keyword arguments. The class also receives
            the image shape, number of classes, activation, and dropout rate, if its signature has
            these parameters.
        shape: shape of the images, and number of logits.

    Raises:
        ConfigError: the class of the model or of the activation rejects its keyword arguments.
    """
    cls = option_class("model", model)
    own_arguments = keywords("model", model)
    supplied = {
        "in_channels": shape.channels,
        "num_classes": shape.num_classes,
        "image_size": shape.size,
        "activation": ActivationFactory(activation),
        "dropout_rate": dropout_rate,
    }
    accepted = inspect.signature(cls).parameters
    arguments = {name: value for name, value in supplied.items() if name in accepted}
    arguments |= own_arguments

    if weights is None:
        weights = torch.Generator()
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(weights.get_state())
        try:
            with same_directory():
                network: nn.Module = cls(**arguments)
            for module in network.modules():
                if hasattr(module, "generator"):
                    module.generator = noise  # type: ignore[assignment]
        except ConfigError:
            raise
        except BaseException as e:  # the user's own class can raise any exception
            raise_stop(e)
            problem = without_package(first_line(e))
            if problem.partition("=")[0] in own_arguments:  # such as `width=0: must be positive`
                raise ConfigError(f"model.{problem}") from e
            listed = ", ".join(f"{name}={value}" for name, value in own_arguments.items())
            call = f"{cls.__name__}({listed})"
            raise ConfigError(f"model={option_name(model)}: {call}: {problem}") from e
    return network


def network_of(
    config: Config, weights: torch.Generator | None = None, noise: torch.Generator | None = None
) -> nn.Module:
    """Return a configuration's network with initial weights; see `build_network`."""
    return build_network(
        config.activation,
        config.regularization.dropout_rate,
        weights,
        noise,
        model=config.model,
        shape=image_shape(config),
    )


def rebuild(config: Config, weights: Mapping[str, Tensor]) -> nn.Module:
    """Return a configuration's network with trained weights, in eval mode on the CPU.

    Args:
        config: configuration; only its model, activation, dropout rate, and image shape are used.
        weights: tensors of the network's state dict, keyed by name.

    Raises:
        ConfigError: the configuration has no class names. They are not read from files, because the
            configuration can be from a record of other people.
    """
    ImageShape.of(config.dataset)
    network = network_of(config)
    network.load_state_dict(weights)
    return network.eval()


def load_given(network: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Load trained weights into a network.

    The tensors of the last layer keep their initial values if their shapes differ, as with another
    number of classes.

    Returns:
        The names of the tensors that keep their initial values.

    Raises:
        ConfigError: other tensors differ in name or shape.
    """
    initial = network.state_dict()
    last_layer = [_layer(name) for name, _ in network.named_parameters()][-1]
    for name in [*initial, *weights]:
        given_shape = _shape(weights, name)
        needed_shape = _shape(initial, name)
        if given_shape == needed_shape:
            continue

        exists_in_both = given_shape is not None and needed_shape is not None
        if exists_in_both and _layer(name) == last_layer:
            continue
        raise ConfigError(
            f"the weights do not fit the model: {name} {_describe_shape(given_shape)}, "
            f"but in the model it {_describe_shape(needed_shape)}"
        )

    fitting = {}
    for name, tensor in weights.items():
        if tensor.shape == initial[name].shape:
            fitting[name] = tensor
    network.load_state_dict(fitting, strict=False)
    return [name for name in initial if name not in fitting]


def _layer(name: str) -> str:
    """Return the name of the layer that a tensor of a state dict belongs to: `fc` for `fc.bias`."""
    return name.rpartition(".")[0]


def _shape(tensors: Mapping[str, Tensor], name: str) -> list[int] | None:
    if name not in tensors:
        return None
    return list(tensors[name].shape)


def _describe_shape(shape: list[int] | None) -> str:
    if shape is None:
        return "does not exist"
    return f"has shape {shape}"


def network_size(config: Config) -> NetworkSize:
    """Return the size of a configuration's network. The configuration must have been checked."""
    return _size(_network_options(config))


def count_parameters(config: Config) -> int:
    """Return the number of parameters of a configuration's network.

    Memory for the parameters is allocated only if the network cannot be constructed without it.

    Raises:
        ConfigError: the network cannot be constructed.
    """
    return _parameters(_network_options(config))


def _network_options(config: Config) -> str:
    """Return the options that determine a network's size, as JSON, because caches need a string."""
    options = [config.model, config.activation, asdict(image_shape(config))]
    return json.dumps(options, sort_keys=True, default=str)


# The jobs of a sweep differ in only a few options.
@lru_cache(maxsize=1024)
def _parameters(options: str) -> int:
    model, activation, shape_values = json.loads(options)
    shape = ImageShape(**shape_values)
    try:
        with torch.device("meta"):  # tensors that use no memory
            network = build_network(activation, 0.0, model=model, shape=shape)
    except ConfigError:  # a user's own class may need values, for example to count nonzeros
        network = build_network(activation, 0.0, model=model, shape=shape)
    return sum(parameter.numel() for parameter in network.parameters())


@lru_cache(maxsize=1024)
def _size(options: str) -> NetworkSize:
    model, activation, shape_values = json.loads(options)
    shape = ImageShape(**shape_values)
    network = build_network(activation, 0.0, model=model, shape=shape).eval()
    counts = []  # multiplications of each layer, for all images

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        dimension_of_features = 1 if isinstance(layer, CONVOLUTIONS) else -1
        positions = output.numel() // output.shape[dimension_of_features]
        # Each weight is used once at each position.
        counts.append(positions * cast(Tensor, layer.weight).numel())

    for layer in network.modules():
        if isinstance(layer, (*CONVOLUTIONS, nn.Linear)):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        network(torch.zeros(shape.batch(IMAGES)))
    # Lazy layers have no parameters before they are called.
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return NetworkSize(parameters=parameters, multiply_adds=sum(counts) // IMAGES)
