"""A search's decisions depend only on its events, so a restarted process makes the same
decisions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from lenet_exp.config.schema import Objective, PrunerName, SamplerName, Search
from lenet_exp.config.space import Flag, flag_of
from lenet_exp.errors import ConfigError
from lenet_exp.folders.records import Outcome
from lenet_exp.searches.sampling import check_installed
from lenet_exp.searches.trials import MOST_TOO_LARGE, Choose, TooLarge, Trials

EPOCHS = 9
SEARCH = Search(SamplerName.tpe, {}, PrunerName.asha, {}, Objective.accuracy, 0, None)
LISTS = ["n=range(1,4)", "c=a,b"]


def flags(*lines: str) -> list[Flag]:
    check_installed()
    return [flag_of(o, {"c"}) for o in OverridesParser.create().parse_overrides(list(lines))]


SPACE = ["x=interval(-1,1)", "y=tag(log,interval(1e-3,1))", *LISTS]


def draw(choose: Choose, space: list[Flag]) -> dict[str, str]:
    """Draw a configuration; `y` exists only with c=a."""
    values = {flag.name: flag.values.text(choose(flag)) for flag in space if flag.name != "y"}
    return values | {
        f.name: f.values.text(choose(f)) for f in space if f.name == "y" and values["c"] == "a"
    }


def accuracy(values: dict[str, Any], epoch: int) -> float:
    """Return a synthetic accuracy, which is highest at x=0, c=a, y=0.03 and increases with each
    epoch.
    """
    x, y = float(values.get("x", 0)), float(values.get("y", 1))
    return 0.9 - 0.3 * x * x - 0.2 * abs(y - 0.03) - 0.3 / epoch - 0.01 * int(values["n"])


def searched(
    search: Search, space: list[Flag], n: int, interrupted: Callable[[int], bool]
) -> list[Any]:
    """Run `n` trials sequentially; if `interrupted`, restart from the stored trials."""
    trials, events = Trials("made up", search, space, EPOCHS), 0

    def again() -> bool:
        nonlocal trials, events
        events += 1
        if interrupted(events):
            trials = Trials("made up", search, space, EPOCHS, trials.all())
            return True
        return False

    while len(trials) < n or trials.running():
        running = trials.running()
        if running:
            number = running[0]
        else:
            number = trials.ask(lambda choose: draw(choose, space))[1].number
            again()
        values = trials.all()[number].params
        for epoch in range(1, EPOCHS):
            pruned = trials.report(number, epoch, accuracy(values, epoch))
            if again():
                break
            if pruned:
                trials.end(number, Outcome.pruned, None)
                break
        else:
            trials.end(number, Outcome.finished, accuracy(values, EPOCHS))
            again()
    return [(t.number, t.params, t.state, t.value, t.intermediate_values) for t in trials.all()]


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        (SamplerName.tpe, PrunerName.asha),
        (SamplerName.random, PrunerName.hyperband),
        (SamplerName.qmc, PrunerName.median),
        pytest.param(SamplerName.gp, PrunerName.none, marks=pytest.mark.by_hand),
    ],
)
def test_repeatedly_interrupted_search_has_same_trials(sampler, pruner):
    search, space = replace(SEARCH, sampler=sampler, pruner=pruner), flags(*SPACE)
    calm = searched(search, space, 14, lambda event: False)
    assert searched(search, space, 14, lambda event: event % 13 == 3) == calm
    assert any(len(curve) < EPOCHS - 1 for *_, curve in calm) == (pruner is not PrunerName.none)
    assert len({str(params) for _, params, *_ in calm}) == 14
    assert (
        searched(replace(search, seed=1), space, 2, lambda event: False) != calm[:2]
        or sampler is SamplerName.qmc
    )


def test_first_trial_is_baseline_and_sampler_draws_others():
    space, baseline = flags(*SPACE), {"x": 0.25, "n": 2, "c": "b"}  # y has no effect with b
    trials = Trials("made up", SEARCH, space, EPOCHS, baseline=baseline)
    values, first = trials.ask(lambda choose: draw(choose, space))
    assert (first.number, first.params, values) == (0, baseline, {"x": "0.25", "n": "2", "c": "b"})
    for again in (
        trials,
        Trials("made up", SEARCH, space, EPOCHS, trials.all(), baseline=baseline),
    ):
        _, second = again.ask(lambda choose: draw(choose, space))
        assert (second.number, second.params != baseline) == (1, True)
    assert [t.params for t in trials.all()] == [t.params for t in again.all()]
    picky = Trials("made up", SEARCH, space, EPOCHS, baseline=baseline)
    _, drawn = picky.ask(
        lambda choose: draw(choose, space), is_repeated=lambda values: values["x"] == "0.25"
    )
    assert (drawn.number, drawn.params["x"] != 0.25) == (0, True)


def test_grid_is_searched_once():
    search, space = replace(SEARCH, sampler=SamplerName.grid, pruner=PrunerName.none), flags(*LISTS)
    trials = Trials("made up", search, space, EPOCHS)
    found = []
    while not trials.exhausted():
        values, trial = trials.ask(lambda choose: draw(choose, space))
        found.append(tuple(values.values()))
        trials.end(trial.number, Outcome.finished, 0.5)
    assert sorted(found) == sorted((str(n), c) for n in (1, 2, 3) for c in "ab")


def test_resumed_trial_is_not_pruned_at_passed_epoch():
    options = {"min_resource": 1, "reduction_factor": 4}
    search = replace(SEARCH, sampler=SamplerName.random, pruner_options=options)
    trials = Trials("made up", search, flags(*SPACE), EPOCHS)
    (first, *others) = (
        trials.ask(lambda choose: draw(choose, flags(*SPACE)))[1].number for _ in range(6)
    )
    assert not any(trials.report(first, epoch, 0.5) for epoch in (1, 2, 3))
    for number in others:  # better trials that finish first
        for epoch in range(1, EPOCHS):
            trials.report(number, epoch, 0.9)
        trials.end(number, Outcome.finished, 0.9)
    again = Trials("made up", search, flags(*SPACE), EPOCHS, trials.all())
    assert [again.report(first, epoch, 0.5) for epoch in (1, 2, 3)] == [False] * 3
    assert again.report(first, 4, 0.5)  # a rung of ASHA, where the trial is compared


@pytest.mark.parametrize("pruner", [PrunerName.asha, PrunerName.median])
def test_pruner_starts_at_default_or_requested_epoch(pruner):
    begins = "n_warmup_steps" if pruner is PrunerName.median else "min_resource"

    def first_pruned(options: dict[str, Any], first: int) -> int:
        search = replace(SEARCH, pruner=pruner, pruner_options=options)
        trials, found = Trials("made up", search, flags(*SPACE), EPOCHS, first_pruned=first), EPOCHS
        for number in range(20):  # each trial is worse than the previous trial
            trials.ask(lambda choose: draw(choose, flags(*SPACE)))
            for epoch in range(1, EPOCHS):
                if trials.report(number, epoch, 0.9 - 0.01 * number):
                    found = min(found, epoch)
            trials.end(number, Outcome.finished, 0.9 - 0.01 * number)
        return found

    half = (EPOCHS + 1) // 2
    assert [first_pruned({}, first) for first in (1, 3, 7)] == (
        [half, half, 7] if pruner is PrunerName.asha else [1, 3, 7]
    )
    assert [first_pruned({begins: 2}, first) for first in (1, 3)] == [2, 2]


def test_diverged_trial_has_worst_value_and_failed_trial_has_none():
    for objective, worst in ((Objective.accuracy, 0.0), (Objective.loss, float("inf"))):
        trials = Trials("made up", replace(SEARCH, objective=objective), flags(*SPACE), EPOCHS)
        for outcome, value in (
            (Outcome.diverged, None),
            (Outcome.failed, None),
            (Outcome.finished, 0.3),
        ):
            number = trials.ask(lambda choose: draw(choose, flags(*SPACE)))[1].number
            assert trials.best() is None
            trials.end(number, outcome, value)
        assert [t.value for t in trials.all()] == [worst, None, 0.3]
        best = trials.best()
        assert best is not None
        assert best.number == 2


def test_incompatible_values_are_drawn_again():
    space = flags(*SPACE)

    def picky(choose: Choose) -> dict[str, str]:
        values = draw(choose, space)
        if values["c"] == "b":
            raise ConfigError("b goes with nothing")
        return values

    trials = Trials("made up", SEARCH, space, EPOCHS)
    for _ in range(6):
        values, trial = trials.ask(picky)
        assert trial.params["c"] == values["c"] == "a"
        trials.end(trial.number, Outcome.finished, 0.5)
    assert [t.number for t in trials.all()] == list(range(6))


@pytest.mark.parametrize("sampler", [SamplerName.tpe, SamplerName.grid])
def test_too_large_networks_are_no_trials_and_exhaust_search(sampler):
    space, drawn = flags("n=range(1,9)"), []

    def make(choose: Choose) -> int:
        drawn.append(int(space[0].values.text(choose(space[0]))))
        if drawn[-1] > limit:
            raise TooLarge(limit, drawn[-1])
        return drawn[-1]

    limit, search = 3, replace(SEARCH, sampler=sampler)
    trials, made = Trials("made up", search, space, EPOCHS), set()
    for n in range(3):
        value, trial = trials.ask(make, is_repeated=made.__contains__)
        made.add(value)
        assert trial.number == n
        trials.end(n, Outcome.finished, 0.1 * value)
    assert made == {1, 2, 3}
    limit = 0
    with pytest.raises(TooLarge):
        trials.ask(make)
    assert len(drawn) > MOST_TOO_LARGE or set(drawn) == set(range(1, 9))
    assert trials.exhausted() is (sampler is SamplerName.grid)
    assert len(trials) == 3


@pytest.mark.parametrize("sampler", [SamplerName.tpe, SamplerName.qmc])
def test_configurations_are_repeated_only_if_few_remain(sampler):
    """Rejected draws affect neither the trial numbers nor the draws of a restarted process."""
    space, found = flags("n=range(1,6)", "m=range(0,8)"), []

    def make(choose: Choose) -> tuple[str, ...]:
        return tuple(flag.values.text(choose(flag)) for flag in space)

    trials = Trials("made up", replace(SEARCH, sampler=sampler), space, EPOCHS)
    for n in range(34):
        if n % 5 == 0:  # killed
            trials = Trials(
                "made up", replace(SEARCH, sampler=sampler), space, EPOCHS, trials.all()
            )
        values, trial = trials.ask(make, is_repeated=found.__contains__)
        found.append(values)
        assert trial.number == n
        trials.end(n, Outcome.finished, 0.1 * int(values[0]))
    assert len(set(found[:20])) == 20
    assert len(set(found)) >= 32
    assert [t.number for t in trials.all()] == list(range(34))
    assert {t.state.name for t in trials.all()} == {"COMPLETE"}
    trials.ask(
        make, is_repeated=lambda values: True
    )  # returns although every configuration is known


WRONG = {
    ("sampler", "n_startup_trails", 3): "n_startup_trials?",
    ("sampler", "seed", 3): "seed",
    ("pruner", "reduction_factor", 1): "reduction_factor >= 2",
    ("pruner", "min_resource", "auto"): "number",
}


@pytest.mark.parametrize(("which", "name", "value"), WRONG)
def test_invalid_sampler_or_pruner_option_is_refused(which, name, value):
    with pytest.raises(ConfigError) as refused:
        Trials(
            "made up", replace(SEARCH, **{f"{which}_options": {name: value}}), flags(*SPACE), EPOCHS
        )
    assert WRONG[which, name, value].lower() in str(refused.value).lower()
    assert f"search.{which}_options.{name}={value}" in str(refused.value)


def test_grid_sampler_refuses_interval():
    with pytest.raises(ConfigError, match=r"x=interval\(-1,1\)"):
        Trials("made up", replace(SEARCH, sampler=SamplerName.grid), flags(*SPACE), EPOCHS)
