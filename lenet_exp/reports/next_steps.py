"""The next step after a comparison, and its caveats, as text."""

from __future__ import annotations

import math
import shlex

from lenet_exp.amounts import number_of
from lenet_exp.comparison.advice import Advice, NextStep, advice
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import CompareBy, Group
from lenet_exp.reports.phrases import percent

FRESH = 5  # seeds to suggest for a first comparison


def next_step(comparison: Comparison) -> str | None:
    """Return the next step; None if there is none."""
    found = advice(comparison)
    if found is None:
        return None
    typed = _typed(found)
    how = f": {typed}" if typed else ", once one sweep has tried all of these"
    searched = comparison.design is not None and comparison.design.searched
    several = f"several seeds would tell, five for instance: 'seed={_fresh_seeds(comparison)}'"
    further = f"the same line with seeds={FRESH} gives further seeds to all that may be the best"
    test_images = f"what it gets right of the test images{how}"
    return {
        NextStep.watch: f"it is still running{how}",
        NextStep.finish: "the same line again trains what is missing",
        NextStep.steady: "a smaller optimizer.lr or training.clip_norm=1 may keep them from diverging",
        NextStep.seeds: further if searched else several,
        NextStep.baseline: f"whether it is better than what the line trains without what it searched{how}",
        NextStep.confirm: f"confirm the lead on new seeds{how}",
        NextStep.confirm_winner: f"the winner's lead is biased upwards; confirm it on new seeds{how}",
        NextStep.predict: test_images,
        NextStep.confirmed: f"it was confirmed on new seeds; {test_images}",
        NextStep.scored: f"the leader was confirmed on new seeds and has a test result{how}",
        NextStep.not_confirmed: f"not confirmed on new seeds to be better by {found.points} points{how}",
    }[found.step]


def next_command(comparison: Comparison, command: str | None) -> str | None:
    """Return the complete command of the next step; None if no single command does it.

    Args:
        command: the command that made the runs, quoted for a shell; None if it was not one sweep.
    """
    found = advice(comparison)
    if found is None or command is None:
        return None
    if found.step is NextStep.finish:
        return command
    if found.step is NextStep.steady:
        return None if "training.clip_norm=" in command else _with(command, "training.clip_norm=1")
    if found.step is NextStep.seeds:
        searched = comparison.design is not None and comparison.design.searched
        return _with(command, f"seeds={FRESH}" if searched else f"seed={_fresh_seeds(comparison)}")
    return _typed(found) or None


def notes(comparison: Comparison) -> list[str]:
    """Return caveats: the sources of chance, and what the comparison does not account for."""
    leader = comparison.leader
    if leader is None or len(comparison.groups) < 2:
        return []
    found = [_luck(leader)]
    if len({g.flags.get("num_epoch") for g in comparison.groups}) > 1 and comparison.by is CompareBy.best:
        found.append(
            "they differ in num_epoch, and the best of more epochs is higher by luck alone; by=last compares the last"
        )
    return found


def _typed(found: Advice) -> str:
    """Return the command of a step; empty if it is the sweep's own command, or the step is not about exactly one
    sweep."""
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
    """Return the command with another value of a flag."""
    key = override.partition("=")[0]
    words = [word for word in shlex.split(command) if word.partition("=")[0].lstrip("+") != key]
    return shlex.join([*words, override])


def _fresh_seeds(comparison: Comparison) -> str:
    first = 1 + max(run.seed for g in comparison.groups for run in g.runs)
    return f"range({first},{first + FRESH})"


def _luck(leader: Group) -> str:
    """Return a sentence about the source of variation, and the sampling error of an accuracy on so many images."""
    source, images, on = "of the seeds", leader.images, "on these"
    if leader.splits > 1:
        seeds = len({seed for seed, _ in leader.accuracy})
        runs = f"{leader.n} runs of {number_of(seeds, 'seed')} and {leader.splits} splits"
        source, on = f"of the seeds and the splits ({runs})", "each on its"
    if images is None:
        return f"the luck is that {source}"
    luck = f"the luck is that {source}, {on} {images:,} validation images; "
    if leader.mean == 1:  # Hanley and Lippman-Hand 1983, If nothing goes wrong, is everything all right?
        return f"{luck}{percent(1.0)} of so many means {percent(max(0.0, 1 - 3 / images))} or more of all (95 %)"
    error = math.sqrt(leader.mean * (1 - leader.mean) / images)
    return f"{luck}an accuracy of {percent(leader.mean)} on so many has a sampling error of {error * 100:.2f} points"
