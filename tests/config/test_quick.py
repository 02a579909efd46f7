"""That configurations made without composing each job are those that Hydra composes, and errors are its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from lenet_exp.config.compose import typed
from lenet_exp.config.conf_dir import CONF_DIR
from lenet_exp.config.plain import plain
from lenet_exp.config.quick import QuickComposer
from lenet_exp.config.schema import knobs
from lenet_exp.errors import ConfigError

NO_SHRINKING = [phase for phase in Phase if phase is not Phase.shrink]  # Hydra takes 0.1 s each time
GROUPS = sorted(f"{p.parent.name}={p.stem}" for p in CONF_DIR.glob("*/*.yaml"))
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
    "",
    "a.b",
    "08",
    "1.0",
    ".5",
    "native",
    "best",
    "BEST",
]
ODD = ["'a b'", "[1,2]", "{lr:0.3}", "${seed}", "${oc.env:HOME}", "\\$", "a:b", "a=b", "???", "é"]
FLAGS = [flag for flag, _, _ in knobs()] + [
    "optimizer.lr",
    "optimizer.momentum",
    "activation.negative_slope",
    "no_such",
]
SECTIONS = ["optimizer", "activation", "regularization", "sweep", "experiment"]

plains = st.tuples(st.sampled_from(FLAGS), st.sampled_from(TEXTS)).map("=".join)
odd = st.tuples(
    st.sampled_from(["", "", "+", "++", "~"]),
    st.sampled_from([*FLAGS, *SECTIONS, "optimizer.new", "new.flag"]),
    st.sampled_from([*ODD, *TEXTS]),
).map(lambda parts: f"{parts[0]}{parts[1]}={parts[2]}")
overrides = st.lists(st.one_of(st.sampled_from(GROUPS), plains, plains, odd), max_size=6)


@pytest.fixture(scope="module", autouse=True)
def composing() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        yield
    GlobalHydra.instance().clear()


def composed(given: list[str]) -> DictConfig:
    return hydra_compose("train", overrides=given)


def outcome(make: Any) -> tuple[str, str]:
    """A configuration with the types of its values, or the error."""
    try:
        return "configuration", json.dumps(plain(make()), sort_keys=True)
    except (ConfigError, HydraException, OmegaConfBaseException) as e:
        return type(e).__name__, str(e)
    except ValueError as e:  # of Python's own words for numbers and enums
        return "ValueError", str(e)


def check(given: list[str], quick: QuickComposer) -> None:
    assert outcome(lambda: quick.config(given)) == outcome(lambda: typed(composed(given)))


@given(overrides)
@example(["optimizer={lr:0.3}", "optimizer.lr=0.1"])
@example(["optimizer.lr=0.1", "optimizer={lr:0.3}"])
@example(["optimizer.lr=0.1", "~optimizer.lr"])
@example(["engine=native", "tracking.models=best"])
@example(["engine=Native"])
@example(["tracking.models=1"])
@example(["seed=3", "num_epoch=${seed}"])
@example(["num_epoch=${seed}", "seed=3"])
@example(["optimizer.lr=0.1", "optimizer=adam", "optimizer.lr=0.2"])
@example(["experiment=mnist_best", "seed=4", "tracking.uri=null"])
@example(["dataset=folder"])  # whose path has no value
@example(["dataset=folder", "dataset.path=here"])
@settings(max_examples=40, deadline=None, phases=NO_SHRINKING)
def test_a_configuration_is_the_one_that_hydra_composes_or_its_error(given):
    check(given, QuickComposer(composed))


@given(st.lists(overrides, min_size=2, max_size=5))
@settings(max_examples=10, deadline=None, phases=NO_SHRINKING)
def test_what_other_jobs_had_leaves_no_trace(jobs):
    quick = QuickComposer(composed)
    for job in [*jobs, *jobs]:
        check(job, quick)


def test_hydra_composes_once_for_each_choice_of_options():
    calls = []

    def counted(given: list[str]) -> DictConfig:
        calls.append(given)
        return composed(given)

    quick = QuickComposer(counted)
    lrs = {
        quick.config([f"activation={activation}", f"optimizer.lr={lr}", f"seed={seed}", "num_threads=1"]).optimizer[
            "lr"
        ]
        for activation in ("relu", "selu")
        for lr in (0.1, 0.2, 1e-3)
        for seed in range(10)
    }
    assert lrs == {0.1, 0.2, 1e-3}
    assert calls == [["activation=relu"], ["activation=selu"]]
