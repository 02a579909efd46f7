"""Weights on disk and their digest."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lenet_exp.training.trained.weights import load_weights, save_weights, weights_digest

NAMES = st.text(min_size=1, max_size=12).filter(lambda name: name != "__metadata__")
TENSORS = st.sampled_from([np.float32, np.float64, np.int64, np.uint8]).flatmap(
    lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, min_side=0, max_side=4))
)
WEIGHTS = st.dictionaries(NAMES, TENSORS.map(torch.from_numpy), min_size=1, max_size=5)


def bits(tensor: torch.Tensor) -> tuple:
    return tensor.dtype, tuple(tensor.shape), tensor.contiguous().numpy().tobytes()


@settings(max_examples=12)
@given(weights=WEIGHTS, metadata=st.dictionaries(st.text(), st.text(), max_size=3))
def test_weights_and_metadata_are_saved_bit_for_bit(weights, metadata, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "weights.safetensors"

    save_weights(path, weights, metadata)
    loaded, loaded_metadata = load_weights(path)

    # the format sorts tensors, but the digest depends on their order
    assert list(loaded) == list(weights)
    for name, tensor in weights.items():
        assert bits(loaded[name]) == bits(tensor)
    assert loaded_metadata == metadata
    assert weights_digest(loaded) == weights_digest(weights)


A = torch.tensor([1.0, 2.0, 3.0, 4.0])
B = torch.tensor([5.0, 6.0])
OTHERS = {
    "order": {"b": B, "a": A},
    "name": {"a": A, "c": B},
    "value by one unit in the last place": {"a": torch.nextafter(A, torch.tensor(9.0)), "b": B},
    "sign of zero": {"a": A, "b": torch.tensor([5.0, -0.0])},
    "shape": {"a": A.reshape(2, 2), "b": B},
    "type": {"a": A.double(), "b": B},
    "one less": {"a": A},
    "exchanged": {"a": B, "b": A},
    "border between tensors": {
        "a": torch.tensor([1.0, 2.0, 3.0]),
        "b": torch.tensor([4.0, 5.0, 6.0]),
    },
}


def test_digest_changes_with_any_difference():
    digests = {what: weights_digest(weights) for what, weights in OTHERS.items()}
    digests["the original"] = weights_digest({"a": A, "b": B})
    digests["zero"] = weights_digest({"a": A, "b": torch.tensor([5.0, 0.0])})
    assert len(set(digests.values())) == len(digests)


def test_digest_does_not_depend_on_memory_format():
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    channels_last = x.to(memory_format=torch.channels_last)
    first_dimension_last = x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    with_gradient = x.clone().requires_grad_()
    for other in (channels_last, first_dimension_last, with_gradient):
        assert weights_digest({"x": other}) == weights_digest({"x": x})


def test_digest_is_sha256_of_names_shapes_and_bytes():
    weights = {"w": torch.tensor([1.0, 2.0]), "b": torch.tensor(0)}
    by_hand = hashlib.sha256()
    by_hand.update(b"w (2,) torch.float32" + struct.pack("<2f", 1, 2))
    by_hand.update(b"b () torch.int64" + bytes(8))
    assert weights_digest(weights) == by_hand.hexdigest()
