"""Finds ruled lines and grids on paper, and removes them except where a stroke crosses them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lenet_exp.prediction.pictures.paper import Array, Mask

STEEPEST = 0.16  # maximum slope of a line, up or down (9 degrees)
FAINTEST = 0.12  # minimum amount of ink in a line, as a fraction of the ink in a stroke
COVERED = 0.6  # minimum fraction of the picture's width that a line covers
THICKEST = 0.02  # maximum thickness of a line, as a fraction of the picture's longer side
ENDS = 0.06  # fraction of the width at each edge in which a line, unlike a long straight stroke, must be visible


@dataclass(frozen=True)
class RuledLines:
    """Ruled lines in one direction.

    Attributes:
        slope: shift down per pixel to the right; for vertical lines, shift to the right per pixel down.
        pixels: mask of the lines, with shape (height, width).
    """

    slope: float
    pixels: Mask


def without_lines(amount: Array) -> tuple[Array, Mask, float]:
    """Remove ruled lines from a picture's ink.

    Args:
        amount: amount of ink, with shape (height, width).

    Returns:
        The remaining ink, a mask of the lines, and the slope of the lines. If the picture has no lines, the mask is
        empty and the slope is 0.
    """
    across, upright = _lines(amount), _lines(amount.T)
    rest, lines, slope = amount, np.zeros(amount.shape, bool), 0.0
    if upright is not None:
        lines, slope = upright.pixels.T, -upright.slope
    if across is not None:
        rest, lines, slope = _taken_away(rest, across), lines | across.pixels, across.slope
    if upright is not None:
        rest = _taken_away(rest.T, upright).T
    return rest, lines, slope


def _lines(amount: Array) -> RuledLines | None:
    """Return the lines that extend from the left edge to the right edge; None if there are no such lines."""
    height, width = amount.shape
    thickest = max(3, round(THICKEST * max(amount.shape)))
    # Keep structures that are thin vertically (lines and edges), and drop strokes that are thicker than any line.
    thin = amount - ndimage.grey_opening(amount, (thickest + 2, 1), mode="nearest")
    seen = (thin > FAINTEST).astype(np.float32)
    seen = ndimage.maximum_filter(seen, (3, 1))
    step = max(1, width // 160)
    columns = np.arange(0, width, step)
    slopes = np.linspace(-STEEPEST, STEEPEST, 65)
    profiles = np.stack([_profile(seen, slope, columns) for slope in slopes])
    sharpness = (np.clip(profiles - 0.3, 0, None) ** 2).sum(1)
    best = int(sharpness.argmax())
    slope, profile = float(slopes[best]), profiles[best]
    found = np.zeros((height, width), bool)
    x = np.arange(width)
    for (rows,) in ndimage.find_objects(ndimage.label(profile >= COVERED)[0]):
        thickness = rows.stop - 1 - rows.start
        middle = rows.start + int(profile[rows].argmax())
        if thickness > 2 * thickest or not _reaches_both_ends(seen, middle, slope):
            continue
        margin = max(2, thickness // 2 + 1)
        for row in range(middle - margin, middle + margin + 1):
            y = np.round(row + slope * (x - width / 2)).astype(int)
            inside = (y >= 0) & (y < height)
            found[y[inside], x[inside]] = True
    return RuledLines(slope, found) if found.any() else None


def _profile(seen: NDArray[np.float32], slope: float, columns: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return, for each row, the visible fraction of the line that crosses the row at the picture's horizontal center.

    The fraction is lower for lines that leave the picture.
    """
    height, width = seen.shape
    y = np.arange(height)[:, None] + np.round(slope * (columns - width / 2)).astype(int)[None, :]
    inside = (y >= 0) & (y < height)
    values = np.where(inside, seen[y.clip(0, height - 1), columns[None, :]], 0)
    return np.asarray(values.sum(1) / np.maximum(inside.sum(1), 0.5 * len(columns)))


def _reaches_both_ends(seen: NDArray[np.float32], middle: int, slope: float) -> bool:
    height, width = seen.shape
    x = np.arange(width)
    y = np.round(middle + slope * (x - width / 2)).astype(int)
    inside = np.nonzero((y >= 0) & (y < height))[0]
    near = np.zeros(width, bool)
    for move in (-2, -1, 0, 1, 2):
        near[inside] |= seen[(y[inside] + move).clip(0, height - 1), inside] > 0
    few = max(3, int(ENDS * width))
    return bool(near[inside[:few]].mean() > 0.3 and near[inside[-few:]].mean() > 0.3)


def _taken_away(amount: Array, ruling: RuledLines) -> Array:
    """Remove the ink of ruled lines.

    Ink that continues above and below a line or is darker than the line is kept, because it belongs to a stroke.
    """
    on = ruling.pixels
    sequences, _ = ndimage.label(on, [[0, 1, 0], [0, 1, 0], [0, 1, 0]])  # vertical sequences of pixels
    thick = int(np.median(np.bincount(sequences.ravel())[1:]))
    through = ndimage.grey_opening(amount, (thick + 4, 1), mode="nearest")
    strength = float(np.quantile(amount[on], 0.8))  # the mask is broader than the line
    rest = np.clip((amount - 1.25 * strength) / max(1 - 1.25 * strength, 0.3), 0, 1) if strength < 0.6 else 0 * amount
    cleaned: Array = np.where(ndimage.binary_dilation(on, np.ones((3, 1))), np.maximum(through, rest), amount)
    return np.minimum(cleaned, amount)
