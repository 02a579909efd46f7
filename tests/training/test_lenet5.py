"""The network: its shape, its first weights, and pooling before the activation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lenet_exp.errors import ConfigError
from lenet_exp.seeds import generator
from lenet_exp.training.lenet5 import LeNet5
from tests.training.small import ACTIVATIONS, configure, start

OPTIONS = {name: configure(f"activation={name}").activation for name in ACTIVATIONS}
POOL_FIRST = {"relu", "leaky_relu", "elu", "selu", "tanh"}
FAN_IN = {"conv1": 25, "conv2": 150, "fc1": 400, "fc2": 120, "fc3": 84}


def network(option: dict[str, Any], seed: int = 0, dropout_rate: float = 0.0) -> LeNet5:
    return LeNet5(option, dropout_rate, generator(seed, "weights"), generator(seed, "noise"))


def images(n: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return torch.empty(n, 1, 32, 32).uniform_(-scale, scale, generator=generator(seed, "images"))


def values_and_gradients(model: LeNet5, x: Tensor) -> list[Tensor]:
    """Logits, and the gradients of images and parameters."""
    x = x.clone().requires_grad_()
    logits = model(x)
    nn.functional.cross_entropy(logits, torch.arange(len(x)) % 10).backward()
    return [logits.detach(), x.grad, *(p.grad for p in model.parameters())]


def assert_pooling_order_does_not_matter(option: dict[str, Any], seed: int = 0, scale: float = 1.0) -> None:
    x = images(8, seed, scale)
    first = values_and_gradients(network(option | {"monotone": True}, seed), x)
    last = values_and_gradients(network(option | {"monotone": False}, seed), x)
    for a, b in zip(first, last, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_has_61706_parameters_and_prelu_4_more(activation):
    parameters = sum(p.numel() for p in network(OPTIONS[activation]).parameters() if p.requires_grad)
    assert parameters == (61_710 if activation == "prelu" else 61_706)


def test_its_layers_are_those_of_lenet5():
    shapes = {name: tuple(t.shape) for name, t in network(OPTIONS["selu"]).state_dict().items()}
    assert shapes == {
        "conv1.weight": (6, 1, 5, 5),
        "conv1.bias": (6,),
        "conv2.weight": (16, 6, 5, 5),
        "conv2.bias": (16,),
        "fc1.weight": (120, 400),
        "fc1.bias": (120,),
        "fc2.weight": (84, 120),
        "fc2.bias": (84,),
        "fc3.weight": (10, 84),
        "fc3.bias": (10,),
    }


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_any_number_of_images_gives_ten_finite_logits_each(activation, training):
    model = network(OPTIONS[activation], dropout_rate=0.3).train(training)
    for n in (1, 2, 33):
        logits = model(images(n))
        assert logits.shape == (n, 10)
        assert logits.isfinite().all()


def test_dropout_follows_fc1_and_fc2_and_nothing_else():
    model = network(OPTIONS["tanh"], dropout_rate=0.5).train()
    shares = {}
    for name in FAN_IN:
        layer = getattr(model, name)
        layer.register_forward_pre_hook(
            lambda module, inputs, name=name: shares.update({name: float((inputs[0] == 0).double().mean())})
        )
    model(images(100))
    assert shares == {
        "conv1": 0,
        "conv2": 0,
        "fc1": 0,
        "fc2": pytest.approx(0.5, abs=0.03),
        "fc3": pytest.approx(0.5, abs=0.03),
    }


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_images_logits_do_not_depend_on_its_neighbours(activation):
    model = network(OPTIONS[activation]).eval()
    x = images(5)
    torch.testing.assert_close(model(x)[3:4], model(x[3:4]))


def test_it_is_the_network_that_plain_torch_builds():
    model = network(OPTIONS["tanh"]).eval()
    plain = nn.Sequential(
        nn.Conv2d(1, 6, 5),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.Tanh(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, 10),
    )
    plain.load_state_dict(dict(zip(plain.state_dict(), model.state_dict().values(), strict=True)))
    torch.testing.assert_close(model(images(7)), plain(images(7)))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_pooling_goes_first_where_the_activation_is_monotone(activation):
    assert network(OPTIONS[activation]).pool_first is (activation in POOL_FIRST)


@pytest.mark.parametrize("activation", sorted(POOL_FIRST))
@pytest.mark.parametrize(("seed", "scale"), [(0, 1.0), (1, 1.0), (2, 10.0), (3, 0.01)])
def test_pooling_first_gives_the_values_and_gradients_of_pooling_last(activation, seed, scale):
    assert_pooling_order_does_not_matter(OPTIONS[activation], seed, scale)


@settings(max_examples=40)
@given(slope=st.floats(-2, 2))
def test_a_slope_that_falls_makes_pooling_go_last(slope):
    option = OPTIONS["leaky_relu"] | {"negative_slope": slope}
    if slope < -1e-6:
        assert not network(option).pool_first
    if slope >= 0:
        assert network(option).pool_first
    assert_pooling_order_does_not_matter(option)


@settings(max_examples=40)
@given(alpha=st.floats(-3, 3))
def test_an_alpha_of_elu_that_falls_makes_pooling_go_last(alpha):
    option = OPTIONS["elu"] | {"alpha": alpha}
    if alpha < -1e-5:
        assert not network(option).pool_first
    if alpha >= 0:
        assert network(option).pool_first
    assert_pooling_order_does_not_matter(option)


@pytest.mark.parametrize("target", ["GELU", "SiLU", "Mish", "Hardswish", "Tanhshrink", "LogSigmoid", "Softplus"])
def test_monotone_is_not_believed_where_it_is_untrue(target):
    option = {"_target_": f"torch.nn.{target}", "monotone": True}
    assert network(option).pool_first is (target in {"Tanhshrink", "LogSigmoid", "Softplus"})
    assert_pooling_order_does_not_matter(option)


@pytest.mark.parametrize("layer", FAN_IN)
def test_first_weights_are_pytorchs_default_uniform_within_one_over_root_fan_in(layer):
    bound = FAN_IN[layer] ** -0.5
    drawn = [getattr(network(OPTIONS["selu"], seed), layer) for seed in range(40)]
    for values in (torch.stack([d.weight for d in drawn]), torch.stack([d.bias for d in drawn])):
        assert values.abs().max() <= bound
        # Mean and mean square of U(-b, b), within five standard errors.
        n = values.numel()
        assert abs(values.mean()) < 5 * bound / (3 * n) ** 0.5
        assert abs(values.square().mean() / bound**2 - 1 / 3) < 5 * (4 / 45 / n) ** 0.5


def test_first_weights_spread_as_those_of_torchs_own_layers():
    ours = torch.cat([network(OPTIONS["selu"], seed).fc1.weight.flatten() for seed in range(5)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = torch.cat([nn.Linear(400, 120).weight.flatten() for _ in range(5)])
    shares = torch.linspace(0, 1, 101)
    torch.testing.assert_close(
        ours.sort().values[(shares * (len(ours) - 1)).long()],
        theirs.sort().values[(shares * (len(theirs) - 1)).long()],
        rtol=0,
        atol=0.001,
    )


def test_the_same_seed_gives_the_same_first_weights_and_another_seed_others():
    first, again, other = (start(configure(f"seed={seed}"))[0].model.state_dict() for seed in (3, 3, 4))
    for name in first:
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])


def test_first_weights_do_not_depend_on_what_else_is_chosen():
    plain = start(configure())[0].model.state_dict()
    others = [
        ["activation=tanh"],
        ["activation=rrelu"],
        ["activation=prelu"],
        ["optimizer=adam"],
        ["regularization.dropout_rate=0.5"],
        ["split_seed=9", "batch_size=7", "num_epoch=3"],
    ]
    for overrides in others:
        state = start(configure(*overrides))[0].model.state_dict()
        assert all(torch.equal(state[name], plain[name]) for name in plain)


def test_no_two_layers_start_alike():
    state = network(OPTIONS["selu"]).state_dict()
    beginnings = {tuple((t.flatten()[:4] / t.abs().max()).tolist()) for t in state.values()}
    assert len(beginnings) == len(state)


def test_the_networks_images_are_32_by_32():
    with pytest.raises(RuntimeError):
        network(OPTIONS["selu"])(torch.zeros(1, 1, 28, 28))


def test_keywords_that_a_class_refuses_are_named():
    with pytest.raises(
        ConfigError, match=r"activation: RReLU\(lower=0\.5, upper=0\.1\) is refused: .*0 <= lower <= upper"
    ):
        network(OPTIONS["rrelu"] | {"lower": 0.5, "upper": 0.1})
