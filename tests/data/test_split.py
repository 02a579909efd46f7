"""The split into training and validation images."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from lenet_exp.config.schema import Config
from lenet_exp.data.images import load_training_data
from lenet_exp.data.normalization import normalize
from tests.tools.configs import compose

CPU = torch.device("cpu")
CONFIG = compose(["dataset=digits"])


def with_sizes(val_size: int, train_size: int | None, split_seed: int = 0) -> Config:
    return replace(
        CONFIG,
        dataset=replace(CONFIG.dataset, val_size=val_size, train_size=train_size),
        split_seed=split_seed,
    )


def test_last_297_digits_are_not_used_for_training_or_validation():
    data = load_training_data(CONFIG, CPU)
    assert (len(data.train_index), len(data.val_index)) == (1250, 250)
    raw = load_digits()
    assert torch.equal(data.images, normalize(torch.from_numpy(raw.images)[:1500], 16))
    assert torch.equal(data.labels, torch.from_numpy(raw.target)[:1500])


def test_split_of_mnist_depends_only_on_split_seed(real_data):
    mnist = compose(["dataset=mnist", f"data_root={real_data}"])
    data = load_training_data(mnist, CPU)
    assert (len(data.train_index), len(data.val_index)) == (50_000, 10_000)
    others = [
        "seed=7",
        "batch_size=64",
        "num_epoch=1",
        "activation=relu",
        "optimizer=adam",
        "num_threads=1",
    ]
    same = load_training_data(compose(["dataset=mnist", f"data_root={real_data}", *others]), CPU)
    assert torch.equal(data.train_index, same.train_index)
    assert torch.equal(data.val_index, same.val_index)
    assert data.digests == same.digests
    other = load_training_data(replace(mnist, split_seed=1), CPU)
    assert set(other.val_index.tolist()) != set(data.val_index.tolist())
    assert other.digests["train"] != data.digests["train"]
    assert other.digests["validation"] != data.digests["validation"]


@given(val_size=st.integers(1, 1499), split_seed=st.integers(0, 2**63 - 1), data=st.data())
@settings(max_examples=30)
def test_split_has_requested_sizes_and_no_duplicates(val_size, split_seed, data):
    train_size = data.draw(st.none() | st.integers(1, 1500 - val_size))
    got = load_training_data(with_sizes(val_size, train_size, split_seed), CPU)
    assert len(got.val_index) == val_size
    assert len(got.train_index) == (1500 - val_size if train_size is None else train_size)
    used = torch.cat([got.train_index, got.val_index])
    assert len(used.unique()) == len(used)
    assert used.min() >= 0
    assert used.max() < 1500


@given(small=st.integers(1, 600), more=st.integers(0, 600))
@settings(max_examples=20)
def test_smaller_training_set_is_subset_with_equal_validation_set(small, more):
    first = load_training_data(with_sizes(250, small), CPU)
    second = load_training_data(with_sizes(250, small + more), CPU)
    assert set(first.train_index.tolist()) <= set(second.train_index.tolist())
    assert torch.equal(first.val_index, second.val_index)
