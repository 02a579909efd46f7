"""What can change a result changes the fingerprint, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lenet_exp.api import compose
from lenet_exp.config.compose import typed
from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.config.plain import plain

DIGESTS = {"train": "a" * 64, "validation": "b" * 64}
few = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


def of(*overrides: str) -> str:
    return fingerprint(compose(list(overrides)), DIGESTS)


RESULT = {
    "seed": st.integers(0, 2**62),
    "num_epoch": st.integers(1, 1000),
    "batch_size": st.integers(1, 10000),
    "optimizer.lr": st.floats(1e-6, 10, allow_subnormal=False),
    "optimizer.momentum": st.floats(0, 0.99, allow_subnormal=False),
    "regularization.weight_decay": st.floats(0, 1, allow_subnormal=False),
    "regularization.dropout_rate": st.floats(0, 0.9, allow_subnormal=False),
    "schedule": st.sampled_from(["constant", "one_cycle", "linear", "cosine", "step"]),
    "augmentation.shift": st.integers(0, 31),
    "augmentation.rotate": st.floats(0, 180, allow_subnormal=False),
    "augmentation.scale": st.floats(0, 0.9, allow_subnormal=False),
    "augmentation.shear": st.floats(0, 2, allow_subnormal=False),
    "augmentation.elastic": st.floats(0, 16, allow_subnormal=False),
    "augmentation.flip": st.floats(0, 1, allow_subnormal=False),
    "augmentation.erase": st.floats(0, 1, allow_subnormal=False),
    "training.label_smoothing": st.floats(0, 0.9, allow_subnormal=False),
    "training.clip_norm": st.floats(0.1, 10),
    "training.ema_decay": st.floats(0, 0.999, allow_subnormal=False),
    "training.patience": st.integers(1, 100),
}
texts = st.text("abcdefgh0123456789_", min_size=1, max_size=12).map(lambda t: f"x{t}")
NO_RESULT = {
    "num_iter_echo": st.integers(1, 1000),
    "num_threads": st.integers(1, 4),
    "device": st.sampled_from(["auto", "cpu", "cuda", "mps"]),
    "data_root": texts,
    "model_path": texts,
    "tracking.experiment": texts,
    "tracking.plots": st.booleans(),
    "tracking.models": st.sampled_from(["all", "best", "none"]),
    "tracking.tags.note": texts,
    "tracking.uri": st.sampled_from(["sqlite:///a.db", "http://127.0.0.1:5000"]),
    "sweep.force": st.booleans(),
    "sweep.workers": st.integers(1, 64),
    "sweep.retries": st.integers(0, 10),
    "sweep.time_limit": st.floats(1, 1e6),
    "dataset.name": texts,
    "split_seed": st.integers(0, 2**62),  # it changes the digests, which count
}


def lines(settings_of: dict) -> list[str]:
    return [f"{flag}={value}" for flag, value in settings_of.items()]


@few
@given(st.fixed_dictionaries({}, optional=RESULT), st.fixed_dictionaries({}, optional=NO_RESULT), st.randoms())
def test_how_and_where_a_run_is_executed_does_not_count_nor_does_the_order_of_overrides(result, no_result, shuffle):
    overrides = [*lines(result), *lines(no_result)]
    shuffle.shuffle(overrides)
    assert of(*overrides) == of(*lines(result))


@few
@given(st.fixed_dictionaries({}, optional=RESULT), st.data())
def test_a_setting_that_can_change_the_result_counts(result, data):
    flag = data.draw(st.sampled_from(sorted(RESULT)))
    before = compose(lines(result))
    now = plain(before)
    for part in ("schedule.shape" if flag == "schedule" else flag).split("."):
        now = now[part]
    other = data.draw(RESULT[flag].filter(lambda value: value != now))
    assert fingerprint(compose([*lines(result), f"{flag}={other}"]), DIGESTS) != fingerprint(before, DIGESTS)


@few
@given(st.fixed_dictionaries({}, optional=RESULT | NO_RESULT))
def test_a_configuration_written_down_and_read_again_is_the_same(settings_of):
    config = compose(lines(settings_of))
    assert typed(plain(config)) == config
    assert fingerprint(typed(plain(config)), DIGESTS) == fingerprint(config, DIGESTS)


SAME = [
    (["optimizer.lr=0.1"], ["optimizer.lr=1e-1"]),
    (["optimizer.lr=1"], ["optimizer.lr=1.0"]),
    (["optimizer.momentum=0"], ["optimizer.momentum=0.0"]),
    (["optimizer=adam"], ["optimizer=adam", "optimizer.momentum=0.3"]),
    ([], ["optimizer.nesterov=false"]),
    (["activation=elu"], ["activation=elu", "activation.alpha=1"]),
    (["regularization=none"], ["regularization.weight_decay=0"]),
    (["regularization=dropout_weight_decay"], ["regularization.dropout_rate=0.5"]),
    ([], ["seed=0", "dataset=mnist", "activation=selu"]),
    ([], ["schedule=constant", "augmentation=none", "experiment=ancestor"]),
    ([], ["schedule.final=0.5", "schedule.start=0.5", "schedule.drops=3"]),
    ([], ["augmentation.elastic_sigma=2", "augmentation.erase_size=3", "training.min_delta=0.1"]),
    (["schedule=linear"], ["schedule=linear", "schedule.drops=7", "schedule.start=0.5"]),
    (["augmentation=[shift,flip]"], ["augmentation=[flip,shift]"]),
    (["augmentation=[shift,flip]"], ["augmentation.shift=2", "augmentation.flip=0.5"]),
]
OTHER = [
    ([], ["activation=relu"]),
    (["activation=elu"], ["activation=elu", "activation.alpha=0.5"]),
    (["activation=leaky_relu"], ["activation=leaky_relu", "activation.negative_slope=0.02"]),
    ([], ["optimizer=adam"]),
    (["optimizer=adam"], ["optimizer=adamw"]),
    (["optimizer=adam"], ["optimizer=adam", "optimizer.betas=[0.8,0.999]"]),
    ([], ["optimizer.nesterov=true"]),
    ([], ["regularization=dropout_weight_decay"]),
    (["schedule=linear"], ["schedule=cosine"]),
    (["schedule=linear"], ["schedule=linear", "schedule.final=0.1"]),
    (["schedule=linear"], ["schedule=linear", "schedule.warmup=0.1"]),
    (["schedule=step"], ["schedule=step", "schedule.drops=1"]),
    (["schedule=one_cycle"], ["schedule=one_cycle", "schedule.start=0.1"]),
    (["augmentation=elastic"], ["augmentation=elastic", "augmentation.elastic_sigma=3"]),
    (["augmentation=erase"], ["augmentation=erase", "augmentation.erase_size=3"]),
    (["training.patience=3"], ["training.patience=3", "training.min_delta=0.01"]),
]


@pytest.mark.parametrize(("one", "two"), SAME)
def test_two_ways_to_say_the_same_have_one_fingerprint(one, two):
    assert of(*one) == of(*two)


@pytest.mark.parametrize(("one", "two"), OTHER)
def test_two_experiments_have_two_fingerprints(one, two):
    assert of(*one) != of(*two)


@pytest.mark.parametrize("part", sorted(DIGESTS))
def test_other_data_are_another_experiment(part):
    config = compose([])
    assert fingerprint(config, DIGESTS) != fingerprint(config, DIGESTS | {part: "c" * 64})


def test_the_fingerprint_of_the_defaults_stays_what_it_was():
    """A new flag with a neutral default must not rename the experiments of all users."""
    assert of() == "23443987c11d7822bc95ebbb2b0e6cac984862779e5f7ab82812f849900b47ea"
