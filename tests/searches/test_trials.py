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


SPACE = ["x=interval(-1,1)", "y=tag(log,interval(1e-3,1))", *LISTS]


def flags(*lines: str) -> list[Flag]:
    check_installed()
    overrides = OverridesParser.create().parse_overrides(list(lines))
    return [flag_of(override, {"c"}) for override in overrides]


def new_trials(search: Search = SEARCH, **options: Any) -> Trials:
    """Return a search over `SPACE` without trials."""
    return Trials("made up", search, flags(*SPACE), EPOCHS, **options)


def restarted(
    trials: Trials, search: Search = SEARCH, space: list[Flag] | None = None, **options: Any
) -> Trials:
    """Return the search of a new process that has read the stored trials."""
    return Trials("made up", search, space or flags(*SPACE), EPOCHS, trials.all(), **options)


def draw(choose: Choose, space: list[Flag]) -> dict[str, str]:
    """Draw a configuration; `y` exists only with c=a."""
    values = {flag.name: flag.values.text(choose(flag)) for flag in space if flag.name != "y"}
    for flag in space:
        if flag.name == "y" and values["c"] == "a":
            values["y"] = flag.values.text(choose(flag))
    return values


def draw_from_space(choose: Choose) -> dict[str, str]:
    return draw(choose, flags(*SPACE))


def accuracy(values: dict[str, Any], epoch: int) -> float:
    """Return a synthetic accuracy, which is highest at x=0, c=a, y=0.03 and increases with each
    epoch.
    """
    x = float(values.get("x", 0))
    y = float(values.get("y", 1))
    return 0.9 - 0.3 * x * x - 0.2 * abs(y - 0.03) - 0.3 / epoch - 0.01 * int(values["n"])


def searched(
    search: Search, space: list[Flag], n: int, interrupted: Callable[[int], bool]
) -> list[Any]:
    """Run `n` trials sequentially; if `interrupted`, restart from the stored trials."""
    trials = Trials("made up", search, space, EPOCHS)
    events = 0

    def restart_if_interrupted() -> bool:
        nonlocal trials, events
        events += 1
        if interrupted(events):
            trials = restarted(trials, search, space)
            return True
        return False

    while len(trials) < n or trials.running():
        running = trials.running()
        if running:
            number = running[0]
        else:
            _, trial = trials.ask(lambda choose: draw(choose, space))
            number = trial.number
            restart_if_interrupted()
        values = trials.all()[number].params
        for epoch in range(1, EPOCHS):
            pruned = trials.report(number, epoch, accuracy(values, epoch))
            if restart_if_interrupted():
                break
            if pruned:
                trials.end(number, Outcome.pruned, None)
                break
        else:
            trials.end(number, Outcome.finished, accuracy(values, EPOCHS))
            restart_if_interrupted()
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
    search = replace(SEARCH, sampler=sampler, pruner=pruner)
    space = flags(*SPACE)

    calm = searched(search, space, 14, lambda event: False)
    interrupted = searched(search, space, 14, lambda event: event % 13 == 3)
    two_with_other_seed = searched(replace(search, seed=1), space, 2, lambda event: False)

    assert interrupted == calm
    has_pruned = any(len(curve) < EPOCHS - 1 for *_, curve in calm)
    assert has_pruned == (pruner is not PrunerName.none)
    assert len({str(params) for _, params, *_ in calm}) == 14
    assert two_with_other_seed != calm[:2] or sampler is SamplerName.qmc


def test_first_trial_is_baseline_and_sampler_draws_others():
    baseline = {"x": 0.25, "n": 2, "c": "b"}  # y has no effect with b
    trials = new_trials(baseline=baseline)
    values, first = trials.ask(draw_from_space)
    assert first.number == 0
    assert first.params == baseline
    assert values == {"x": "0.25", "n": "2", "c": "b"}

    after_restart = restarted(trials, baseline=baseline)
    for same in (trials, after_restart):
        _, second = same.ask(draw_from_space)
        assert second.number == 1
        assert second.params != baseline
    assert [t.params for t in trials.all()] == [t.params for t in after_restart.all()]

    rejecting = new_trials(baseline=baseline)
    _, drawn = rejecting.ask(draw_from_space, is_repeated=lambda values: values["x"] == "0.25")
    assert drawn.number == 0
    assert drawn.params["x"] != 0.25


def test_grid_is_searched_once():
    search = replace(SEARCH, sampler=SamplerName.grid, pruner=PrunerName.none)
    space = flags(*LISTS)
    trials = Trials("made up", search, space, EPOCHS)

    drawn = []
    while not trials.exhausted():
        values, trial = trials.ask(lambda choose: draw(choose, space))
        drawn.append(tuple(values.values()))
        trials.end(trial.number, Outcome.finished, 0.5)

    grid = [(str(n), c) for n in (1, 2, 3) for c in "ab"]
    assert sorted(drawn) == sorted(grid)


def test_resumed_trial_is_not_pruned_at_passed_epoch():
    options = {"min_resource": 1, "reduction_factor": 4}
    search = replace(SEARCH, sampler=SamplerName.random, pruner_options=options)
    trials = new_trials(search)
    numbers = []
    for _ in range(6):
        _, trial = trials.ask(draw_from_space)
        numbers.append(trial.number)
    first, *others = numbers
    assert not any(trials.report(first, epoch, 0.5) for epoch in (1, 2, 3))
    for number in others:  # better trials that finish first
        for epoch in range(1, EPOCHS):
            trials.report(number, epoch, 0.9)
        trials.end(number, Outcome.finished, 0.9)

    after_restart = restarted(trials, search)

    for epoch in (1, 2, 3):
        assert after_restart.report(first, epoch, 0.5) is False
    assert after_restart.report(first, 4, 0.5)  # a rung of ASHA, where the trial is compared


