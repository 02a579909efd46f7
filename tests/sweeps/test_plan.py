"""Names of a sweep's jobs, and the sweep's folder."""

from __future__ import annotations

import pytest

from lenet_exp.sweeps.plan import SweepFolder, name_jobs

GROUPS = {"dataset", "activation", "optimizer", "regularization"}
SHOWN = 15  # characters that MLflow shows of a name


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["activation=leaky_relu", "optimizer=sgd"], "leaky_relu sgd"),
        (["optimizer.lr=0.01", "regularization.dropout_rate=0.3"], "lr=0.01 drop=0.3"),
        (["seed=3"], "seed=3"),
        (["optimizer.momentum=0.9", "regularization.weight_decay=5e-4"], "mom=0.9 wd=5e-4"),
        (["dataset=digits", "batch_size=32", "num_epoch=10"], "digits batch=32 epochs=10"),
        (["+tracking.tags.note=a=b"], "note=a=b"),
    ],
)
def test_a_name_is_the_values_that_differ(overrides, name):
    swept = [o.partition("=")[0] for o in overrides]
    (job,) = name_jobs(swept, [[*overrides, "num_iter_echo=7"]], GROUPS)
    assert job.name == name
    assert list(job.swept) == [flag.lstrip("+") for flag in swept]


def test_names_of_the_usual_grid_are_distinct_and_short():
    activations = ["relu", "leaky_relu", "prelu", "rrelu", "elu", "selu", "tanh"]
    optimizers = ["sgd", "rmsprop", "adam", "adamw"]
    jobs = [[f"activation={a}", f"optimizer={o}", "dataset=digits"] for a in activations for o in optimizers]
    names = [job.name for job in name_jobs(["activation", "optimizer"], jobs, GROUPS)]
    assert len(set(names)) == 28
    assert sum(len(name) <= SHOWN for name in names) >= 26


def test_a_sweep_folder_gives_back_what_was_written(tmp_path):
    jobs = name_jobs(["seed"], [["seed=1"], ["seed=2"]], GROUPS)
    SweepFolder(tmp_path).start("lenet-train -m seed=1,2", ["seed=1,2"], jobs)
    SweepFolder(tmp_path).set_mlflow_run("0" * 32)
    SweepFolder(tmp_path).end_job(1, {"outcome": "finished"})
    sweep = SweepFolder(tmp_path)
    assert sweep.jobs() == jobs
    assert sweep.plan()["mlflow_run_id"] == "0" * 32
    assert sweep.plan()["command"] == "lenet-train -m seed=1,2"
    assert [sweep.result(n) for n in (0, 1)] == [None, {"outcome": "finished"}]
