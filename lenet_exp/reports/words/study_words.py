"""Describes the studies of a comparison in sentences, which all reports use, and interactions also
as records.
"""

from __future__ import annotations

from collections.abc import Sequence

from lenet_exp.amounts import first_of, number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.statistics.multiplicity import LEVEL
from lenet_exp.comparison.studies.contrasts import ValueContrast
from lenet_exp.comparison.studies.datasets import (
    LEAST_DATASETS,
    AcrossDatasets,
    RankTest,
    across_datasets,
)
from lenet_exp.comparison.studies.interactions import Interaction, Interactions
from lenet_exp.config.metric import Metric
from lenet_exp.config.params import rounded
from lenet_exp.files import Json
from lenet_exp.reports.words.formatting import interval_words, p_words

MOST_INTERACTIONS = 3  # maximum number of interactions described
MOST_NAMES = 10  # maximum number of configurations that a line names


def dataset_lines(comparisons: Sequence[Comparison]) -> list[str]:
    """Return lines that compare the configurations of a grid over all its datasets; none if it has
    only one dataset.
    """
    ranking = across_datasets(comparisons)
    if ranking is None:
        return []

    configurations = zip(ranking.names, ranking.ranks, strict=True)
    mean_ranks = [f"{name} {rank:.2f}" for name, rank in configurations]
    listed = first_of(mean_ranks, MOST_NAMES)
    lines = [f"mean ranks over {len(ranking.datasets)} datasets: {listed}"]
    if ranking.left_out:
        left_out = number_of(ranking.left_out, "configuration")
        lines.append(f"not ranked: {left_out} without results on every dataset")

    lines.append(_better_on_each_line(ranking))
    if ranking.rank_test is None:
        requirement = f"a test requires at least {LEAST_DATASETS} datasets"
        lines.append(f"ranks are only descriptive: {requirement}")
    else:
        lines.append(_rank_test_line(ranking, ranking.rank_test))
    return lines


def _better_on_each_line(ranking: AcrossDatasets) -> str:
    """Describe the configurations over which the best one is better on each dataset."""
    best = ranking.names[0]
    if not ranking.beaten:
        others = "any other configuration on every dataset"
        return f"{best} is not significantly better than {others}"
    beaten = _listed([ranking.names[i] for i in ranking.beaten])
    test = "p < 0.05, corrected for multiple comparisons"
    return f"{best} is better than {beaten} on each dataset ({test})"


def _rank_test_line(ranking: AcrossDatasets, rank_test: RankTest) -> str:
    """Describe the test of the mean ranks.

    For example: `Friedman's test: p = 0.012; selu ranks significantly better than relu (critical
    difference 1.48)`.
    """
    best = ranking.names[0]
    best_rank = ranking.ranks[0]
    several = len(ranking.names) > 2
    test = "Friedman's test" if several else "sign test"
    p = p_words(rank_test.p)
    if rank_test.p > LEVEL:
        return f"{test}: no significant difference between ranks ({p})"

    worse = []
    for name, rank in zip(ranking.names, ranking.ranks, strict=True):
        if rank - best_rank > rank_test.critical:
            worse.append(name)
    if worse:
        lead = f"{best} ranks significantly better than {_listed(worse)}"
    else:
        lead = f"{best} has no significant lead"
    critical = f" (critical difference {rank_test.critical:.2f})" if several else ""
    return f"{test}: {p}; {lead}{critical}"


def _listed(names: Sequence[str]) -> str:
    """List names in a sentence: `selu, tanh and relu`; some are only counted if there are many."""
    if len(names) > MOST_NAMES:
        return first_of(names, MOST_NAMES)
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def interaction_lines(interactions: Interactions | None) -> list[str]:
    """Return a line about each of the three strongest significant interactions, or a line that
    there is none.

    A further line lists what was left out to obtain a full grid. If there is no test, a single line
    states the reason.
    """
    if interactions is None:
        return []
    if interactions.no_test is not None:
        return [f"interactions between flags cannot be tested: {interactions.no_test}"]

    significant = [pair for pair in interactions.pairs if pair.significant]
    if significant:
        lines = _significant_lines(significant)
    else:
        lines = [_no_interaction_line(interactions.pairs)]

    if interactions.left_out:
        left_out = ", ".join(interactions.left_out)
        lost = number_of(interactions.lost, "finished run")
        purpose = "so that every combination has the same seeds"
        lines.append(f"interactions are tested without {left_out} ({lost}), {purpose}")
    return lines


