"""Hydra's own sweeper and launcher remain usable; other launchers are refused."""

from __future__ import annotations

import pytest

from tests.tools.commands import MINE, SMALL, lenet_train, refused
from tests.tools.spies import FOLDER
from tests.tools.stores import client, runs

QUICK = (*SMALL, "num_epoch=1", "num_threads=1", "tracking.plots=false", "tracking.models=none")
FEW = "dataset.train_size=96"
HYDRAS = ("-m", "hydra/sweeper=basic", "hydra/launcher=basic")


@pytest.mark.slow(seconds=3)
def test_hydra_basic_sweeper_trains_runs_and_reports_failure(ready):
    done = lenet_train(*HYDRAS, *QUICK, FEW, "dataset.val_size=250,200,2000", outputs=ready)
    assert done.returncode == 2
    assert "dataset.val_size=2000" in done.stderr
    assert "Traceback" not in done.stderr
    uploaded = runs(client(ready))
    assert sorted(run.data.params["dataset.val_size"] for run in uploaded) == ["200", "250"]
    assert {run.info.status for run in uploaded} == {"FINISHED"}
    assert len({run.info.run_name for run in uploaded}) == 2


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (
            ("hydra/launcher=mine",),
            "hydra/launcher=mine: expected one of: basic, cluster_ray, cluster_slurm, local",
        ),
        (
            ("hydra/launcher=cluster_slurm", "+hydra.launcher.driver.time=1"),
            "hydra.launcher.driver: unknown",
        ),
        (
            ("+hydra.launcher.time=1",),
            "hydra.launcher.time: unknown option of hydra/launcher=local",
        ),
    ],
)
def test_other_launcher_or_option_is_refused_in_one_line(main, outputs, tmp_path, more, named):
    own_launchers = tmp_path / "hydra" / "launcher"
    own_launchers.mkdir(parents=True)
    (own_launchers / "mine.yaml").write_text("_target_: hydra_plugins.mine.Launcher\n")
    refused(main(f"--config-dir={tmp_path}", "-m", *QUICK, "seed=0,1", *more), named)
    assert not outputs.exists()


@pytest.mark.slow(seconds=6)
def test_hydra_job_environment_reaches_workers(ready, tmp_path):
    line = (
        "-m",
        f"--config-dir={MINE}",
        *QUICK,
        FEW,
        "activation=spy",
        "seed=0,1",
        "sweep.workers=1",
        f"+hydra.job.env_set.{FOLDER}=${{oc.env:SPIED}}",
    )

    done = lenet_train(*line, outputs=ready, SPIED=str(tmp_path))

    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("spy-*.json"))) == 1
