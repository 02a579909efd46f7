"""Corruptions that cover the image: fog, spatter, dotted line, and zigzag.

Source: google-research/mnist-c, corruptions.py.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.random import RandomState
from scipy.ndimage import gaussian_filter

from lenet_exp.prediction.corruptions.pixels import Image

FOG_SIZE = 256  # side length in pixels of the fog, of which the image shows a corner


def fog(image: Image, random: RandomState) -> Image:
    """Add a random height map with values in [0, 3], and scale the sum so that the maximum of the image can remain."""
    strength, brightest = 3.0, image.max()
    mist = _diamond_square(random, decay=1.4)[: len(image), : len(image)]
    return np.asarray((image + strength * mist) * brightest / (brightest + strength))


def _diamond_square(random: RandomState, decay: float) -> Image:
    """Return a periodic height map of shape (256, 256) with minimum 0 and maximum 1.

    The diamond-square algorithm sets points halfway between known points to the mean of the four nearest known points
    plus uniform noise, at smaller and smaller distances. `decay` divides the amplitude of the noise at each step.
    """
    heights = np.zeros((FOG_SIZE, FOG_SIZE))
    step, amplitude = FOG_SIZE, 100.0

    def mean_of(four: Image) -> Image:
        return np.asarray(four / 4 + amplitude * random.uniform(-amplitude, amplitude, four.shape))

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=0)
        heights[half::step, half::step] = centers = mean_of(pairs + np.roll(pairs, -1, axis=1))
        across = centers + np.roll(centers, 1, axis=0) + corners + np.roll(corners, -1, axis=1)
        heights[::step, half::step] = mean_of(across)
        down = centers + np.roll(centers, 1, axis=1) + corners + np.roll(corners, -1, axis=0)
        heights[half::step, ::step] = mean_of(down)
        step, amplitude = half, amplitude / decay
    heights -= heights.min()
    return np.asarray(heights / heights.max())


def spatter(image: Image, random: RandomState) -> Image:
    """Cover the image with drops of gray level 63/255."""
    threshold = 0.65
    liquid = gaussian_filter(random.normal(0.65, 0.3, image.shape), 1, mode="nearest")
    drops = gaussian_filter((liquid > threshold).astype(float), 1.5, mode="nearest")
    drops[drops < 0.8] = 0
    return np.asarray(image * (1 - drops) + 63 / 255 * drops)


def dotted_line(image: Image, random: RandomState) -> Image:
    """Add a line from the left border to the right border, with 2 pixels off and 2 pixels on."""
    start, end = random.randint(0, 27, 2)
    line = _line(0, start, 27, end)
    line[:, np.arange(len(image)) % 4 < 2] = 0
    return image + line


def zigzag(image: Image, random: RandomState) -> Image:
    """Add a zigzag from column 2 to column 25 whose segments deviate by 2 pixels from a straight line."""
    left, right, deviation = 2, 25, 2.0
    start = random.randint(0, 27)
    angle = math.atan(random.randint(-5, 5) / (right - left))
    length = (right - left) / math.cos(angle)
    turns = int((length - deviation) // (2 * deviation)) + 1
    points = [(0.0, 0.0), *(((2 * i + 1) * deviation, (-1) ** i * deviation) for i in range(turns))]
    rest = length - 2 * deviation * (length // (2 * deviation))
    if rest:
        points.append((length, points[-1][1] / (2 * rest)))
    along, off = np.array(points).T
    columns = left + math.cos(angle) * along - math.sin(angle) * off
    rows = start + math.sin(angle) * along + math.cos(angle) * off
    for i in range(1, len(points)):
        image = np.minimum(image + _line(columns[i - 1], rows[i - 1], columns[i], rows[i]), 1)
    return image


def _line(column: float, row: float, to_column: float, to_row: float) -> Image:
    """Return an image of shape (28, 28) with a line, whose brightness falls off with the vertical distance."""
    columns, rows = np.meshgrid(np.arange(28), np.arange(28))
    slope = (to_row - row) / (to_column - column)
    # Pixels that are 2.3 or more pixels away are black; the small number prevents a logarithm of 0.
    distance = np.abs(rows - (slope * (columns - column) + row)).clip(0, 2.3 - 1e-10)
    line = (np.log(1 - distance / 2.3) + 1).clip(0, 1)
    line[:, : math.floor(column)] = 0
    line[:, math.ceil(to_column) :] = 0
    return line