@pytest.mark.parametrize("pruner", [PrunerName.asha, PrunerName.median])
def test_pruner_starts_at_default_or_requested_epoch(pruner):
    def first_pruned_epoch(options: dict[str, Any], earliest: int) -> int:
        search = replace(SEARCH, pruner=pruner, pruner_options=options)
        trials = new_trials(search, first_pruned=earliest)
        pruned_epochs = [EPOCHS]
        for number in range(20):  # each trial is worse than the previous trial
            trials.ask(draw_from_space)
            for epoch in range(1, EPOCHS):
                if trials.report(number, epoch, 0.9 - 0.01 * number):
                    pruned_epochs.append(epoch)
            trials.end(number, Outcome.finished, 0.9 - 0.01 * number)
        return min(pruned_epochs)

    if pruner is PrunerName.asha:
        option = "min_resource"
        half = (EPOCHS + 1) // 2
        defaults = [half, half, 7]
    else:
        option = "n_warmup_steps"
        defaults = [1, 3, 7]

    assert [first_pruned_epoch({}, earliest) for earliest in (1, 3, 7)] == defaults
    assert [first_pruned_epoch({option: 2}, earliest) for earliest in (1, 3)] == [2, 2]


def test_diverged_trial_has_worst_value_and_failed_trial_has_none():
    for objective, worst in ((Objective.accuracy, 0.0), (Objective.loss, float("inf"))):
        trials = new_trials(replace(SEARCH, objective=objective))
        for outcome, value in (
            (Outcome.diverged, None),
            (Outcome.failed, None),
            (Outcome.finished, 0.3),
        ):
            _, trial = trials.ask(draw_from_space)
            assert trials.best() is None
            trials.end(trial.number, outcome, value)
        assert [trial.value for trial in trials.all()] == [worst, None, 0.3]
        best = trials.best()
        assert best is not None
        assert best.number == 2


def test_incompatible_values_are_drawn_again():
    def draw_only_a(choose: Choose) -> dict[str, str]:
        values = draw_from_space(choose)
        if values["c"] == "b":
            raise ConfigError("b goes with nothing")
        return values

    trials = new_trials()
    for _ in range(6):
        values, trial = trials.ask(draw_only_a)
        assert values["c"] == "a"
        assert trial.params["c"] == "a"
        trials.end(trial.number, Outcome.finished, 0.5)
    assert [trial.number for trial in trials.all()] == list(range(6))


@pytest.mark.parametrize("sampler", [SamplerName.tpe, SamplerName.grid])
def test_too_large_networks_are_no_trials_and_exhaust_search(sampler):
    space = flags("n=range(1,9)")
    (flag,) = space
    sizes_drawn = []
    largest = 3

    def draw_size(choose: Choose) -> int:
        size = int(flag.values.text(choose(flag)))
        sizes_drawn.append(size)
        if size > largest:
            raise TooLarge(largest, size)
        return size

    trials = Trials("made up", replace(SEARCH, sampler=sampler), space, EPOCHS)
    sizes: set[int] = set()
    for n in range(3):
        size, trial = trials.ask(draw_size, is_repeated=sizes.__contains__)
        sizes.add(size)
        assert trial.number == n
        trials.end(n, Outcome.finished, 0.1 * size)
    assert sizes == {1, 2, 3}

    largest = 0
    with pytest.raises(TooLarge):
        trials.ask(draw_size)

    assert len(sizes_drawn) > MOST_TOO_LARGE or set(sizes_drawn) == set(range(1, 9))
    assert trials.exhausted() is (sampler is SamplerName.grid)
    assert len(trials) == 3


@pytest.mark.parametrize("sampler", [SamplerName.tpe, SamplerName.qmc])
def test_configurations_are_repeated_only_if_few_remain(sampler):
    """Rejected draws affect neither the trial numbers nor the draws of a restarted process."""
    search = replace(SEARCH, sampler=sampler)
    space = flags("n=range(1,6)", "m=range(0,8)")  # 40 configurations

    def draw_both(choose: Choose) -> tuple[str, ...]:
        return tuple(flag.values.text(choose(flag)) for flag in space)

    trials = Trials("made up", search, space, EPOCHS)
    configurations = []
    for n in range(34):
        if n % 5 == 0:  # killed
            trials = restarted(trials, search, space)
        values, trial = trials.ask(draw_both, is_repeated=configurations.__contains__)
        configurations.append(values)
        assert trial.number == n
        trials.end(n, Outcome.finished, 0.1 * int(values[0]))

    assert len(set(configurations[:20])) == 20
    assert len(set(configurations)) >= 32
    assert [trial.number for trial in trials.all()] == list(range(34))
    assert {trial.state.name for trial in trials.all()} == {"COMPLETE"}
    # returns although every configuration is known
    trials.ask(draw_both, is_repeated=lambda values: True)


WRONG = {
    ("sampler", "n_startup_trails", 3): "n_startup_trials?",
    ("sampler", "seed", 3): "seed",
    ("pruner", "reduction_factor", 1): "reduction_factor >= 2",
    ("pruner", "min_resource", "auto"): "number",
}


@pytest.mark.parametrize(("which", "name", "value"), WRONG)
def test_invalid_sampler_or_pruner_option_is_refused(which, name, value):
    search = replace(SEARCH, **{f"{which}_options": {name: value}})
    with pytest.raises(ConfigError) as refused:
        new_trials(search)
    message = str(refused.value)
    assert WRONG[which, name, value].lower() in message.lower()
    assert f"search.{which}_options.{name}={value}" in message


def test_grid_sampler_refuses_interval():
    with pytest.raises(ConfigError, match=r"x=interval\(-1,1\)"):
        new_trials(replace(SEARCH, sampler=SamplerName.grid))
