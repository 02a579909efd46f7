"""Blurs: glass blur and motion blur.

Sources: google-research/mnist-c, corruptions.py; for motion blur also MotionBlurImage in ImageMagick's effect.c.
"""

from __future__ import annotations

import numpy as np
from numpy.random import RandomState
from scipy.ndimage import gaussian_filter

from lenet_exp.prediction.corruptions.pixels import Image


def glass_blur(image: Image, random: RandomState) -> Image:
    """Blur vertically (sigma 0.7 pixels), exchange neighboring pixels at random twice, and blur again.

    The original code passes the image to scikit-image as if its columns were color channels, so it blurs only along
    columns. The blurred pixels are rounded down to 8 bits before they are exchanged.
    """
    sigma, passes, size = (0.7, 0), 2, len(image)
    pixels = np.floor(gaussian_filter(image, sigma, mode="nearest") * 255).tolist()
    for _ in range(passes):
        chosen, up, left = random.randint(0, 2, (3, size, size)).tolist()
        for row in range(size - 1, 1, -1):
            for column in range(size - 1, 1, -1):
                if chosen[row][column]:
                    y, x = row - up[row][column], column - left[row][column]
                    pixels[row][column], pixels[y][x] = pixels[y][x], pixels[row][column]
    return np.asarray(gaussian_filter(np.array(pixels) / 255, sigma, mode="nearest"))


def motion_blur(image: Image, random: RandomState) -> Image:
    """Average each pixel with those that lie in one direction, with the weights of half a Gaussian (sigma 3 pixels).

    The angle is uniform between -45 and 45 degrees. Pixels outside the image equal the nearest pixel on its border.
    """
    radius, sigma = 10, 3
    angle = np.radians(random.uniform(-45, 45))
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    down, right = (np.ceil(steps * part - 0.5).astype(int) for part in (np.sin(angle), np.cos(angle)))
    place, last = np.arange(len(image)), len(image) - 1
    blurred = np.zeros_like(image)
    for weight, y, x in zip(weights / weights.sum(), down, right, strict=True):
        blurred += weight * image[np.ix_((place + y).clip(0, last), (place + x).clip(0, last))]
    return np.floor(blurred * 255) / 255  # ImageMagick rounds down to 8 bits
