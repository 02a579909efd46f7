"""A leader is tested against a baseline: one command trains both and reports which is better."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from lenet_exp.api import compose
from lenet_exp.comparison.runs import configuration
from lenet_exp.confirmation.baseline import leader_and_baseline
from lenet_exp.errors import ConfigError
from lenet_exp.folders.job import Job
from lenet_exp.folders.sweep_folder import all_sweeps
from tests.conftest import Cli
from tests.tools.commands import SMALL, Done, lenet_train, refused, succeeded

QUICK = (
    *SMALL,
    "num_epoch=1",
    "dataset.train_size=96",
    "tracking.plots=false",
    "tracking.models=none",
)
LINE = ("-m", "hydra/launcher=basic", *QUICK, "optimizer.lr=0.05,0.02")


@pytest.fixture(scope="module")
def swept(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs folder of two configurations with one seed each."""
    outputs = Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("swept") / "outputs"))
    succeeded(lenet_train(*LINE, outputs=outputs))
    return outputs


@pytest.fixture
def compare(swept: Path, main: Cli, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """`compare("confirm=1")` runs `lenet-compare confirm=1` on the sweep."""
    monkeypatch.setenv("LENET_EXP_OUTPUTS", str(swept))
    return partial(main, program="compare")


@pytest.mark.slow(seconds=6)
def test_command_trains_leader_and_baseline_and_names_the_better(swept, compare):
    (source,) = all_sweeps(swept)
    request = ("confirm=50", "against=optimizer=adam optimizer.lr=0.001", "seeds=3")
    planned = succeeded(compare(*request))
    assert re.search(r"\b3 new seeds\b", planned.stdout)
    (line,) = re.findall(r"^  lenet-train (.*)$", planned.stdout, re.MULTILINE)

    done = succeeded(lenet_train(*shlex.split(line), "hydra/launcher=basic", outputs=swept))

    assert re.search(r"onfirmed on 3 ", done.stdout)
    (test,) = [sweep for sweep in all_sweeps(swept) if sweep.id != source.id]
    jobs = test.jobs()
    # both configurations train each seed before the next seed
    assert [job.config.seed for job in jobs] == [1000, 1000, 1001, 1001, 1002, 1002]
    leader, baseline = jobs[:2]
    assert configuration(leader.config) in [configuration(job.config) for job in source.jobs()]
    # without the swept values
    expected = compose([*QUICK, "optimizer=adam", "optimizer.lr=0.001"])
    assert configuration(baseline.config) == configuration(expected)

    same_request = compare(*request, "run=true")
    assert f"sweep {test.id}" in same_request.stdout  # has already tested this
    other_request = compare("confirm=50", "against=baseline", "seeds=3")
    assert "seed=range(2000,2003)" in other_request.stdout
    assert f"sweep {test.id}" in other_request.stdout  # another test reports the earlier test


REFUSED = {  # arguments: text in the error
    "against=baseline": "confirm=",
    "confirm=1 seeds=2": "seeds=2",
    "confirm=1": "'seed=range(5)'",
    "confirm=1 against=baseline": "seeds=10",
    "confirm=1 seeds=3 against=basline": "against=basline",
    "confirm=1 seeds=3 against=optimizer.lr=0.1,0.2": "optimizer.lr=0.1,0.2",
    "confirm=1 seeds=3 against=optimizer.lrr=1": "optimizer.lr?",
}


@pytest.mark.parametrize("line", REFUSED)
def test_invalid_baseline_is_one_line(line, compare):
    refused(compare(*line.split()), REFUSED[line], program="compare")


def test_baseline_must_differ_and_accept_the_fixed_flags():
    leader = job(["dataset=digits", "optimizer.lr=0.02"], ["optimizer.lr"])
    with pytest.raises(ConfigError, match=r"optimizer.lr=0.02"):
        leader_and_baseline(leader, "optimizer.lr=0.02", None)

    leader = job(
        ["dataset=digits", "optimizer=sgd", "optimizer.dampening=0.5"],
        ["optimizer", "optimizer.dampening"],
    )
    # a keyword that only SGD has
    with pytest.raises(ConfigError, match=r"optimizer.dampening=0.5"):
        leader_and_baseline(leader, "optimizer=adam", None)


def test_dataset_of_swept_recipe_is_kept():
    leader = job(["experiment=fashion_fast"], ["experiment"])
    sides = leader_and_baseline(leader, "baseline", None)
    assert "dataset=fashion_mnist" in sides.fixed
    assert sides.baseline.dataset.name == "fashion_mnist"


def job(overrides: list[str], swept: list[str]) -> Job:
    """Return a job with these overrides, of a sweep over some of their flags."""
    values = dict(override.split("=", 1) for override in overrides)
    swept_values = {flag: values[flag] for flag in swept}
    return Job(
        number=0,
        name="leader",
        swept=swept_values,
        overrides=overrides,
        config=compose(overrides),
        fingerprint="",
        run="",
    )


@pytest.mark.parametrize(
    ("recipe", "leads", "against"),
    [
        (
            [],
            ["optimizer=sgd", "schedule=cosine"],
            ["optimizer=adam", "augmentation=[shift,erase]"],
        ),
        (
            ["experiment=mnist_fast"],
            ["training.ema_decay=null", "optimizer.lr=0.024083732172837803"],
            [],
        ),
    ],
)
def test_flags_of_leader_and_baseline_compose_both_configurations(recipe, leads, against):
    fixed = ["dataset=digits", *recipe]
    swept = [override.partition("=")[0] for override in leads]
    leader = job([*fixed, *leads], swept)
    baseline = compose([*fixed, *against])
    assert configuration(leader.config) != configuration(baseline)

    sides = leader_and_baseline(leader, " ".join(against) or "baseline", None)

    flags_of_leader = []
    flags_of_baseline = []
    for flag, (of_leader, of_baseline) in sides.differing.items():
        flags_of_leader.append(f"{flag}={of_leader}")
        flags_of_baseline.append(f"{flag}={of_baseline}")
    composed_leader = compose([*sides.fixed, *flags_of_leader])
    composed_baseline = compose([*sides.fixed, *flags_of_baseline])
    assert configuration(composed_leader) == configuration(leader.config)
    assert configuration(composed_baseline) == configuration(baseline)
    assert configuration(sides.baseline) == configuration(baseline)
