"""lenet-sweep clean removes the final training states of all runs."""

from __future__ import annotations

from tests.tools.commands import SMALL

MILLION = 10**6


def test_clean_removes_training_states_only_without_dry_run(main, ready):
    line = (*SMALL, "dataset.train_size=96", "num_epoch=1", "tracking.models=none", "tracking.plots=false")
    assert main(*line).returncode == 0
    (state,) = (ready / "runs").glob("*/end.safetensors")
    size = f"1 final training state, {state.stat().st_size / MILLION:.2f} MB"
    assert size in main("clean", program="sweep").stdout
    assert state.exists()
    assert size in main("clean", "dry_run=false", program="sweep").stdout
    assert not state.exists()
