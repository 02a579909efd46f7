"""Stored commands keep the default values of release 0.3, which later releases changed."""

from __future__ import annotations

import pytest

from lenet_exp.runs.former_defaults import (
    CHANGES,
    former_overrides,
    has_former_defaults,
    with_former_defaults,
)
from tests.tools.configs import compose


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["activation=relu"], []),
        (["optimizer=sgd"], []),
        (["optimizer=adam"], ["optimizer.lr=0.01"]),
        (["optimizer=sgd,adamw", "seed=1,2"], ["optimizer.lr=0.01"]),
        (["optimizer=rmsprop"], ["optimizer.lr=0.01", "optimizer.momentum=0.9"]),
        (["optimizer=rmsprop", "optimizer.momentum=0.5"], ["optimizer.lr=0.01"]),
        (["optimizer=adam", "optimizer.lr=0.1,0.2"], []),
    ],
)
def test_overrides_restore_former_values(overrides, expected):
    assert former_overrides(overrides) == expected


@pytest.mark.parametrize("optimizer", CHANGES)
def test_current_values_match_conf_and_former_values_match_release_0_3(optimizer):
    now = compose([f"optimizer={optimizer}"])
    former = compose([f"optimizer={optimizer}", *former_overrides([f"optimizer={optimizer}"])])
    assert {key: now.optimizer[key] for key in CHANGES[optimizer]} == {
        k: c.now for k, c in CHANGES[optimizer].items()
    }
    assert former.optimizer["lr"] == 0.01
    assert (has_former_defaults(now), has_former_defaults(former)) == (False, True)
    assert with_former_defaults(now) == former
    assert with_former_defaults(former) is None
    assert with_former_defaults(compose(["optimizer=sgd"])) is None
