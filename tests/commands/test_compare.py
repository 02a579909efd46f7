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
    outputs = Path(shutil.copytree(here, tmp_path / "outputs"))
    drawn = {
        path: path.stat().st_mtime_ns
        for path in here.glob("mlartifacts/*/*/artifacts/leaderboard.*")
    }
    assert len(drawn) == 2
    assert lenet_train(*LINE, outputs=outputs).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in drawn} == drawn
    before, after = (
        runs(client(where), "sweep")[0].data.tags["mlflow.note.content"]
        for where in (here, outputs)
    )
    assert after == before


def test_page_shows_images_on_which_the_two_best_differ_most(here):
    (found,), _ = load_comparisons(
        sweeps(here)[0], None, None, "lenet_exp", find_runs=runs_of_filter
    )
    right = [
        sum(unpacked(run.provenance.best_right).astype(int) for run in group.finished)
        for group in found.groups
    ]
    apart = sorted(
        map(tuple, np.transpose(right)), key=lambda pair: -abs(int(pair[0]) - int(pair[1]))
    )[:10]
    images = deciding_images(found)
    counts = re.findall(r"<br>(\d) vs. (\d)<", images)
    assert [abs(int(one) - int(other)) for one, other in counts] == [
        abs(int(a) - int(b)) for a, b in apart
    ]
    assert {tuple(map(int, pair)) for pair in counts} <= {
        tuple(map(int, pair)) for pair in np.transpose(right)
    }
    for png in re.findall(r"base64,([^\"]+)", images):
        assert Image.open(io.BytesIO(base64.b64decode(png))).size == (8, 8)
    for missing in ({"best_right": None}, {"data_digests": {}}):
        other = [
            replace(r, provenance=replace(r.provenance, **missing)) for r in found.groups[1].runs
        ]
        assert (
            deciding_images(
                replace(found, groups=[found.groups[0], replace(found.groups[1], runs=other)])
            )
            == ""
        )


def test_compare_defaults_to_last_sweep(here):
    last = lenet_exp.compare()
    assert list(last["n"]) == [2]
    pd.testing.assert_frame_equal(last, lenet_exp.compare(sweep=sweeps(here)[1]))


@pytest.mark.parametrize(
    ("by", "metric"), [("best", "best_val_accuracy"), ("last", "val_accuracy")]
)
def test_several_sweeps_and_an_mlflow_filter_give_same_table(here, by, metric):
    known = {
        run.data.params["activation"] + run.data.params["seed"]: run.data.metrics[metric]
        for run in runs(client(here))
    }
    together = lenet_exp.compare(sweep=sweeps(here), by=by)
    assert sorted(together["activation"]) == ["relu", "selu", "tanh"]
    pd.testing.assert_frame_equal(lenet_exp.compare(filter="", by=by), together, check_like=True)
    for row in together.itertuples():
        assert row.mean == pytest.approx(
            (known[f"{row.activation}0"] + known[f"{row.activation}1"]) / 2
        )


def test_folders_and_store_give_same_provenance(here):
    (folders,), _ = load_comparisons(
        ",".join(sweeps(here)), None, None, "lenet_exp", find_runs=runs_of_filter
    )
    (store,), _ = load_comparisons(None, "", None, "lenet_exp", find_runs=runs_of_filter)
    from_folders, from_store = facts(folders), facts(store)
    assert {
        "SHA-256",
        "Split seed",
        "Epochs",
        "Batch size",
        "Engine",
        "Versions",
        "Machine",
    } <= set(from_folders)
    for name, text in from_folders.items():
        if name == "SHA-256":  # MLflow stores only their first digits
            assert [d[:30] for d in re.findall(r"[0-9a-f]{30,}", text)] == [
                d[:30] for d in re.findall(r"[0-9a-f]{30,}", from_store[name])
            ]
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
    assert "Caution" not in main(f"sweep={first}", program="compare").stdout
    assert "by=last" in main(f"sweep={first}", "by=last", program="compare").stdout
    for more, named in (("seed=2,3", "1 earlier sweep"), ("seed=4,5", "2 earlier sweeps")):
        assert named in succeeded(lenet_train(*LINE[:-1], more, outputs=outputs)).stdout
    assert "Caution" not in main(f"sweep={first}", program="compare").stdout
    assert (
        "earlier sweep"
        not in succeeded(lenet_train(*LINE[:-1], "seed=range(6)", outputs=outputs)).stdout
    )
    forced = succeeded(lenet_train(*LINE, "sweep.force=true", outputs=outputs)).stdout
    assert "sweep.force" in forced
    assert "sweep.force" in succeeded(lenet_train(*LINE, outputs=outputs)).stdout


