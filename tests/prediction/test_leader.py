"""lenet-predict sweep= evaluates only the configurations fixed beforehand, unless you request all
of them.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import statistics
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from scipy import stats

from lenet_exp.folders import records
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.outputs import outputs_dir
from lenet_exp.training.score import unpacked
from tests.tools.commands import SMALL, refused
from tests.tools.stores import client, runs

pytestmark = pytest.mark.slow(seconds=3)

BARE = ("tracking.plots=false", "tracking.models=none")
SWEEP = ("-m", "hydra/launcher=basic", *SMALL, *BARE, "num_epoch=1", "num_threads=1")


@pytest.fixture(scope="module")
def outputs_of_four(trained_outputs):
    """Return the outputs folder of a sweep of two activations over two seeds."""
    return trained_outputs(*SWEEP, "activation=relu,selu", "seed=0,1")


@pytest.fixture
def swept(outputs_of_four, monkeypatch):
    """Return a function from an activation to its MLflow runs, and one that returns the parent
    run.
    """
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(outputs_of_four))

    def found(activation):
        of_activation = [
            r for r in runs(client(outputs_of_four)) if r.data.params["activation"] == activation
        ]
        return sorted(of_activation, key=lambda run: int(run.data.params["seed"]))

    return found, lambda: runs(client(outputs_of_four), "sweep")[0]


def test_only_seeds_of_leader_are_scored_and_logged(swept, main, workdir):
    found, parent = swept
    assert main("output=all.csv", program="compare").returncode == 0
    leader, other = csv.DictReader((workdir / "all.csv").open())
    first, second = leader["activation"], other["activation"]
    assert [leader["run_ids"].split(), other["run_ids"].split()] == [
        [run.info.run_id for run in found(activation)] for activation in (first, second)
    ]

    ended = main("sweep=last", "output=test.json", program="predict", status=0)
    accuracies = [run.data.metrics["test_accuracy"] for run in found(first)]
    assert len(accuracies) == 2
    assert not any("test_accuracy" in run.data.metrics for run in found(second))
    mean, sd = statistics.fmean(accuracies), statistics.stdev(accuracies)
    assert parent().data.metrics["test_accuracy"] == pytest.approx(mean)
    assert parent().data.metrics["test_accuracy_sd"] == pytest.approx(sd)
    for name in ("test_ece", "test_nll", "test_brier"):
        mean_of = statistics.fmean(run.data.metrics[name] for run in found(first))
        assert parent().data.metrics[name] == pytest.approx(mean_of)
    assert parent().data.tags["test_of"] == first
    assert parent().info.run_id in ended.stdout
    assert f"{mean * 100:.2f} ± {sd * 100:.2f}% (n = 2)" in ended.stdout
    for accuracy, run in zip(accuracies, found(first), strict=True):
        (line,) = [line for line in ended.stdout.splitlines() if run.info.run_id in line]
        assert f"{accuracy * 100:.2f}%" in line
    (written,) = json.loads((workdir / "test.json").read_text())
    assert (written["configuration"], written["accuracy"], written["sd"]) == (
        first,
        mean,
        pytest.approx(sd),
    )
    assert [row["run_id"] for row in written["runs"]] == [run.info.run_id for run in found(first)]
    assert main("sweep=last", "output=test.csv", program="predict").returncode == 0
    rows = csv.DictReader((workdir / "test.csv").open())
    assert [(row["seed"], float(row["test_accuracy"]), row["test_opened"]) for row in rows] == [
        (str(seed), accuracy, "2") for seed, accuracy in enumerate(accuracies)
    ]


def test_all_configurations_are_scored_on_request(swept, main, workdir):
    found, parent = swept
    assert main("sweep=last", program="predict").returncode == 0
    done = main("output=before.csv", program="compare")
    assert "lenet-predict" not in done.stdout
    leader, other = csv.DictReader((workdir / "before.csv").open())
    of_leader, of_other = (found(row["activation"]) for row in (leader, other))
    assert float(leader["test_mean"]) == parent().data.metrics["test_accuracy"]
    assert (other["test_n"], other["test_mean"]) == ("0", "")
    opened = [int(run.data.tags["test_opened"]) for run in of_leader]

    done = main("sweep=last", "configurations=all", "output=test.json", program="predict", status=0)
    assert "configurations=all: " in done.stderr
    of_leader, of_other = (found(row["activation"]) for row in (leader, other))
    assert [int(run.data.tags["test_opened"]) for run in of_leader] == [n + 1 for n in opened]
    assert [run.data.tags["test_opened"] for run in of_other] == ["1", "1"]
    pairs = [[run.data.metrics["test_accuracy"] for run in runs] for runs in (of_leader, of_other)]
    interval = stats.ttest_rel(*pairs).confidence_interval()
    first, second = json.loads((workdir / "test.json").read_text())
    assert "lead" not in first
    assert second["lead"] == pytest.approx(statistics.fmean(pairs[0]) - statistics.fmean(pairs[1]))
    assert (second["lead_low"], second["lead_high"]) == pytest.approx(
        (interval.low, min(interval.high, 1))
    )
    assert main("output=after.csv", program="compare").returncode == 0
    rows = list(csv.DictReader((workdir / "after.csv").open()))
    assert [float(row["test_mean"]) for row in rows] == [
        statistics.fmean(accuracies) for accuracies in pairs
    ]
    kept = [RunFolder(path).test_result() for path in outputs_dir().glob("runs/*")]
    assert [unpacked(result.right).mean() for result in kept] == [
        result.accuracy for result in kept
    ]
    assert float(rows[1]["test_behind"]) == second["lead"]
    report = Path(
        client(outputs_dir()).download_artifacts(parent().info.run_id, "report.md")
    ).read_text()
    assert all(f"| {float(row['test_mean']) * 100:.2f} ± " in report for row in rows)
    for wrong in (("images=x.png", "sweep=last"), ("dataset=digits",)):
        assert main("configurations=all", *wrong, program="predict").returncode == 2


def test_test_result_of_other_weights_is_ignored(swept, tmp_path):
    folder = RunFolder(Path(shutil.copytree(next(outputs_dir().glob("runs/*")), tmp_path / "run")))
    digest = folder.result().weights_digest
    for weights, accuracy in ((digest, 0.9), ("0" * 64, None)):
        folder.save_test_result(
            records.TestResult(accuracy=0.9, data_digest="", weights_digest=weights)
        )
        test_result = folder.test_result()
        assert (test_result.accuracy if test_result else None) == accuracy


def test_pictures_are_classified_by_best_run_of_leader(swept, main, workdir):
    found, _ = swept
    picture = Image.new("L", (28, 28))
    ImageDraw.Draw(picture).line((14, 4, 14, 24), fill=255, width=3)
    picture.save(workdir / "one.png")
    ended = main("sweep=last", "images=one.png", program="predict", status=0)
    assert re.search(r"one.png: \d  \(", ended.stdout)
    means = {
        a: statistics.fmean(r.data.metrics["best_val_accuracy"] for r in found(a))
        for a in ("relu", "selu")
    }
    best = max(
        found(max(means, key=means.get)), key=lambda run: run.data.metrics["best_val_accuracy"]
    )
    # in the file name of the network's input
    assert best.data.tags["run_folder"][:8] in ended.stdout


@pytest.mark.slow(seconds=15)
def test_leader_and_baseline_are_scored_after_confirmation(main, ready, workdir):
    assert main(*SWEEP, "activation=relu,selu").returncode == 0
    alone = main("sweep=last", program="predict").stdout  # a single run is reported like any model
    assert "accuracy 0." in alone
    assert "±" not in alone
    leader = runs(client(ready), "sweep")[0].data.tags["sweep"]
    output = main("confirm=50", "seeds=3", "against=activation=tanh", program="compare").stdout
    line = next(text for text in output.splitlines() if text.startswith("  lenet-train"))
    main(*shlex.split(line)[1:], "hydra/launcher=basic", status=0)
    ended = main("sweep=last", "output=test.json", program="predict", status=0)
    heads = [x for x in ended.stdout.splitlines() if x.startswith("sweep ")]
    assert len(heads) == 2
    assert "confirmed" in heads[0]
    assert "tanh" in heads[1]
    first = json.loads((workdir / "test.json").read_text())
    assert [len(side["runs"]) for side in first] == [3, 3]
    assert first[1]["lead"] == pytest.approx(first[0]["accuracy"] - first[1]["accuracy"])
    said = main(f"sweep={leader}", program="compare").stdout  # the sweep whose leader was confirmed
    assert re.search(r"^next: .*confirmed", said, re.MULTILINE)
    assert "lenet-predict" not in said


def test_sweep_without_results_to_score_gives_one_line_error(main, ready):
    refused(main("sweep=last", program="predict"), "sweep=last")
    assert main(*SWEEP, "seed=5,6", "optimizer.lr=1e30").returncode == 1
    for more, named in (
        ([], "sweep=last"),
        (["dataset=mnist"], "digits"),
        (["trained_model=x.pkl"], "trained_model=x.pkl"),
    ):
        refused(main("sweep=last", *more, program="predict"), named)
