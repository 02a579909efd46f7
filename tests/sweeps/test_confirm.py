"""The way from a sweep to its confirmation: the line as it is printed, typed; its answer; and what is refused."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from lenet_exp.config.schema import Config
from lenet_exp.folders.config_dir import config_dir_of
from lenet_exp.folders.records import SweepPlan
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from tests.commands import SMALL, Done, lenet_compare, lenet_train
from tests.stores import client, runs

HERE = "hydra/launcher=basic"  # in the test's own process
QUICK = (*SMALL, "num_epoch=1", "tracking.plots=false", "tracking.models=none")
PAIRS = ("sweep.zip=[activation,optimizer.lr]", "activation=tanh,relu", "optimizer.lr=0.05,0.02")
LINE = ("-m", HERE, *QUICK, *PAIRS, "seed=0,1")


@pytest.fixture(scope="module")
def trained(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    outputs = Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("swept") / "outputs"))
    done = lenet_train(*LINE, outputs=outputs)
    assert done.returncode == 0, done.stderr
    return outputs


@pytest.fixture
def swept(trained: Path, tmp_path: Path) -> Path:
    """The outputs folder of two configurations over two seeds."""
    return Path(shutil.copytree(trained, tmp_path / "outputs"))


def printed(done: Done) -> list[str]:
    """The arguments of the line that a confirmation prints."""
    assert done.returncode == 0, done.stderr
    (line,) = re.findall(r"^  lenet-train (.*)$", done.stdout, re.MULTILINE)
    return shlex.split(line)


def test_the_line_as_printed_tests_the_leader_on_fresh_seeds(swept):
    lenet_train(*LINE, outputs=swept)  # a copied folder has a store of its own
    (source,) = all_sweeps(swept)
    line = printed(lenet_compare(swept, "confirm=90"))
    assert f"sweep.confirms={source.id}" in line
    assert printed(lenet_compare(swept, "confirm=90")) == line

    done = lenet_train(*line, HERE, outputs=swept)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^(Not c|C)onfirmed on \d+ fresh seeds: ", done.stdout, re.MULTILINE)
    test = next(s for s in all_sweeps(swept) if s.id != source.id)
    seeds = {job.config.seed for job in test.jobs()}
    assert min(seeds) == 1000
    first, *others = {str(configuration(job.config)): None for job in test.jobs()}
    assert len(test.jobs()) == len(seeds) * (1 + len(others))
    assert first == str(max((configuration(job.config) for job in source.jobs()), key=lambda c: mean_of(source, c)))

    answer = "yes" if test.started().confirmed else "no"
    of_test, of_source = (
        next(r for r in runs(client(swept), "sweep") if r.data.tags["sweep"] == s.id) for s in (test, source)
    )
    assert of_test.data.tags["confirms"] == of_source.info.run_id
    assert of_test.data.tags["confirmed"] == answer
    assert of_source.data.tags["confirmed"] == f"digits {answer} (90 points, {of_test.info.run_id})"
    assert "onfirmed on" in of_test.data.tags["mlflow.note.content"]

    repeated = lenet_compare(swept, "confirm=90", "run=true")
    assert f"That is the answer of sweep {test.id}." in repeated.stdout
    other = lenet_compare(swept, "confirm=50")
    assert f"sweep {test.id} has tested it already, for 90 points" in other.stdout
    assert any(argument.startswith("seed=range(2000,") for argument in printed(other))


def configuration(config: Config) -> list[object]:
    return [config.activation, config.optimizer]


def mean_of(sweep: SweepFolder, wanted: list[object]) -> float:
    records = [job.folder.record() for job in sweep.jobs() if configuration(job.config) == wanted]
    return fmean(record.best_val_accuracy for record in records)


def test_options_of_ones_own_are_found_from_any_directory():
    plan = SweepPlan(created_ms=0, command="lenet-train --config-dir mine -m activation=a,b", directory="/home/me")
    assert config_dir_of(plan) == ["--config-dir", "/home/me/mine"]
    assert config_dir_of(replace(plan, command="lenet-train -cd='/my own' -m x=1")) == ["--config-dir", "/my own"]
    assert config_dir_of(replace(plan, command="lenet-train -m activation=relu,selu")) == []


REFUSED = {
    "confirm=0": "confirm=0: allowed are percentage points > 0 and < 100",
    "confirm=nan": "confirm=nan: allowed are percentage points",
    "run=true": "run=true: runs a confirmation, and needs confirm=",
    "confirm=1 filter=": "confirm=1: confirms one sweep",
    "confirm=1 output=a.html": "confirm=1: confirms one sweep",
    "confirm=1 by=last": "confirm=1: confirms one sweep, by its best epochs",
    "confirm=1 importance=true": "confirm=1: confirms one sweep",
    "confirm=1 run=yes": "run=yes: allowed is true or false",
    "confirm=1 sweep=nope": "nope: no such sweep",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_confirmed_is_one_line(line, ready):
    done = lenet_compare(ready, *line.split())
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert REFUSED[line] in done.stderr


def test_seeds_that_were_seen_confirm_nothing(swept):
    (source,) = all_sweeps(swept)
    line = ("-m", HERE, *QUICK, *PAIRS, f"sweep.confirms={source.id}")
    for more, said in {
        ("seed=1,2", "sweep.points=1"): f"seed=1: sweep {source.id} has seen it",
        ("seed=3,4",): "sweep.confirms, sweep.points: allowed is both or none",
    }.items():
        done = lenet_train(*line, *more, outputs=swept)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert len(all_sweeps(swept)) == 1


def test_a_line_that_trains_something_else_confirms_nothing(swept):
    (source,) = all_sweeps(swept)
    for edited, said in {
        "num_epoch=2": f"num_epoch=2: sweep {source.id}, which is to be confirmed, has not; allowed is 1",
        "activation=tanh,elu": f"activation=elu: sweep {source.id}, which is to be confirmed, has not; allowed is ",
    }.items():
        flag = edited.partition("=")[0]
        kept = [a for a in (*QUICK, *PAIRS) if a.partition("=")[0] != flag]
        fresh = ("seed=1000,1001", f"sweep.confirms={source.id}", "sweep.points=1")
        done = lenet_train("-m", HERE, *kept, edited, *fresh, outputs=swept)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert len(all_sweeps(swept)) == 1


def test_splits_that_were_seen_are_not_taken_again(empty_store, tmp_path):
    outputs = Path(shutil.copytree(empty_store, tmp_path / "outputs"))
    done = lenet_train("-m", HERE, *QUICK, "activation=tanh,relu", "split_seed=1000,1001", outputs=outputs)
    assert done.returncode == 0, done.stderr
    line = printed(lenet_compare(outputs, "confirm=90"))
    assert any(argument.startswith("split_seed=range(2000,") for argument in line), line


def test_seeds_that_are_added_after_a_look_are_told_apart_from_a_fixed_design(swept):
    fixed = lenet_compare(swept)
    assert "first typed" not in fixed.stdout
    more = [flag if flag != "seed=0,1" else "seed=0,1,2" for flag in LINE]
    done = lenet_train(*more, outputs=swept)
    assert "But 4 of 6 runs had begun before this sweep was first typed" in done.stdout
    again = lenet_train(*more, outputs=swept)  # typed again, it is the same design
    assert "But 4 of 6 runs had begun before this sweep was first typed" in again.stdout
