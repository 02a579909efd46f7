"""Every random choice has a stream of its own, fixed by the seed for ever."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from lenet_exp.seeds import generator

SEEDS = st.integers(0, 2**63 - 1)
STREAMS = ["weights", "order", "noise", "split"]


def drawn(seed: int, stream: str) -> tuple[int, ...]:
    return tuple(torch.randint(2**62, (4,), generator=generator(seed, stream)).tolist())


@given(seed=SEEDS)
def test_the_streams_of_a_seed_differ_and_are_the_same_each_time(seed):
    assert len({drawn(seed, stream) for stream in STREAMS}) == len(STREAMS)
    assert [drawn(seed, stream) for stream in STREAMS] == [drawn(seed, stream) for stream in STREAMS]


@given(seeds=st.lists(SEEDS | st.integers(0, 20), min_size=2, max_size=5, unique=True))
def test_two_seeds_have_nothing_in_common(seeds):
    assert len({drawn(seed, stream) for seed in seeds for stream in STREAMS}) == len(seeds) * len(STREAMS)


def test_a_generator_leaves_global_random_state_alone():
    before = torch.random.get_rng_state()
    drawn(0, "weights")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_stream_gives_what_it_always_gave():
    order = torch.randperm(60_000, generator=generator(0, "split"))
    assert order[:5].tolist() == [13605, 26343, 47469, 34023, 4345]  # other numbers split MNIST in another way
