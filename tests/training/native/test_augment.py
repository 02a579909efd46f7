"""The kernels' augmentation, compared with torch in double precision on the same random numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lenet_exp.training.augmentation import CONTROL
from lenet_exp.training.native import library
from lenet_exp.training.native.library import Augment, Kernels
from lenet_exp.training.native.options import augment_options, native_shape
from tests.tools.configs import compose
from tests.training.native.reference import threefry
from tests.training.native.trained import SHAPES
from tests.training.small import configure

N, SIDE = 40, 32
BACKGROUND = -1.0  # black, after scaling to [-1, 1]
KEY = (123456789, -987654321)
IMAGES = 2 * torch.rand(N, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) - 1
IMAGES[0] = BACKGROUND
LABELS = torch.zeros(N, dtype=torch.int64)


def changed(
    kernels: Kernels, *overrides: str, key: tuple[int, int] = KEY, threads: int = 1
) -> Tensor:
    """Return the images augmented by the kernels."""
    return kernels.augment(
        changes(*overrides, key=key, threads=threads), IMAGES, LABELS, torch.arange(N)
    ).clone()


def changes(
    *overrides: str, key: tuple[int, int] = KEY, threads: int = 1, background: float = BACKGROUND
) -> Augment:
    options = augment_options(
        compose(["dataset=digits", *overrides]).augmentation, threads, background
    )
    options.key1, options.key2 = key
    return options


def words(block: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the second words (24 random bits) of a block for each image, with shape
    (N, 16).
    """
    image, counter = np.repeat(np.arange(N), 16), np.tile(block * 16 + np.arange(16), N)
    first, second = threefry(KEY, image, counter)
    return (first >> 8).reshape(N, 16), (second >> 8).reshape(N, 16)


def uniform(numbers: np.ndarray) -> Tensor:
    return torch.from_numpy(numbers * 2.0**-24)


def field(sigma: float, side: int) -> Tensor:
    """Return smoothed normal numbers of variance 1, with shape (N, 2, side, side)."""
    drawn = [words(1 + row) for row in range(CONTROL)]
    u, turns = (torch.stack([uniform(pair[i]) for pair in drawn], dim=1) for i in (0, 1))
    radius = (-2 * torch.log1p(-u)).sqrt()
    noise = torch.stack(
        [radius * (2 * math.pi * turns).cos(), radius * (2 * math.pi * turns).sin()], dim=1
    )
    pixels, points = (
        torch.arange(side).double(),
        (torch.arange(CONTROL).double() + 0.5) * side / CONTROL - 0.5,
    )
    smooth = F.normalize((-((pixels[:, None] - points) ** 2) / (2 * sigma**2)).exp(), dim=1)
    return smooth @ noise @ smooth.T


def resampled(how: Augment, images: Tensor = IMAGES) -> Tensor:
    """Resample as in augmentation.py, but in double precision."""
    angle, size, shear, dx, dy = (2 * uniform(words(0)[0]) - 1).T[:5]
    angle, size, shear = angle * math.radians(how.rotate), 1 + size * how.scale, shear * how.shear
    cos, sin = angle.cos() / size, angle.sin() / size
    side = images.shape[-1]
    move = how.shift * 2 / side
    theta = torch.stack(
        [cos + shear * sin, shear * cos - sin, dx * move, sin, cos, dy * move], dim=1
    )
    grid = F.affine_grid(theta.reshape(N, 2, 3), [N, 1, side, side], align_corners=False)
    if how.elastic:
        grid = grid + (field(how.sigma, side) * (how.elastic * 2 / side * math.sqrt(0.5))).permute(
            0, 2, 3, 1
        )
    return (
        F.grid_sample(images.double() - how.background, grid, align_corners=False) + how.background
    )


