"""Hydra's own sweeper and launchers stay usable."""

from __future__ import annotations

import pytest

from tests.commands import MINE, SMALL, Done, end, lenet_train, start
from tests.stores import client, runs
from tests.sweeps.spies import FOLDER

QUICK = (*SMALL, "num_epoch=1", "tracking.plots=false", "tracking.models=none")


def test_hydras_basic_sweeper(ready):
    done = lenet_train("-m", "hydra/sweeper=basic", *QUICK, "seed=0,1", outputs=ready)
    assert done.returncode == 0, done.stderr
    found = runs(client(ready))
    assert sorted(run.data.params["seed"] for run in found) == ["0", "1"]
    assert {run.info.status for run in found} == {"FINISHED"}
    assert len({run.info.run_name for run in found}) == 2


def test_hydras_basic_sweeper_tells_of_a_failure(ready):
    done = lenet_train("-m", "hydra/sweeper=basic", *QUICK, "dataset.val_size=250,2000", outputs=ready)
    assert done.returncode == 2
    assert "dataset.val_size=2000: digits has 1500 images" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(runs(client(ready))) == 1


@pytest.mark.slow(seconds=25)
@pytest.mark.parametrize(
    ("plugin", "flags", "status"),
    [
        ("joblib", ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"), 1),
        ("submitit", ("hydra/launcher=submitit_local",), 1),
        ("ray", ("hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2"), 0),  # which tries again by itself
    ],
)
def test_under_hydras_launchers_a_killed_job_costs_no_more_than_the_same_line(ready, tmp_path, plugin, flags, status):
    """The table in docs/launchers.md."""
    pytest.importorskip(f"hydra_plugins.hydra_{plugin}_launcher", reason=f"hydra-{plugin}-launcher is not installed")
    (tmp_path / "die-0").touch()
    what = ("activation=dies", "num_epoch=2", "num_threads=1", "seed=0,1,2")
    environment = {FOLDER: str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"}

    def typed() -> tuple[Done, dict[str, str], str]:
        done = end(start("-m", f"--config-dir={MINE}", *flags, *QUICK, *what, outputs=ready, env=environment))
        (parent,) = runs(client(ready), "sweep")
        children = runs(client(ready))
        assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
        return done, {run.data.params["seed"]: run.info.status for run in children}, parent.info.status

    done, states, parent = typed()
    assert done.returncode == status, done.stderr
    assert not list(tmp_path.glob("die-*"))
    assert set(states.values()) <= {"FINISHED", "KILLED"}
    assert ("KILLED" in states.values(), parent) == ((True, "FAILED") if status else (False, "FINISHED"))
    done, states, parent = typed()
    assert done.returncode == 0, done.stderr
    assert (states, parent) == (dict.fromkeys("012", "FINISHED"), "FINISHED")
    assert "3 runs: 3 finished" in done.stdout


CALLBACK = """
from hydra.experimental.callback import Callback


class Tells(Callback):
    def on_multirun_end(self, config, **kwargs):
        print("the sweep has ended")
"""


@pytest.mark.parametrize(("last", "status"), [("selu", 0), ("raises", 1)])
def test_a_callback_of_the_users_hears_of_the_end_of_every_sweep(ready, tmp_path, monkeypatch, last, status):
    (tmp_path / "tells.py").write_text(CALLBACK)
    monkeypatch.syspath_prepend(tmp_path)
    line = ("-m", f"--config-dir={MINE}", "hydra/launcher=basic", *QUICK, "num_epoch=2", f"activation=relu,{last}")
    done = lenet_train(*line, "+hydra.callbacks.tells._target_=tells.Tells", outputs=ready)
    assert done.returncode == status, done.stderr
    assert done.stdout.count("the sweep has ended") == 1


def test_what_hydra_sets_in_the_environment_of_jobs_reaches_the_workers(ready, tmp_path):
    line = ("-m", f"--config-dir={MINE}", *QUICK, "activation=spy", "seed=0,1", "sweep.workers=1")
    done = lenet_train(*line, f"+hydra.job.env_set.{FOLDER}=${{oc.env:SPIED}}", outputs=ready, SPIED=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("spy-*.json"))) == 1
