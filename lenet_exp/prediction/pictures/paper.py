"""Finds a drawing in a photo of a sheet of paper by the color of the ink, in any light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

COARSE = 36  # longer side, in pixels, of the reduced picture from which the paper's color is estimated
SMOOTH = 160  # longer side, in pixels, of the reduced picture from which the light is estimated
WIDEST = 0.3  # maximum stroke width, as a fraction of the mean side length; wider structures are paper or shadow
HUE = 2.0  # weight of color differences relative to lightness, which shadows also change
LEAST = 16 / 255  # minimum contrast
SMALLEST = 0.0003  # minimum fraction of the picture that ink covers
ABOVE_NOISE = 8  # minimum contrast, relative to the lowest tenth of the picture's contrasts
NOISE = 0.03  # assumed noise of the logarithm of a pixel's value; avoids division by 0 in noiseless pictures
SURE, POSSIBLE = 0.55, 0.35  # minimum amount of ink: in at least one pixel of a stroke, and in all of its pixels
SPECK = 0.2  # strokes smaller than this fraction of the largest stroke are specks
BLACK = 24.0  # added to all values before taking the logarithm, because darker values are noise


@dataclass(frozen=True)
class Ink:
    """The ink in a picture.

    Attributes:
        amount: amount of ink, with shape (height, width): 0 on paper, about 1 on ink.
        dark: whether the ink is darker than the paper.
    """

    amount: Array
    dark: bool


def find_ink(pixels: Array) -> Ink | None:
    """Return the ink in a picture; None if nothing stands out from the paper.

    Light falls equally on paper and ink, so the logarithm of each color value is compared with that of the nearby
    paper. The three color channels are combined so that ink and paper differ most, relative to the variation of the
    paper (Fisher 1936).

    Args:
        pixels: RGB values from 0 to 255, with shape (height, width, 3).
    """
    rough = ndimage.gaussian_filter(pixels - _paper_nearby(pixels), (1, 1, 0))
    distance = _distance(rough)
    marked = _outstanding(distance)
    if not marked.any() or distance[marked].min() < max(LEAST, ABOVE_NOISE * np.quantile(distance, 0.1)) / 2:
        return None
    dark = bool(rough.mean(2)[marked].mean() < 0)
    log = np.log((pixels if dark else 255 - pixels) + BLACK)
    log = ndimage.gaussian_filter(log, (0.8, 0.8, 0))
    difference = log - _paper_nearby(log)
    for _ in range(2):
        mixture = _separating(difference, marked)
        amount = _above_its_surroundings(log @ mixture)
        amount /= np.quantile(amount[_outstanding(amount)], 0.6)
        marked = amount > 0.5
    return Ink(amount.clip(0, None), dark)


def find_drawing(amount: Array) -> Mask | None:
    """Return a mask of all strokes, without specks and the edges of a table or a shadow; None if there are no strokes.

    Args:
        amount: amount of ink, with shape (height, width).
    """
    labels, count = ndimage.label(amount > POSSIBLE, np.ones((3, 3)))
    surest = ndimage.maximum(amount, labels, np.arange(1, count + 1))
    boxes = enumerate(ndimage.find_objects(labels), 1)
    strokes = {n: box for (n, box), most in zip(boxes, surest, strict=True) if most > SURE}
    strokes = {n: box for n, box in strokes.items() if not _frames(box, amount.shape)} or strokes
    sides = {n: max(part.stop - part.start for part in box) for n, box in strokes.items()}
    shown = [n for n, side in sides.items() if side >= max(SPECK * max(sides.values()), 2)]
    return np.isin(labels, shown) if shown else None


def _frames(box: tuple[slice, ...], shape: tuple[int, ...]) -> bool:
    """Return whether a stroke extends along most of an edge of the picture."""
    return any(
        (box[a].start == 0 or box[a].stop == shape[a]) and box[1 - a].stop - box[1 - a].start > 0.6 * shape[1 - a]
        for a in (0, 1)
    )


def _distance(difference: Array) -> Array:
    """Return the distance of each pixel's color from the paper's color, from 0 to about 1."""
    lightness = difference.mean(2, keepdims=True)
    return np.asarray(np.sqrt(lightness[..., 0] ** 2 + HUE**2 * ((difference - lightness) ** 2).mean(2)) / 255)


def _outstanding(amount: Array) -> Mask:
    """Return a mask of the pixels that differ from the paper at least half as much as the most different pixels."""
    return np.asarray(amount > 0.5 * np.quantile(amount, 1 - SMALLEST))


def _separating(difference: Array, marked: Mask) -> Array:
    """Return Fisher's discriminant direction, with shape (3,), scaled so that the mean of the ink is 1."""
    paper = ~ndimage.binary_dilation(marked, iterations=3)
    rest = difference[paper] if paper.sum() > 100 else difference[~marked]
    spread = np.cov(rest.T) + NOISE**2 * np.eye(3)
    mean = difference[marked].mean(0)
    direction = np.linalg.solve(spread, mean)
    return np.asarray(direction / (direction @ mean))


def _paper_nearby(pixels: Array) -> Array:
    """Return the median color in a wide neighborhood of each pixel."""
    small = _shrunk(pixels, COARSE)
    size = tuple(min(2 * (max(small.shape) // 4) + 1, 2 * n - 1) for n in small.shape[:2])
    medians = np.stack([ndimage.median_filter(small[..., c], size, mode="nearest") for c in range(3)], -1)
    return _grown(medians, pixels.shape[:2])


def _above_its_surroundings(values: Array) -> Array:
    """Subtract the morphological opening with a square as wide as the widest stroke.

    The result contains thin structures, but no shadows or differences in light.
    """
    small = _shrunk(values[..., None], SMOOTH)[..., 0]
    size = 2 * int(WIDEST * sum(small.shape) / 4) + 1
    smooth = ndimage.gaussian_filter(small, 0.7)
    opened = ndimage.grey_opening(smooth, size, mode="nearest")
    surroundings = ndimage.gaussian_filter(opened, 2)
    left: Array = values - _grown(surroundings[..., None], values.shape)[..., 0]
    # The opening is below the noise, so center the noise at 0.
    left -= np.median(left)
    return left


def _shrunk(values: Array, longest: int) -> Array:
    """Reduce an image to the means of its blocks, with about `longest` blocks along the longer side."""
    factor = max(1, round(max(values.shape[:2]) / longest))
    down, across = (min(factor, n) for n in values.shape[:2])
    height, width = values.shape[0] // down, values.shape[1] // across
    blocks = values[: height * down, : width * across].reshape(height, down, width, across, -1)
    return np.asarray(blocks.mean((1, 3)))


def _grown(values: Array, shape: tuple[int, ...]) -> Array:
    """Enlarge an image to `shape` by bilinear interpolation."""
    factors = [n / m for n, m in zip(shape, values.shape[:2], strict=True)]
    return np.asarray(ndimage.zoom(values, [*factors, 1], order=1, mode="nearest", grid_mode=True))
