"""kill -9 at random moments, the same line again each time: in the end nothing shows of it."""

from __future__ import annotations

import random

import pytest

from benchmarks.kills import JOBS, LINES, batter, differences, run_calmly

# Epochs, kills, and how early a run may stop: enough for each kill to come into the middle of something.
SIZES = {"network": (60, 20, None), "options": (25, 10, 8)}


@pytest.mark.slow
@pytest.mark.parametrize("sweep", LINES)
def test_kills_leave_no_trace(sweep, tmp_path):
    epochs, kills, patience = SIZES[sweep]
    line = (*LINES[sweep], f"num_epoch={epochs}", *([f"training.patience={patience}"] if patience else []))
    calm = run_calmly(line, tmp_path / "calm")
    assert len(calm) == JOBS
    if patience:
        assert min(trained for _, trained in calm.values()) < epochs  # patience has ended some
    batter(line, tmp_path / "battered", kills, random.Random(1))
    assert differences(tmp_path / "battered", calm) == []
