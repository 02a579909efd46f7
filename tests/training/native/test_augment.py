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

N = 40
SIDE = 32
BACKGROUND = -1.0  # black, after scaling to [-1, 1]
KEY = (123456789, -987654321)
IMAGES = 2 * torch.rand(N, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) - 1
IMAGES[0] = BACKGROUND
LABELS = torch.zeros(N, dtype=torch.int64)


def changed(
    kernels: Kernels, *overrides: str, key: tuple[int, int] = KEY, threads: int = 1
) -> Tensor:
    """Return the images augmented by the kernels."""
    options = changes(*overrides, key=key, threads=threads)
    return kernels.augment(options, IMAGES, LABELS, torch.arange(N)).clone()


def changes(
    *overrides: str, key: tuple[int, int] = KEY, threads: int = 1, background: float = BACKGROUND
) -> Augment:
    """Return the kernels' options for an augmentation."""
    augmentation = compose(["dataset=digits", *overrides]).augmentation
    options = augment_options(augmentation, threads, background)
    options.key1, options.key2 = key
    return options


def words(block: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the second words (24 random bits) of a block for each image, with shape
    (N, 16).
    """
    image = np.repeat(np.arange(N), 16)
    counter = np.tile(block * 16 + np.arange(16), N)
    first, second = threefry(KEY, image, counter)
    return (first >> 8).reshape(N, 16), (second >> 8).reshape(N, 16)


def uniform(numbers: np.ndarray) -> Tensor:
    """Return words of 24 bits as numbers in [0, 1)."""
    return torch.from_numpy(numbers * 2.0**-24)


def field(sigma: float, side: int) -> Tensor:
    """Return smoothed normal numbers of variance 1, with shape (N, 2, side, side)."""
    # normal numbers at the control points, by Box and Muller
    pairs = [words(1 + row) for row in range(CONTROL)]
    u = torch.stack([uniform(first) for first, _ in pairs], dim=1)
    turns = torch.stack([uniform(second) for _, second in pairs], dim=1)
    radius = (-2 * torch.log1p(-u)).sqrt()
    angle = 2 * math.pi * turns
    noise = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)

    pixels = torch.arange(side).double()
    points = (torch.arange(CONTROL).double() + 0.5) * side / CONTROL - 0.5
    distances = pixels[:, None] - points
    smooth = F.normalize((-(distances**2) / (2 * sigma**2)).exp(), dim=1)
    return smooth @ noise @ smooth.T


def resampled(how: Augment, images: Tensor = IMAGES) -> Tensor:
    """Resample as in augmentation.py, but in double precision."""
    first_words, _ = words(0)
    angle, size, shear, dx, dy = (2 * uniform(first_words) - 1).T[:5]
    angle = angle * math.radians(how.rotate)
    size = 1 + size * how.scale
    shear = shear * how.shear
    cos = angle.cos() / size
    sin = angle.sin() / size

    side = images.shape[-1]
    move = how.shift * 2 / side
    theta = torch.stack(
        [cos + shear * sin, shear * cos - sin, dx * move, sin, cos, dy * move], dim=1
    )
    grid = F.affine_grid(theta.reshape(N, 2, 3), [N, 1, side, side], align_corners=False)
    if how.elastic:
        length = how.elastic * 2 / side * math.sqrt(0.5)
        grid = grid + (field(how.sigma, side) * length).permute(0, 2, 3, 1)

    foreground = images.double() - how.background
    return F.grid_sample(foreground, grid, align_corners=False) + how.background


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
    augmented = changed(kernels, *overrides).double()

    assert float((augmented - IMAGES).abs().mean()) > 0.05
    error = (augmented - resampled(changes(*overrides))).abs()
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

    augmented = own.augment(how, images, LABELS, torch.arange(N)).double()

    error = (augmented - resampled(how, images)).abs()
    assert float(error.max()) < 2e-4
    assert float(error.mean()) < 5e-6


@pytest.mark.parametrize(("shift", "erase"), [(3, 0.0), (0, 0.5), (3, 0.5)])
@pytest.mark.parametrize("small", [False, True])
def test_shift_moves_by_whole_pixels_and_erase_blanks_rectangles(kernels, shift, erase, small):
    own, images, black = (kernels, IMAGES, BACKGROUND)
    if small:
        own, images, black = small_images()
    side = images.shape[-1]
    overrides = (
        f"augmentation.shift={shift}",
        f"augmentation.erase={erase}",
        "augmentation.erase_size=32",
    )

    augmented = own.augment(changes(*overrides, background=black), images, LABELS, torch.arange(N))

    padded = F.pad(images, (shift,) * 4, value=black)
    first_words, second_words = words(0)  # of each image: shift, and erase
    moves = set()
    erased = 0
    for i in range(N):
        first = first_words[i].astype(np.uint64)
        second = second_words[i].astype(np.uint64)
        left, top = (below(2 * shift + 1, word) for word in first[3:5])
        moves.add((left, top))
        expected = padded[i, :, top : top + side, left : left + side].clone()
        if second[0] < erase * 2**24:
            erased += 1
            height, width = (1 + below(side, word) for word in second[1:3])
            top = below(side + 1 - height, second[3])
            left = below(side + 1 - width, second[4])
            expected[:, top : top + height, left : left + width] = black
        assert torch.equal(augmented[i], expected)
    assert len(augmented) == N
    assert len(moves) > 20 * (shift > 0)
    assert (erased > 10) == (erase > 0)


def below(limit: int, word: np.uint64) -> int:
    """Return a whole number below a limit from a word of 24 bits."""
    return int(word * limit >> 24)


def test_flip_mirrors_share_of_images(kernels):
    first_words, _ = words(0)
    is_flipped = uniform(first_words[:, 5]) < 0.3
    assert 0 < int(is_flipped.sum()) < N

    expected = torch.where(is_flipped[:, None, None, None], IMAGES.flip(-1), IMAGES)
    assert torch.equal(changed(kernels, "augmentation.flip=0.3"), expected)
    assert torch.equal(changed(kernels, "augmentation.flip=1"), IMAGES.flip(-1))


@pytest.mark.parametrize(
    "overrides", [("augmentation=[affine,elastic,flip,erase]",), ("augmentation=[shift,flip]",)]
)
def test_augmentation_does_not_depend_on_threads_or_position_in_data(kernels, overrides):
    once = changed(kernels, *overrides)
    assert torch.equal(once, changed(kernels, *overrides, threads=3))
    assert not torch.equal(once, changed(kernels, *overrides, key=(KEY[0] + 1, KEY[1])))

    reverse = torch.arange(N - 1, -1, -1)
    moved = IMAGES[reverse].contiguous()
    assert torch.equal(once, kernels.augment(changes(*overrides), moved, LABELS, reverse))
