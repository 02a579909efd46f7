"""Random augmentation of batches of training images.

Random numbers come from one of the run's generators. Uncovered and erased pixels are set to black.
All geometric changes except whole-pixel shifts and flips are combined into one bilinear resampling.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from lenet_exp.config.schema import Augmentation

CONTROL = 16  # number of control points along each axis of the `elastic` displacement field


def augments(options: Augmentation) -> bool:
    """Return whether any augmentation is enabled."""
    return _resamples(options) or any((options.shift, options.flip, options.erase, options.own))


def augment(
    images: Tensor, options: Augmentation, rng: torch.Generator, background: Tensor
) -> Tensor:
    """Return randomly augmented copies of images (n, channels, side, side). Each image is changed
    independently.

    The changes do not include the user's own ones (`augmentation.own`).

    If `rotate`, `scale`, `shear`, or `elastic` is set, images can shift by fractions of a pixel. If
    not, they shift by whole pixels.

    Args:
        rng: random number generator on the images' device.
        background: value of a black pixel, shape (channels, 1, 1), on the images' device.
    """
    if _resamples(options):
        images = _resample(images, options, rng, background)
    elif options.shift:
        images = _shift(images, options.shift, rng, background)
    if options.flip:
        mirrored = _uniform(rng, len(images), 1, 1, 1) < options.flip
        images = torch.where(mirrored, images.flip(-1), images)
    if options.erase:
        images = _erase(images, options, rng, background)
    return images


def _resamples(options: Augmentation) -> bool:
    return any((options.rotate, options.scale, options.shear, options.elastic))


def _shift(images: Tensor, farthest: int, rng: torch.Generator, background: Tensor) -> Tensor:
    """Shift each image by whole pixels, by selecting a window of the padded image."""
    n, channels, side, _ = images.shape
    wide = side + 2 * farthest
    padded = background.expand(n, channels, wide, wide).clone()
    padded[:, :, farthest : farthest + side, farthest : farthest + side] = images
    windows = (
        padded.unfold(2, side, 1).unfold(3, side, 1).movedim(1, 3)
    )  # (n, rows, columns, channels, side, side)
    by = torch.randint(2 * farthest + 1, (2, n), generator=rng, device=images.device)
    return windows[torch.arange(n, device=images.device), by[0], by[1]]


def _resample(
    images: Tensor, options: Augmentation, rng: torch.Generator, background: Tensor
) -> Tensor:
    """Apply affine and elastic distortions (Simard, Steinkraus, and Platt 2003) in one bilinear
    resampling.
    """
    n, side = len(images), images.shape[-1]
    angle, size, shear, dx, dy = (2 * _uniform(rng, 5, n) - 1).unbind()
    angle = angle * math.radians(options.rotate)
    size = 1 + size * options.scale
    shear, dx, dy = (
        shear * options.shear,
        dx * options.shift * 2 / side,
        dy * options.shift * 2 / side,
    )
    cos, sin = angle.cos() / size, angle.sin() / size
    # Compute the source of each new pixel, in coordinates from -1 to 1: rotate and scale, then
    # shear. One matrix product does this; F.affine_grid takes eight times as long.
    rows = torch.stack([cos + shear * sin, shear * cos - sin, dx, sin, cos, dy], dim=1).reshape(
        2 * n, 3
    )
    places = (rows @ _coordinates(side, images.device)).reshape(n, 2, side, side)
    if options.elastic:
        places += _field(n, side, options, rng)
    # grid_sample pads with 0, so the background is temporarily shifted to 0.
    grid = places.permute(0, 2, 3, 1)
    return F.grid_sample(images - background, grid, align_corners=False).add_(background)


def _field(n: int, side: int, options: Augmentation, rng: torch.Generator) -> Tensor:
    """Return smooth random displacements, shape (n, 2, side, side), in units of half the image
    width.

    Their root mean square is `elastic` pixels.
    """
    smooth = _gaussian(side, options.elastic_sigma, rng.device)
    noise = torch.randn(n, 2, CONTROL, CONTROL, generator=rng, device=rng.device)
    # Two components with a variance of 1/2 each give a mean squared length of 1.
    return smooth @ noise @ smooth.T * (options.elastic * 2 / side * math.sqrt(0.5))


@cache
def _coordinates(side: int, device: torch.device) -> Tensor:
    """Return x, y, and 1 for each pixel, shape (3, side * side). The image's edges are at -1 and 1."""
    line = (2 * torch.arange(side, device=device, dtype=torch.float32) + 1) / side - 1
    return torch.stack(
        [line.repeat(side), line.repeat_interleave(side), torch.ones(side**2, device=device)]
    )


@cache
def _gaussian(side: int, sigma: float, device: torch.device) -> Tensor:
    """Return the Gaussian weights of all control points at each pixel of an axis, shape (side,
    CONTROL).

    The squares of each pixel's weights sum to 1, which preserves the variance of noise.
    """
    pixels = torch.arange(side, device=device, dtype=torch.float32)
    points = (
        torch.arange(CONTROL, device=device, dtype=torch.float32) + 0.5
    ) * side / CONTROL - 0.5
    weights = (-((pixels[:, None] - points) ** 2) / (2 * sigma**2)).exp()
    return F.normalize(weights, dim=1)


def _erase(
    images: Tensor, options: Augmentation, rng: torch.Generator, background: Tensor
) -> Tensor:
    """Erase a random rectangle in some images (Zhong et al. 2020). Its sides are 1 to `erase_size`
    pixels long.
    """
    n, side = len(images), images.shape[-1]
    chosen, *places = _uniform(rng, 5, n).unbind()
    height, width = (1 + (u * min(options.erase_size, side)).floor() for u in places[:2])
    top, left = (
        (u * (side - length + 1)).floor()
        for u, length in zip(places[2:], (height, width), strict=True)
    )
    pixels = torch.arange(side, device=images.device)
    rows = (pixels >= top[:, None]) & (pixels < (top + height)[:, None])
    columns = (pixels >= left[:, None]) & (pixels < (left + width)[:, None])
    erased = rows[:, :, None] & columns[:, None, :] & (chosen < options.erase)[:, None, None]
    return torch.where(erased.unsqueeze(1), background, images)


def _uniform(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=rng, device=rng.device)
