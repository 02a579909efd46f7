"""Affine corruptions: shear, scale, rotate, and translate.

Source: google-research/mnist-c, corruptions.py, with AffineTransform and warp of scikit-image 0.15: a matrix maps each
(column, row) of the result to a place in the image, where the value is interpolated bilinearly. Outside the image, the
value is 0.
"""

from __future__ import annotations

import numpy as np
from numpy.random import RandomState
from scipy.ndimage import affine_transform

from lenet_exp.prediction.corruptions.pixels import Image


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
