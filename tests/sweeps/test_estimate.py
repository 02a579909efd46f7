"""sweep.dry_run: how long a sweep would take."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from lenet_exp.sweeps import estimate
from lenet_exp.training.native.library import kernels
from tests.tools.commands import SMALL


def test_jobs_take_the_first_place_that_is_free():
    assert [estimate.makespan([2.0, 1.0, 1.0, 1.0], places) for places in (1, 2, 4)] == [5.0, 3.0, 2.0]
    assert estimate.makespan([], 2) == 0


@pytest.fixture
def minutes(main, outputs, monkeypatch) -> Callable[..., float]:
    """The estimate for a sweep of slow steps on two cores."""
    monkeypatch.setattr(estimate, "_seconds_an_image", lambda config, threads: 10.0)
    monkeypatch.setattr(estimate, "cpu_count", lambda: 2)

    def estimated(*line: str) -> float:
        done = main("-m", *SMALL, "num_epoch=1", "sweep.dry_run=true", *line)
        return float(re.findall(r"about ([\d.]+) h ", done.stdout)[0]) * 60

    return estimated


def test_an_estimate_counts_whole_runs_a_worker(minutes):
    one = minutes("seed=0")
    assert one > 60
    assert minutes("seed=0,1,2") == pytest.approx(2 * one, abs=7)
    assert minutes("seed=0,1,2,3", "sweep.workers=4") == pytest.approx(2 * one, abs=7)  # on two cores


@pytest.mark.skipif(isinstance(kernels(), str), reason=f"no native engine here: {kernels()}")
def test_an_estimate_includes_the_compilation_of_each_shape_that_is_not_cached(minutes, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(estimate, "COMPILE_SECONDS", 3600.0)
    line = ("model.channels=[1,2],[2,4],[3,8]", "seed=0,1")
    assert minutes(*line, "engine=native") - minutes(*line, "engine=torch") == pytest.approx(120, abs=7)
