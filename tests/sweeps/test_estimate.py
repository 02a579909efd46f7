"""sweep.dry_run: how long a sweep would take."""

from __future__ import annotations

import re

import pytest

from lenet_exp.sweeps import estimate
from tests.tools.commands import SMALL


def test_jobs_take_the_first_place_that_is_free():
    assert [estimate.makespan([2.0, 1.0, 1.0, 1.0], places) for places in (1, 2, 4)] == [5.0, 3.0, 2.0]
    assert estimate.makespan([], 2) == 0


def test_an_estimate_counts_whole_runs_a_worker(main, outputs, monkeypatch):
    monkeypatch.setattr(estimate, "_seconds_an_image", lambda config, threads: 10.0)
    monkeypatch.setattr(estimate, "cpu_count", lambda: 2)

    def minutes(*line: str) -> float:
        done = main("-m", *SMALL, "num_epoch=1", "sweep.dry_run=true", *line)
        return float(re.findall(r"about ([\d.]+) h ", done.stdout)[0]) * 60

    one = minutes("seed=0")
    assert one > 60
    assert minutes("seed=0,1,2") == pytest.approx(2 * one, abs=7)
    assert minutes("seed=0,1,2,3", "sweep.workers=4") == pytest.approx(2 * one, abs=7)  # on two cores
