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
from lenet_exp.reports.words.race_words import collapse_note, race_notes
from lenet_exp.reports.words.run_outcomes import AT_CHANCE, COLLAPSED, at_chance, collapsed
from lenet_exp.reports.words.scope import variation

# Learning rates to suggest; they contain good values for SGD and for Adam.
RATES = "0.0003,0.001,0.003,0.01,0.03,0.1"

FRESH_SEEDS = 5  # number of seeds to suggest for a first comparison


def next_step(comparison: Comparison, command: str | None = None) -> str | None:
    """Describe the recommended next step after a comparison, or return None if no step is
    recommended.

    Args:
        command: command that the report shows below the description, which therefore does not
            repeat the command.
    """
    advised = advice(comparison)
    if advised is None:
        return None
    if advised.step in _STEPS_WITHOUT_COMMAND:
        return _step_without_command(comparison, advised)

    step_command = _command_of(advised)
    if step_command == command:
        return f"{_step_with_command(comparison, advised)}:"
    if step_command:
        return f"{_step_with_command(comparison, advised)}: {step_command}"
    one_sweep = "after running all of these configurations in one sweep, which reuses results"
    return f"{_step_with_command(comparison, advised)}, {one_sweep}"


_STEPS_WITHOUT_COMMAND = {NextStep.finish, NextStep.steady, NextStep.seeds}


def _step_without_command(comparison: Comparison, advised: Advice) -> str:
    """Describe a step that changes the command of the compared runs."""
    if advised.step is NextStep.finish:
        same_command = "same command" if advised.sweep else "commands"
        return f"rerun the {same_command} to train the missing runs"
    if advised.step is NextStep.steady:
        return "try a smaller optimizer.lr or training.clip_norm=1 to prevent divergence"
    if comparison.design.can_add_seeds:
        rerun = f"rerun the same command with seeds={FRESH_SEEDS}"
        return f"{rerun} to add seeds to every configuration that could be the best"
    example = f"'seed={_fresh_seeds(comparison)}'"
    return f"train several new seeds to test the differences, for example {example}"


def _step_with_command(comparison: Comparison, advised: Advice) -> str:
    """Describe a step that consists of one command."""
    cost = _cost(advised)
    evaluate = "evaluate the leader on the test images"
    points = points_words(float(advised.points or 0))
    within = points if comparison.metric.percent else advised.points
    steps = {
        NextStep.watch: "wait for the sweep, which is still running",
        NextStep.baseline: (
            f"test the leader against the sweep's command without its searched flags{cost}"
        ),
        NextStep.confirm: f"test the configurations that could be the best on new seeds{cost}",
        NextStep.within: f"to be within {within}, add seeds{cost}",
        NextStep.more_seeds: "raise the limit to add more seeds",
        NextStep.predict: evaluate,
        NextStep.confirmed: f"the lead was confirmed on new seeds; {evaluate}",
        NextStep.scored: "see the test results of the leader, which was confirmed on new seeds",
        NextStep.not_confirmed: f"see the table; a lead of {points} was not confirmed on new seeds",
    }
    return steps[advised.step]


def _cost(advised: Advice) -> str:
    """Return the number of runs and the duration of a step: ` (40 runs, about 12 min)`.

    Empty if the number is unknown.
    """
    if not advised.runs:
        return ""
    runs = number_of(advised.runs, "run")
    if advised.is_least:
        runs = f"at least {runs}"
    if math.isnan(advised.seconds):
        return f" ({runs})"
    seconds = sweep_seconds(advised.seconds, advised.runs)
    return f" ({runs}, about {duration(seconds)})"


def next_command(comparison: Comparison, command: str | None) -> str | None:
    """Return the complete command for the next step, or None if the step is not a single command.

    Args:
        command: command that created the runs, quoted for a shell; None if the runs are not from a
            single sweep.
    """
    advised = advice(comparison)
    if advised is None or command is None:
        return None

    if advised.step is NextStep.finish:
        return command
    if advised.step is NextStep.steady:
        already_clips = "training.clip_norm=" in command
        return None if already_clips else _with(command, "training.clip_norm=1")
    if advised.step is NextStep.seeds:
        if comparison.design.can_add_seeds:
            return _with(command, f"seeds={FRESH_SEEDS}")
        return _with(command, f"seed={_fresh_seeds(comparison)}")
    return _command_of(advised) or None


