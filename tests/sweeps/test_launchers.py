"""Hydra's own sweeper and launchers remain usable."""

from __future__ import annotations

import pytest

from tests.tools.commands import MINE, SMALL, Done, end, lenet_train, start
from tests.tools.spies import FOLDER
from tests.tools.stores import client, runs

QUICK = (*SMALL, "num_epoch=1", "num_threads=1", "tracking.plots=false", "tracking.models=none")
FEW = "dataset.train_size=96"
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
HYDRAS = ("-m", "hydra/sweeper=basic", "hydra/launcher=basic")


@pytest.mark.slow(seconds=3)
def test_hydra_basic_sweeper_trains_runs_and_reports_failure(ready):
    done = lenet_train(*HYDRAS, *QUICK, FEW, "dataset.val_size=250,200,2000", outputs=ready)
    assert done.returncode == 2
    assert "dataset.val_size=2000" in done.stderr
    assert "Traceback" not in done.stderr
    found = runs(client(ready))
    assert sorted(run.data.params["dataset.val_size"] for run in found) == ["200", "250"]
    assert {run.info.status for run in found} == {"FINISHED"}
    assert len({run.info.run_name for run in found}) == 2


@pytest.mark.parametrize(("plugin", "flags"), [("joblib", JOBLIB), ("submitit", ("hydra/launcher=submitit_local",))])
@pytest.mark.by_hand
def test_rerun_resumes_killed_job_of_hydra_launcher(ready, tmp_path, plugin, flags):
    """See the table in docs/reference/launchers.md."""
    pytest.importorskip(f"hydra_plugins.hydra_{plugin}_launcher", reason=f"hydra-{plugin}-launcher is not installed")
    (tmp_path / "die-0").touch()
    swept = ("activation=dies", "num_epoch=2", "seed=0,1")
    environment = {FOLDER: str(tmp_path)}

    def typed() -> tuple[Done, dict[str, str], str]:
        done = end(start("-m", f"--config-dir={MINE}", *flags, *QUICK, *swept, outputs=ready, env=environment))
        (parent,) = runs(client(ready), "sweep")
        children = runs(client(ready))
        assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
        return done, {run.data.params["seed"]: run.info.status for run in children}, parent.info.status

    done, states, parent = typed()
    assert done.returncode == 1, done.stderr
    assert not list(tmp_path.glob("die-*"))
    assert set(states.values()) <= {"FINISHED", "KILLED"}
    assert ("KILLED" in states.values(), parent) == (True, "FAILED")
    done, states, parent = typed()
    assert done.returncode == 0, done.stderr
    assert (states, parent) == (dict.fromkeys("01", "FINISHED"), "FINISHED")


CALLBACK = """
from hydra.experimental.callback import Callback


class Tells(Callback):
    def on_multirun_end(self, config, **kwargs):
        print("the sweep has ended")
"""


def test_users_callback_is_called_after_a_failed_sweep(ready, tmp_path, monkeypatch):
    (tmp_path / "tells.py").write_text(CALLBACK)
    monkeypatch.syspath_prepend(tmp_path)
    line = ("-m", f"--config-dir={MINE}", "hydra/launcher=basic", *QUICK, "num_epoch=2", "activation=relu,raises")
    done = lenet_train(*line, "+hydra.callbacks.tells._target_=tells.Tells", outputs=ready)
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("the sweep has ended") == 1


@pytest.mark.slow(seconds=6)
def test_hydra_job_environment_reaches_workers(ready, tmp_path):
    line = ("-m", f"--config-dir={MINE}", *QUICK, FEW, "activation=spy", "seed=0,1", "sweep.workers=1")
    done = lenet_train(*line, f"+hydra.job.env_set.{FOLDER}=${{oc.env:SPIED}}", outputs=ready, SPIED=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("spy-*.json"))) == 1
