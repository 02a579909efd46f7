"""exp, tanh and log compared with double precision, and Threefry compared with its published known
answers.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training.native.reference import threefry

EXP, EXP_MINUS_1, TANH, LOG = range(4)
LINE = torch.cat(
    [
        torch.linspace(-86.9, 87.9, 100_000),
        torch.linspace(-1, 1, 100_000),
        10 ** torch.linspace(-30, 1, 992),
    ]
)


def applied(kernels, which: int, x: torch.Tensor) -> torch.Tensor:
    y = torch.empty_like(x)
    kernels._library.lenet_function(which, x.data_ptr(), y.data_ptr(), len(x))
    return y


def units(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the largest error in units in the last place."""
    place = torch.from_numpy(np.spacing(np.abs(exact.float().numpy()))).double()
    return float(((found.double() - exact).abs() / place).max())


@pytest.mark.parametrize(
    ("which", "function", "x"),
    [
        (EXP, torch.exp, LINE),
        (EXP_MINUS_1, torch.expm1, LINE),
        (TANH, torch.tanh, LINE),
        (LOG, torch.log, torch.linspace(1, 10, 100_000)),
    ],
)
def test_functions_are_accurate_to_few_units_in_last_place(kernels, which, function, x):
    x = x[: len(x) // 16 * 16]
    assert units(applied(kernels, which, x), function(x.double())) <= 2.5


def test_functions_of_large_arguments_reach_limits(kernels):
    x = torch.tensor([-1e30, 1e30, -float("inf"), float("inf")] * 4)
    assert applied(kernels, TANH, x).tolist() == [-1, 1, -1, 1] * 4
    assert applied(kernels, EXP_MINUS_1, x)[0] == -1
    assert 0 <= applied(kernels, EXP, x)[0] < 1e-37
    assert applied(kernels, EXP, x)[1] > 1e38


# The Random123 library's known answers (kat_vectors, threefry 2x32, 20 rounds): counter, key,
# result.
KNOWN = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_random_numbers_match_known_answers_of_threefry(kernels, counter, key, result):
    first, second = (
        torch.from_numpy(np.full(16, c, dtype=np.uint32).view(np.int32)) for c in counter
    )
    out = torch.empty(2, 16, dtype=torch.int32)
    signed = [int(np.uint32(k).view(np.int32)) for k in key]
    kernels._library.lenet_random(
        *signed, first.data_ptr(), second.data_ptr(), out[0].data_ptr(), out[1].data_ptr(), 16
    )
    for found, expected in zip(out, result, strict=True):
        assert (found.numpy().view(np.uint32) == expected).all()
    assert [
        int(x[0]) for x in threefry(key, *(np.full(1, c, dtype=np.uint32) for c in counter))
    ] == list(result)
