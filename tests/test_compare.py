"""lenet-compare and lenet_exp.compare on a real sweep."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

import lenet_exp
from lenet_exp.errors import ConfigError, UserError
from tests.commands import SMALL, lenet_train
from tests.stores import client, files, runs

HERE = "hydra/launcher=basic"  # in the test's own process
LINE = ("-m", HERE, *SMALL, "num_epoch=2", "activation=selu,relu", "optimizer.lr=0.01", "seed=0,1")
MORE = ("-m", HERE, *SMALL, "num_epoch=2", "activation=tanh", "optimizer.lr=0.01", "seed=0,1")


@pytest.fixture(scope="module")
def swept(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs folder of two sweeps, the second with another activation."""
    outputs = tmp_path_factory.mktemp("compared") / "outputs"
    shutil.copytree(empty_store, outputs)
    for line in (LINE, MORE):
        done = lenet_train(*line, outputs=outputs)
        assert done.returncode == 0, done.stderr
    return outputs


@pytest.fixture
def here(swept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(swept))
    return swept


def sweeps(outputs: Path) -> list[str]:
    """MLflow run ids, oldest first."""
    return [run.info.run_id for run in runs(client(outputs), "sweep")]


def test_a_sweep_ends_with_the_comparison_and_shows_it_in_mlflow(here):
    first = runs(client(here), "sweep")[0]
    table = lenet_exp.compare(sweep=first.info.run_id)
    text = first.data.tags["mlflow.note.content"].replace("\N{NO-BREAK SPACE}", " ")
    for row in table.itertuples():
        assert re.search(rf'<a href="#/experiments/[^"]+">{row.mean * 100:.2f} ± {row.sd * 100:.2f}', text)
    assert {"leaderboard.png", "learning_curves.png", "leaderboard.csv"} <= files(client(here), first.info.run_id)
    assert client(here).list_artifacts(first.info.run_id)[0].path == "comparison.html"


def test_a_finished_sweep_that_is_typed_again_is_not_drawn_again(here, tmp_path):
    outputs = Path(shutil.copytree(here, tmp_path / "outputs"))
    drawn = {path: path.stat().st_mtime_ns for path in here.glob("mlartifacts/*/*/artifacts/leaderboard.*")}
    assert len(drawn) == 4
    done = lenet_train(*MORE, outputs=outputs)
    assert "2 runs: 2 finished; 0 trained (2 had been trained before)" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in drawn} == drawn
    before, after = (runs(client(where), "sweep")[-1].data.tags["mlflow.note.content"] for where in (here, outputs))
    assert after == before


def test_the_last_sweep_is_the_default_and_the_numbers_are_mlflows(here):
    table = lenet_exp.compare()
    assert list(table["n"]) == [2]
    values = [
        run.data.metrics["best_val_accuracy"] for run in runs(client(here)) if run.data.params["activation"] == "tanh"
    ]
    assert table["mean"][0] == pytest.approx(sum(values) / 2)


def test_several_sweeps_and_a_filter_over_the_store_give_the_same(here):
    together = lenet_exp.compare(sweep=sweeps(here))
    assert sorted(together["activation"]) == ["relu", "selu", "tanh"]
    found = lenet_exp.compare(filter="")
    pd.testing.assert_frame_equal(found, together, check_like=True)


def test_a_filter_is_mlflows(here):
    table = lenet_exp.compare(filter="params.activation = 'selu' and metrics.best_val_accuracy > 0")
    assert list(table["n"]) == [2]


def test_the_last_epoch_is_compared_on_request_from_folders_and_from_the_store(here):
    last = {
        run.data.params["activation"] + run.data.params["seed"]: run.data.metrics["val_accuracy"]
        for run in runs(client(here))
    }
    table = lenet_exp.compare(sweep=sweeps(here), by="last")
    pd.testing.assert_frame_equal(lenet_exp.compare(filter="", by="last"), table, check_like=True)
    for row in table.itertuples():
        assert row.mean == pytest.approx((last[f"{row.activation}0"] + last[f"{row.activation}1"]) / 2)


def test_a_swept_split_is_luck_and_what_diverges_stands_last(ready):
    plain = ("num_epoch=1", "tracking.plots=false", "tracking.models=none")
    done = lenet_train(
        "-m", HERE, *SMALL, *plain, "optimizer.lr=1e30,0.05", "seed=0,1", "split_seed=0,1", outputs=ready
    )
    assert "digits: 8 runs, 2 configurations (4 finished, 4 diverged)" in done.stdout
    assert "lr=0.05 is the only one that never diverged: " in done.stdout
    assert "lr=1e+30 diverged on 4 of 4 runs; none finished." in done.stdout
    assert "note: the luck is that of the seeds and the splits (4 runs of 2 seeds and 2 splits" in done.stdout
    table = lenet_exp.compare()
    assert list(table["n"]) == [4, 0]
    pd.testing.assert_frame_equal(lenet_exp.compare(filter=""), table, check_like=True)


