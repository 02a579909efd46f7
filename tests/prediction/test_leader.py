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
from mlflow.entities import Run
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


class Swept:
    """A sweep of two activations over two seeds."""

    def __init__(self, outputs: Path) -> None:
        self._outputs = outputs

    def runs_of(self, activation: str) -> list[Run]:
        """Return the MLflow runs of an activation in the order of their seeds."""
        of_activation = []
        for run in runs(client(self._outputs)):
            if run.data.params["activation"] == activation:
                of_activation.append(run)
        return sorted(of_activation, key=lambda run: int(run.data.params["seed"]))

    def parent(self) -> Run:
        """Return the MLflow run of the sweep."""
        return runs(client(self._outputs), "sweep")[0]


@pytest.fixture(scope="module")
def outputs_of_four(trained_outputs):
    """Return the outputs folder of a sweep of two activations over two seeds."""
    return trained_outputs(*SWEEP, "activation=relu,selu", "seed=0,1")


@pytest.fixture
def swept(outputs_of_four, monkeypatch):
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(outputs_of_four))
    return Swept(outputs_of_four)


def values_of(metric: str, runs: list[Run]) -> list[float]:
    return [run.data.metrics[metric] for run in runs]


def opened_of(runs: list[Run]) -> list[int]:
    """Return how often the test set was opened for each run."""
    return [int(run.data.tags["test_opened"]) for run in runs]


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_only_seeds_of_leader_are_scored_and_logged(swept, main, workdir):
    assert main("output=all.csv", program="compare").returncode == 0
    leader, other = read_rows(workdir / "all.csv")
    leading = leader["activation"]
    for row in (leader, other):
        runs_of_row = swept.runs_of(row["activation"])
        assert row["run_ids"].split() == [run.info.run_id for run in runs_of_row]

    done = main("sweep=last", "output=test.json", program="predict", status=0)

    of_leader = swept.runs_of(leading)
    accuracies = values_of("test_accuracy", of_leader)
    assert len(accuracies) == 2
    for run in swept.runs_of(other["activation"]):
        assert "test_accuracy" not in run.data.metrics
    mean = statistics.fmean(accuracies)
    sd = statistics.stdev(accuracies)
    parent = swept.parent()
    assert parent.data.metrics["test_accuracy"] == pytest.approx(mean)
    assert parent.data.metrics["test_accuracy_sd"] == pytest.approx(sd)
    for name in ("test_ece", "test_nll", "test_brier"):
        mean_of_runs = statistics.fmean(values_of(name, of_leader))
        assert parent.data.metrics[name] == pytest.approx(mean_of_runs)
    assert parent.data.tags["test_of"] == leading

    assert parent.info.run_id in done.stdout
    assert f"{mean * 100:.2f} ± {sd * 100:.2f}% (n = 2)" in done.stdout
    for accuracy, run in zip(accuracies, of_leader, strict=True):
        (line,) = [line for line in done.stdout.splitlines() if run.info.run_id in line]
        assert f"{accuracy * 100:.2f}%" in line
    (result,) = json.loads((workdir / "test.json").read_text())
    assert result["configuration"] == leading
    assert result["accuracy"] == mean
    assert result["sd"] == pytest.approx(sd)
    assert [row["run_id"] for row in result["runs"]] == [run.info.run_id for run in of_leader]

    assert main("sweep=last", "output=test.csv", program="predict").returncode == 0
    rows = read_rows(workdir / "test.csv")
    assert [row["seed"] for row in rows] == ["0", "1"]
    assert [float(row["test_accuracy"]) for row in rows] == accuracies
    assert [row["test_opened"] for row in rows] == ["2", "2"]