def _significant_lines(significant: Sequence[Interaction]) -> list[str]:
    lines = []
    for interaction in significant[:MOST_INTERACTIONS]:
        lines.append(f"{interaction_words(interaction)}: {pattern(interaction)}")
    num_others = len(significant) - len(lines)
    if num_others:
        lines.append(f"{number_of(num_others, 'more interaction')} between flags")
    return lines


def _no_interaction_line(pairs: Sequence[Interaction]) -> str:
    flags = "flags"
    if len(pairs) == 1:
        flags = f"{pairs[0].first} and {pairs[0].second}"
    return f"no significant interaction between {flags}"


def contrast_lines(comparison: Comparison) -> list[str]:
    """Return a line for each flag with the differences between its values, averaged over the other
    flags.

    For example: `activation, averaged over the other flags: selu minus tanh +0.21 points (0.05 to
    0.37)`.
    """
    interactions = comparison.interactions
    if interactions is None:
        return []

    differences_of_flag: dict[str, list[str]] = {}
    for contrast in interactions.contrasts:
        differences = differences_of_flag.setdefault(contrast.flag, [])
        differences.append(_contrast(contrast, comparison.metric))

    lines = []
    for flag, differences in differences_of_flag.items():
        lines.append(f"{flag}, averaged over the other flags: {'; '.join(differences)}")
    return lines


def _contrast(contrast: ValueContrast, metric: Metric) -> str:
    """Describe the difference between two values of a flag: `selu minus tanh +0.21 points (0.05 to
    0.37)`.

    The contrast is positive if the first value is better. If smaller values of the metric are
    better, the described difference is then negative.
    """
    ends = (metric.sign * contrast.low, metric.sign * contrast.high)
    values = f"{rounded(contrast.better)} minus {rounded(contrast.worse)}"
    text = f"{values} {metric.number(metric.sign * contrast.points, '+')}"
    if metric.percent:
        text += " points"
    text += interval_words(min(ends), max(ends), metric)
    if not contrast.differs:
        text += ", not significant"
    return text


def interaction_words(interaction: Interaction) -> str:
    """Describe the strength of an interaction.

    For example: `activation and lr interact (p < 0.001, corrected; partial omega squared 0.31, 0.12
    to 0.45)`.
    """
    test = interaction.test
    verb = "interact" if interaction.significant else "do not interact significantly"
    p = p_words(interaction.p)
    if interaction.pairs > 1:
        p += ", corrected"
    omega = f"partial omega squared {test.omega_squared:.2f}, {test.low:.2f} to {test.high:.2f}"
    return f"{interaction.first} and {interaction.second} {verb} ({p}; {omega})"


def pattern(interaction: Interaction) -> str:
    """Describe where the effect of the second flag differs most between values of the first flag.

    For example: `lr=0.1 is 4.20 points better than 0.01 with relu, but only 0.60 points better with
    selu`.
    """
    contrast = interaction.contrast
    better = f"{interaction.second}={rounded(contrast.better)}"
    worse = rounded(contrast.worse)
    most = _value_of_first_flag(interaction, contrast.most)
    least = _value_of_first_flag(interaction, contrast.least)

    largest_effect = f"{interaction.metric.size(contrast.with_most)} better"
    smallest_effect = interaction.metric.size(contrast.with_least)
    if contrast.with_least >= 0:
        smallest_effect = f"only {smallest_effect} better"
    else:
        smallest_effect = f"{smallest_effect} worse"
    return (
        f"{better} is {largest_effect} than {worse} with {most}, but {smallest_effect} with {least}"
    )


def interaction_record(interaction: Interaction) -> dict[str, Json]:
    """Return the result of a test as a dict. Accuracies are fractions."""
    test = {name: float(value) for name, value in vars(interaction.test).items()}
    return {
        **test,
        "flags": [interaction.first, interaction.second],
        "p": interaction.p,
        "uncorrected_p": test["p"],
        "significant": interaction.significant,
        "values": list(map(list, interaction.levels)),
        "means": list(map(list, interaction.means)),
        "pattern": pattern(interaction),
        "contrast": vars(interaction.contrast),
    }


def _value_of_first_flag(interaction: Interaction, value: str) -> str:
    """Return a value of the first flag, with the flag's name if the value is a number."""
    text = rounded(value)
    return text if text[:1].isalpha() else f"{interaction.first}={text}"
