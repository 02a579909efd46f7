"""kill -9 at random moments, the same line again each time: in the end nothing shows of it."""

from __future__ import annotations

import random

import pytest

from benchmarks.kills import JOBS, LINES, batter, differences, run_calmly

EPOCHS = 60
KILLS = 20


@pytest.mark.slow
@pytest.mark.parametrize("sweep", LINES)
def test_twenty_kills_leave_no_trace(sweep, tmp_path):
    line = (*LINES[sweep], f"num_epoch={EPOCHS}")
    calm = run_calmly(line, tmp_path / "calm")
    assert len(calm) == JOBS
    if sweep == "options":
        assert min(epochs for _, epochs in calm.values()) < EPOCHS  # patience has ended some
    batter(line, tmp_path / "battered", KILLS, random.Random(1))
    assert differences(tmp_path / "battered", calm) == []
