"""Describes the interactions between flags in sentences, and as records for other programs."""

from __future__ import annotations

from lenet_exp.amounts import number_of
from lenet_exp.comparison.studies.interactions import Interaction, Interactions
from lenet_exp.config.names import rounded
from lenet_exp.files import Json

STRONGEST = 3  # maximum number of interactions described


def interaction_lines(found: Interactions | None) -> list[str]:
    """Return a line about each of the three strongest significant interactions, or a line that there is none.

    A further line lists what was left out to obtain a full grid. If there is no test, a single line states the reason.
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


def interaction_words(its: Interaction) -> str:
    """Describe the strength of an interaction.

    For example: `activation and lr interact (p < 0.001, corrected; partial omega squared 0.31, 0.12 to 0.45)`.
    """
    p = "p < 0.001" if its.p < 0.001 else f"p = {its.p:.3f}"
    how = ", corrected" if its.pairs > 1 else ""
    omega = f"{its.test.omega_squared:.2f}, {its.test.low:.2f} to {its.test.high:.2f}"
    interact = "interact" if its.significant else "do not interact significantly"
    return f"{its.first} and {its.second} {interact} ({p}{how}; partial omega squared {omega})"


def pattern(its: Interaction) -> str:
    """Describe where the effect of the second flag differs most between values of the first flag.

    For example: `lr=0.1 is 4.20 points better than 0.01 with relu, but only 0.60 points better with selu`.
    """
    found = its.contrast
    better, worse, most, least = map(rounded, (found.better, found.worse, found.most, found.least))
    points = f"{abs(found.with_least) * 100:.2f} points"
    but = f"only {points} better" if found.with_least >= 0 else f"{points} worse"
    first = f"{its.second}={better} is {found.with_most * 100:.2f} points better than {worse} with {_named(its, most)}"
    return f"{first}, but {but} with {_named(its, least)}"


def interaction_record(its: Interaction) -> dict[str, Json]:
    """Return the result of a test as a dict. Accuracies are fractions."""
    test = {name: float(value) for name, value in vars(its.test).items()}
    values, means = list(map(list, its.levels)), list(map(list, its.means))
    own: dict[str, Json] = {
        "flags": [its.first, its.second],
        "p": its.p,
        "uncorrected_p": test["p"],
        "significant": its.significant,
    }
    found: dict[str, Json] = {"values": values, "means": means, "pattern": pattern(its), "contrast": vars(its.contrast)}
    return {**test, **own, **found}


def _named(its: Interaction, value: str) -> str:
    """Return a value of the first flag, with the flag's name if the value is a number."""
    return value if value[:1].isalpha() else f"{its.first}={value}"
