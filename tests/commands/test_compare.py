"""lenet-compare and lenet_exp.compare on a real sweep."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import re
import shlex
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import lenet_exp
from lenet_exp.comparison.group import Group
from lenet_exp.reports.page.deciding_images import deciding_images
from lenet_exp.reports.page.provenance import facts
from lenet_exp.sweeps.comparisons import load_comparisons
from lenet_exp.tracking.stores.find_runs import runs_of_filter
from lenet_exp.training.score import unpacked
from tests.tools.commands import SMALL, lenet_train, refused, start, succeeded
from tests.tools.stores import client, runs
from tests.tools.until import until

HERE = "hydra/launcher=basic"  # in the test's own process
BARE = ("num_epoch=2", "tracking.models=none")
LINE = ("-m", HERE, *SMALL, *BARE, "activation=selu,relu", "optimizer.lr=0.01", "seed=0,1")
MORE = (
    "-m",
    HERE,
    *SMALL,
    *BARE,
    "activation=tanh",
    "optimizer.lr=0.01",
    "seed=0,1",
    "tracking.plots=false",
)


@pytest.fixture(scope="module")
def swept(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs folder of two sweeps, the second with another activation."""
    outputs = tmp_path_factory.mktemp("load_comparisons") / "outputs"
    shutil.copytree(empty_store, outputs)
    for line in (LINE, MORE):
        succeeded(lenet_train(*line, outputs=outputs))
    return outputs


@pytest.fixture
def here(swept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(swept))
    return swept


def sweeps(outputs: Path) -> list[str]:
    """MLflow run ids, oldest first."""
    return [run.info.run_id for run in runs(client(outputs), "sweep")]


def test_rerun_of_finished_sweep_does_not_redraw_comparison(here, tmp_path):
    def note_of_first_sweep(folder: Path) -> str:
        return runs(client(folder), "sweep")[0].data.tags["mlflow.note.content"]

    outputs = Path(shutil.copytree(here, tmp_path / "outputs"))
    drawings = list(here.glob("mlartifacts/*/*/artifacts/leaderboard.*"))
    assert len(drawings) == 2
    drawn_at = [path.stat().st_mtime_ns for path in drawings]

    assert lenet_train(*LINE, outputs=outputs).returncode == 0

    assert [path.stat().st_mtime_ns for path in drawings] == drawn_at
    assert note_of_first_sweep(outputs) == note_of_first_sweep(here)


def right_counts(group: Group) -> np.ndarray:
    """Return for each image in how many runs of a group it is right."""
    return sum(unpacked(run.provenance.best_right).astype(int) for run in group.finished)


def test_page_shows_images_on_which_the_two_best_differ_most(here):
    (comparison,), _ = load_comparisons(
        sweeps(here)[0], None, None, "lenet_exp", find_runs=runs_of_filter
    )
    best, second = comparison.groups
    expected = np.stack([right_counts(best), right_counts(second)], axis=1)  # image, group
    largest_differences = np.sort(np.abs(expected[:, 0] - expected[:, 1]))[::-1][:10]

    images = deciding_images(comparison)

    pairs = re.findall(r"<br>(\d) vs. (\d)<", images)
    shown_counts = np.array(pairs, dtype=int)
    differences = np.abs(shown_counts[:, 0] - shown_counts[:, 1])
    assert differences.tolist() == largest_differences.tolist()
    for pair in shown_counts.tolist():
        assert pair in expected.tolist()
    for png in re.findall(r"base64,([^\"]+)", images):
        assert Image.open(io.BytesIO(base64.b64decode(png))).size == (8, 8)

    for missing in ({"best_right": None}, {"data_digests": {}}):
        incomplete_runs = []
        for run in second.runs:
            provenance = replace(run.provenance, **missing)
            incomplete_runs.append(replace(run, provenance=provenance))
        incomplete = replace(second, runs=incomplete_runs)
        assert deciding_images(replace(comparison, groups=[best, incomplete])) == ""


def test_compare_defaults_to_last_sweep(here):
    last = lenet_exp.compare()
    assert list(last["n"]) == [2]
    pd.testing.assert_frame_equal(last, lenet_exp.compare(sweep=sweeps(here)[1]))


@pytest.mark.parametrize(
    ("by", "metric"), [("best", "best_val_accuracy"), ("last", "val_accuracy")]
)
def test_several_sweeps_and_an_mlflow_filter_give_same_table(here, by, metric):
    logged = {}
    for run in runs(client(here)):
        logged[run.data.params["activation"], run.data.params["seed"]] = run.data.metrics[metric]

    table = lenet_exp.compare(sweep=sweeps(here), by=by)

    assert sorted(table["activation"]) == ["relu", "selu", "tanh"]
    pd.testing.assert_frame_equal(lenet_exp.compare(filter="", by=by), table, check_like=True)
    for row in table.itertuples():
        mean = (logged[row.activation, "0"] + logged[row.activation, "1"]) / 2
        assert row.mean == pytest.approx(mean)


