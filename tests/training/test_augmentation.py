"""The effect of each augmentation on images; only training images are changed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lenet_exp.seeds import generator
from lenet_exp.training.augmentation import augment, augments
from lenet_exp.training.evaluate import predict_logits
from lenet_exp.training.fit import fit
from tests.tools.configs import compose
from tests.training.small import configure, start

N = 400
BACKGROUND = -1.0  # black, after scaling to [-1, 1]
BLACK = torch.full((1, 1, 1), BACKGROUND)
SHORT = "dataset.train_size=320"
OPTIONS = ("shift", "affine", "elastic", "flip", "erase")


def changed(images: Tensor, *overrides: str, seed: int = 0) -> Tensor:
    return augment(
        images, compose(list(overrides)).augmentation, generator(seed, "augmentation"), BLACK
    )


def blank(n: int = N) -> Tensor:
    return torch.full((n, 1, 32, 32), BACKGROUND)


def dot(row: int, column: int, n: int = N) -> Tensor:
    images = blank(n)
    images[:, 0, row - 1 : row + 2, column - 1 : column + 2] = 1.0
    return images


def centers(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return row and column, each of shape (n,), of the center of mass of the foreground."""
    mass = images[:, 0] - BACKGROUND
    line = torch.arange(32.0)
    total = mass.sum((1, 2))
    return (mass.sum(2) * line).sum(1) / total, (mass.sum(1) * line).sum(1) / total


def noise(n: int = N) -> Tensor:
    return torch.rand(n, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_no_augmentation_changes_nothing():
    options = compose([]).augmentation
    assert not augments(options)
    images = noise()
    assert augment(images, options, generator(0, "augmentation"), BLACK) is images


@pytest.mark.parametrize("option", [*OPTIONS, "[affine,elastic,flip,erase]"])
def test_augmentation_makes_new_images_in_range_from_generator(option):
    options = compose([f"augmentation={option}"]).augmentation
    assert augments(options)
    torch.testing.assert_close(
        augment(blank(), options, generator(0, "augmentation"), BLACK), blank()
    )
    images = noise()
    before = images.clone()
    one, same, other = (
        augment(images, options, generator(seed, "augmentation"), BLACK) for seed in (3, 3, 4)
    )
    assert torch.equal(images, before)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one, images)
    assert one.shape == images.shape
    assert -1 - 1e-5 <= float(one.min()) <= float(one.max()) <= 1 + 1e-5


def test_shift_moves_by_any_whole_pixels_up_to_maximum():
    images, shifted = noise(), changed(noise(), "augmentation.shift=2")
    seen = set()
    for image, new in zip(images, shifted, strict=True):
        moves = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if torch.equal(new, moved(image, dy, dx))
        ]
        assert len(moves) == 1
        seen.add(moves[0])
    assert len(seen) == 25


def moved(image: Tensor, dy: int, dx: int) -> Tensor:
    new = torch.full_like(image, BACKGROUND)
    new[:, max(dy, 0) : 32 + min(dy, 0), max(dx, 0) : 32 + min(dx, 0)] = image[
        :, max(-dy, 0) : 32 + min(-dy, 0), max(-dx, 0) : 32 + min(-dx, 0)
    ]
    return new


def test_flip_mirrors_share_of_images_left_to_right():
    images, flipped = noise(), changed(noise(), "augmentation.flip=0.25")
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    same = (flipped == images).flatten(1).all(1)
    assert bool((mirrored ^ same).all())
    assert 0.15 < float(mirrored.double().mean()) < 0.35


def test_rotation_turns_about_center_up_to_maximum_angle():
    rows, columns = centers(changed(dot(16, 26), "augmentation.rotate=30"))
    angles = torch.atan2(15.5 - rows, columns - 15.5) * 180 / math.pi
    start = math.degrees(math.atan2(-0.5, 10.5))
    assert -31 < float(angles.min()) - start < -27
    assert 27 < float(angles.max()) - start < 31
    distances = torch.hypot(rows - 15.5, columns - 15.5)
    torch.testing.assert_close(
        distances, torch.full((N,), math.hypot(0.5, 10.5)), atol=0.15, rtol=0
    )


