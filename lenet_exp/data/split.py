"""Split of a training set into training images and validation images."""

from __future__ import annotations

import torch
from torch import Tensor

from lenet_exp.config.schema import Config
from lenet_exp.seeds import generator

Split = tuple[int, int | None, int, bool]  # val_size, train_size, split_seed, stratified


def split_of(config: Config) -> Split:
    """Return what determines a configuration's split: `val_size`, `train_size`, `split_seed`, and
    `stratified`.
    """
    d = config.dataset
    return d.val_size, d.train_size, config.split_seed, d.stratified


def split_indices(labels: Tensor, split: Split) -> tuple[Tensor, Tensor]:
    """Return the indices of the training images and of the validation images, in random order.

    Args:
        labels: tensor of shape (n,), int64, on the CPU.
    """
    val_size, train_size, split_seed, stratified = split
    order = torch.randperm(len(labels), generator=generator(split_seed, "split"))
    if stratified:
        order = _stratified(order, labels, val_size)
    return order[val_size : None if train_size is None else val_size + train_size], order[:val_size]


def _stratified(order: Tensor, labels: Tensor, val_size: int) -> Tensor:
    """Move images of all classes to the first `val_size` places, in proportion to the sizes of the
    classes.
    """
    classes = labels[order]
    shares = val_size * classes.bincount()
    quota, rest = shares // len(order), shares % len(order)
    quota[rest.argsort(descending=True, stable=True)[: val_size - int(quota.sum())]] += 1
    by_class = classes.argsort(stable=True)
    starts = classes.bincount().cumsum(0) - classes.bincount()
    place = torch.empty_like(order)  # the place of each image among those of its class
    place[by_class] = torch.arange(len(order)) - starts[classes[by_class]]
    chosen = place < quota[classes]
    return torch.cat([order[chosen], order[~chosen]])