def first_digits(text: str) -> list[str]:
    """Return the first 30 digits of each digest in a text."""
    return [digest[:30] for digest in re.findall(r"[0-9a-f]{30,}", text)]


def test_folders_and_store_give_same_provenance(here):
    (folders,), _ = load_comparisons(
        ",".join(sweeps(here)), None, None, "lenet_exp", find_runs=runs_of_filter
    )
    (store,), _ = load_comparisons(None, "", None, "lenet_exp", find_runs=runs_of_filter)

    from_folders = facts(folders)
    from_store = facts(store)

    for name in (
        "SHA-256",
        "Split seed",
        "Epochs",
        "Batch size",
        "Engine",
        "Versions",
        "Machine",
    ):
        assert name in from_folders
    for name, text in from_folders.items():
        if name == "SHA-256":  # MLflow stores only their first digits
            assert first_digits(text) == first_digits(from_store[name])
        elif name == "Machine":  # MLflow does not store the processor's name
            assert text.startswith(f"{from_store[name]}, ")
        else:
            # MLflow does not store a chosen device
            assert set(from_store[name].split(", ")) <= set(text.split(", "))


@pytest.mark.slow(seconds=8)
def test_second_looks_at_same_configurations_are_cautioned(here, tmp_path, monkeypatch, main):
    outputs = Path(shutil.copytree(here, tmp_path / "outputs"))
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(outputs))
    first = sweeps(here)[0]

    def compared(*more: str) -> str:
        return main(f"sweep={first}", *more, program="compare").stdout

    def trained(*more: str) -> str:
        return succeeded(lenet_train(*LINE[:-1], *more, outputs=outputs)).stdout

    assert "Caution" not in compared()
    assert "by=last" in compared("by=last")
    assert "1 earlier sweep" in trained("seed=2,3")
    assert "2 earlier sweeps" in trained("seed=4,5")
    assert "Caution" not in compared()
    assert "earlier sweep" not in trained("seed=range(6)")
    assert "sweep.force" in trained("seed=0,1", "sweep.force=true")
    assert "sweep.force" in trained("seed=0,1")


def test_filter_uses_syntax_of_mlflow(here):
    table = lenet_exp.compare(filter="params.activation = 'selu' and metrics.best_val_accuracy > 0")
    assert list(table["n"]) == [2]


def test_swept_splits_count_as_replicates_and_diverged_ranks_last(ready):
    plain = ("num_epoch=1", "tracking.plots=false", "tracking.models=none")
    grid = ("optimizer.lr=1e30,0.05", "seed=0,1", "split_seed=0,1")
    done = lenet_train("-m", HERE, *SMALL, *plain, *grid, outputs=ready)
    counts = re.findall(r"\d [a-z]+", done.stdout)
    assert "4 finished" in counts
    assert "4 diverged" in counts
    table = lenet_exp.compare()
    assert list(table["n"]) == [4, 0]
    assert list(table["diverged"]) == [0, 4]
    pd.testing.assert_frame_equal(lenet_exp.compare(filter=""), table, check_like=True)


def test_sweep_outside_outputs_is_read_from_store_or_folder(here, tmp_path, monkeypatch):
    first = sweeps(here)[0]
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tmp_path))
    table = lenet_exp.compare(sweep=first, tracking_uri=f"sqlite:///{here / 'mlflow.db'}")
    assert sorted(table["activation"]) == ["relu", "selu"]
    for folder in (here / "sweeps").iterdir():
        assert len(lenet_exp.compare(sweep=str(folder))) in {1, 2}