def test_shear_moves_rows_by_distance_from_center():
    rows, columns = centers(changed(dot(26, 16), "augmentation.shear=0.3"))
    torch.testing.assert_close(rows, torch.full((N,), 26.0), atol=0.1, rtol=0)
    assert 2.8 < float((columns - 16).abs().max()) < 3.3
    _, middle = centers(changed(dot(15, 16), "augmentation.shear=0.3"))
    assert float((middle - 16).abs().max()) < 0.3


@pytest.mark.parametrize(("length", "sigma"), [(0.5, 2.0), (1.5, 4.0)])
def test_elastic_moves_pixels_smoothly_by_given_length(length, sigma):
    ramp = torch.linspace(-1, 1, 32)
    overrides = [f"augmentation.elastic={length}", f"augmentation.elastic_sigma={sigma}"]
    across = changed(ramp.expand(N, 1, 32, 32), *overrides)[:, 0] - ramp
    down = changed(ramp[:, None].expand(N, 1, 32, 32), *overrides)[:, 0] - ramp[:, None]
    # in pixels; away from the uncovered edge
    moves = torch.stack([across, down])[..., 8:24, 8:24] * 31 / 2
    assert float(moves.square().sum(0).mean().sqrt()) == pytest.approx(length, rel=0.05)
    neighbours = float((moves[..., 1:] - moves[..., :-1]).square().mean().sqrt())
    assert neighbours == pytest.approx(length / math.sqrt(2) / (sigma * math.sqrt(2)), rel=0.15)


def test_erase_blanks_one_rectangle_in_share_of_images():
    erased = changed(
        torch.ones(N, 1, 32, 32), "augmentation.erase=0.5", "augmentation.erase_size=9"
    )
    holes = [(image[0] == BACKGROUND).nonzero() for image in erased]
    holes = [hole for hole in holes if len(hole)]
    assert 0.4 < len(holes) / N < 0.6
    sides = [hole.max(0).values - hole.min(0).values + 1 for hole in holes]
    assert all(len(hole) == int(side.prod()) for hole, side in zip(holes, sides, strict=True))
    assert {int(s) for side in sides for s in side} == set(range(1, 10))
    assert {int(hole.min()) for hole in holes} >= {0}
    assert {int(hole.max()) for hole in holes} >= {31}
    assert float(erased.max()) == 1.0


ALL = ("augmentation=[affine,elastic,flip,erase]", SHORT)


def test_only_training_images_are_changed():
    state, data = start(configure(*ALL, "training.ema_decay=0.9"))
    before = data.images.clone()
    seen = []
    state.model.register_forward_pre_hook(
        lambda model, inputs: seen.append(inputs[0]) if model.training else None
    )
    result = next(fit(state, data))
    assert torch.equal(data.images, before)
    assert not torch.equal(
        torch.cat(seen).sum((1, 2, 3)).sort().values,
        before[data.train_index].sum((1, 2, 3)).sort().values,
    )
    state.eval_model.load_state_dict(state.best.weights)
    assert torch.equal(
        predict_logits(state.eval_model, data.images[data.val_index]).argmax(1),
        state.best.predictions,
    )
    assert result.val_accuracy == state.best.val_accuracy


def test_augmentation_does_not_affect_other_random_streams():
    """Augmentation changes neither the order of images nor the masks of dropout."""

    def batches(*overrides: str) -> tuple[Tensor, Tensor]:
        state, data = start(configure("regularization.dropout_rate=0.5", SHORT, *overrides))
        for _ in fit(state, data):
            pass
        return state.order.get_state(), state.noise.get_state()

    for one, other in zip(batches(), batches(*ALL), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "options",
    [["augmentation=[affine,flip,erase]"], ["augmentation=shift"], ["augmentation=elastic"]],
)
def test_channels_of_color_images_change_together(options):
    """If the channels are multiples of a gray image, they are the same multiples of the changed
    gray image.
    """
    gray, factors = noise(50), torch.tensor([1.0, 0.5, -2.0])[:, None, None]
    augmentation, black = compose(options).augmentation, BACKGROUND * factors
    color = augment(gray * factors, augmentation, generator(3, "augmentation"), black)
    torch.testing.assert_close(color, factors * changed(gray, *options, seed=3))
