"""Each loss, metric, schedule, and augmentation in parts.py trains, or is refused before
training.
"""

from __future__ import annotations

import pytest

from lenet_exp.config.flags import with_value
from lenet_exp.errors import ConfigError
from lenet_exp.training.check import check_config
from lenet_exp.training.fit import fit
from tests.training.small import configure, start

HERE = "tests.training.clumsy.parts"
FLAGS = {
    "loss": "loss",
    "metric": "metric",
    "schedule": "schedule.own",
    "augmentation": "augmentation.own",
}
# the group, the class or function, and a part of the message, which names the rule that it breaks
REFUSED = {
    "loss Mean": "one loss per image",
    "loss Number": "one loss per image",
    "loss Nan": "nan",
    "loss NoGradient": "gradient",
    "loss Flat": "gradient",
    "loss Learned": "parameters",
    "loss Counting": "deterministic",
    "loss Noisy": "torch's global random state",
    "loss Raising": "no loss today",
    "loss Absent": "cannot be imported",
    "loss top2": "subclass",
    "metric raising": "no metric today",
    "metric nan": "nan",
    "metric text": "good",
    "metric drawn": "Python's global random state",
    "metric one_argument": "positional argument",
    "schedule negative": "at least 0",
    "schedule none": "None",
    "schedule one_argument": "positional argument",
    "augmentation cropped": "shape",
    "augmentation double": "float32",
    "augmentation infinite": "finite",
    "augmentation unseeded": "torch's global random state",
    "augmentation Hinge": "cannot be used",
}


def own(group: str, name: str, **keywords: object):
    small = configure(
        "dataset.train_size=70", "dataset.val_size=50", "batch_size=32", "num_epoch=2"
    )
    return with_value(small, FLAGS[group], {"_target_": f"{HERE}.{name}", **keywords})


@pytest.mark.parametrize(
    ("group", "name", "keywords"),
    [
        ("loss", "Hinge", {"margin": 0.5}),
        ("loss", "OfLast", {"margin": 0.5}),
        ("metric", "top2", {"k": 3, "percent": True}),
        ("metric", "worst", {"direction": "minimize"}),
        ("schedule", "triangle", {"peaks": 3}),
        ("augmentation", "Noise", {"strength": 0.2}),
    ],
)
def test_own_part_trains_and_its_keywords_matter(group, name, keywords):
    config = own(group, name, **keywords)
    check_config(config)
    found = [
        [(e.train_loss, e.val_metric) for e in fit(*start(c))]
        for c in (config, config, own(group, name))
    ]
    assert found[0] == found[1]
    assert name == "worst" or found[0] != found[2]


def test_metric_of_some_classes_is_checked_with_labels_of_all_classes():
    check_config(own("metric", "recall_of_last"))


def test_schedule_that_is_negative_late_stops_the_run():
    config = own("schedule", "falling")
    check_config(config)
    with pytest.raises(ValueError, match="step 11 of 18"):
        list(fit(*start(with_value(config, "num_epoch", 6))))


@pytest.mark.parametrize("case", REFUSED)
def test_own_part_that_breaks_a_rule_is_refused_before_training(case):
    config = own(*case.split())
    with pytest.raises(ConfigError) as refused:
        check_config(config)
    message = str(refused.value)
    assert REFUSED[case] in message
    assert "pixels" not in message or case.startswith("augmentation")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ("loss.class_weights=[1,2]", "10"),
        ("loss.class_weights=[1,1,1,1,1,1,1,1,1,0]", "greater than 0"),
        ("loss.class_weights=heavy", "balanced"),
        ("loss=focal loss.gamma=-1", "at least 0"),
        ("loss=focal training.label_smoothing=0.1", "must be 0"),
        ("loss.gamma=2", "gamma"),
        ("metric=loss metric.direction=up", "minimize"),
        ("metric.name=mine", "cannot be changed"),
        ("metric=macro_f1 metric.name=loss", "reserved"),
        ("metric=loss sweep.points=1", "percent"),
        ("augmentation._target_=mine.Noise", "option file"),
    ],
)
def test_invalid_flag_of_loss_or_metric_is_one_line(overrides, named):
    with pytest.raises(ConfigError) as refused:
        check_config(configure(*overrides.split()))
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)
