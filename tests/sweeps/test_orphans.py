"""A run whose process outlives its sweep stays open."""

from __future__ import annotations

import pytest

from lenet_exp.sweeps import repair
from tests.searches.searched import only_sweep
from tests.tools.waiting import WAITS, waiting


@pytest.mark.slow(seconds=5)
def test_run_that_outlives_its_sweep_is_not_changed(ready, tmp_path, monkeypatch):
    monkeypatch.setattr(repair, "LEAVING_SECONDS", 0.0)
    with waiting("-m", *WAITS, "sweep.workers=1", "seed=0", outputs=ready, tmp_path=tmp_path):
        sweep = only_sweep(ready)
        (job,) = sweep.jobs()
        repair.settle(sweep, [job])
        assert job.folder.record() is None
