"""Describes the studies of a comparison in sentences, which all reports use, and interactions also
as records.
"""

from __future__ import annotations

from collections.abc import Sequence

from lenet_exp.amounts import first_of, number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.statistics.multiplicity import LEVEL
from lenet_exp.comparison.studies.datasets import LEAST_DATASETS, across_datasets
from lenet_exp.comparison.studies.interactions import Interaction, Interactions
from lenet_exp.config.params import rounded
from lenet_exp.files import Json
from lenet_exp.reports.words.formatting import interval_words, p_words

STRONGEST = 3  # maximum number of interactions described
MOST_NAMES = 10  # maximum number of configurations that a line names


def dataset_lines(comparisons: Sequence[Comparison]) -> list[str]:
    """Return lines that compare the configurations of a grid over all its datasets; none if it has
    only one dataset.
    """
    found = across_datasets(comparisons)
    if found is None:
        return []
    ranked = list(zip(found.names, found.ranks, strict=True))
    means = first_of([f"{name} {rank:.2f}" for name, rank in ranked], MOST_NAMES)
    lines = [f"mean ranks over {len(found.datasets)} datasets: {means}"]
    if found.left_out:
        lines.append(
            f"not ranked: {number_of(found.left_out, 'configuration')} without results on every dataset"
        )
    first = found.names[0]
    if found.beaten:
        worse = _some([found.names[i] for i in found.beaten])
        lines.append(
            f"{first} is better than {worse} on each dataset (p < 0.05, corrected for multiple comparisons)"
        )
    else:
        lines.append(
            f"{first} is not significantly better than any other configuration on every dataset"
        )
    if found.rank_test is None:
        lines.append(
            f"ranks are only descriptive: a test requires at least {LEAST_DATASETS} datasets"
        )
        return lines
    test = "Friedman's test" if len(ranked) > 2 else "sign test"
    if found.rank_test.p > LEVEL:
        lines.append(
            f"{test}: no significant difference between ranks ({p_words(found.rank_test.p)})"
        )
    else:
        p, critical = p_words(found.rank_test.p), found.rank_test.critical
        far = [name for name, rank in ranked if rank - found.ranks[0] > critical]
        ahead = (
            f"{first} ranks significantly better than {_some(far)}"
            if far
            else f"{first} has no significant lead"
        )
        how = f" (critical difference {critical:.2f})" if len(ranked) > 2 else ""
        lines.append(f"{test}: {p}; {ahead}{how}")
    return lines


def _some(names: Sequence[str]) -> str:
    if len(names) > MOST_NAMES:
        return first_of(names, MOST_NAMES)
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def interaction_lines(found: Interactions | None) -> list[str]:
    """Return a line about each of the three strongest significant interactions, or a line that
    there is none.

    A further line lists what was left out to obtain a full grid. If there is no test, a single line
    states the reason.
    """
    if found is None:
        return []
    if found.no_test is not None:
        return [f"interactions between flags cannot be tested: {found.no_test}"]
    significant = [its for its in found.pairs if its.significant]
    lines = [f"{interaction_words(its)}: {pattern(its)}" for its in significant[:STRONGEST]]
    if len(significant) > STRONGEST:
        lines.append(f"{number_of(len(significant) - STRONGEST, 'more interaction')} between flags")
    if not lines:
        its = found.pairs[0]
        between = f"{its.first} and {its.second}" if len(found.pairs) == 1 else "flags"
        lines = [f"no significant interaction between {between}"]
    if found.left_out:
        lines.append(
            f"interactions are tested without {', '.join(found.left_out)} ({number_of(found.lost, 'finished run')}), "
            "so that every combination has the same seeds"
        )
    return lines


def contrast_lines(comparison: Comparison) -> list[str]:
    """Return a line for each flag with the differences between its values, averaged over the other
    flags.

    For example: `activation, averaged over the other flags: selu minus tanh +0.21 points (0.05 to
    0.37)`.
    """
    metric, lines = comparison.metric, dict[str, list[str]]()
    for its in comparison.interactions.contrasts if comparison.interactions is not None else ():
        points, low, high = (metric.sign * value for value in (its.points, its.low, its.high))
        unit = " points" * metric.percent
        said = (
            f"{rounded(its.better)} minus {rounded(its.worse)} {metric.number(points, '+')}{unit}"
        )
        said += interval_words(min(low, high), max(low, high), metric) + (
            "" if its.differs else ", not significant"
        )
        lines.setdefault(its.flag, []).append(said)
    return [
        f"{flag}, averaged over the other flags: {'; '.join(said)}" for flag, said in lines.items()
    ]


def interaction_words(its: Interaction) -> str:
    """Describe the strength of an interaction.

    For example: `activation and lr interact (p < 0.001, corrected; partial omega squared 0.31, 0.12
    to 0.45)`.
    """
    how = ", corrected" if its.pairs > 1 else ""
    omega = f"{its.test.omega_squared:.2f}, {its.test.low:.2f} to {its.test.high:.2f}"
    interact = "interact" if its.significant else "do not interact significantly"
    return f"{its.first} and {its.second} {interact} ({p_words(its.p)}{how}; partial omega squared {omega})"


def pattern(its: Interaction) -> str:
    """Describe where the effect of the second flag differs most between values of the first flag.

    For example: `lr=0.1 is 4.20 points better than 0.01 with relu, but only 0.60 points better with
    selu`.
    """
    found = its.contrast
    better, worse, most, least = map(rounded, (found.better, found.worse, found.most, found.least))
    points = its.metric.size(found.with_least)
    but = f"only {points} better" if found.with_least >= 0 else f"{points} worse"
    by = its.metric.size(found.with_most)
    first = f"{its.second}={better} is {by} better than {worse} with {_named(its, most)}"
    return f"{first}, but {but} with {_named(its, least)}"


def interaction_record(its: Interaction) -> dict[str, Json]:
    """Return the result of a test as a dict. Accuracies are fractions."""
    test = {name: float(value) for name, value in vars(its.test).items()}
    return {
        **test,
        "flags": [its.first, its.second],
        "p": its.p,
        "uncorrected_p": test["p"],
        "significant": its.significant,
        "values": list(map(list, its.levels)),
        "means": list(map(list, its.means)),
        "pattern": pattern(its),
        "contrast": vars(its.contrast),
    }


def _named(its: Interaction, value: str) -> str:
    """Return a value of the first flag, with the flag's name if the value is a number."""
    return value if value[:1].isalpha() else f"{its.first}={value}"
