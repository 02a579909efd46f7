"""The recommended next step after a comparison, and the comparison's caveats, as text."""

from __future__ import annotations

import math
import shlex

from lenet_exp.amounts import duration, number_of
from lenet_exp.comparison.advice import Advice, NextStep, advice
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.part import PartOfComparison
from lenet_exp.config.schema import EpochChoice
from lenet_exp.folders.sweep_progress import sweep_seconds
from lenet_exp.reports.words.formatting import points_words
from lenet_exp.reports.words.run_outcomes import AT_CHANCE, COLLAPSED, at_chance, collapsed
from lenet_exp.reports.words.scope import variation

RATES = "0.0003,0.001,0.003,0.01,0.03,0.1"  # they contain good values for SGD and for Adam
FRESH = 5  # number of seeds to suggest for a first comparison


def next_step(comparison: Comparison, command: str | None = None) -> str | None:
    """Describe the recommended next step after a comparison, or return None if no step is
    recommended.

    Args:
        command: command that the report shows below the description, which therefore does not
            repeat the command.
    """
    found = advice(comparison)
    if found is None:
        return None
    typed = _typed(found)
    how = (
        f": {typed}"
        if typed
        else ", after running all of these configurations in one sweep, which reuses results"
    )
    how = ":" if typed == command else how
    cost = ""
    if found.runs:
        took = (
            ""
            if math.isnan(found.seconds)
            else f", about {duration(sweep_seconds(found.seconds, found.runs))}"
        )
        cost = f" ({number_of(found.runs, 'run')}{took})"
    several = f"train several new seeds to test the differences, for example 'seed={_fresh_seeds(comparison)}'"
    further = f"rerun the same command with seeds={FRESH} to add seeds to every configuration that could be the best"
    test_images = f"evaluate the leader on the test images{how}"
    lost = f"a lead of {points_words(float(found.points or 0))}"
    return {
        NextStep.watch: f"wait for the sweep, which is still running{how}",
        NextStep.finish: f"rerun the {'same command' if found.sweep else 'commands'} to train the missing runs",
        NextStep.steady: "try a smaller optimizer.lr or training.clip_norm=1 to prevent divergence",
        NextStep.seeds: further if comparison.design.searched else several,
        NextStep.baseline: f"test the leader against the sweep's command without its searched flags{cost}{how}",
        NextStep.confirm: f"test the configurations that could be the best on new seeds{cost}{how}",
        NextStep.confirm_winner: f"the lead is biased upward; confirm it on new seeds{cost}{how}",
        NextStep.predict: test_images,
        NextStep.confirmed: f"the lead was confirmed on new seeds; {test_images}",
        NextStep.scored: f"see the test results of the leader, which was confirmed on new seeds{how}",
        NextStep.not_confirmed: f"see the table; {lost} was not confirmed on new seeds{how}",
    }[found.step]


def next_command(comparison: Comparison, command: str | None) -> str | None:
    """Return the complete command for the next step, or None if the step is not a single command.

    Args:
        command: command that created the runs, quoted for a shell; None if the runs are not from a
            single sweep.
    """
    found = advice(comparison)
    if found is None or command is None:
        return None
    if found.step is NextStep.finish:
        return command
    if found.step is NextStep.steady:
        return None if "training.clip_norm=" in command else _with(command, "training.clip_norm=1")
    if found.step is NextStep.seeds:
        seeds = (
            f"seeds={FRESH}" if comparison.design.searched else f"seed={_fresh_seeds(comparison)}"
        )
        return _with(command, seeds)
    return _typed(found) or None


def notes(comparison: Comparison) -> list[str]:
    """Return the caveats of a comparison: the sources of variation and the effects that it does not
    account for.
    """
    leader = comparison.leader
    if leader is None or len(comparison.groups) < 2:
        return []
    return [variation(comparison, leader), *cautions(comparison)]


def cautions(comparison: Comparison) -> list[str]:
    """Return the notes that affect how to read the verdict: on parts, chance level, intervals, and
    epochs.
    """
    found = []
    if isinstance(comparison, PartOfComparison) and any(
        lead and lead.test != "none" for lead in comparison.leads
    ):
        found.append(
            f"the tests are corrected for all {len(comparison.whole.groups)} configurations"
        )
    found += [f"at chance: {AT_CHANCE}"] if any(map(at_chance, comparison.groups)) else []
    if any(map(collapsed, comparison.groups)):
        found.append(f"collapsed: {COLLAPSED}")
    if _has_one_rate_per_optimizer(comparison):
        found.append(
            "each optimizer was trained with one learning rate, so this compares the rates, too; for a fair "
            f"comparison, sweep optimizer.lr={RATES} as well, and set best_per=optimizer"
        )
    if any(
        lead is not None and lead.ahead and lead.low <= 0 and lead.shown
        for lead in comparison.leads
    ):
        why = "because the tests are more powerful than the intervals"
        found.append(f"a configuration can be behind although its interval contains 0, {why}")
    if (
        len({g.flags.get("num_epoch") for g in comparison.groups}) > 1
        and comparison.epoch is EpochChoice.best
    ):
        found.append(
            "num_epoch differs, and training longer increases the best accuracy by chance; "
            "to compare the accuracies after the last epoch, set by=last"
        )
    return found


def _has_one_rate_per_optimizer(comparison: Comparison) -> bool:
    """Return whether a comparison compares several optimizers, each with a single learning rate.

    The result is False for a part of a comparison and for a confirmation, whose rates were chosen
    from several.
    """
    if comparison.part or comparison.design.confirms is not None:
        return False
    rates: dict[str, set[str]] = {}
    for group in comparison.groups:
        rates.setdefault(group.value("optimizer"), set()).add(group.value("optimizer.lr"))
    return len(rates) > 1 and all(len(values) == 1 for values in rates.values())


def _typed(found: Advice) -> str:
    """Return the command for a recommended step.

    Return an empty string if the command is the same as that of the sweep, or if the step does not
    concern exactly one sweep.
    """
    confirm = f"lenet-compare sweep={found.sweep} confirm={found.points}"
    commands = {
        NextStep.watch: f"lenet-sweep watch sweep={found.sweep}",
        NextStep.baseline: f"{confirm} against=baseline",
        NextStep.confirm: confirm,
        NextStep.confirm_winner: confirm,
        NextStep.predict: f"lenet-predict sweep={found.sweep}",
        NextStep.confirmed: f"lenet-predict sweep={found.sweep}",
        NextStep.scored: f"lenet-compare sweep={found.sweep}",
        NextStep.not_confirmed: f"lenet-compare sweep={found.sweep}",
    }
    return commands.get(found.step, "") if found.sweep else ""


def _with(command: str, override: str) -> str:
    """Return a command with an additional override, which replaces the previous value of the same
    flag.
    """
    key = override.partition("=")[0]
    words = [word for word in shlex.split(command) if word.partition("=")[0].lstrip("+") != key]
    return shlex.join([*words, override])


def _fresh_seeds(comparison: Comparison) -> str:
    first = 1 + max(run.seed for g in comparison.groups for run in g.runs)
    return f"range({first},{first + FRESH})"