def test_compare_writes_every_output_format(here, main, tmp_path):
    both = f"sweep={','.join(sweeps(here))}"
    for ending in ("html", "md", "tex", "csv", "json"):
        report = f"{tmp_path}/report.{ending}"
        done = main(both, f"output={report}", program="compare")
        assert report in succeeded(done).stdout

    rows = list(csv.DictReader((tmp_path / "report.csv").open()))
    assert len(rows) == 3
    (comparison,) = json.loads((tmp_path / "report.json").read_text())
    activations = [group["activation"] for group in comparison["groups"]]
    assert activations == [row["activation"] for row in rows]
    assert (tmp_path / "report.tex").read_text().count(r" \\") == 1 + 3
    assert (tmp_path / "report.md").read_text().count("\n| ") == 2 + 3

    page = (tmp_path / "report.html").read_text()
    assert page.count("<tr data-i=") == 3
    linked_runs = set(re.findall(r'data-page="#/runs/(\w+)', page))
    assert linked_runs
    assert linked_runs <= {run.info.run_id for run in runs(client(here))}

    for ending, marks in (("html", "<b>"), ("md", "**"), ("tex", r"\textbf"), ("csv", " *")):
        matrix = tmp_path / f"m.{ending}"
        done = main(both, f"output={matrix}", "matrix=activation,dataset", program="compare")
        assert " *" in succeeded(done).stdout
        assert marks in matrix.read_text()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["sweep=nope"], ["nope"]),
        (["sweep=last", "filter=x"], ["sweep=", "filter="]),
        (["filter=metrics.acc >"], ["filter=metrics.acc >"]),
        (["filter=metrics.best_val_accuracy > 2"], ["filter=metrics.best_val_accuracy > 2"]),
        (["filter=", "experiment=other2"], ["experiment=other2"]),
        (["filter=", "tracking.uri=sqlite:////no/such.db"], ["/no/such.db"]),
        (["output=x.htm"], ["output=x.htm", ".csv", "x.html?"]),
        (["output=/no/such/x.md"], ["output=/no/such/x.md"]),
        (["swep=last"], ["swep=last", "sweep=?"]),
        (["by=lats"], ["by=lats", "last?"]),
        (["only=lr<0.1 or lr>1"], ["only=", "number"]),
        (["best_per=actvation"], ["best_per=actvation"]),
        (["matrix=activation"], ["matrix=activation"]),
        (["matrix=activation,dataset", "details=true"], ["details=true", "matrix="]),
        (["matrix=activation,dataset", "output=x.json"], ["output=x.json", ".csv"]),
    ],
)
def test_invalid_argument_is_one_line(here, main, arguments, expected):
    refused(main(*arguments, program="compare"), *expected, program="compare")


GRID = (*SMALL, *BARE, "tracking.plots=false", "optimizer.lr=0.02", "activation=selu,tanh,elu")
SEARCH = (
    *SMALL,
    *BARE,
    "tracking.plots=false",
    "hydra/sweeper=search",
    "n_trials=3",
    "search.pruner=none",
)
LR = "optimizer.lr=interval(0.005,0.02)"
NAMES = "activation=selu,elu"
REACHED = "search.target=0.6"
TYPED = re.compile(r": (lenet-(?!ui )[^:;]+?)(?:;.*)?$", re.MULTILINE)  # tests/ui starts lenet-ui


@pytest.mark.slow(seconds=13)
@pytest.mark.parametrize(
    ("line", "following"),
    [
        pytest.param(GRID, "sweep.within=", id="one seed"),
        pytest.param((*GRID, "seed=0,1,2"), "sweep.within=", id="several seeds"),
        pytest.param((*GRID, "optimizer.lr=1e6"), "training.clip_norm=1", id="diverged"),
        pytest.param((*SEARCH, LR), "seeds=5", id="accuracy"),
        pytest.param((*SEARCH, LR, "seeds=3"), None, id="accuracy over seeds"),
        pytest.param((*SEARCH, LR, "search.objective=loss"), "seeds=5", id="loss"),
        pytest.param(
            (*SEARCH, NAMES, "search.objective=front"), "search.objective=front", id="Pareto front"
        ),
        pytest.param((*SEARCH, NAMES, "search.objective=epochs", REACHED), REACHED, id="epochs"),
        pytest.param((*GRID, "seed=0,1", "num_epoch=30"), "num_epoch=30", id="interrupted"),
        pytest.param((*GRID, "seed=0,1,2", "confirmed"), None, id="confirmed"),
    ],
)
def test_every_command_that_a_report_suggests_runs(line, following, tmp_path, empty_store):
    outputs = Path(shutil.copytree(empty_store, tmp_path / "outputs"))

    def run(program: str, *arguments: str, stop: bool = False) -> str:
        process = start(*arguments, outputs=outputs, program=program, cwd=tmp_path)
        statuses = [0, 1]
        if stop:
            until(lambda: list(outputs.glob("runs/*/history.json")), process)
            process.send_signal(signal.SIGINT)
            statuses.append(130)
        out, err = process.communicate(timeout=300)
        assert process.returncode in statuses, (program, arguments, err)
        return str(out)

    if line[-1] == "confirmed":
        output = run("train", "-m", *line[:-1])
        output += run("compare", "confirm=5", "seeds=3", "run=true")
    else:
        output = run("train", "-m", *line, stop=line[-1] == "num_epoch=30")
    output += run("compare", "output=x.html", "details=true")

    page, _, _ = (tmp_path / "x.html").read_text().partition("<script")
    suggested = [
        html.unescape(command) for command in re.findall("<code>(.*?)</code><button", page)
    ]
    if following is not None:
        last_word = shlex.split(suggested[0])[-1]
        assert last_word.startswith(following)

    suggested += TYPED.findall(output)
    for command in dict.fromkeys(suggested):
        program, *arguments = shlex.split(command)
        run(program.removeprefix("lenet-"), *arguments)


def test_compare_without_sweep_suggests_sweep_or_filter(main, outputs):
    for how in ("lenet-train -m", "filter="):
        refused(main(program="compare"), str(outputs), how, program="compare")
        (outputs / "runs" / "0123").mkdir(parents=True, exist_ok=True)
