"""The swept flags as params of a sweep's parent run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lenet_exp.folders.sweep_plan import SearchPlan, SweepPlan
from lenet_exp.runs.jobs import freeze_jobs
from lenet_exp.tracking.sweep_runs.swept_params import swept_params
from tests.tools.commands import SMALL
from tests.tools.configs import compose

(JOB,) = freeze_jobs(["seed"], [[*SMALL, "seed=0"]], [compose([*SMALL, "seed=0"])])


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (["relu", "selu"], "relu, selu"),
        (["0", "2", "4"], "0, 2, 4"),
    ],
)
def test_params_of_grid_list_each_value_once(values, shown):
    jobs = [replace(JOB, swept={"flag": value}) for value in [*values, *values]]
    assert swept_params(SweepPlan(created_ms=0, swept=["+flag"]), jobs) == {"flag": shown}


def test_params_of_search_show_space_as_typed():
    search = SearchPlan(sampler="tpe", pruner="none", objective="accuracy")
    overrides = ["dataset=digits", "optimizer.lr=interval(0.01,1)"]
    plan = SweepPlan(created_ms=0, swept=["optimizer.lr"], overrides=overrides, search=search)
    assert swept_params(plan, [replace(JOB, swept={"optimizer.lr": "0.5"})]) == {"optimizer.lr": "interval(0.01,1)"}