def test_all_configurations_are_scored_on_request(swept, main, workdir):
    assert main("sweep=last", program="predict").returncode == 0
    comparison = main("output=before.csv", program="compare")
    assert "lenet-predict" not in comparison.stdout
    leader, other = read_rows(workdir / "before.csv")
    assert float(leader["test_mean"]) == swept.parent().data.metrics["test_accuracy"]
    assert other["test_n"] == "0"
    assert other["test_mean"] == ""
    opened_before = opened_of(swept.runs_of(leader["activation"]))

    done = main("sweep=last", "configurations=all", "output=test.json", program="predict", status=0)

    assert "configurations=all: " in done.stderr
    of_leader = swept.runs_of(leader["activation"])
    of_other = swept.runs_of(other["activation"])
    assert opened_of(of_leader) == [n + 1 for n in opened_before]
    assert [run.data.tags["test_opened"] for run in of_other] == ["1", "1"]
    leading = values_of("test_accuracy", of_leader)
    behind = values_of("test_accuracy", of_other)
    interval = stats.ttest_rel(leading, behind).confidence_interval()
    first, second = json.loads((workdir / "test.json").read_text())
    assert "lead" not in first
    lead = statistics.fmean(leading) - statistics.fmean(behind)
    assert second["lead"] == pytest.approx(lead)
    assert second["lead_low"] == pytest.approx(interval.low)
    assert second["lead_high"] == pytest.approx(min(interval.high, 1))

    assert main("output=after.csv", program="compare").returncode == 0
    rows = read_rows(workdir / "after.csv")
    means = [float(row["test_mean"]) for row in rows]
    assert means == [statistics.fmean(leading), statistics.fmean(behind)]
    for path in outputs_dir().glob("runs/*"):
        result = RunFolder(path).test_result()
        assert unpacked(result.right).mean() == result.accuracy
    assert float(rows[1]["test_behind"]) == second["lead"]
    store = client(outputs_dir())
    report = store.download_artifacts(swept.parent().info.run_id, "report.md")
    text = Path(report).read_text()
    for mean in means:
        assert f"| {mean * 100:.2f} ± " in text

    for wrong in (("images=x.png", "sweep=last"), ("dataset=digits",)):
        assert main("configurations=all", *wrong, program="predict").returncode == 2


def test_test_result_of_other_weights_is_ignored(swept, tmp_path):
    folder = RunFolder(Path(shutil.copytree(next(outputs_dir().glob("runs/*")), tmp_path / "run")))
    digest = folder.result().weights_digest

    folder.save_test_result(records.TestResult(accuracy=0.9, data_digest="", weights_digest=digest))
    assert folder.test_result().accuracy == 0.9

    folder.save_test_result(
        records.TestResult(accuracy=0.9, data_digest="", weights_digest="0" * 64)
    )
    assert folder.test_result() is None


def test_pictures_are_classified_by_best_run_of_leader(swept, main, workdir):
    picture = Image.new("L", (28, 28))
    ImageDraw.Draw(picture).line((14, 4, 14, 24), fill=255, width=3)
    picture.save(workdir / "one.png")

    done = main("sweep=last", "images=one.png", program="predict", status=0)

    assert re.search(r"one.png: \d  \(", done.stdout)
    means = {}
    for activation in ("relu", "selu"):
        accuracies = values_of("best_val_accuracy", swept.runs_of(activation))
        means[activation] = statistics.fmean(accuracies)
    leader = max(means, key=means.get)
    best = max(swept.runs_of(leader), key=lambda run: run.data.metrics["best_val_accuracy"])
    # in the file name of the network's input
    assert best.data.tags["run_folder"][:8] in done.stdout


@pytest.mark.slow(seconds=15)
def test_leader_and_baseline_are_scored_after_confirmation(main, ready, workdir):
    assert main(*SWEEP, "activation=relu,selu").returncode == 0
    alone = main("sweep=last", program="predict").stdout  # a single run is reported like any model
    assert "accuracy 0." in alone
    assert "±" not in alone
    first_sweep = runs(client(ready), "sweep")[0].data.tags["sweep"]
    output = main("confirm=50", "seeds=3", "against=activation=tanh", program="compare").stdout
    command = next(text for text in output.splitlines() if text.startswith("  lenet-train"))
    main(*shlex.split(command)[1:], "hydra/launcher=basic", status=0)

    done = main("sweep=last", "output=test.json", program="predict", status=0)

    heads = [line for line in done.stdout.splitlines() if line.startswith("sweep ")]
    assert len(heads) == 2
    assert "confirmed" in heads[0]
    assert "tanh" in heads[1]
    leader, baseline = json.loads((workdir / "test.json").read_text())
    assert len(leader["runs"]) == 3
    assert len(baseline["runs"]) == 3
    assert baseline["lead"] == pytest.approx(leader["accuracy"] - baseline["accuracy"])

    # the sweep whose leader was confirmed
    comparison = main(f"sweep={first_sweep}", program="compare").stdout
    assert re.search(r"^next: .*confirmed", comparison, re.MULTILINE)
    assert "lenet-predict" not in comparison


def test_sweep_without_results_to_score_gives_one_line_error(main, ready):
    refused(main("sweep=last", program="predict"), "sweep=last")
    assert main(*SWEEP, "seed=5,6", "optimizer.lr=1e30").returncode == 1
    for flags, part in (
        ([], "sweep=last"),
        (["dataset=mnist"], "digits"),
        (["trained_model=x.pkl"], "trained_model=x.pkl"),
    ):
        refused(main("sweep=last", *flags, program="predict"), part)
