"""The gradient of one step compared with torch in double precision: within 1e-5 of each tensor's largest entry."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch

from lenet_exp.training.lane import new_lane
from lenet_exp.training.native import library
from lenet_exp.training.native.options import native_shape, network_options
from tests.training.native.reference import Reference
from tests.training.native.trained import IN_CI, SHAPES
from tests.training.small import ACTIVATIONS, configure

IMAGES = torch.rand(320, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
LABELS = torch.randint(10, (320,), generator=torch.Generator().manual_seed(2))

BY_HAND = pytest.mark.by_hand

ODD = {  # arguments that forbid pooling before the activation, or unusual values
    "elu falls": ["activation=elu", "activation.alpha=-0.5"],
    "elu steep": ["activation=elu", "activation.alpha=3"],
    "leaky relu falls": ["activation=leaky_relu", "activation.negative_slope=-0.3"],
    "leaky relu flat": ["activation=leaky_relu", "activation.negative_slope=0"],
    "prelu falls": ["activation=prelu", "activation.init=-0.2"],
    "rrelu wide": ["activation=rrelu", "activation.lower=0", "activation.upper=2"],
}
NOISY = ["regularization.dropout_rate=0.4", "training.label_smoothing=0.1"]
CONFIGURATIONS = {
    "selu": ["activation=selu"],
    **{f"{name}, dropout, smoothing": [f"activation={name}", *NOISY] for name in ACTIVATIONS},
    **ODD,
}


def compare(kernels, overrides: list[str], count: int, threads: int = 1) -> None:
    config = configure(*overrides)
    side = kernels.layout.shape.side
    images = IMAGES[..., :side, :side].contiguous()
    model = new_lane(config, torch.device("cpu")).model
    with torch.no_grad():  # larger weights, so that inputs reach all parts of an activation
        for parameter in model.parameters():
            parameter.mul_(1.5)
    options = network_options(config, model, threads)
    options.key1, options.key2 = 123456789, -987654321
    index = torch.randperm(len(IMAGES), generator=torch.Generator().manual_seed(count))[:count]
    gradient = kernels.layout.new_array()
    loss, hits = kernels.gradient(options, images, LABELS, index, kernels.layout.copy_parameters(model), gradient)

    exact = Reference(deepcopy(model).double(), options, kernels.layout.shape)
    exact_loss, logits = exact.loss(images[index], LABELS[index])
    exact_loss.backward()
    assert loss == pytest.approx(float(exact_loss.detach()), rel=1e-6)
    assert hits == int((logits.argmax(1) == LABELS[index]).sum())
    for name, parameter in exact.model.named_parameters():
        assert parameter.grad is not None
        # The gradients of PReLU's scalar slopes are sums that may cancel.
        alike = [p.grad for n, p in exact.model.named_parameters() if n == name or ("act" in n and "act" in name)]
        largest = max(float(grad.abs().max()) for grad in alike)
        error = float((kernels.layout.slots[name].of(gradient).double() - parameter.grad).abs().max())
        assert error <= 1e-5 * largest, f"{name}: {error / largest:.1e} of its largest entry"


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_gradient_matches_double_precision(kernels, name):
    compare(kernels, CONFIGURATIONS[name], 40)


@pytest.mark.parametrize("name", [name if name in IN_CI else pytest.param(name, marks=BY_HAND) for name in SHAPES])
@pytest.mark.parametrize("activation", ["selu", "rrelu", "prelu"])
def test_gradient_matches_double_precision_for_other_shapes(kernels, name, activation):
    config = configure(*SHAPES[name])
    own = library.kernels(native_shape(config))
    compare(own, [*SHAPES[name], f"activation={activation}", *NOISY], 40)


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 33, 128, 257, 300])
def test_gradient_matches_double_precision_at_any_batch_size(kernels, count):
    compare(kernels, ["activation=selu"], count)


def test_gradient_of_padding_is_zero(kernels):
    """A gradient of the padding between parameters would count in the norm."""
    config = configure("activation=prelu")
    model = new_lane(config, torch.device("cpu")).model
    gradient = kernels.layout.new_array()
    kernels.gradient(
        network_options(config, model, 1),
        IMAGES,
        LABELS,
        torch.arange(50),
        kernels.layout.copy_parameters(model),
        gradient,
    )
    for place in kernels.layout.slots.values():
        place.of(gradient).zero_()
    assert not gradient.any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("activation", ["selu", "relu", "tanh"])
def test_loss_is_finite_exactly_if_loss_of_torch_is(kernels, activation, bad):
    config, seen = configure(f"activation={activation}"), set()
    for name in ("conv1.weight", "conv1.bias", "conv2.weight", "fc1.bias", "fc2.weight", "fc3.weight"):
        model = new_lane(config, torch.device("cpu")).model
        with torch.no_grad():
            model.get_parameter(name)[:3] = bad
            expected = torch.nn.functional.cross_entropy(model(IMAGES[:50]), LABELS[:50])
        options = network_options(config, model, 1)
        loss, _ = kernels.gradient(
            options, IMAGES, LABELS, torch.arange(50), kernels.layout.copy_parameters(model), kernels.layout.new_array()
        )
        assert math.isfinite(loss) == bool(expected.isfinite()), name
        seen.add(math.isfinite(loss))
    assert False in seen


def test_nan_pixel_makes_loss_nan(kernels):
    config = configure("activation=relu")
    images = IMAGES.clone()
    images[7, 0, 16, 16] = float("nan")
    model = new_lane(config, torch.device("cpu")).model
    options = network_options(config, model, 1)
    loss, _ = kernels.gradient(
        options, images, LABELS, torch.arange(50), kernels.layout.copy_parameters(model), kernels.layout.new_array()
    )
    assert math.isnan(loss)
    loss, _ = kernels.gradient(
        options, images, LABELS, torch.arange(8, 50), kernels.layout.copy_parameters(model), kernels.layout.new_array()
    )
    assert math.isfinite(loss)


@pytest.mark.parametrize("activation", ["prelu", "rrelu"])
def test_gradient_does_not_depend_on_threads(kernels, activation):
    config = configure(f"activation={activation}", "regularization.dropout_rate=0.3")
    model = new_lane(config, torch.device("cpu")).model
    found = []
    for threads in (1, 2, 3, 50):
        gradient = kernels.layout.new_array()
        options = network_options(config, model, threads)
        outcome = kernels.gradient(
            options, IMAGES, LABELS, torch.arange(301), kernels.layout.copy_parameters(model), gradient
        )
        found.append((outcome, gradient))
    for outcome, gradient in found[1:]:
        assert outcome == found[0][0]
        assert torch.equal(gradient, found[0][1])


def test_first_of_equal_maxima_gets_gradient(kernels):
    """On a blank image, all four values of each window are equal, and torch also selects the first."""
    config = configure("activation=selu")
    model = new_lane(config, torch.device("cpu")).model
    images, labels, index = torch.full((3, 1, 32, 32), 0.25), torch.tensor([1, 2, 3]), torch.arange(3)
    gradient = kernels.layout.new_array()
    options = network_options(config, model, 1)
    kernels.gradient(options, images, labels, index, kernels.layout.copy_parameters(model), gradient)
    exact = Reference(deepcopy(model).double(), options, kernels.layout.shape)
    exact.loss(images, labels)[0].backward()
    for name, parameter in exact.model.named_parameters():
        assert parameter.grad is not None
        error = (kernels.layout.slots[name].of(gradient).double() - parameter.grad).abs().max()
        assert float(error) <= 1e-5 * float(parameter.grad.abs().max())
