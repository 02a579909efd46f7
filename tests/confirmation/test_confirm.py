"""From a sweep to its confirmation: the printed command, its answer, and refused requests."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean

import pytest

from lenet_exp.config.schema import Config
from lenet_exp.folders.config_dir import config_dir_of, resume_command
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.folders.sweep_plan import SearchPlan, SweepPlan
from tests.conftest import Cli
from tests.tools.commands import SMALL, Done, lenet_train, refused, succeeded
from tests.tools.stores import client, runs

HERE = "hydra/launcher=basic"  # in this process
QUICK = (
    *SMALL,
    "num_epoch=1",
    "dataset.train_size=96",
    "tracking.plots=false",
    "tracking.models=none",
)
PAIRS = ("sweep.zip=[activation,optimizer.lr]", "activation=tanh,relu", "optimizer.lr=0.05,0.02")
LINE = ("-m", HERE, *QUICK, *PAIRS, "seed=0,1")


@pytest.fixture(scope="module")
def trained(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    outputs = Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("swept") / "outputs"))
    succeeded(lenet_train(*LINE, outputs=outputs))
    return outputs


@pytest.fixture
def swept(trained: Path, tmp_path: Path) -> Path:
    """The outputs folder of two configurations over two seeds."""
    return Path(shutil.copytree(trained, tmp_path / "outputs"))


@pytest.fixture
def compare(swept: Path, main: Cli, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """`compare("confirm=1")` runs `lenet-compare confirm=1` on the sweep."""
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(swept))
    return partial(main, program="compare")


def printed(done: Done) -> list[str]:
    """Return the arguments of the command that a confirmation prints."""
    assert done.returncode == 0, done.stderr
    (line,) = re.findall(r"^  lenet-train (.*)$", done.stdout, re.MULTILINE)
    return shlex.split(line)


@pytest.mark.slow(seconds=6)
def test_printed_command_tests_leader_on_new_seeds(swept, compare):
    lenet_train(*LINE, outputs=swept)  # creates the store of the copied folder
    (source,) = all_sweeps(swept)
    line = printed(compare("confirm=90"))
    assert f"sweep.confirms={source.id}" in line
    assert printed(compare("confirm=90")) == line

    done = succeeded(lenet_train(*line, HERE, outputs=swept))
    assert re.search(r"onfirmed on \d+ ", done.stdout)
    test = next(s for s in all_sweeps(swept) if s.id != source.id)
    seeds = {job.config.seed for job in test.jobs()}
    assert min(seeds) == 1000
    first, *others = {str(configuration(job.config)): None for job in test.jobs()}
    assert len(test.jobs()) == len(seeds) * (1 + len(others))
    assert first == str(
        max((configuration(job.config) for job in source.jobs()), key=lambda c: mean_of(source, c))
    )

    answer = "yes" if test.started().confirmed else "no"
    parents = {run.data.tags["sweep"]: run for run in runs(client(swept), "sweep")}
    of_test, of_source = parents[test.id], parents[source.id]
    assert of_test.data.tags["confirms"] == of_source.info.run_id
    assert of_test.data.tags["confirmed"] == answer
    assert of_source.data.tags["confirmed"].startswith(f"digits {answer} ")
    assert of_test.info.run_id in of_source.data.tags["confirmed"]

    assert f"sweep={test.id}" in compare(f"sweep={source.id}").stdout
    assert f"sweep {test.id}" in compare("confirm=90", "run=true").stdout  # has already tested this
    more_seeds = printed(compare("confirm=90", "seeds=4"))  # another test, with the requested seeds
    assert "seed=range(2000,2004)" in more_seeds
    other = compare("confirm=50")
    assert f"sweep {test.id}" in other.stdout
    assert any(argument.startswith("seed=range(2000,") for argument in printed(other))
    more = [flag if flag != "seed=0,1" else "seed=0,1,2" for flag in LINE]
    # another sweep, whose seeds from 1000 on are not new either
    succeeded(lenet_train(*more, outputs=swept))
    assert any(
        argument.startswith("seed=range(2000,") for argument in printed(compare("confirm=50"))
    )


def configuration(config: Config) -> list[object]:
    return [config.activation, config.optimizer]


def mean_of(sweep: SweepFolder, wanted: list[object]) -> float:
    records = [job.folder.record() for job in sweep.jobs() if configuration(job.config) == wanted]
    return fmean(record.best_val_accuracy for record in records)


def test_config_dir_of_sweep_is_absolute():
    plan = SweepPlan(
        created_ms=0,
        command="lenet-train --config-dir mine -m activation=a,b",
        directory="/home/me",
    )
    assert config_dir_of(plan) == ["--config-dir", "/home/me/mine"]
    assert config_dir_of(replace(plan, command="lenet-train -cd ../mine -m x=1")) == [
        "--config-dir",
        "/home/mine",
    ]
    assert config_dir_of(replace(plan, command="lenet-train -cd='/my own' -m x=1")) == [
        "--config-dir",
        "/my own",
    ]
    assert config_dir_of(replace(plan, command="lenet-train -m activation=relu,selu")) == []


def test_only_resume_command_of_search_includes_config_dir(tmp_path):
    folder = SweepFolder(tmp_path / "outputs" / "sweeps" / "abc")
    folder.path.mkdir(parents=True)
    search = SearchPlan(sampler="tpe", pruner="none", objective="accuracy")
    for kind, words in ((search, ["--config-dir", str(tmp_path / "mine")]), (None, [])):
        folder.start(
            [], command="lenet-train --config-dir mine -m x=1", directory=str(tmp_path), search=kind
        )
        assert shlex.split(resume_command(folder)) == [
            "lenet-train",
            "-m",
            *words,
            "sweep.resume=abc",
        ]


REFUSED = {  # arguments: text in the error
    "confirm=0": "confirm=0",
    "confirm=nan": "confirm=nan",
    "run=true": "confirm=",
    "confirm=1 by=last": "confirm=1",
    "confirm=100": "confirm=100",
    "confirm=much": "confirm=much",
    "confirm=1 sweep=nope": "nope",
}


@pytest.mark.parametrize("line", REFUSED)
def test_invalid_confirmation_is_one_line(line, ready, main):
    refused(main(*line.split(), program="compare"), REFUSED[line], program="compare")


@pytest.mark.slow(seconds=6)
def test_known_seeds_or_other_configurations_are_refused(swept):
    (source,) = all_sweeps(swept)
    for edited in (
        ["seed=1,2", "sweep.points=1"],
        ["seed=3,4"],  # sweep.points is missing
        ["seed=1000,1001", "sweep.points=1", "num_epoch=2"],
        ["seed=1000,1001", "sweep.points=1", "activation=tanh,elu"],
    ):
        flags = {word.partition("=")[0] for word in edited}
        kept = [word for word in (*QUICK, *PAIRS) if word.partition("=")[0] not in flags]
        done = lenet_train("-m", HERE, *kept, *edited, f"sweep.confirms={source.id}", outputs=swept)
        named = {"seed=1,2": "seed=1:", "seed=3,4": "sweep.points"}.get(
            edited[0], edited[-1].replace("tanh,", "")
        )
        assert (done.returncode, named in done.stderr.splitlines()[-1]) == (2, True), done.stderr
    assert len(all_sweeps(swept)) == 1


def test_confirmation_uses_new_split_seeds(ready, main):
    succeeded(
        lenet_train(
            "-m", HERE, *QUICK, "activation=tanh,relu", "split_seed=1000,1001", outputs=ready
        )
    )
    line = printed(main("confirm=90", program="compare"))
    assert any(argument.startswith("split_seed=range(2000,") for argument in line), line


def test_seeds_added_to_finished_sweep_are_reported(swept, compare):
    assert "of 4 runs" not in compare().stdout
    more = [flag if flag != "seed=0,1" else "seed=0,1,2" for flag in LINE]
    for _ in range(2):  # a rerun has the same design
        assert "4 of 6 runs" in lenet_train(*more, outputs=swept).stdout
