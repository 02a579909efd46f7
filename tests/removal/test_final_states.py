"""lenet-sweep rm final_states=true removes the final training states of all runs."""

from __future__ import annotations

import subprocess

from tests.tools.commands import SMALL
from tests.tools.disks import small_disk

MILLION = 10**6


def test_rm_final_states_removes_only_states_and_only_without_dry_run(main, ready):
    line = (
        *SMALL,
        "dataset.train_size=96",
        "num_epoch=1",
        "tracking.models=none",
        "tracking.plots=false",
    )
    assert main(*line).returncode == 0
    (state,) = (ready / "runs").glob("*/end.safetensors")
    size = f"1 final training state, {state.stat().st_size / MILLION:.2f} MB"
    others = {path for path in ready.rglob("*") if path != state}
    output = main("rm", "final_states=true", program="sweep").stdout
    assert size in output
    assert state.exists()
    command = output.splitlines()[-1].partition("lenet-sweep ")[2]
    assert size in main(*command.split(), program="sweep").stdout
    assert not state.exists()
    assert others <= set(ready.rglob("*"))


def test_final_states_on_read_only_disk_are_not_reported_as_removed(main, tmp_path, monkeypatch):
    with small_disk(tmp_path / "disk") as disk:
        state = disk / "runs" / "a" / "end.safetensors"
        state.parent.mkdir(parents=True)
        state.write_bytes(bytes(1000))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        monkeypatch.setenv("LENET_EXP_OUTPUTS", str(disk))
        done = main("rm", "final_states=true", "dry_run=false", program="sweep", status=1)
    assert done.stdout.startswith("removed 0 final training states")
    assert "Read-only file system" in done.stderr
    assert done.stderr.count("\n") == 1
