"""The effect of each augmentation on images; only training images are changed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lenet_exp.seeds import generator
from lenet_exp.training.augmentation import augment, augments
from lenet_exp.training.evaluate import predict_logits
from lenet_exp.training.fit import fit
from tests.tools.configs import compose
from tests.training.small import configure, start, train

N = 400
BACKGROUND = -1.0  # black, after scaling to [-1, 1]
BLACK = torch.full((1, 1, 1), BACKGROUND)
SHORT = "dataset.train_size=320"
OPTIONS = ("shift", "affine", "elastic", "flip", "erase")


def changed(images: Tensor, *overrides: str, seed: int = 0) -> Tensor:
    options = compose(list(overrides)).augmentation
    return augment(images, options, generator(seed, "augmentation"), BLACK)


def blank(n: int = N) -> Tensor:
    return torch.full((n, 1, 32, 32), BACKGROUND)


def dot(row: int, column: int, n: int = N) -> Tensor:
    images = blank(n)
    images[:, 0, row - 1 : row + 2, column - 1 : column + 2] = 1.0
    return images


def centers(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return row and column, each of shape (n,), of the center of mass of the foreground."""
    mass = images[:, 0] - BACKGROUND
    positions = torch.arange(32.0)
    total = mass.sum((1, 2))
    rows = (mass.sum(2) * positions).sum(1) / total
    columns = (mass.sum(1) * positions).sum(1) / total
    return rows, columns


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
    augmented_blank = augment(blank(), options, generator(0, "augmentation"), BLACK)
    torch.testing.assert_close(augmented_blank, blank())

    images = noise()
    one = augment(images, options, generator(3, "augmentation"), BLACK)
    same = augment(images, options, generator(3, "augmentation"), BLACK)
    other = augment(images, options, generator(4, "augmentation"), BLACK)

    assert torch.equal(images, noise())
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one, images)
    assert one.shape == images.shape
    assert float(one.min()) >= -1 - 1e-5
    assert float(one.max()) <= 1 + 1e-5


def test_shift_moves_by_any_whole_pixels_up_to_maximum():
    possible_moves = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
    images = noise()

    shifted = changed(images, "augmentation.shift=2")

    used = set()
    for image, shifted_image in zip(images, shifted, strict=True):
        moves = []
        for dy, dx in possible_moves:
            if torch.equal(shifted_image, moved(image, dy, dx)):
                moves.append((dy, dx))
        assert len(moves) == 1
        used.add(moves[0])
    assert used == set(possible_moves)


def moved(image: Tensor, dy: int, dx: int) -> Tensor:
    """Return an image moved by up to two pixels; uncovered pixels get the background."""
    padded = F.pad(image, (2, 2, 2, 2), value=BACKGROUND)
    return padded[:, 2 - dy : 34 - dy, 2 - dx : 34 - dx]


def test_flip_mirrors_share_of_images_left_to_right():
    images = noise()

    flipped = changed(images, "augmentation.flip=0.25")

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
    expected = torch.full((N,), math.hypot(0.5, 10.5))
    torch.testing.assert_close(distances, expected, atol=0.15, rtol=0)


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
    between_neighbors = (moves[..., 1:] - moves[..., :-1]).square().mean().sqrt()
    expected = length / math.sqrt(2) / (sigma * math.sqrt(2))
    assert float(between_neighbors) == pytest.approx(expected, rel=0.15)


def test_erase_blanks_one_rectangle_in_share_of_images():
    white = torch.ones(N, 1, 32, 32)

    erased = changed(white, "augmentation.erase=0.5", "augmentation.erase_size=9")

    holes = []  # rows and columns of the blank pixels of an image
    for image in erased:
        hole = (image[0] == BACKGROUND).nonzero()
        if len(hole):
            holes.append(hole)
    assert 0.4 < len(holes) / N < 0.6
    sides = set()
    for hole in holes:
        height, width = (hole.max(0).values - hole.min(0).values + 1).tolist()
        assert len(hole) == height * width
        sides |= {height, width}
    assert sides == set(range(1, 10))
    assert min(int(hole.min()) for hole in holes) == 0
    assert max(int(hole.max()) for hole in holes) == 31
    assert float(erased.max()) == 1.0


ALL = ("augmentation=[affine,elastic,flip,erase]", SHORT)


def test_only_training_images_are_changed():
    state, data = start(configure(*ALL, "training.ema_decay=0.9"))
    original = data.images.clone()
    batches = []

    def store_batch(model, inputs):
        if model.training:
            batches.append(inputs[0])

    state.model.register_forward_pre_hook(store_batch)
    result = next(fit(state, data))

    assert torch.equal(data.images, original)
    trained_sums = torch.cat(batches).sum((1, 2, 3)).sort().values
    original_sums = original[data.train_index].sum((1, 2, 3)).sort().values
    assert not torch.equal(trained_sums, original_sums)

    state.eval_model.load_state_dict(state.best.weights)
    predictions = predict_logits(state.eval_model, data.images[data.val_index]).argmax(1)
    assert torch.equal(predictions, state.best.predictions)
    assert result.val_accuracy == state.best.val_accuracy


def test_augmentation_does_not_affect_other_random_streams():
    """Augmentation changes neither the order of images nor the masks of dropout."""

    line = ("regularization.dropout_rate=0.5", SHORT)
    plain, _ = train(*line)
    augmented, _ = train(*line, *ALL)

    assert torch.equal(plain.order.get_state(), augmented.order.get_state())
    assert torch.equal(plain.noise.get_state(), augmented.noise.get_state())


@pytest.mark.parametrize(
    "options",
    [["augmentation=[affine,flip,erase]"], ["augmentation=shift"], ["augmentation=elastic"]],
)
def test_channels_of_color_images_change_together(options):
    """If the channels are multiples of a gray image, they are the same multiples of the changed
    gray image.
    """
    gray = noise(50)
    factors = torch.tensor([1.0, 0.5, -2.0])[:, None, None]
    augmentation = compose(options).augmentation
    black = BACKGROUND * factors

    color = augment(gray * factors, augmentation, generator(3, "augmentation"), black)

    torch.testing.assert_close(color, factors * changed(gray, *options, seed=3))
