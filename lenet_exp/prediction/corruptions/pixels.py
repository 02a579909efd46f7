"""Corruptions of single pixels: shot noise, impulse noise, brightness, and stripe.

Source: google-research/mnist-c, corruptions.py. In this folder, images have shape (28, 28) and values in [0, 1]; values
of results can be outside this range.
"""

from __future__ import annotations

from numpy import float64
from numpy.random import RandomState
from numpy.typing import NDArray

Image = NDArray[float64]


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
