"""Names of a sweep's jobs."""

from __future__ import annotations

import pytest

from lenet_exp.config.params import job_name, rounded, swept_values

GROUPS = {"dataset", "activation", "optimizer", "regularization"}


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["activation=leaky_relu", "optimizer=sgd"], "leaky_relu sgd"),
        (
            ["optimizer.lr=0.01", "regularization.dropout_rate=0.3", "seed=3"],
            "lr=0.01 drop=0.3 seed=3",
        ),
        (["dataset=digits", "batch_size=32", "num_epoch=10"], "digits batch=32 epochs=10"),
        (["+tracking.tags.note=a=b"], "note=a=b"),
        ([], "job 3"),
    ],
)
def test_job_name_lists_swept_values_or_job_number(overrides, name):
    swept = [override.partition("=")[0] for override in overrides]
    values = swept_values(swept, [*overrides, "num_iter_echo=7"])
    assert job_name(3, values, GROUPS) == name
    assert list(values) == [flag.lstrip("+") for flag in swept]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (["0", "0.0", "-0.0"], "0"),
        (["5e-4", "0.0005", "0.00050"], "0.0005"),
        (["0.012345678901234"], "0.01235"),
        (["1234567890"], "1234567890"),  # a seed
        (["007"], "007"),
        (["[shift,flip]"], "[shift,flip]"),
    ],
)
def test_equal_numbers_are_shown_alike_and_texts_unchanged(values, shown):
    assert {rounded(value) for value in values} == {shown}
