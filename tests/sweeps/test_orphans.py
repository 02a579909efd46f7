"""A run whose process outlives its sweep is reported."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lenet_exp.folders.owner import owner_of
from lenet_exp.sweeps import repair
from tests.searches.searched import only_sweep
from tests.tools.waiting import WAITS, waiting


@pytest.mark.slow(seconds=5)
def test_run_that_outlives_its_sweep_is_reported(ready, tmp_path, monkeypatch):
    warnings: list[tuple[Any, ...]] = []
    sent: list[str] = []
    monkeypatch.setattr(repair, "LEAVING_SECONDS", 0.0)
    monkeypatch.setattr(repair.log, "warning", lambda *words: warnings.append(words[1:]))
    delivery = SimpleNamespace(send=lambda folder: sent.append(folder.id))
    with waiting("-m", *WAITS, "sweep.workers=1", "seed=0", outputs=ready, tmp_path=tmp_path):
        sweep = only_sweep(ready)
        (job,) = sweep.jobs()
        owner = owner_of(job.folder.path)
        repair.settle(sweep, [job], delivery)
        assert job.folder.record() is None
        assert (warnings, sent) == ([(job.name, owner.pid, owner.host)], [job.run])
