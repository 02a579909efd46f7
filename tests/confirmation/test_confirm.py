"""From a sweep to its confirmation: the printed command, its answer, and refused requests."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
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
LINE_WITH_MORE_SEEDS = ("-m", HERE, *QUICK, *PAIRS, "seed=0,1,2")


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
    (test,) = [sweep for sweep in all_sweeps(swept) if sweep.id != source.id]
    check_jobs(test, source)
    check_tags(swept, test, source)
    check_later_requests(swept, compare, test, source)


def check_jobs(test: SweepFolder, source: SweepFolder) -> None:
    """Check that every configuration trains with the same new seeds, the leader first."""
    configurations = [configuration(job.config) for job in test.jobs()]
    leader = configurations[0]
    distinct = {str(config) for config in configurations}
    seeds = {job.config.seed for job in test.jobs()}
    assert min(seeds) == 1000
    assert len(test.jobs()) == len(seeds) * len(distinct)

    candidates = [configuration(job.config) for job in source.jobs()]
    assert leader == max(candidates, key=lambda candidate: mean_of(source, candidate))


def check_tags(outputs: Path, test: SweepFolder, source: SweepFolder) -> None:
    """Check that in MLflow the sweep and its confirmation refer to each other."""
    answer = "yes" if test.started().confirmed else "no"
    parents = {run.data.tags["sweep"]: run for run in runs(client(outputs), "sweep")}
    of_test = parents[test.id]
    of_source = parents[source.id]
    assert of_test.data.tags["confirms"] == of_source.info.run_id
    assert of_test.data.tags["confirmed"] == answer
    assert of_source.data.tags["confirmed"].startswith(f"digits {answer} ")
    assert of_test.info.run_id in of_source.data.tags["confirmed"]


def check_later_requests(
    outputs: Path, compare: Callable[..., Done], test: SweepFolder, source: SweepFolder
) -> None:
    """Check that later requests report the confirmation and use other new seeds."""
    assert f"sweep={test.id}" in compare(f"sweep={source.id}").stdout
    same_request = compare("confirm=90", "run=true")
    assert f"sweep {test.id}" in same_request.stdout  # has already tested this
    with_more_seeds = printed(compare("confirm=90", "seeds=4"))
    assert "seed=range(2000,2004)" in with_more_seeds  # another test, with the requested seeds
    with_other_points = compare("confirm=50")
    assert f"sweep {test.id}" in with_other_points.stdout
    assert seeds_start_at_2000(printed(with_other_points))

    # another sweep, whose seeds from 1000 on are not new either
    succeeded(lenet_train(*LINE_WITH_MORE_SEEDS, outputs=outputs))
    assert seeds_start_at_2000(printed(compare("confirm=50")))


def seeds_start_at_2000(line: list[str]) -> bool:
    return any(argument.startswith("seed=range(2000,") for argument in line)


def configuration(config: Config) -> list[object]:
    return [config.activation, config.optimizer]


def mean_of(sweep: SweepFolder, candidate: list[object]) -> float:
    """Return the mean accuracy of a configuration of a sweep."""
    accuracies = []
    for job in sweep.jobs():
        if configuration(job.config) == candidate:
            accuracies.append(job.folder.record().best_val_accuracy)
    return fmean(accuracies)


def test_config_dir_of_sweep_is_absolute():
    def config_dir(line: str) -> list[str]:
        return config_dir_of(SweepPlan(created_ms=0, command=line, directory="/home/me"))

    mine = config_dir("lenet-train --config-dir mine -m activation=a,b")
    assert mine == ["--config-dir", "/home/me/mine"]
    assert config_dir("lenet-train -cd ../mine -m x=1") == ["--config-dir", "/home/mine"]
    assert config_dir("lenet-train -cd='/my own' -m x=1") == ["--config-dir", "/my own"]
    assert config_dir("lenet-train -m activation=relu,selu") == []


def test_only_resume_command_of_search_includes_config_dir(tmp_path):
    folder = SweepFolder(tmp_path / "outputs" / "sweeps" / "abc")
    folder.path.mkdir(parents=True)
    line = {"command": "lenet-train --config-dir mine -m x=1", "directory": str(tmp_path)}

    search = SearchPlan(sampler="tpe", pruner="none", objective="accuracy")
    folder.start([], **line, search=search)
    assert shlex.split(resume_command(folder)) == [
        "lenet-train",
        "-m",
        "--config-dir",
        str(tmp_path / "mine"),
        "sweep.resume=abc",
    ]

    folder.start([], **line, search=None)
    assert shlex.split(resume_command(folder)) == ["lenet-train", "-m", "sweep.resume=abc"]


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
    for overrides, named in (
        (["seed=1,2", "sweep.points=1"], "seed=1:"),
        (["seed=3,4"], "sweep.points"),  # it is missing
        (["seed=1000,1001", "sweep.points=1", "num_epoch=2"], "num_epoch=2"),
        (["seed=1000,1001", "sweep.points=1", "activation=tanh,elu"], "activation=elu"),
    ):
        changed = {override.partition("=")[0] for override in overrides}
        unchanged = [word for word in (*QUICK, *PAIRS) if word.partition("=")[0] not in changed]
        line = ("-m", HERE, *unchanged, *overrides, f"sweep.confirms={source.id}")
        done = lenet_train(*line, outputs=swept)
        assert done.returncode == 2, done.stderr
        assert named in done.stderr.splitlines()[-1]
    assert len(all_sweeps(swept)) == 1


def test_confirmation_uses_new_split_seeds(ready, main):
    swept = ("activation=tanh,relu", "split_seed=1000,1001")
    succeeded(lenet_train("-m", HERE, *QUICK, *swept, outputs=ready))
    line = printed(main("confirm=90", program="compare"))
    assert any(argument.startswith("split_seed=range(2000,") for argument in line), line


def test_seeds_added_to_finished_sweep_are_reported(swept, compare):
    assert "of 4 runs" not in compare().stdout
    for _ in range(2):  # a rerun has the same design
        assert "4 of 6 runs" in lenet_train(*LINE_WITH_MORE_SEEDS, outputs=swept).stdout