@pytest.mark.parametrize(
    "overrides",
    [
        ("augmentation=affine",),
        ("augmentation=elastic",),
        ("augmentation=[affine,elastic]",),
        (
            "augmentation.rotate=180",
            "augmentation.scale=0.9",
            "augmentation.shear=2",
            "augmentation.shift=31",
        ),
        ("augmentation.elastic=16", "augmentation.elastic_sigma=1"),
        ("augmentation.elastic=3", "augmentation.elastic_sigma=32"),
    ],
    ids=" ".join,
)
def test_resampled_images_match_torch(kernels, overrides):
    found = changed(kernels, *overrides).double()
    assert float((found - IMAGES).abs().mean()) > 0.05
    error = (found - resampled(changes(*overrides))).abs()
    # Positions are sums of float32 numbers up to 32, and noise differs by up to 2 between
    # neighboring pixels.
    assert float(error.max()) < 2e-4
    assert float(error.mean()) < 5e-6


def small_images() -> tuple[Kernels, Tensor, float]:
    """Return the kernels for images of 28x28 pixels, such images, and their background."""
    own = library.kernels(native_shape(configure(*SHAPES["all of it, averaged"])))
    assert isinstance(own, Kernels)
    return own, IMAGES[..., 2:30, 2:30].contiguous(), -0.4242


@pytest.mark.parametrize(
    "overrides",
    [("augmentation=[affine,elastic]",), ("augmentation.rotate=90", "augmentation.shift=20")],
)
def test_images_of_other_size_and_background_are_resampled(overrides):
    own, images, black = small_images()
    how = changes(*overrides, background=black)
    error = (
        own.augment(how, images, LABELS, torch.arange(N)).double() - resampled(how, images)
    ).abs()
    assert float(error.max()) < 2e-4
    assert float(error.mean()) < 5e-6


@pytest.mark.parametrize(("shift", "erase"), [(3, 0.0), (0, 0.5), (3, 0.5)])
@pytest.mark.parametrize("small", [False, True])
def test_shift_moves_by_whole_pixels_and_erase_blanks_rectangles(kernels, shift, erase, small):
    own, images, black = small_images() if small else (kernels, IMAGES, BACKGROUND)
    side, moves, erased = images.shape[-1], set(), 0
    overrides = (
        f"augmentation.shift={shift}",
        f"augmentation.erase={erase}",
        "augmentation.erase_size=32",
    )
    augmented = own.augment(changes(*overrides, background=black), images, LABELS, torch.arange(N))
    padded = F.pad(images, (shift,) * 4, value=black)
    for image, pixels, first, second in zip(
        augmented, padded, *(w.astype(np.uint64) for w in words(0)), strict=True
    ):
        left, top = (int(n * (2 * shift + 1) >> 24) for n in first[3:5])
        expected = pixels[:, top : top + side, left : left + side].clone()
        moves.add((left, top))
        if second[0] < erase * 2**24:
            erased += 1
            height, width = (1 + int(n * side >> 24) for n in second[1:3])
            top, left = (
                int(second[3] * (side + 1 - height) >> 24),
                int(second[4] * (side + 1 - width) >> 24),
            )
            expected[:, top : top + height, left : left + width] = black
        assert torch.equal(image, expected)
    assert len(moves) > 20 * (shift > 0)
    assert (erased > 10) == (erase > 0)


def test_flip_mirrors_share_of_images(kernels):
    found, draws = changed(kernels, "augmentation.flip=0.3"), uniform(words(0)[0][:, 5])
    assert 0 < int((draws < 0.3).sum()) < N
    assert torch.equal(
        found, torch.where((draws < 0.3)[:, None, None, None], IMAGES.flip(-1), IMAGES)
    )
    assert torch.equal(changed(kernels, "augmentation.flip=1"), IMAGES.flip(-1))


@pytest.mark.parametrize(
    "overrides", [("augmentation=[affine,elastic,flip,erase]",), ("augmentation=[shift,flip]",)]
)
def test_augmentation_does_not_depend_on_threads_or_position_in_data(kernels, overrides):
    once = changed(kernels, *overrides)
    assert torch.equal(once, changed(kernels, *overrides, threads=3))
    assert not torch.equal(once, changed(kernels, *overrides, key=(KEY[0] + 1, KEY[1])))
    turned = torch.arange(N - 1, -1, -1)
    moved = IMAGES[turned].contiguous()
    assert torch.equal(once, kernels.augment(changes(*overrides), moved, LABELS, turned))
