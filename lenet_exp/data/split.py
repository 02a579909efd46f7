"""Split of a training set into training images and validation images."""

from __future__ import annotations

import torch
from torch import Tensor

from lenet_exp.config.schema import Config
from lenet_exp.seeds import generator

Split = tuple[int, int | None, int, bool]  # val_size, train_size, split_seed, stratified


def split_of(config: Config) -> Split:
    """Return the values of a configuration's flags that determine the split."""
    dataset = config.dataset
    return dataset.val_size, dataset.train_size, config.split_seed, dataset.stratified


def split_indices(labels: Tensor, split: Split) -> tuple[Tensor, Tensor]:
    """Return the indices of the training images and of the validation images, in random order.

    Args:
        labels: tensor of shape (n,), int64, on the CPU.
    """
    val_size, train_size, split_seed, stratified = split
    order = torch.randperm(len(labels), generator=generator(split_seed, "split"))
    if stratified:
        order = _stratified(order, labels, val_size)

    val_index = order[:val_size]
    train_index = order[val_size:][:train_size]  # all other images if train_size is None
    return train_index, val_index


def _stratified(order: Tensor, labels: Tensor, val_size: int) -> Tensor:
    """Move images of all classes to the first `val_size` places, in proportion to the class sizes.

    The numbers of images are rounded by the largest remainder method. With 3 validation images for
    classes of 6 and 4 images, the exact shares are 1.8 and 1.2. Both are rounded down to 1, and the
    class with the larger remainder, .8, provides the missing image.

    Args:
        order: tensor of shape (n,), the indices of all images in random order.
        labels: tensor of shape (n,).
    """
    n = len(order)
    classes = labels[order]  # (n,)
    class_sizes = classes.bincount()  # (classes,)

    # All shares are multiples of 1/n, so integers are exact.
    scaled_shares = val_size * class_sizes
    quotas = scaled_shares // n
    remainders = scaled_shares % n
    missing = val_size - int(quotas.sum())
    quotas[remainders.argsort(descending=True, stable=True)[:missing]] += 1

    # The rank of each image among those of its class, in the given order, shape (n,).
    by_class = classes.argsort(stable=True)
    starts = class_sizes.cumsum(0) - class_sizes  # where each class starts in `by_class`
    rank = torch.empty_like(order)
    rank[by_class] = torch.arange(n) - starts[classes[by_class]]

    is_chosen = rank < quotas[classes]
    return torch.cat([order[is_chosen], order[~is_chosen]])
