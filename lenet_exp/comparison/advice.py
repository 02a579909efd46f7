"""What to keep in mind about a comparison, and what to run next."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Sequence

from lenet_exp.amounts import number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.confirm import confirmation, plan
from lenet_exp.comparison.design import Test
from lenet_exp.comparison.group import By, Group
from lenet_exp.comparison.words import leads_of, names, percent
from lenet_exp.errors import ConfigError

FRESH = 5  # seeds that a first comparison takes


def not_excluded(comparison: Comparison) -> str | None:
    """Which configurations may be the best; None where it is one, or nothing is known of luck."""
    left = [] if confirmation(comparison) is not None else comparison.not_excluded  # a test asks another question
    if len(left) < 2 or all(lead.n < 2 for _, lead in leads_of(comparison)):
        return None
    return f"not excluded as best: {len(left)} of {len(comparison.groups)}: {names(comparison, left)}"


def next_step(comparison: Comparison) -> str | None:
    """What to run to know more; None where all is told apart well enough."""
    leader, design = comparison.leader, comparison.design
    if design is not None and design.running:
        return f"it is still running: lenet-sweep watch sweep={design.sweep}"
    if any(g.missing for g in comparison.groups):
        return "the same line again trains what is missing"
    if leader is None or leader.diverged:
        return "a smaller optimizer.lr or training.clip_norm=1 may keep them from diverging"
    if (tested := confirmation(comparison)) is not None:
        return _test_result(comparison) if tested.confirmed else None  # it was the last step before that
    tests = [test for test in (design.tests if design is not None else ()) if test.dataset == comparison.dataset]
    if tests:
        return _after(tests[0])
    leads = [lead for _, lead in leads_of(comparison)]
    if not leads:
        return None
    open_leads = [lead for lead in leads if not lead.ahead]
    if leader.n < 2:
        if design is not None and design.searched:
            return f"the same line with seeds={FRESH} gives further seeds to all that may be the best"
        return f"several seeds would tell, five for instance: 'seed={_fresh_seeds(comparison)}'"
    if design is not None and design.searched and design.sweep:
        points = _plannable(comparison, statistics.median(abs(lead.points) for lead in leads))
        had = "whether it is better than what the line trains without what it searched"
        return None if points is None else f"{had}{_confirming(comparison, points)} against=baseline"
    if open_leads:
        points = _plannable(comparison, statistics.median(abs(lead.points) for lead in open_leads))
        enough = "enough of them for a larger spread than was seen"  # so more than a row of the table names
        how = f"a confirmation with fresh seeds tells, {enough}"
        return None if points is None else f"{how}{_confirming(comparison, points)}"
    nearest = min(leads, key=lambda lead: lead.points)
    if nearest.low > nearest.points / 2:  # however much too large it is, it is there
        return _test_result(comparison)
    points = _plannable(comparison, nearest.points)
    lead = "a lead that was chosen is rather too large"
    return None if points is None else f"{lead}; fresh seeds confirm it{_confirming(comparison, points)}"


def _after(test: Test) -> str:
    """What is left once a leader was put to the test."""
    if test.confirmed:
        right = f"what it gets right of the test images: lenet-predict sweep={test.sweep}"
        return f"on fresh seeds it was confirmed; {right}"
    told = f"not confirmed to be better by {test.points:g} points"
    return f"on fresh seeds it was {told}: lenet-compare sweep={test.sweep}"


def _test_result(comparison: Comparison) -> str | None:
    """How the leader's test images are opened, where the comparison is of one sweep."""
    sweep = comparison.design.sweep if comparison.design is not None else ""
    return f"what it gets right of the test images: lenet-predict sweep={sweep}" if sweep else None


def _confirming(comparison: Comparison, points: str) -> str:
    """How that is typed: a confirmation is of one sweep."""
    sweep = comparison.design.sweep if comparison.design is not None else ""
    return f": lenet-compare sweep={sweep} confirm={points}" if sweep else ", once one sweep has tried all of these"


def next_command(comparison: Comparison, command: str | None) -> str | None:
    """What `next_step` says as a line to type, whole; None where it says nothing that one line does.

    Args:
        command: that made the runs, quoted for a shell; None where that was not one sweep.
    """
    step, leader = next_step(comparison), comparison.leader
    if step is None or command is None:
        return None
    if any(g.missing for g in comparison.groups) and not (comparison.design is not None and comparison.design.running):
        return command
    if leader is None or leader.diverged:
        return None if "training.clip_norm=" in command else _with(command, "training.clip_norm=1")
    if leader.n < 2:
        searched = comparison.design is not None and comparison.design.searched
        return _with(command, f"seeds={FRESH}" if searched else f"seed={_fresh_seeds(comparison)}")
    _, program, how = step.rpartition("lenet-")
    return program + how if program else None


def _with(command: str, override: str) -> str:
    """The command with a flag at another value."""
    key = override.partition("=")[0]
    return shlex.join([*_without(shlex.split(command), key), override])


def _without(words: Sequence[str], key: str) -> list[str]:
    return [word for word in words if word.partition("=")[0].lstrip("+") != key]


def _fresh_seeds(comparison: Comparison) -> str:
    first = 1 + max(run.seed for g in comparison.groups for run in g.runs)
    return f"range({first},{first + FRESH})"


def _plannable(comparison: Comparison, seen: float) -> str | None:
    """The difference that was seen, in points, doubled until 1,000 seeds can tell it; None where none can be told."""
    while float(points := _rounded(seen)) < 100:
        try:
            plan(comparison, float(points) / 100)
        except ConfigError:
            seen = 2 * max(seen, 1e-4)
        else:
            return points
    return None


def notes(comparison: Comparison) -> list[str]:
    """What its luck is, and what it leaves out of account."""
    leader = comparison.leader
    if leader is None or len(comparison.groups) < 2:
        return []
    found = [_luck(leader)]
    if len({g.flags.get("num_epoch") for g in comparison.groups}) > 1 and comparison.by is By.best:
        found.append(
            "they differ in num_epoch, and the best of more epochs is higher by luck alone; by=last compares the last"
        )
    return [note for note in found if note]


def _luck(leader: Group) -> str:
    """Over what the differences are judged, and how exact an accuracy on so many images is."""
    if leader.splits > 1:
        seeds = len({seed for seed, _ in leader.accuracy})
        clustered = ", which share them" if leader.n > max(seeds, leader.splits) else ""
        runs = f"{leader.n} runs of {number_of(seeds, 'seed')} and {leader.splits} splits"
        source = f"of the seeds and the splits ({runs}{clustered})"
    else:
        source = "of the seeds"
    images = leader.images
    if images is None:
        return f"the luck is that {source}"
    on = "each on its" if leader.splits > 1 else "on these"
    luck = f"the luck is that {source}, {on} {images:,} validation images; "
    if leader.mean == 1:  # Hanley and Lippman-Hand 1983, If nothing goes wrong, is everything all right?
        return f"{luck}{percent(1.0)} of so many means {percent(max(0.0, 1 - 3 / images))} or more of all (95 %)"
    error = math.sqrt(leader.mean * (1 - leader.mean) / images)
    return f"{luck}an accuracy of {percent(leader.mean)} on so many has a sampling error of {error * 100:.2f} points"


def _rounded(difference: float) -> str:
    """In points, to one digit: `0.2`."""
    points = max(difference * 100, 0.01)
    digits = max(0, -math.floor(math.log10(points)))
    return f"{round(points, digits):.{digits}f}"
