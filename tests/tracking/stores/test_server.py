"""Two outputs folders that share a real MLflow server over REST."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient

from lenet_exp.folders.run_folder import RunFolder
from tests.tools.commands import SMALL, lenet_train, succeeded
from tests.tools.stores import runs

LINE = (*SMALL, "num_epoch=2", "num_threads=1", "tracking.models=none")


def ended(outputs):
    """Return the end time of each run of an outputs folder by seed."""
    records = [RunFolder(path).record() for path in (outputs / "runs").iterdir()]
    return {record.config.seed: record.ended_ms for record in records}


@pytest.mark.slow(seconds=8)
def test_runs_on_shared_server_are_not_trained_again_elsewhere(server, tmp_path):
    """The second outputs folder, as on another machine, adopts results and adds them to its sweep."""
    store, theirs, mine = MlflowClient(server[1]), tmp_path / "theirs", tmp_path / "mine"
    sweep = ("-m", "hydra/launcher=basic", *LINE, f"tracking.uri={server[1]}", "tracking.experiment=rest")
    succeeded(lenet_train(*sweep, "seed=0,1", outputs=theirs))
    known = {run.info.run_id for run in runs(store, "run", "rest")}
    succeeded(lenet_train(*sweep, "seed=0,1,2", outputs=mine))
    assert ended(theirs).items() < ended(mine).items()
    first, second = (run.info.run_id for run in runs(store, "sweep", "rest"))
    found = {run.info.run_id: run.data.tags["sweeps"] for run in runs(store, "run", "rest")}
    assert len(found) == 3
    assert found == {run: f"{first},{second}" if run in known else second for run in found}
    assert {run.info.status for kind in ("run", "sweep") for run in runs(store, kind, "rest")} == {"FINISHED"}
