"""Corrupts images, with random numbers that depend only on the corruption and on the position of the image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from lenet_exp.prediction.corruptions.affine import rotate, scale, shear, translate
from lenet_exp.prediction.corruptions.blur import glass_blur, motion_blur
from lenet_exp.prediction.corruptions.edges import canny_edges
from lenet_exp.prediction.corruptions.overlays import dotted_line, fog, spatter, zigzag
from lenet_exp.prediction.corruptions.pixels import Image, brightness, impulse_noise, shot_noise, stripe

# In the order of the paper. A corruption's position is part of its seed, so add new ones at the end.
CORRUPTIONS: dict[str, Callable[[Image, RandomState], Image]] = {
    each.__name__: each
    for each in (
        shot_noise,
        impulse_noise,
        glass_blur,
        motion_blur,
        shear,
        scale,
        rotate,
        brightness,
        translate,
        stripe,
        fog,
        spatter,
        dotted_line,
        zigzag,
        canny_edges,
    )
}
SIZE = 28  # height and width of the images in pixels; the definitions contain absolute positions


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
