"""The network: its shape, its initial weights, and pooling before the activation."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lenet_exp.errors import ConfigError
from lenet_exp.seeds import generator
from lenet_exp.training.lenet5 import LeNet5
from lenet_exp.training.network import build_network
from tests.training.small import ACTIVATIONS, configure, start

OPTIONS = {name: configure(f"activation={name}").activation for name in ACTIVATIONS}
POOL_FIRST = {"relu", "leaky_relu", "elu", "selu", "tanh"}
FAN_IN = {"conv1": 25, "conv2": 150, "fc1": 400, "fc2": 120, "fc3": 84}


def network(option: dict[str, Any], seed: int = 0, dropout_rate: float = 0.0) -> LeNet5:
    return build_network(option, dropout_rate, generator(seed, "weights"), generator(seed, "noise"))


def images(n: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return torch.empty(n, 1, 32, 32).uniform_(-scale, scale, generator=generator(seed, "images"))


def values_and_gradients(model: LeNet5, x: Tensor) -> list[Tensor]:
    """Return the logits and the gradients of images and parameters."""
    x = x.clone().requires_grad_()
    logits = model(x)
    nn.functional.cross_entropy(logits, torch.arange(len(x)) % 10).backward()
    gradients = [weights.grad for weights in model.parameters()]
    return [logits.detach(), x.grad, *gradients]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_logits_are_finite_and_independent_of_batch(activation):
    model = network(OPTIONS[activation], dropout_rate=0.3)
    slopes = 4 if activation == "prelu" else 0
    assert sum(weights.numel() for weights in model.parameters()) == 61_706 + slopes
    assert model.pool_first is (activation in POOL_FIRST)
    for training, n in ((True, 2), (False, 1), (False, 33)):
        logits = model.train(training)(images(n))
        assert logits.shape == (n, 10)
        assert logits.isfinite().all()
    torch.testing.assert_close(logits[3:4], model(images(33)[3:4]))


def test_dropout_follows_only_fc1_and_fc2():
    model = network(OPTIONS["tanh"], dropout_rate=0.5).train()
    shares = {}  # of zeros in the input of a layer

    def store_share(name, module, inputs):
        shares[name] = float((inputs[0] == 0).double().mean())

    for name in FAN_IN:
        getattr(model, name).register_forward_pre_hook(partial(store_share, name))
    model(images(100))

    half = pytest.approx(0.5, abs=0.03)
    assert [shares[name] for name in FAN_IN] == [0, 0, 0, half, half]


# Options and whether pooling comes first: the activation must have no decreasing part, whatever
# `monotone` says.
ORDERS = [(OPTIONS[name], True) for name in sorted(POOL_FIRST)]
for slope in (-2.0, -1e-3, 0.0, 0.3, 2.0):
    ORDERS.append((OPTIONS["leaky_relu"] | {"negative_slope": slope}, slope >= 0))
for alpha in (-2.0, -1e-3, 0.0, 0.3, 2.0):
    ORDERS.append((OPTIONS["elu"] | {"alpha": alpha}, alpha >= 0))
for name in ("Tanhshrink", "Softplus"):
    ORDERS.append(({"_target_": f"torch.nn.{name}", "monotone": True}, True))
for name in ("GELU", "Mish", "Hardswish"):
    ORDERS.append(({"_target_": f"torch.nn.{name}", "monotone": True}, False))


@pytest.mark.parametrize(("option", "first"), ORDERS)
@pytest.mark.parametrize(("seed", "scale"), [(0, 1.0), (2, 10.0)])
def test_pooling_order_does_not_change_values_or_gradients(option, first, seed, scale):
    x = images(8, seed, scale)
    monotone = network(option | {"monotone": True}, seed)
    not_monotone = network(option | {"monotone": False}, seed)

    computed = values_and_gradients(monotone, x)
    expected = values_and_gradients(not_monotone, x)

    assert monotone.pool_first is first
    torch.testing.assert_close(computed, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layer", FAN_IN)
def test_initial_weights_have_default_distribution_of_pytorch(layer):
    bound = FAN_IN[layer] ** -0.5
    layers = [getattr(network(OPTIONS["selu"], seed), layer) for seed in range(40)]
    weights = torch.stack([linear.weight for linear in layers])
    biases = torch.stack([linear.bias for linear in layers])
    for values in (weights, biases):
        assert values.abs().max() <= bound
        # Mean and mean square of U(-b, b), within five standard errors.
        n = values.numel()
        assert abs(values.mean()) < 5 * bound / (3 * n) ** 0.5
        assert abs(values.square().mean() / bound**2 - 1 / 3) < 5 * (4 / 45 / n) ** 0.5


def test_initial_weights_depend_only_on_seed():
    others = [
        ["activation=rrelu", "optimizer=adam"],
        [
            "activation=prelu",
            "regularization.dropout_rate=0.5",
            "split_seed=9",
            "batch_size=7",
            "num_epoch=3",
        ],
    ]
    plain = initial_weights("seed=3")
    for overrides in others:
        weights = initial_weights("seed=3", *overrides)
        assert all(torch.equal(weights[name], plain[name]) for name in plain)
    weights = initial_weights("seed=4")
    assert not any(torch.equal(weights[name], plain[name]) for name in plain)


def initial_weights(*overrides: str) -> dict[str, Tensor]:
    state, _ = start(configure(*overrides))
    return state.model.state_dict()


def test_invalid_activation_arguments_are_named():
    with pytest.raises(ConfigError, match=r"^activation: RReLU\(lower=0\.5, upper=0\.1\)"):
        network(OPTIONS["rrelu"] | {"lower": 0.5, "upper": 0.1})
