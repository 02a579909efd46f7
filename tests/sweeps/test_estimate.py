"""sweep.dry_run: how long a sweep would take."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from lenet_exp.sweeps import estimate
from tests.tools.commands import SMALL


def test_makespan_assigns_jobs_to_first_free_worker():
    assert [estimate.makespan([2.0, 1.0, 1.0, 1.0], places) for places in (1, 2, 4)] == [5.0, 3.0, 2.0]
    assert estimate.makespan([], 2) == 0


@pytest.fixture
def minutes(main, outputs, monkeypatch) -> Callable[..., float]:
    """Return a function that estimates the minutes of a sweep with slow steps on two cores."""
    monkeypatch.setattr(estimate, "_seconds_an_image", lambda config, threads: 10.0)
    monkeypatch.setattr(estimate, "cpu_count", lambda: 2)

    def estimated(*line: str) -> float:
        done = main("-m", *SMALL, "num_epoch=1", "sweep.dry_run=true", *line)
        return float(re.findall(r"about ([\d.]+) h ", done.stdout)[0]) * 60

    return estimated


def test_estimate_counts_whole_runs_per_worker(minutes):
    one = minutes("seed=0")
    assert one > 60
    assert minutes("seed=0,1,2") == pytest.approx(2 * one, abs=7)
    assert minutes("seed=0,1,2,3", "sweep.workers=4") == pytest.approx(2 * one, abs=7)  # on two cores
