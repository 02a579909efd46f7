"""The picture of augmented images, looked at through its pixels."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from lenet_exp.reports.files.augmented import ENLARGED, PAD, augmented_picture
from tests.training.small import configure, start


def tiles(*overrides: str) -> np.ndarray:
    """Rows x columns x 32 x 32 grey values of the picture."""
    config = configure(*overrides)
    _, data = start(config)
    picture = Image.open(io.BytesIO(augmented_picture(data, config.augmentation, config.seed)))
    pixels = np.asarray(picture)[::ENLARGED, ::ENLARGED]
    step = 32 + PAD
    rows = -(-pixels.shape[0] // step)
    starts = [0, *(step + 2 * PAD + step * i for i in range(8))]
    assert pixels.shape[1] == starts[-1] + 32
    return np.array([[pixels[r * step : r * step + 32, c : c + 32] for c in starts] for r in range(rows)])


def test_eight_images_of_eight_classes_each_with_eight_versions():
    shown = tiles("augmentation=flip", "augmentation.flip=1")
    assert shown.shape == (8, 9, 32, 32)
    for row in shown:
        for version in row[1:]:
            assert np.array_equal(version, row[0, :, ::-1])
    assert len({row[0].tobytes() for row in shown}) == 8


def test_versions_differ_from_each_other_and_with_the_seed():
    one, other = tiles("augmentation=affine"), tiles("augmentation=affine", "seed=1")
    assert all(len({tile.tobytes() for tile in row}) == 9 for row in one)
    assert np.array_equal(one[:, 0], other[:, 0])
    assert not np.array_equal(one[:, 1], other[:, 1])
