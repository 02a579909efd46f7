"""Names of a sweep's jobs."""

from __future__ import annotations

import pytest

from lenet_exp.config.names import job_name, rounded, swept_values

GROUPS = {"dataset", "activation", "optimizer", "regularization"}
SHOWN = 15  # characters that MLflow shows of a name


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["activation=leaky_relu", "optimizer=sgd"], "leaky_relu sgd"),
        (["optimizer.lr=0.01", "regularization.dropout_rate=0.3"], "lr=0.01 drop=0.3"),
        (["seed=3"], "seed=3"),
        (["optimizer.momentum=0.9", "regularization.weight_decay=5e-4"], "mom=0.9 wd=0.0005"),
        (["dataset=digits", "batch_size=32", "num_epoch=10"], "digits batch=32 epochs=10"),
        (["+tracking.tags.note=a=b"], "note=a=b"),
    ],
)
def test_a_name_is_the_values_that_differ(overrides, name):
    swept = [o.partition("=")[0] for o in overrides]
    values = swept_values(swept, [*overrides, "num_iter_echo=7"])
    assert job_name(0, values, GROUPS) == name
    assert list(values) == [flag.lstrip("+") for flag in swept]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (["0", "0.0", "-0.0"], "0"),
        (["5e-4", "0.0005", "0.00050"], "0.0005"),
        (["1e-05", "0.00001"], "1e-05"),
        (["0.012345678901234"], "0.01235"),
        (["1234567890"], "1234567890"),  # a seed
        (["007"], "007"),
        (["[shift,flip]"], "[shift,flip]"),
        (["null"], "null"),
    ],
)
def test_equal_numbers_are_shown_alike_and_all_else_as_it_is(values, shown):
    assert {rounded(value) for value in values} == {shown}


def test_where_nothing_differs_the_name_is_a_number():
    assert job_name(3, swept_values([], ["seed=1"]), GROUPS) == "job 3"


def test_names_of_the_usual_grid_are_distinct_and_short():
    activations = ["relu", "leaky_relu", "prelu", "rrelu", "elu", "selu", "tanh"]
    optimizers = ["sgd", "rmsprop", "adam", "adamw"]
    jobs = [[f"activation={a}", f"optimizer={o}", "dataset=digits"] for a in activations for o in optimizers]
    swept = ["activation", "optimizer"]
    names = [job_name(n, swept_values(swept, job), GROUPS) for n, job in enumerate(jobs)]
    assert len(set(names)) == 28
    assert sum(len(name) <= SHOWN for name in names) >= 26
