"""A sweep over all activations and optimizers in one command."""

from __future__ import annotations

import pytest

from lenet_exp.config.package_files import CONF_DIR
from tests.tools.commands import SMALL, lenet_train
from tests.tools.stores import client, runs

ACTIVATIONS = sorted(file.stem for file in (CONF_DIR / "activation").glob("*.yaml"))
OPTIMIZERS = sorted(file.stem for file in (CONF_DIR / "optimizer").glob("*.yaml"))
QUICK = (*SMALL, "num_epoch=1", "dataset.train_size=96", "tracking.models=none", "tracking.plots=false")


@pytest.mark.slow(seconds=4)
def test_every_activation_and_optimizer_trains_in_one_sweep(ready):
    optimizers = [OPTIMIZERS[n % len(OPTIMIZERS)] for n in range(len(ACTIVATIONS))]
    zipped = (
        "sweep.zip=[activation,optimizer]",
        f"activation={','.join(ACTIVATIONS)}",
        f"optimizer={','.join(optimizers)}",
    )
    done = lenet_train("-m", "hydra/launcher=basic", *QUICK, *zipped, outputs=ready)
    (parent,) = runs(client(ready), "sweep")
    children = runs(client(ready))
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    pairs = {(run.data.params["activation"], run.data.params["optimizer"]) for run in children}
    assert pairs == set(zip(ACTIVATIONS, optimizers, strict=True))
    outcomes = {run.data.tags["outcome"] for run in children}
    assert outcomes <= {"finished", "diverged"}
    assert done.returncode == (1 if "diverged" in outcomes else 0), done.stderr
    assert parent.info.status == "FINISHED"
    assert len({run.info.run_name for run in children}) == len(ACTIVATIONS)
