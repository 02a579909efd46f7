"""Conversion of raw pixels to the network's input."""

from __future__ import annotations

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from lenet_exp.data.normalization import normalize


def pixels(shape: tuple[int, ...], white: int, seed: int) -> torch.Tensor:
    return torch.randint(
        0, white + 1, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def as_torchvision_does(raw: torch.Tensor, white: int) -> torch.Tensor:
    p = tv.resize(
        raw[:, None].float() / white, [32, 32], InterpolationMode.BILINEAR, antialias=True
    )
    return (p - 0.5) / 0.5


@given(
    st.integers(1, 5),
    st.integers(1, 60),
    st.integers(1, 60),
    st.sampled_from([16, 255]),
    st.integers(0, 1000),
)
@example(3, 32, 32, 255, 0)
@example(2, 28, 28, 255, 0)
@example(2, 8, 8, 16, 0)
@settings(max_examples=40)
def test_normalization_equals_torchvision_resize_with_antialias(n, height, width, white, seed):
    raw = pixels((n, height, width), white, seed)
    torch.testing.assert_close(
        normalize(raw, white), as_torchvision_does(raw, white), rtol=0, atol=1e-6
    )