def test_filter_uses_syntax_of_mlflow(here):
    table = lenet_exp.compare(filter="params.activation = 'selu' and metrics.best_val_accuracy > 0")
    assert list(table["n"]) == [2]


def test_swept_splits_count_as_replicates_and_diverged_ranks_last(ready):
    plain = ("num_epoch=1", "tracking.plots=false", "tracking.models=none")
    grid = ("optimizer.lr=1e30,0.05", "seed=0,1", "split_seed=0,1")
    done = lenet_train("-m", HERE, *SMALL, *plain, *grid, outputs=ready)
    assert {"4 finished", "4 diverged"} <= set(re.findall(r"\d (?:[a-z]+)", done.stdout))
    table = lenet_exp.compare()
    assert (list(table["n"]), list(table["diverged"])) == ([4, 0], [0, 4])
    pd.testing.assert_frame_equal(lenet_exp.compare(filter=""), table, check_like=True)


def test_sweep_outside_outputs_is_read_from_store_or_folder(here, tmp_path, monkeypatch):
    first = sweeps(here)[0]
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tmp_path))
    table = lenet_exp.compare(sweep=first, tracking_uri=f"sqlite:///{here / 'mlflow.db'}")
    assert sorted(table["activation"]) == ["relu", "selu"]
    for folder in (here / "sweeps").iterdir():
        assert len(lenet_exp.compare(sweep=str(folder))) in {1, 2}


def test_compare_writes_every_output_format(here, main, tmp_path):
    for ending in ("html", "md", "tex", "csv", "json"):
        done = main(
            f"sweep={','.join(sweeps(here))}",
            f"output={tmp_path}/report.{ending}",
            program="compare",
        )
        assert f"{tmp_path}/report.{ending}" in succeeded(done).stdout
    rows = list(csv.DictReader((tmp_path / "report.csv").open()))
    assert len(rows) == 3
    (found,) = json.loads((tmp_path / "report.json").read_text())
    assert [group["activation"] for group in found["groups"]] == [row["activation"] for row in rows]
    page = (tmp_path / "report.html").read_text()
    assert page.count("<tr data-i=") == 3
    linked = {re.sub(r".*/", "", address) for address in re.findall(r'data-page="#/runs/\w+', page)}
    assert linked
    assert linked <= {run.info.run_id for run in runs(client(here))}
    assert (tmp_path / "report.tex").read_text().count(r" \\") == 1 + 3
    assert (tmp_path / "report.md").read_text().count("\n| ") == 2 + 3
    for ending, marks in (("html", "<b>"), ("md", "**"), ("tex", r"\textbf"), ("csv", " *")):
        wanted = (
            f"sweep={','.join(sweeps(here))}",
            f"output={tmp_path}/m.{ending}",
            "matrix=activation,dataset",
        )
        assert " *" in succeeded(main(*wanted, program="compare")).stdout
        assert marks in (tmp_path / f"m.{ending}").read_text()


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
LR, NAMES, REACHED = "optimizer.lr=interval(0.005,0.02)", "activation=selu,elu", "search.target=0.6"
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
        if stop:
            until(lambda: list(outputs.glob("runs/*/history.json")), process)
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
        assert process.returncode in (0, 1, *([130] if stop else [])), (program, arguments, err)
        return str(out)

    confirmed = line[-1] == "confirmed"
    texts = [
        run("train", "-m", *(line[:-1] if confirmed else line), stop=line[-1] == "num_epoch=30")
    ]
    if confirmed:
        texts.append(run("compare", "confirm=5", "seeds=3", "run=true"))
    texts.append(run("compare", "output=x.html", "details=true"))
    page = (tmp_path / "x.html").read_text().partition("<script")[0]
    suggested = [
        html.unescape(command) for command in re.findall("<code>(.*?)</code><button", page)
    ]
    assert following is None or shlex.split(suggested[0])[-1].startswith(following)
    suggested += [command for text in texts for command in TYPED.findall(text)]
    for command in dict.fromkeys(suggested):
        program, *arguments = shlex.split(command)
        run(program.removeprefix("lenet-"), *arguments)


def test_compare_without_sweep_suggests_sweep_or_filter(main, outputs):
    for how in ("lenet-train -m", "filter="):
        refused(main(program="compare"), str(outputs), how, program="compare")
        (outputs / "runs" / "0123").mkdir(parents=True, exist_ok=True)
