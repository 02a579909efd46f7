"""A full disk, a full temporary folder, or a moved outputs folder loses no result and stores no
false record.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lenet_exp import processes
from lenet_exp.training.trained.weights import load_weights, weights_digest
from tests.conftest import Cli
from tests.tools.commands import SMALL, end, lenet_train, start, succeeded
from tests.tools.counts import counts
from tests.tools.disks import fill, small_disk
from tests.tools.stores import client, models, runs
from tests.tools.until import until
from tests.tools.warm import start_module

LINE = ("-m", *SMALL, "num_epoch=3", "seed=1,2", "sweep.workers=1", "tracking.plots=false")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system of 6 MB."""
    with small_disk(tmp_path / "disk") as folder:
        yield folder


def records_in(outputs: Path) -> list[dict[str, Any]]:
    """Return the stored records of all runs."""
    return [json.loads(path.read_text()) for path in outputs.glob("runs/*/record.json")]


@pytest.mark.parametrize(
    "left_kb",
    [
        pytest.param(200, marks=pytest.mark.slow(seconds=12)),
        pytest.param(800, marks=pytest.mark.slow(seconds=12)),
    ],
)
def test_sweep_on_full_disk_prints_no_traceback_and_can_be_resumed(
    left_kb: int, disk: Path, empty_store: Path
):
    outputs = Path(shutil.copytree(empty_store, disk / "outputs"))
    filler = fill(disk, left_kb=left_kb)

    full = end(start(*LINE, outputs=outputs))

    assert full.returncode == 1
    assert "Traceback" not in full.stderr
    assert os.strerror(errno.ENOSPC) in full.stderr + full.stdout

    filler.unlink()
    succeeded(end(start(*LINE, outputs=outputs)))
    assert [run.info.status for run in runs(client(outputs))] == ["FINISHED"] * 2


@pytest.mark.slow(seconds=8)
def test_run_is_finished_if_only_its_final_state_does_not_fit(disk: Path, ready: Path):
    outputs = disk / "outputs"
    outputs.mkdir()
    line = (
        "-m",
        *SMALL,
        "num_epoch=1",
        "seed=1",
        "tracking.plots=false",
        "optimizer.momentum=0.9",
        f"tracking.uri=sqlite:///{ready}/mlflow.db",
    )
    filler = fill(disk, left_kb=400)  # the best weights need 250 kB, the state with momentum 500 kB

    full = succeeded(end(start(*line, outputs=outputs)))

    assert "final training state not kept for 1 run" in full.stdout
    (record,) = records_in(outputs)
    assert record["outcome"] == "finished"
    assert record["reason"] == ""
    assert record["end_state"] == ""
    (run,) = [path.parent for path in outputs.glob("runs/*/record.json")]
    assert os.strerror(errno.ENOSPC) in (run / "run.log").read_text()
    assert not (run / "end.safetensors").exists()
    (weights,) = run.glob("best-*.safetensors")
    assert weights_digest(load_weights(weights)[0]) == record["weights_digest"]

    rerun = succeeded(end(start(*line, outputs=outputs)))
    assert "1 reused" in rerun.stdout

    filler.unlink()
    succeeded(end(start(*line, "num_epoch=2", outputs=outputs)))
    (longer,) = (record for record in records_in(outputs) if record["config"]["num_epoch"] == 2)
    assert longer["epochs"] == 2
    assert longer["continued_from"] == ""


@pytest.mark.by_hand
def test_run_on_disks_of_many_sizes_stores_no_false_record(tmp_path: Path, ready: Path):
    """A run is recorded as finished if and only if its command ends with status 0, whichever file
    is the last that fits.
    """
    command = (
        *SMALL,
        "num_epoch=3",
        "optimizer.momentum=0.9",
        f"tracking.uri=sqlite:///{ready}/mlflow.db",
    )
    outcomes = set()
    digests = set()
    for size_kb in range(260, 1900, 60):
        with small_disk(tmp_path / f"disk{size_kb}", size_kb=size_kb) as disk:
            outputs = disk / "outputs"
            outputs.mkdir()
            done = end(start(*command, outputs=outputs))
            assert "Traceback" not in done.stderr
            finished = [record for record in records_in(outputs) if record["outcome"] == "finished"]
            assert (done.returncode == 0) == bool(finished)
            assert all(record["reason"] == "" for record in finished)
            has_end_state = bool(finished) and bool(finished[0]["end_state"])
            outcomes.add((done.returncode, has_end_state))

            if finished:  # on the disk that is still full
                succeeded(end(start(*command, outputs=outputs)))
            subprocess.run(["mount", "-o", "remount,size=8000k", str(disk)], check=True)
            succeeded(end(start(*command, outputs=outputs)))
            (record,) = records_in(outputs)
            digests.add(record["weights_digest"])
    assert outcomes == {(1, False), (0, False), (0, True)}
    assert len(digests) == 1


@pytest.mark.slow(seconds=9)
def test_full_temporary_folder_delays_only_upload_of_models(disk: Path, ready: Path, main: Cli):
    fill(disk, left_kb=100)
    full = {"TMPDIR": str(disk), "HOME": str(disk)}
    command = (*LINE, "engine=torch")

    done = succeeded(end(start(*command, outputs=ready, env=full, cold=True)))

    assert counts(done) == ({"finished": 2}, 2, 0)
    assert (done.stdout + done.stderr).count(os.strerror(errno.ENOSPC)) == 1
    store = client(ready)
    assert [run.info.status for run in [*runs(store), *runs(store, "sweep")]] == ["FINISHED"] * 3
    assert "READY" not in [str(model.status) for model in models(store)]

    succeeded(main(program="sync"))

    assert [str(model.status) for model in models(store)] == ["READY"]


def test_model_whose_export_fills_the_disk_is_uploaded_later(ready, main, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(
            processes, "start_module", lambda module: start_module("tests.tools.failing_export")
        )
        done = succeeded(lenet_train(*SMALL, "tracking.plots=false", outputs=ready))
    assert done.stderr.count(os.strerror(errno.ENOSPC)) == 1
    assert "lenet-sync" in done.stderr
    store = client(ready)
    assert [run.info.status for run in runs(store)] == ["FINISHED"]
    assert "READY" not in {str(model.status) for model in models(store)}

    succeeded(main(program="sync"))

    (model,) = models(store)
    assert "data" in {file.path for file in store.list_logged_model_artifacts(model.model_id)}


@pytest.mark.slow(seconds=8)
def test_sweep_resumes_after_moved_outputs_folder_is_back(ready: Path, tmp_path: Path):
    command = (*LINE, "num_epoch=100", "tracking.models=none")
    process = start(*command, outputs=ready)
    until(lambda: list(ready.glob("runs/*/history.json")), process)

    moved = ready.rename(tmp_path / "moved")

    done = end(process)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"lenet-train: {ready} ")
    assert not ready.exists()

    moved.rename(ready)
    resumed = succeeded(end(start(*command, outputs=ready)))
    assert counts(resumed) == ({"finished": 2}, 2, 0)
    assert sorted(run.data.tags.get("resumed", "0") for run in runs(client(ready))) == ["0", "1"]