def notes(comparison: Comparison) -> list[str]:
    """Return the caveats of a comparison: the sources of variation and the effects that it does not
    account for.
    """
    leader = comparison.leader
    if leader is None or len(comparison.groups) < 2:
        return []
    lines = [variation(comparison, leader), *cautions(comparison)]
    if comparison.race is not None:
        collapse = collapse_note(comparison.race)
        lines += [] if collapse is None else [collapse]
    return lines


def cautions(comparison: Comparison) -> list[str]:
    """Return the notes that affect how to read the verdict: on parts, chance level, intervals, and
    epochs.
    """
    lines = []
    if comparison.race is not None:
        lines += race_notes(comparison, comparison.race)
    if comparison.design.omits_added_seeds:
        lines.append("of a sweep with sweep.within, only the listed seeds are compared")
    leads = [lead for lead in comparison.leads if lead is not None]
    if isinstance(comparison, PartOfComparison) and any(lead.test != "none" for lead in leads):
        num_groups = len(comparison.whole.groups)
        lines.append(f"the tests are corrected for all {num_groups} configurations")
    if any(map(at_chance, comparison.groups)):
        lines.append(f"at chance: {AT_CHANCE}")
    if any(map(collapsed, comparison.groups)):
        lines.append(f"collapsed: {COLLAPSED}")
    if _has_one_rate_per_optimizer(comparison):
        lines.append(
            "each optimizer was trained with one learning rate, so this compares the rates, too; "
            f"for a fair comparison, sweep optimizer.lr={RATES} as well, "
            "and set best_per=optimizer"
        )
    if _compares_best_of_different_lengths(comparison):
        lines.append(
            "num_epoch differs, and training longer increases the best accuracy by chance; "
            "to compare the accuracies after the last epoch, set by=last"
        )
    return lines


def _compares_best_of_different_lengths(comparison: Comparison) -> bool:
    """Return whether best epochs are compared, although some runs chose among more epochs."""
    lengths = {group.flags.get("num_epoch") for group in comparison.groups}
    return len(lengths) > 1 and comparison.epoch is EpochChoice.best


def _has_one_rate_per_optimizer(comparison: Comparison) -> bool:
    """Return whether a comparison compares several optimizers, each with a single learning rate.

    The result is False for a part of a comparison and for a confirmation, whose rates were chosen
    from several.
    """
    if comparison.part or comparison.design.confirms is not None:
        return False

    rates: dict[str, set[str]] = {}  # keyed by optimizer
    for group in comparison.groups:
        rates.setdefault(group.value("optimizer"), set()).add(group.value("optimizer.lr"))
    has_one_rate = all(len(values) == 1 for values in rates.values())
    return len(rates) > 1 and has_one_rate


def _command_of(advised: Advice) -> str:
    """Return the command for a recommended step.

    Return an empty string if the command is the same as that of the sweep, or if the step does not
    concern exactly one sweep.
    """
    if not advised.sweep:
        return ""

    sweep = f"sweep={advised.sweep}"
    resume = f"lenet-train -m sweep.resume={advised.sweep}"
    confirm = f"lenet-compare {sweep} confirm={advised.points}"
    commands = {
        NextStep.watch: f"lenet-sweep watch {sweep}",
        NextStep.baseline: f"{confirm} against=baseline",
        NextStep.confirm: confirm,
        NextStep.within: f"{resume} sweep.within={advised.points}",
        NextStep.more_seeds: f"{resume} {advised.limit}",
        NextStep.predict: f"lenet-predict {sweep}",
        NextStep.confirmed: f"lenet-predict {sweep}",
        NextStep.scored: f"lenet-compare {sweep}",
        NextStep.not_confirmed: f"lenet-compare {sweep}",
    }
    return commands.get(advised.step, "")


def _with(command: str, override: str) -> str:
    """Return a command with an additional override, which replaces the previous value of the same
    flag.
    """
    key, _, _ = override.partition("=")
    words = []
    for word in shlex.split(command):
        word_key, _, _ = word.partition("=")
        if word_key.lstrip("+") != key:
            words.append(word)
    return shlex.join([*words, override])


def _fresh_seeds(comparison: Comparison) -> str:
    """Return seeds that no compared run has, such as `range(3,8)`."""
    first = 1 + max(run.seed for group in comparison.groups for run in group.runs)
    return f"range({first},{first + FRESH_SEEDS})"
