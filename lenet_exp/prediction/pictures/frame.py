"""Converts drawings to the form of MNIST's images: 28x28 pixels, light on dark, centered by center of mass, and with
strokes as wide as those of a pen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

FRAME = 28  # side length in pixels, as in MNIST; like the training images, frames are later resized to 32x32
FINE = 8  # pixels of the working image per pixel of the frame
THINNEST, WIDEST = 2.0, 4.0  # range of stroke widths in the frame, which includes nearly all strokes in MNIST
SPECK = 0.01  # maximum area of a speck, as a fraction of the largest stroke's area


def frame_of(drawing: Mask, box: int, size: int = FRAME) -> NDArray[np.uint8]:
    """Return the frame, with shape (size, size), of a drawing with shape (height, width).

    As in MNIST (LeCun et al. 1998, section III.A), the drawing is scaled to fit a square box (20x20 pixels in MNIST)
    without changing its proportions. The drawing is then centered in the frame by its center of mass. Strokes that are
    finer or broader than those in MNIST are adjusted. Specks are removed.

    Args:
        box: length of the drawing's longer side in the frame, in pixels.
        size: height and width of the frame, in pixels.
    """
    labels, _ = ndimage.label(drawing, np.ones((3, 3)))
    areas = np.bincount(labels[drawing])
    strokes = (areas > SPECK * areas.max())[labels]
    fine = _resized(cropped(strokes), box * FINE)
    fine = cropped(fine > fine.max() / 2)  # the maximum is below 1 if all strokes are thin and the picture shrinks
    fine = _with_a_pens_width(fine, size / FRAME)
    return place(cropped(fine.astype(np.float64)), box, size)


def place(drawing: Array, box: int, size: int = FRAME) -> NDArray[np.uint8]:
    """Scale a cropped drawing with shades from 0 to 1 to fit a square box, and center the drawing in a frame with shape
    (size, size)."""
    pixels = _resized(drawing, box) * 255
    pixels *= 255 / max(pixels.max(), 1)  # thin lines fade when a large picture shrinks
    y, x = (np.average(np.arange(n), weights=pixels.sum(1 - axis)) for axis, n in enumerate(pixels.shape))
    top = int(np.clip(round(size / 2 - 0.5 - y), 0, size - pixels.shape[0]))
    left = int(np.clip(round(size / 2 - 0.5 - x), 0, size - pixels.shape[1]))
    frame = np.zeros((size, size), np.uint8)
    frame[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels.round().astype(np.uint8)
    return frame


def _resized(drawing: Array, longest: int) -> Array:
    image = Image.fromarray((drawing * 255).astype(np.uint8))
    return np.asarray(scaled(image, longest / max(drawing.shape)), dtype=np.float64) / 255


def scaled(image: Image.Image, scale: float) -> Image.Image:
    """Scale a picture, with at least one pixel per side."""
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)


def cropped(drawing: NDArray[np.generic], least: float = 0.5) -> Array:
    """Crop a drawing to the smallest rectangle that contains all values above `least`."""
    drawn = np.asarray(drawing, dtype=np.float64)
    ((rows, columns),) = ndimage.find_objects((drawn > least).astype(int))
    return np.asarray(drawn[rows, columns])


def _with_a_pens_width(drawing: Array, scale: float) -> Array:
    """Thicken or thin the strokes of a drawing so that they have the width of a pen's strokes after scaling."""
    width = stroke_width(drawing > 0.5) / FINE
    wanted = float(np.clip(width, THINNEST * scale, WIDEST * scale))
    change = (wanted - width) / 2 * FINE
    if abs(change) < 1:
        return drawing
    drawn = np.pad(drawing > 0.5, int(abs(change)) + 2)
    if change > 0:
        return np.asarray(ndimage.distance_transform_edt(~drawn) <= change, dtype=np.float64)
    finer = ndimage.distance_transform_edt(drawn) > -change
    return finer.astype(np.float64) if finer.any() else drawing


def stroke_width(drawn: Mask) -> float:
    """Return the width of a drawing's strokes, in pixels: twice the typical distance from the middle of a stroke to
    its edge."""
    distance = ndimage.distance_transform_edt(np.pad(drawn, 1))
    ridge = (distance >= ndimage.maximum_filter(distance, 3)) & (distance > 0)
    return 2 * float(np.median(distance[ridge])) - 1 if ridge.any() else 0.0
