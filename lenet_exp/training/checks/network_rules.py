"""Rules for networks: their logits, gradients, and state, so that runs can be resumed and
loaded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lenet_exp.config.image_shape import ImageShape
from lenet_exp.training.network import in_training_format

Build = Callable[[torch.Generator], nn.Module]


def wrong_logits(logits: object, shape: ImageShape) -> str:
    """Return what is wrong with a network's logits of two images, or an empty string."""
    if not isinstance(logits, Tensor):
        return f"forward must return a tensor with the logits, not a {type(logits).__name__}"
    if logits.shape != (2, shape.num_classes):
        return (
            f"logits of two images have shape {list(logits.shape)}; expected "
            f"[2, {shape.num_classes}] (at least 10 outputs unless dataset.exact_classes=true)"
        )
    return ""


def accepts_single_image(network: nn.Module, images: Tensor) -> bool:
    """Return whether a network can train on one image, which batch normalization can reject."""
    with contextlib.suppress(Exception), torch.inference_mode():
        return len(network.train()(images[:1])) == 1
    return False


def broken_network_rule(
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
    problem = _broken_gradient_rule(network, logits) or _unsaved_state(network)
    if problem:
        return problem

    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    noise_position = noise.get_state()
    input_images = images.clone()
    outputs = _Outputs.of(network, input_images)
    if not torch.equal(input_images, images):
        return "forward must not change its input in eval mode"
    if outputs.logits.shape != logits.shape or outputs.single.shape != logits[:1].shape:
        shapes = _shapes(outputs.logits, outputs.single)
        expected = f"{list(logits.shape)} and {list(logits[:1].shape)}"
        return f"in eval mode, logits have shapes {shapes}; expected {expected}"
    if not torch.equal(outputs.logits, outputs.repeated):
        return "returns different logits on each call in eval mode; it must be deterministic"

    noise.set_state(noise_position)
    resumed = in_training_format(build(torch.Generator().manual_seed(1)))
    unmatched = resumed.load_state_dict(state, strict=False)
    is_complete = not unmatched or not any(unmatched)  # a user's own method may return None
    if not is_complete or not outputs.equal(_Outputs.of(resumed, images)):
        return (
            "forward uses unsaved state or unseeded random numbers; "
            "use persistent buffers and a `generator`"
        )
    return ""


def _broken_gradient_rule(network: nn.Module, logits: Tensor) -> str:
    """Return the rule about gradients that a network breaks, or an empty string."""
    if not logits.requires_grad or not logits.is_floating_point():
        return (
            "forward must return floating-point logits that depend on a parameter "
            "with requires_grad=True"
        )
    logits.sum().backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and parameter.grad is None:
            return f"its parameter {name} receives no gradient; use it, or set requires_grad=False"
    return ""


def _unsaved_state(network: nn.Module) -> str:
    """Return which part of a network's state files cannot contain, or an empty string."""
    for name, value in network.state_dict().items():
        problem = f"its state {name} cannot be saved, because it is"
        if not isinstance(value, Tensor):
            return f"{problem} not a tensor, but a {type(value).__name__}"
        if value.dtype is torch.bfloat16:
            return f"{problem} bfloat16; use float32"
    return ""


def _shapes(logits: Tensor, single: Tensor) -> str:
    return f"{list(logits.shape)} for two images and {list(single.shape)} for one image"


@dataclass(frozen=True)
class _Outputs:
    """Logits of two images, with NaN replaced by 0, because NaN differs from itself.

    Attributes:
        logits: logits in eval mode.
        repeated: logits in eval mode from a second call.
        single: logits in eval mode for the first image alone.
        trained: logits in training mode.
    """

    logits: Tensor
    repeated: Tensor
    single: Tensor
    trained: Tensor

    @classmethod
    def of(cls, network: nn.Module, images: Tensor) -> _Outputs:
        """Return the logits of a network, which also makes a backward pass."""
        with torch.inference_mode():
            logits = network.eval()(images)
            repeated = network(images)
            single = network(images[:1])
        trained = network.train()(images.clone())
        trained.sum().backward()
        return cls(*(t.detach().nan_to_num() for t in (logits, repeated, single, trained)))

    def equal(self, other: _Outputs) -> bool:
        """Return whether all logits are equal."""
        return (
            torch.equal(self.logits, other.logits)
            and torch.equal(self.repeated, other.repeated)
            and torch.equal(self.single, other.single)
            and torch.equal(self.trained, other.trained)
        )
