"""A leader beside what one had before: one line trains both, exactly, and says which is better."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lenet_exp.api import compose
from lenet_exp.comparison.runs import configuration
from lenet_exp.errors import ConfigError
from lenet_exp.folders.job import Job
from lenet_exp.folders.sweep_folder import all_sweeps
from lenet_exp.sweeps.against import beside
from tests.commands import SMALL, lenet_compare, lenet_train

QUICK = (*SMALL, "num_epoch=1", "tracking.plots=false", "tracking.models=none")
LINE = ("-m", "hydra/launcher=basic", *QUICK, "optimizer.lr=0.05,0.02", "activation=tanh,relu")


@pytest.fixture(scope="module")
def swept(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs folder of four configurations with one seed each."""
    outputs = Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("swept") / "outputs"))
    done = lenet_train(*LINE, outputs=outputs)
    assert done.returncode == 0, done.stderr
    return outputs


def test_the_line_trains_the_leader_and_the_baseline_and_says_who_is_ahead(swept):
    (source,) = all_sweeps(swept)
    asked = ("confirm=50", "against=optimizer=adam optimizer.lr=0.001", "seeds=3")
    said = lenet_compare(swept, *asked)
    assert said.returncode == 0, said.stderr
    assert " against optimizer=adam optimizer.lr=0.001: 3 fresh seeds each\n6 runs, about " in said.stdout
    (line,) = re.findall(r"^  lenet-train (.*)$", said.stdout, re.MULTILINE)
    done = lenet_train(*shlex.split(line), "hydra/launcher=basic", outputs=swept)
    assert done.returncode == 0, done.stderr
    test = next(s for s in all_sweeps(swept) if s.id != source.id)
    first, second = test.jobs()[:2]  # both sides have their first seed before one has its second
    assert [job.config.seed for job in test.jobs()] == [1000, 1000, 1001, 1001, 1002, 1002]
    assert configuration(first.config) in [configuration(job.config) for job in source.jobs()]
    assert configuration(second.config) == configuration(
        compose([*QUICK, "optimizer=adam", "optimizer.lr=0.001"])  # nothing of what was swept
    )
    assert re.search(r"^(Not c|C)onfirmed on 3 fresh seeds: ", done.stdout, re.MULTILINE)
    again = lenet_compare(swept, *asked, "run=true")
    assert f"That is the answer of sweep {test.id}." in again.stdout
    other = lenet_compare(swept, "confirm=50", "against=baseline", "seeds=3")
    assert "seed=range(2000,2003)" in other.stdout  # another test, and one more: it says so
    assert f"sweep {test.id} has tested it already, for 50 points" in other.stdout


REFUSED = {
    "against=baseline": "against=baseline: is of a confirmation; allowed with confirm=0.2",
    "seeds=5": "seeds=5: is of a confirmation",
    "confirm=1 seeds=2": "seeds=2: allowed is a whole number >= 3 and <= 1,000",
    "confirm=1": "confirm=1: one seed each tells no spread; the sweep's line again with 'seed=range(5)'",
    "confirm=1 against=baseline": "or seeds=10 says here how many fresh ones to take",
    "confirm=1 seeds=3 against=basline": "against=basline: can't be read; allowed is baseline, or flags in quotes",
    "confirm=1 seeds=3 against=optimizer.lr=0.1,0.2": "takes one value a flag",
    "confirm=1 seeds=3 against=seed=4": "seed=4 makes no other configuration",
    "confirm=1 seeds=3 against=optimizer.lrr=1": "optimizer.lrr: no such flag; did you mean optimizer.lr?",
    "confirm=1 seeds=3 against=optimizer.lr=-1": "optimizer.lr=-1: allowed is > 0",
    "confirm=1 seeds=3 against=activation=nope": "activation=nope",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_can_not_be_held_against_it_is_one_line(line, swept):
    done = lenet_compare(swept, *line.split())
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert REFUSED[line] in done.stderr


def test_a_baseline_that_is_the_leader_is_none():
    leader, own = job(["dataset=digits", "optimizer.lr=0.02"], ["optimizer.lr"]), "optimizer.lr=0.02"
    with pytest.raises(ConfigError, match="is the leader's own configuration"):
        beside(leader, own, None)


def test_a_keyword_of_one_class_alone_that_was_changed_is_said():
    leader = job(["dataset=digits", "optimizer=sgd", "optimizer.dampening=0.5"], ["optimizer", "optimizer.dampening"])
    with pytest.raises(ConfigError, match=r"optimizer.dampening=0.5 is a keyword of one side only"):
        beside(leader, "optimizer=adam", None)


def test_a_data_set_that_a_swept_recipe_had_chosen_stays():
    sides = beside(job(["experiment=fashion_fast"], ["experiment"]), "baseline", None)
    assert "dataset=fashion_mnist" in sides.fixed
    assert sides.baseline.dataset.name == "fashion_mnist"


VALUES = {
    "activation": ["relu", "selu", "leaky_relu"],
    "optimizer": ["sgd", "adam"],
    "optimizer.lr": ["0.1", "0.024083732172837803", "1e-05"],
    "schedule": ["constant", "linear", "cosine"],
    "augmentation": ["none", "shift", "[shift,erase]"],
    "training.ema_decay": ["null", "0.99"],
    "regularization.dropout_rate": ["0.0", "0.25"],
    "batch_size": ["16", "64"],
}
CHOSEN = st.fixed_dictionaries({}, optional={flag: st.sampled_from(values) for flag, values in VALUES.items()})


def job(overrides: list[str], swept: list[str]) -> Job:
    values = dict(o.split("=", 1) for o in overrides)
    return Job(0, "leader", {flag: values[flag] for flag in swept}, overrides, compose(overrides), "", "")


def typed(flags: dict[str, str]) -> list[str]:
    return [f"{flag}={value}" for flag, value in flags.items()]


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([[], ["experiment=mnist_fast"]]), CHOSEN.filter(bool), CHOSEN)
def test_both_sides_are_composed_as_they_were(recipe, leads, against):
    fixed = ["dataset=digits", *recipe]
    try:
        leader = job([*fixed, *typed(leads)], list(leads))
        wanted = configuration(compose([*fixed, *typed(against)]))
    except ConfigError:  # Nesterov with Adam, a warm-up without a schedule: no configuration
        return
    assume(configuration(leader.config) != wanted)
    sides = beside(leader, " ".join(typed(against)) or "baseline", None)
    one, other = ([f"{flag}={pair[side]}" for flag, pair in sides.differing.items()] for side in (0, 1))
    assert configuration(compose([*sides.fixed, *one])) == configuration(leader.config)
    assert configuration(compose([*sides.fixed, *other])) == wanted == configuration(sides.baseline)
