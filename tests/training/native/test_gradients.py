"""The gradient of one step compared with torch in double precision: within 1e-5 of each tensor's
largest entry.
"""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch

from lenet_exp.training.native import library
from lenet_exp.training.native.options import native_shape, network_options
from lenet_exp.training.state import new_training_state
from tests.training.native.reference import Reference
from tests.training.native.trained import IN_CI, SHAPES
from tests.training.small import ACTIVATIONS, configure

IMAGES = torch.rand(320, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
LABELS = torch.randint(10, (320,), generator=torch.Generator().manual_seed(2))


ODD = {  # arguments that forbid pooling before the activation, or unusual values
    "elu falls": ["activation=elu", "activation.alpha=-0.5"],
    "elu steep": ["activation=elu", "activation.alpha=3"],
    "leaky relu falls": ["activation=leaky_relu", "activation.negative_slope=-0.3"],
    "leaky relu flat": ["activation=leaky_relu", "activation.negative_slope=0"],
    "prelu falls": ["activation=prelu", "activation.init=-0.2"],
    "rrelu wide": ["activation=rrelu", "activation.lower=0", "activation.upper=2"],
}
NOISY = ["regularization.dropout_rate=0.4", "training.label_smoothing=0.1"]
CONFIGURATIONS = {"selu": ["activation=selu"]}
for activation in ACTIVATIONS:
    CONFIGURATIONS[f"{activation}, dropout, smoothing"] = [f"activation={activation}", *NOISY]
CONFIGURATIONS |= ODD


class Gradient:
    """The gradient of one step of the kernels, and its loss and number of correct predictions.

    Args:
        options: flags of the configuration.
        images: all images.
        index: indices of the images of the batch.
        threads: number of threads.
        model: network, by default that of the configuration.
    """

    def __init__(self, kernels, options, index, *, images=IMAGES, threads=1, model=None) -> None:
        self.kernels = kernels
        self.images = images
        self.index = index
        self.model = model if model is not None else network(options)
        self.options = network_options(configure(*options), self.model, threads)
        self.options.key1 = 123456789
        self.options.key2 = -987654321
        self.values = kernels.layout.new_array()
        weights = kernels.layout.copy_parameters(self.model)
        self.loss, self.hits = kernels.gradient(
            self.options, images, LABELS, index, weights, self.values
        )

    def check(self) -> None:
        """Compare with double precision."""
        layout = self.kernels.layout
        labels = LABELS[self.index]
        exact = Reference(deepcopy(self.model).double(), self.options, layout.shape)
        loss, logits = exact.loss(self.images[self.index], labels)
        loss.backward()

        assert self.loss == pytest.approx(float(loss.detach()), rel=1e-6)
        assert self.hits == int((logits.argmax(1) == labels).sum())
        gradients = {name: weights.grad for name, weights in exact.model.named_parameters()}
        largest_slope = 0.0
        for name, gradient in gradients.items():
            assert gradient is not None
            if "act" in name:
                largest_slope = max(largest_slope, float(gradient.abs().max()))
        for name, gradient in gradients.items():
            # The gradients of PReLU's scalar slopes are sums that may cancel.
            largest = largest_slope if "act" in name else float(gradient.abs().max())
            computed = layout.slots[name].of(self.values).double()
            error = float((computed - gradient).abs().max())
            assert error <= 1e-5 * largest, f"{name}: {error / largest:.1e} of its largest entry"


def network(options: list[str]) -> torch.nn.Module:
    return new_training_state(configure(*options), torch.device("cpu")).model


def compare(kernels, options: list[str], count: int) -> None:
    """Compare the gradient of some random images with double precision."""
    model = network(options)
    with torch.no_grad():  # larger weights, so that inputs reach all parts of an activation
        for parameter in model.parameters():
            parameter.mul_(1.5)
    order = torch.randperm(len(IMAGES), generator=torch.Generator().manual_seed(count))
    side = kernels.layout.shape.side
    images = IMAGES[..., :side, :side].contiguous()

    Gradient(kernels, options, order[:count], images=images, model=model).check()


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_gradient_matches_double_precision(kernels, name):
    compare(kernels, CONFIGURATIONS[name], 40)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in IN_CI else pytest.mark.by_hand) for name in SHAPES],
)
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
    gradient = Gradient(kernels, ["activation=prelu"], torch.arange(50)).values
    for slot in kernels.layout.slots.values():
        slot.of(gradient).zero_()
    assert not gradient.any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("activation", ["selu", "relu", "tanh"])
def test_loss_is_finite_exactly_if_loss_of_torch_is(kernels, activation, bad):
    options = [f"activation={activation}"]
    names = ["conv1.weight", "conv1.bias", "conv2.weight", "fc1.bias", "fc2.weight", "fc3.weight"]
    finite = []
    for name in names:
        model = network(options)
        with torch.no_grad():
            model.get_parameter(name)[:3] = bad
            expected = torch.nn.functional.cross_entropy(model(IMAGES[:50]), LABELS[:50])
        loss = Gradient(kernels, options, torch.arange(50), model=model).loss
        assert math.isfinite(loss) == bool(expected.isfinite()), name
        finite.append(math.isfinite(loss))
    assert False in finite


def test_nan_pixel_makes_loss_nan(kernels):
    images = IMAGES.clone()
    images[7, 0, 16, 16] = float("nan")
    options = ["activation=relu"]

    with_nan = Gradient(kernels, options, torch.arange(0, 50), images=images)
    without_nan = Gradient(kernels, options, torch.arange(8, 50), images=images)

    assert not math.isfinite(with_nan.loss)
    assert math.isfinite(without_nan.loss)


@pytest.mark.parametrize("activation", ["prelu", "rrelu"])
def test_gradient_does_not_depend_on_threads(kernels, activation):
    options = [f"activation={activation}", "regularization.dropout_rate=0.3"]
    index = torch.arange(301)
    one = Gradient(kernels, options, index, threads=1)
    for threads in (2, 3, 50):
        other = Gradient(kernels, options, index, threads=threads)
        assert other.loss == one.loss
        assert other.hits == one.hits
        assert torch.equal(other.values, one.values)


def test_first_of_equal_maxima_gets_gradient(kernels):
    """On a blank image, all four values of each window are equal, and torch also selects the
    first.
    """
    blank = torch.full((3, 1, 32, 32), 0.25)
    Gradient(kernels, ["activation=selu"], torch.arange(3), images=blank).check()