def test_a_sweep_that_is_not_here_is_found_in_the_store(here, tmp_path, monkeypatch):
    first = sweeps(here)[0]
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tmp_path))
    table = lenet_exp.compare(sweep=first, tracking_uri=f"sqlite:///{here / 'mlflow.db'}")
    assert sorted(table["activation"]) == ["relu", "selu"]


def test_a_sweep_of_another_outputs_folder_is_found_by_its_folder(here, tmp_path, monkeypatch):
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tmp_path))
    for folder in (here / "sweeps").iterdir():
        assert len(lenet_exp.compare(sweep=str(folder))) in {1, 2}


def test_the_command_prints_and_writes(here, main, tmp_path):
    for ending in ("html", "md", "tex", "csv", "json"):
        done = main(f"sweep={','.join(sweeps(here))}", f"output={tmp_path}/report.{ending}", program="compare")
        assert done.returncode == 0, done.stderr
        assert "digits: 6 runs, 3 configurations (6 finished)" in done.stdout
        assert f"written: {tmp_path}/report.{ending}" in done.stdout
    rows = list(csv.DictReader((tmp_path / "report.csv").open()))
    assert len(rows) == 3
    (found,) = json.loads((tmp_path / "report.json").read_text())
    assert [group["activation"] for group in found["groups"]] == [row["activation"] for row in rows]
    assert (tmp_path / "report.html").read_text().count("<tr data-i=") == 3
    assert (tmp_path / "report.tex").read_text().count(r" \\") == 1 + 3
    assert (tmp_path / "report.md").read_text().count("\n| ") == 2 + 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweep=nope"], "nope: no such sweep in"),
        (["sweep=last", "filter=x"], "sweep= and filter=: allowed is one of them"),
        (["filter=metrics.acc >"], "filter=metrics.acc >: "),
        (["filter=metrics.best_val_accuracy > 2"], "filter=metrics.best_val_accuracy > 2: no run of lenet_exp is so"),
        (["filter=", "experiment=other2"], "experiment=other2: not in"),
        (["filter=", "tracking.uri=sqlite:////no/such.db"], "/no/such.db: no such MLflow database"),
        (["output=x.pdf"], "output=x.pdf: allowed is a file ending in .html, .md, .tex, .csv, .json\n"),
        (
            ["output=x.htm"],
            "output=x.htm: allowed is a file ending in .html, .md, .tex, .csv, .json; did you mean x.html?",
        ),
        (["output=/no/such/x.md"], "output=/no/such/x.md: allowed is a file in a folder that exists"),
        (["swep=last"], "swep=last: allowed is sweep=, filter=, output=, confirm=, "),
        (["by=lats"], "by=lats: allowed is best or last; did you mean last?"),
        (["importance=yes"], "importance=yes: allowed is true or false"),
    ],
)
def test_a_mistake_is_one_line(here, main, arguments, said):
    done = main(*arguments, program="compare")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"lenet-compare: {said}")
    assert done.stderr.count("\n") == 1


def test_without_a_sweep_it_says_how_to_start_one_or_to_compare_single_runs(main, outputs):
    done = main(program="compare")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"lenet-compare: sweep=last: there is no sweep in {outputs}; lenet-train -m ")
    (outputs / "runs" / "0123").mkdir(parents=True)
    done = main(program="compare")
    assert done.stderr == f"lenet-compare: there is no sweep in {outputs}; filter= compares runs of no sweep\n"


def test_what_flags_matter_is_told_on_request(here, main):
    pytest.importorskip("optuna")
    done = main(f"sweep={','.join(sweeps(here))}", program="compare")
    assert "fANOVA" not in done.stdout
    done = main("filter=", "importance=true", program="compare")
    assert "no importance: fANOVA needs 4 configurations" in done.stdout


def test_nothing_trained_yet_is_one_line(tmp_path, monkeypatch, main):
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(tmp_path))
    done = main(program="compare")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "sweep=last: there is no sweep in" in done.stderr


def test_in_python_a_mistake_is_an_error(here):
    with pytest.raises(ConfigError, match="allowed is one of them"):
        lenet_exp.compare(sweep="last", filter="x")
    with pytest.raises(UserError, match="no such sweep"):
        lenet_exp.compare(sweep="nope")
