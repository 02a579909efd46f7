"""Configurations created without composing each job equal those that Hydra composes, as do the
errors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache

import pytest
from hydra import compose as hydra_compose
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from lenet_exp.config.compose import typed
from lenet_exp.config.fast_compose import FastComposer
from lenet_exp.config.flags import all_flags
from lenet_exp.config.hydra_parts import hydra_app
from lenet_exp.config.schema import Config
from lenet_exp.config.typed_json import to_plain
from lenet_exp.errors import ConfigError

# Hydra takes 0.1 s to compose
NO_SHRINKING = [phase for phase in Phase if phase is not Phase.shrink]
TEXTS = [
    "1",
    "0",
    "0.1",
    "1e-3",
    "-2",
    "true",
    "null",
    "relu",
    "nan",
    "inf",
    "007",
    "1_000",
    "a.b",
    "08",
    "1.0",
    ".5",
    "native",
    "best",
    "BEST",
]
FLAGS = [flag for flag, _, _ in all_flags()] + ["optimizer.lr", "optimizer.momentum", "no_such"]
JOBS = [  # each kind of override, alone and combined
    [
        "optimizer.lr=0.1",
        "seed=007",
        "tracking.plots=true",
        "model_path=1e-3",
        "training.clip_norm=1",
    ],
    ["optimizer.lr=1_000", "num_epoch=1.0", "model_path=nan", "tracking.experiment="],
    ["optimizer={lr:0.3}", "optimizer.lr=0.1"],
    ["optimizer.lr=0.1", "optimizer={lr:0.3}"],
    ["optimizer.lr=0.1", "~optimizer.lr"],
    ["engine=native", "tracking.models=best", "training.patience=null"],
    ["engine=Native"],
    ["seed=3", "num_epoch=${seed}"],
    ["optimizer.lr=0.1", "optimizer=adam", "optimizer.lr=0.2"],
    ["experiment=mnist_best", "seed=4", "tracking.uri=null"],
    ["dataset=folder", "dataset.folder=here"],
    ["+optimizer.new=1", "optimizer.lr=0.2"],
    ["seed=${oc.env:NOBODYS,5}", "seed=6"],
    ["no_such=1", "num_epoch=x"],
]

plains = st.tuples(st.sampled_from(FLAGS), st.sampled_from(TEXTS)).map("=".join)


@pytest.fixture(scope="module", autouse=True)
def composing() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with hydra_app():
        yield
    GlobalHydra.instance().clear()


@cache
def composed_once(*overrides: str) -> DictConfig:
    return hydra_compose("train", overrides=list(overrides))


def composed(overrides: list[str]) -> DictConfig:
    return composed_once(*overrides)


def outcome(create: Callable[[list[str]], Config], overrides: list[str]) -> tuple[str, str]:
    """Return a configuration with the types of its values, or the error."""
    try:
        return "configuration", json.dumps(to_plain(create(overrides)), sort_keys=True)
    except (ConfigError, HydraException, OmegaConfBaseException, ValueError) as error:
        return type(error).__name__, str(error)


def hydra_config(overrides: list[str]) -> Config:
    return typed(composed(overrides))


def test_quick_configurations_equal_hydra_configurations():
    quick = FastComposer(composed)
    expected = [outcome(hydra_config, job) for job in JOBS]
    kinds = {kind for kind, _ in expected}
    assert kinds > {"configuration", "ConfigError"}

    for job, right in zip(JOBS, expected, strict=True):
        assert outcome(quick.config, job) == right
    for job, right in zip(JOBS, expected, strict=True):  # a second time, from what it has kept
        kind, _ = right
        if kind == "configuration":
            assert outcome(quick.config, job) == right


QUICK = FastComposer(composed)


@given(st.lists(plains, min_size=1, max_size=2))
@settings(max_examples=12, deadline=None, phases=NO_SHRINKING)
def test_plain_values_are_parsed_like_hydra(overrides):
    right = outcome(hydra_config, overrides)
    assert outcome(QUICK.config, overrides) == right


@pytest.fixture
def calls() -> list[list[str]]:
    return []


@pytest.fixture
def counted(calls: list[list[str]]) -> Callable[[list[str]], DictConfig]:
    """Return a function that composes and appends the overrides to `calls`."""

    def compose_and_count(overrides: list[str]) -> DictConfig:
        calls.append(overrides)
        return composed(overrides)

    return compose_and_count


def test_hydra_composes_once_for_each_combination_of_options(counted, calls):
    quick = FastComposer(counted)
    for activation in ("relu", "selu"):
        for lr in (0.1, 0.2, 1e-3):
            config = quick.config([f"activation={activation}", f"optimizer.lr={lr}", "seed=5"])
            assert config.optimizer["lr"] == lr
    assert calls == [["activation=relu"], ["activation=selu"]]


def test_configuration_without_swept_flags_is_reused(counted, calls):
    fixed = ["activation=relu", "num_epoch=3"]
    quick = FastComposer(counted, without=composed(fixed), swept={"optimizer", "optimizer.lr"})
    for swept in (
        ["optimizer.lr=0.1"],
        ["optimizer.lr=1_000"],
        ["optimizer=adam", "optimizer.lr=0.2"],
    ):
        assert quick.config([*fixed, *swept]) == typed(composed([*fixed, *swept]))
    assert calls == [["activation=relu", "optimizer=adam"]]
