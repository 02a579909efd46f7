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

# Number of control points along each axis of the `elastic` displacement field.
CONTROL = 16


def augments(options: Augmentation) -> bool:
    """Return whether any augmentation is enabled."""
    if _resamples(options):
        return True
    return any((options.shift, options.flip, options.erase, options.own))


def augment(
    images: Tensor, options: Augmentation, rng: torch.Generator, background: Tensor
) -> Tensor:
    """Return randomly augmented copies of images (n, channels, side, side).

    Each image is changed independently. The changes do not include the user's own ones
    (`augmentation.own`).

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
    """Return whether the options require pixels between the original ones."""
    return any((options.rotate, options.scale, options.shear, options.elastic))


def _shift(images: Tensor, farthest: int, rng: torch.Generator, background: Tensor) -> Tensor:
    """Shift each image by whole pixels, by selecting a window of the padded image.

    Args:
        farthest: largest shift in each direction, in pixels. The padding has this width, so that an
            image with `farthest=2` has 5x5 windows.
    """
    n, channels, side, _ = images.shape
    padded_side = side + 2 * farthest
    inner = slice(farthest, farthest + side)
    padded = background.expand(n, channels, padded_side, padded_side).clone()
    padded[:, :, inner, inner] = images

    # (n, top, left, channels, side, side): the window at each position of its top left corner.
    windows = padded.unfold(2, side, 1).unfold(3, side, 1).movedim(1, 3)
    positions = 2 * farthest + 1
    top, left = torch.randint(positions, (2, n), generator=rng, device=images.device)
    return windows[torch.arange(n, device=images.device), top, left]


def _resample(
    images: Tensor, options: Augmentation, rng: torch.Generator, background: Tensor
) -> Tensor:
    """Apply affine and elastic distortions (Simard, Steinkraus, and Platt 2003).

    One bilinear resampling does both.
    """
    n, _, side, _ = images.shape
    # The source of each new pixel: x and y in coordinates from -1 to 1. One matrix product computes
    # them; F.affine_grid takes eight times as long.
    affine_rows = _affine_rows(n, side, options, rng)
    sources = (affine_rows @ _coordinates(side, images.device)).reshape(n, 2, side, side)
    if options.elastic:
        sources += _displacements(n, side, options, rng)

    # grid_sample pads with 0, so the background is temporarily shifted to 0.
    grid = sources.permute(0, 2, 3, 1)  # (n, side, side, 2)
    return F.grid_sample(images - background, grid, align_corners=False).add_(background)


def _affine_rows(n: int, side: int, options: Augmentation, rng: torch.Generator) -> Tensor:
    """Return a random affine map for each image, shape (2 * n, 3): one row for x and one for y.

    A map rotates and scales, then shears, then shifts. Its rows are multiplied by (x, y, 1).
    """
    # Each has shape (n,) and is drawn from U(-1, 1).
    angle, size, shear, dx, dy = (2 * _uniform(rng, 5, n) - 1).unbind()
    angle = angle * math.radians(options.rotate)
    size = 1 + size * options.scale
    shear = shear * options.shear
    # The image is 2 units wide.
    dx = dx * options.shift * 2 / side
    dy = dy * options.shift * 2 / side

    cos = angle.cos() / size
    sin = angle.sin() / size
    x_row = [cos + shear * sin, shear * cos - sin, dx]
    y_row = [sin, cos, dy]
    return torch.stack([*x_row, *y_row], dim=1).reshape(2 * n, 3)


def _displacements(n: int, side: int, options: Augmentation, rng: torch.Generator) -> Tensor:
    """Return smooth random displacements, shape (n, 2, side, side).

    Their unit is half the image width. Their root mean square is `elastic` pixels.
    """
    weights = _gaussian_weights(side, options.elastic_sigma, rng.device)
    noise = torch.randn(n, 2, CONTROL, CONTROL, generator=rng, device=rng.device)
    # Two components with a variance of 1/2 each give a mean squared length of 1.
    scale = options.elastic * 2 / side * math.sqrt(0.5)
    # (side, CONTROL) @ (n, 2, CONTROL, CONTROL) @ (CONTROL, side)
    return weights @ noise @ weights.T * scale


@cache
def _coordinates(side: int, device: torch.device) -> Tensor:
    """Return x, y, and 1 for the center of each pixel, shape (3, side * side).

    The image's edges are at -1 and 1. Example: with 4 pixels, x is -0.75, -0.25, 0.25, and 0.75.
    """
    pixels = torch.arange(side, device=device, dtype=torch.float32)
    centers = (2 * pixels + 1) / side - 1
    x = centers.repeat(side)
    y = centers.repeat_interleave(side)
    ones = torch.ones(side**2, device=device)
    return torch.stack([x, y, ones])


@cache
def _gaussian_weights(side: int, sigma: float, device: torch.device) -> Tensor:
    """Return the weights of all control points at each pixel of an axis, shape (side, CONTROL).

    A weight is a Gaussian function of the distance between the control point and the pixel, with
    standard deviation `sigma` in pixels. The control points are evenly spaced over the axis. The
    squares of each pixel's weights sum to 1, which preserves the variance of noise.
    """
    pixels = torch.arange(side, device=device, dtype=torch.float32)
    numbers = torch.arange(CONTROL, device=device, dtype=torch.float32)
    points = (numbers + 0.5) * side / CONTROL - 0.5
    distances = pixels[:, None] - points
    weights = (-(distances**2) / (2 * sigma**2)).exp()
    return F.normalize(weights, dim=1)


def _erase(
    images: Tensor, options: Augmentation, rng: torch.Generator, background: Tensor
) -> Tensor:
    """Erase a random rectangle in some images (Zhong et al. 2020).

    Its sides are 1 to `erase_size` pixels long.
    """
    n, _, side, _ = images.shape
    # Row by row, shape (n,): whether to erase; the rectangle's height, width, top, and left.
    draws = _uniform(rng, 5, n)
    is_chosen = draws[0] < options.erase

    longest = min(options.erase_size, side)
    heights = 1 + (draws[1] * longest).floor()
    widths = 1 + (draws[2] * longest).floor()
    tops = (draws[3] * (side - heights + 1)).floor()
    lefts = (draws[4] * (side - widths + 1)).floor()

    rows = _in_interval(side, tops, heights)
    columns = _in_interval(side, lefts, widths)
    # (n, side, side)
    is_erased = rows[:, :, None] & columns[:, None, :] & is_chosen[:, None, None]
    return torch.where(is_erased.unsqueeze(1), background, images)


def _in_interval(side: int, firsts: Tensor, lengths: Tensor) -> Tensor:
    """Return which of an axis's pixels lie in each image's interval, shape (n, side).

    Args:
        firsts, lengths: first pixel and length of each interval, shape (n,).
    """
    pixels = torch.arange(side, device=firsts.device)
    ends = firsts + lengths
    return (pixels >= firsts[:, None]) & (pixels < ends[:, None])


def _uniform(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=rng, device=rng.device)
