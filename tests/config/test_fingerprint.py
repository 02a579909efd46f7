"""Settings that can change a result change the fingerprint, and others do not."""

from __future__ import annotations

from functools import cache

import pytest

from lenet_exp.config.compose import typed
from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.config.typed_json import to_plain
from tests.tools.configs import compose

DIGESTS = {"train": "a" * 64, "validation": "b" * 64}
DEFAULTS = "23443987c11d7822bc95ebbb2b0e6cac984862779e5f7ab82812f849900b47ea"
RESULT = """
    seed=4611686018427387904 num_epoch=51 batch_size=255
    optimizer.lr=0.010000000000000002 optimizer.momentum=0.8
    regularization.weight_decay=6e-4 regularization.dropout_rate=0.1 schedule.shape=cosine
    augmentation.shift=1 augmentation.rotate=1e-3 augmentation.scale=0.1 augmentation.shear=0.1
    augmentation.elastic=0.1 augmentation.flip=1.0 augmentation.erase=0.1
    training.label_smoothing=0.1 training.clip_norm=10.0 training.ema_decay=0.9
    training.patience=100
"""
# The split seed changes the digests of the data instead.
NO_RESULT = """
    num_iter_echo=7 num_threads=3 device=cuda engine=torch data_root=elsewhere model_path=models
    split_seed=1
    tracking.experiment=mine tracking.plots=false tracking.models=none tracking.tags.note=x
    dataset.name=other
    tracking.uri=http://127.0.0.1:5000 sweep.force=true sweep.workers=64 sweep.time_limit=1.5
"""


@cache
def fingerprint_of(*overrides: str) -> str:
    return fingerprint(compose(list(overrides)), DIGESTS)


def test_fingerprint_covers_only_settings_that_change_results():
    results = RESULT.split()
    fingerprints = {fingerprint_of(override) for override in results}
    assert len(fingerprints | {DEFAULTS}) == len(results) + 1

    defaults = compose()
    for override in NO_RESULT.split():
        assert fingerprint_of(override) == DEFAULTS
        assert compose([override]) != defaults


def test_fingerprint_of_defaults_never_changes():
    """A new flag with a neutral default must not rename the experiments of all users."""
    assert fingerprint_of() == DEFAULTS


# The first 16 digits. CI checks them with the oldest and the newest supported releases of all
# libraries.
COMMITTED = {
    "optimizer=adam optimizer.betas=[0.8,0.999] optimizer.lr=0.01": "c4581cc3c4684678",
    "activation=rrelu": "812097301165488c",
    "activation=elu activation.alpha=0.5": "979216e5722ffacb",
    "optimizer=rmsprop optimizer.momentum=0.5 optimizer.lr=0.01": "d4d2dfc899a0acd7",
    "schedule=one_cycle schedule.start=0.1": "213142914657260d",
    "augmentation=[shift,flip]": "ebc4fcc689033849",
    "regularization=dropout_weight_decay dataset=kmnist": "9e28a4a777857f71",
    "dataset=digits dataset.train_size=500 split_seed=3 seed=7": "84855308dad860d7",
    "experiment=mnist_fast": "9251ae2f3c85dcea",
}


@pytest.mark.parametrize("command", COMMITTED)
def test_fingerprint_is_equal_for_all_supported_library_releases(command):
    assert fingerprint_of(*command.split()).startswith(COMMITTED[command])


SAME = [
    (["optimizer.lr=0.1", "seed=2"], ["seed=2", "optimizer.lr=1e-1"]),
    (["optimizer.momentum=0"], ["optimizer.momentum=0.0"]),
    (["optimizer=adam"], ["optimizer=adam", "optimizer.momentum=0.3"]),
    (
        [],
        [
            "optimizer.nesterov=false",
            "seed=0",
            "dataset=mnist",
            "activation=selu",
            "schedule=constant",
        ],
    ),
    (["activation=elu"], ["activation=elu", "activation.alpha=1"]),
    (["regularization=dropout_weight_decay"], ["regularization.dropout_rate=0.5"]),
    (
        [],
        [
            "schedule.final=0.5",
            "schedule.start=0.5",
            "augmentation.erase_size=3",
            "training.min_delta=0.1",
        ],
    ),
    (["schedule=linear"], ["schedule=linear", "schedule.drops=7", "schedule.start=0.5"]),
    (["augmentation=[shift,flip]"], ["augmentation=[flip,shift]"]),
    ([], ["dataset.image_size=32", "dataset.class_names=[a,b,c,d,e,f,g]"]),
]
OTHER = [
    ([], ["activation=relu"]),
    ([], ["dataset.image_size=28"]),
    ([], ["dataset.class_names=[a,b,c,d,e,f,g]", "dataset.exact_classes=true"]),
    ([], ["dataset.class_names=[a,b,c,d,e,f,g,h,i,j,k]"]),
    ([], ["dataset=cifar10"]),
    (["activation=elu"], ["activation=elu", "activation.alpha=0.5"]),
    (["optimizer=adam"], ["optimizer=adamw"]),
    (["optimizer=adam"], ["optimizer=adam", "optimizer.betas=[0.8,0.999]"]),
    ([], ["optimizer.nesterov=true"]),
    (["schedule=linear"], ["schedule=linear", "schedule.final=0.1"]),
    (["schedule=linear"], ["schedule=linear", "schedule.warmup=0.1"]),
    (["schedule=step"], ["schedule=step", "schedule.drops=1"]),
    (["schedule=one_cycle"], ["schedule=one_cycle", "schedule.start=0.1"]),
    (["augmentation=elastic"], ["augmentation=elastic", "augmentation.elastic_sigma=3"]),
    (["training.patience=3"], ["training.patience=3", "training.min_delta=0.01"]),
]


@pytest.mark.parametrize(("one", "two"), SAME)
def test_equivalent_overrides_have_equal_fingerprints(one, two):
    assert fingerprint_of(*one) == fingerprint_of(*two)


@pytest.mark.parametrize(("one", "two"), OTHER)
def test_different_experiments_have_different_fingerprints(one, two):
    config = compose(two)
    assert fingerprint_of(*one) != fingerprint(config, DIGESTS)
    assert typed(to_plain(config)) == config  # it survives a round trip


@pytest.mark.parametrize("part", sorted(DIGESTS))
def test_other_data_change_the_fingerprint(part):
    assert fingerprint(compose(), DIGESTS | {part: "c" * 64}) != DEFAULTS
