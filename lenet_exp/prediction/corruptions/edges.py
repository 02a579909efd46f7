"""The corruption that replaces an image with its edges.

Sources: google-research/mnist-c, corruptions.py; canny in scikit-image with its defaults; Canny 1986.
"""

from __future__ import annotations

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label, sobel

from lenet_exp.prediction.corruptions.pixels import Image

LOW, HIGH = 0.1, 0.2  # thresholds for the magnitude of the gradient


def canny_edges(image: Image, _: RandomState) -> Image:
    """Return the edges that the Canny detector finds, as 0 or 1, after a Gaussian blur (sigma 1 pixel).

    The border of the image contains no edges.
    """
    inside = gaussian_filter(np.ones_like(image), 1, mode="constant") + np.finfo(float).eps
    smooth = gaussian_filter(image, 1, mode="constant") / inside
    down, right = sobel(smooth, axis=0), sobel(smooth, axis=1)
    magnitude = np.hypot(down, right)
    edges = np.zeros(image.shape, bool)
    edges[1:-1, 1:-1] = _is_ridge(magnitude, down[1:-1, 1:-1], right[1:-1, 1:-1])
    parts, count = label(edges & (magnitude >= LOW), np.ones((3, 3)))
    strong = np.zeros(count + 1, bool)
    strong[parts[edges & (magnitude >= HIGH)]] = True
    strong[0] = False
    return np.asarray(strong[parts], dtype=float)


def _is_ridge(magnitude: Image, down: Image, right: Image) -> NDArray[np.bool_]:
    """Return whether each inner pixel has a gradient at least as large as on both sides along the gradient.

    The gradient on a side is interpolated between the neighbor in the gradient's main direction and the neighbor on
    the diagonal.
    """
    rows, columns = np.indices(down.shape) + 1
    center = magnitude[1:-1, 1:-1]
    vertical = np.abs(down) >= np.abs(right)
    y, x = np.where(down < 0, -1, 1), np.where(right < 0, -1, 1)
    larger, smaller = np.maximum(np.abs(down), np.abs(right)), np.minimum(np.abs(down), np.abs(right))
    weight = smaller / np.where(larger > 0, larger, 1)
    ridge = center > 0
    for side in (1, -1):
        diagonal = magnitude[rows + side * y, columns + side * x]
        straight = magnitude[rows + side * y * vertical, columns + side * x * ~vertical]
        ridge &= diagonal * weight + straight * (1 - weight) <= center
    return ridge
