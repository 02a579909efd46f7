"""lenet-predict sweep=: the leader's runs on the test set, and no other's."""

from __future__ import annotations

import csv
import json
import re
import shlex
import statistics

import pytest
from mlflow import MlflowClient
from PIL import Image, ImageDraw

SWEEP = ("-m", "dataset=digits", "batch_size=32", "num_epoch=3", "num_threads=1", "tracking.plots=false")


@pytest.fixture
def swept(main, ready):
    """A sweep of two activations over two seeds, and its runs in MLflow by activation."""
    ended = main(*SWEEP, "activation=relu,selu", "seed=0,1")
    assert ended.returncode == 0, ended.stderr
    client = MlflowClient(f"sqlite:///{ready / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lenet_exp").experiment_id

    def runs(activation: str):
        query = f"tags.kind = 'run' and params.activation = '{activation}'"
        return sorted(client.search_runs([experiment], query), key=lambda run: int(run.data.params["seed"]))

    runs.client, runs.experiment = client, experiment  # type: ignore[attr-defined]
    return runs


def test_each_seed_of_the_leader_is_scored_and_logged_and_nothing_else_is_opened(swept, main, workdir):
    ended = main("sweep=last", "output=test.json", program="predict")
    assert ended.returncode == 0, ended.stderr
    accuracies = [run.data.metrics["test_accuracy"] for run in swept("selu")]
    assert len(accuracies) == 2
    assert not any("test_accuracy" in run.data.metrics for run in swept("relu"))
    mean, sd = statistics.fmean(accuracies), statistics.stdev(accuracies)
    (parent,) = swept.client.search_runs([swept.experiment], "tags.kind = 'sweep'")  # type: ignore[attr-defined]
    assert parent.data.metrics["test_accuracy"] == pytest.approx(mean)
    assert parent.data.metrics["test_accuracy_sd"] == pytest.approx(sd)
    assert parent.data.tags["test_of"] == "selu"
    assert f"logged to the sweep's MLflow run {parent.info.run_id}" in ended.stdout
    assert f"\ntest accuracy {mean * 100:.2f} % ± {sd * 100:.2f} (n=2); " in ended.stdout
    for seed, run in enumerate(swept("selu")):
        told = f"  seed {seed}: {accuracies[seed] * 100:.2f} % of 297 test images"
        assert re.search(rf"{told} .*; MLflow run {run.info.run_id}, opened once", ended.stdout)
    (written,) = json.loads((workdir / "test.json").read_text())
    assert (written["configuration"], written["accuracy"], written["sd"]) == ("selu", mean, pytest.approx(sd))
    assert [row["run_id"] for row in written["runs"]] == [run.info.run_id for run in swept("selu")]
    assert main("sweep=last", "output=test.csv", program="predict").returncode == 0
    rows = list(csv.DictReader((workdir / "test.csv").open()))
    assert [(row["seed"], float(row["test_accuracy"]), row["test_opened"]) for row in rows] == [
        ("0", accuracies[0], "2"),
        ("1", accuracies[1], "2"),
    ]


def test_both_sides_of_a_test_against_a_baseline_are_scored(main, ready):
    assert main(*SWEEP, "activation=relu,selu").returncode == 0
    asked = ("confirm=50", "against=activation=tanh", "seeds=3")
    line = next(x for x in main(*asked, program="compare").stdout.splitlines() if x.startswith("  lenet-train"))
    tested = main(*shlex.split(line)[1:])
    assert tested.returncode == 0, tested.stderr
    assert re.search(r"^ \d +tanh .* the baseline; ", tested.stdout, re.MULTILINE)
    assert re.search(r"onfirmed on 3 fresh seeds: selu is .* the baseline tanh", tested.stdout)
    ended = main("sweep=last", program="predict")
    assert ended.returncode == 0, ended.stderr
    heads = [x.partition(": ")[2] for x in ended.stdout.splitlines() if x.startswith("sweep ")]
    assert re.match(r"selu: the leader of sweep \w+, which was (not )?confirmed on these seeds: ", heads[0])
    assert heads[1].startswith("tanh: the baseline: ")
    first = main("sweep=last", program="compare").stdout
    assert "next: " not in first or "lenet-predict" in first  # it was the last step


def test_a_sweep_whose_leader_was_tested_says_so(main, ready):
    assert main(*SWEEP, "activation=relu,selu", "seed=0,1").returncode == 0
    ran = main("confirm=90", "run=true", program="compare")  # nothing is ahead by so much
    assert ran.returncode == 0, ran.stderr
    source = re.search(r"sweep.confirms=(\w+)", ran.stdout).group(1)
    said = main(f"sweep={source}", program="compare").stdout
    assert re.search(r"^next: on fresh seeds it was (not )?confirmed", said, re.MULTILINE)


def test_the_comparisons_table_names_the_runs(swept, main, workdir):
    assert main("output=all.csv", program="compare").returncode == 0
    selu, relu = csv.DictReader((workdir / "all.csv").open())
    assert selu["run_ids"].split() == [run.info.run_id for run in swept("selu")]
    assert relu["run_ids"].split() == [run.info.run_id for run in swept("relu")]


def test_a_leader_without_other_seeds_is_told_as_any_model(main, ready):
    assert main(*SWEEP, "activation=relu,selu").returncode == 0
    ended = main("sweep=last", program="predict")
    assert "accuracy 0." in ended.stdout
    assert "confusion matrix (row: true, column: predicted)" in ended.stdout
    assert "test accuracy" not in ended.stdout


def test_pictures_are_read_by_the_leaders_best_run(swept, main, workdir):
    picture = Image.new("L", (28, 28))
    ImageDraw.Draw(picture).line((14, 4, 14, 24), fill=255, width=3)
    picture.save(workdir / "one.png")
    ended = main("sweep=last", "images=one.png", program="predict")
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"one.png: \d  \(", ended.stdout)
    best = max(swept("selu"), key=lambda run: run.data.metrics["best_val_accuracy"])
    assert best.data.tags["run_folder"][:8] in ended.stdout  # in the name of what the network saw


def test_what_can_not_be_scored_is_one_line(main, ready):
    def line(*arguments: str) -> str:
        ended = main(*arguments, program="predict")
        assert ended.returncode == 2
        (said,) = ended.stderr.splitlines()
        return said

    assert "sweep=last: there is no sweep in" in line("sweep=last")
    assert main(*SWEEP, "seed=0,1").returncode == 0
    assert "dataset=mnist: sweep" in (said := line("sweep=last", "dataset=mnist"))
    assert said.endswith("has no such run; allowed is digits")
    assert "sweep=last and trained_model=x.safetensors: allowed is one of them" in line(
        "sweep=last", "trained_model=x.safetensors"
    )
    assert main(*SWEEP, "seed=5,6", "optimizer.lr=1e30").returncode == 1
    assert "sweep=last: none of its runs has finished" in line("sweep=last")
