"""The 15 corruptions of MNIST-C, implemented from their published definitions (Mu and Gilmer 2019).

Sources: google-research/mnist-c, corruptions.py, for all corruptions and parameters; MotionBlurImage in ImageMagick's
effect.c for `motion_blur`; AffineTransform, warp, and gaussian in scikit-image 0.15, and canny in scikit-image.

Each function takes an image of shape (28, 28) with values in [0, 1], which it can change, and a source of random
numbers. It returns the corrupted image, whose values can be outside this range.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter, label, sobel
from torch import Tensor

Image = NDArray[np.float64]

SIZE = 28  # height and width of the images in pixels; the definitions contain absolute positions
FOG_SIZE = 256  # side length in pixels of the fog, of which the image shows a corner
LOW, HIGH = 0.1, 0.2  # thresholds of the Canny detector for the magnitude of the gradient


def shot_noise(image: Image, random: RandomState) -> Image:
    """Replace each pixel with a Poisson variable that has the pixel's value as its mean and counts in thirds."""
    photons = 3
    return random.poisson(image * photons) / photons


def impulse_noise(image: Image, random: RandomState) -> Image:
    """Replace 17% of the pixels, chosen at random, with black or white with equal probability."""
    replaced = random.uniform(size=image.shape) <= 0.17
    image[replaced] = random.uniform(size=image.shape)[replaced] <= 0.5
    return image


def brightness(image: Image, _: RandomState) -> Image:
    """Add 0.5 to each pixel; for gray images, this equals adding 0.5 to the value in the HSV color space."""
    return image + 0.5


def stripe(image: Image, _: RandomState) -> Image:
    """Invert the 7 leftmost and the 7 rightmost columns."""
    image[:, :7] = 1 - image[:, :7]
    image[:, 21:] = 1 - image[:, 21:]
    return image


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


def shear(image: Image, random: RandomState) -> Image:
    """Shear by an angle of 0.4 radians, to the left or to the right."""
    angle = 0.4 * _sign(random)
    return _about_center(image, [[1, -np.sin(angle)], [0, np.cos(angle)]])


def rotate(image: Image, random: RandomState) -> Image:
    """Rotate by 0.4 radians, clockwise or counterclockwise."""
    angle = 0.4 * _sign(random)
    return _about_center(image, [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def scale(image: Image, _: RandomState) -> Image:
    """Shrink to 0.7 times the size."""
    return _about_center(image, [[1 / 0.7, 0], [0, 1 / 0.7]])


def translate(image: Image, random: RandomState) -> Image:
    """Move by 3 pixels up or down and by 3 pixels to the left or to the right."""
    return _warp(image, np.eye(2), np.array([3 * _sign(random), 3 * _sign(random)]))


def _sign(random: RandomState) -> int:
    return int(random.choice([-1, 1]))


def _about_center(image: Image, matrix: list[list[float]]) -> Image:
    its, center = np.array(matrix), (len(image) - 1) / 2
    return _warp(image, its, center * (1 - its.sum(1)))


def _warp(image: Image, matrix: Image, offset: Image) -> Image:
    """Apply a matrix and an offset for (column, row); scipy expects (row, column)."""
    return np.asarray(affine_transform(image, matrix[::-1, ::-1], offset[::-1], order=1, mode="grid-constant"))


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


# A corruption's position is part of its seed, so add new ones at the end.
EVERY = (
    shot_noise, impulse_noise, glass_blur, motion_blur, shear, scale, rotate, brightness, translate, stripe, fog,
    spatter, dotted_line, zigzag, canny_edges,
)  # fmt: skip
CORRUPTIONS = {function.__name__: function for function in EVERY}


def corrupt(images: Tensor, name: str) -> Tensor:
    """Return corrupted copies of images.

    Each image has its own random numbers. They come from a RandomState, whose numbers NumPy never changes.

    Args:
        images: tensor of shape (n, 28, 28), uint8, in [0, 255].
        name: name of the corruption; see `CORRUPTIONS`.

    Returns:
        Tensor of the same shape and type, rounded to integers.
    """
    apply, number = CORRUPTIONS[name], list(CORRUPTIONS).index(name)
    pixels = images.numpy() / 255
    made, random = np.empty_like(images.numpy()), RandomState()
    for i, image in enumerate(pixels):
        random.seed([number, i])
        made[i] = (apply(image, random).clip(0, 1) * 255).round()
    return torch.from_numpy(made)
