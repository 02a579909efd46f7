"""Dropout and RReLU, which draw random numbers from their own generator."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lenet_exp.seeds import generator
from lenet_exp.training.activations import Dropout, RReLU

N = 40_000
rates = st.floats(0, 0.99)
ranges = st.tuples(st.floats(0, 2), st.floats(0, 2)).map(sorted)


def seeded(layer: nn.Module, seed: int = 0) -> nn.Module:
    layer.generator = generator(seed, "noise")
    return layer.train()


@settings(max_examples=10)
@given(rate=rates, seed=st.integers(0, 100))
def test_dropout_drops_given_share_and_keeps_mean(rate, seed):
    out = seeded(Dropout(rate), seed)(torch.ones(N))
    kept = out[out != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - rate)))
    within = 5.5 * (N * rate * (1 - rate)) ** 0.5 + 1
    assert abs(len(kept) - N * (1 - rate)) <= within
    assert abs(float(out.double().mean()) - 1) <= within / N / (1 - rate)


def test_dropout_is_identity_in_evaluation_and_at_rate_0():
    x = torch.linspace(-3, 3, 7)
    for layer in (seeded(Dropout(0.5)).eval(), seeded(Dropout(0))):
        before = layer.generator.get_state()
        assert torch.equal(layer(x), x)
        assert torch.equal(layer.generator.get_state(), before)


@pytest.mark.parametrize("make", [lambda: Dropout(0.5), RReLU])
def test_random_layers_depend_only_on_own_generator(make):
    x = torch.full((1000,), -1.0)
    layer = seeded(make())
    first, second = layer(x), layer(x)
    torch.manual_seed(5)
    again, other = seeded(make()), seeded(make(), seed=1)
    assert torch.equal(again(x), first)
    assert torch.equal(again(x), second)
    assert not torch.equal(first, second)
    assert not torch.equal(other(x), first)


@settings(max_examples=10)
@given(bounds=ranges, seed=st.integers(0, 100))
def test_rrelu_slopes_are_uniform_between_bounds(bounds, seed):
    lower, upper = bounds
    slopes = -seeded(RReLU(lower, upper), seed)(torch.full((N,), -1.0)).double()
    assert slopes.min() >= lower - 1e-6
    assert slopes.max() <= upper + 1e-6
    width = upper - lower
    assert abs(float(slopes.mean()) - (lower + upper) / 2) <= 5.5 * width / (12 * N) ** 0.5 + 1e-6
    assert abs(float(slopes.var()) - width**2 / 12) <= 5.5 * width**2 / (180 * N) ** 0.5 + 1e-6


@given(bounds=ranges)
@settings(max_examples=20)
def test_rrelu_in_evaluation_is_leaky_relu_with_mean_slope(bounds):
    lower, upper = bounds
    x = torch.linspace(-4, 4, 81)
    ours = RReLU(lower, upper).eval()(x)
    torch.testing.assert_close(ours, nn.functional.leaky_relu(x, (lower + upper) / 2))
    torch.testing.assert_close(ours, nn.RReLU(lower, upper).eval()(x))
    torch.testing.assert_close(RReLU().eval()(x), nn.RReLU().eval()(x))  # equal defaults


def test_gradients_match_finite_differences():
    x = torch.linspace(-4, 4, 24, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: seeded(RReLU())(x), x)
    assert torch.autograd.gradcheck(lambda x: seeded(Dropout(0.5))(x), x)
