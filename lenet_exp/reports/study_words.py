"""Describes the studies of a comparison in sentences, which all reports use."""

from __future__ import annotations

from collections.abc import Sequence

from lenet_exp.amounts import number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.multiplicity import LEVEL
from lenet_exp.comparison.studies.datasets import LEAST_DATASETS, across_datasets
from lenet_exp.comparison.studies.numeric import NumericFlag, numeric_flags
from lenet_exp.config.names import rounded

MOST_NAMES = 10  # maximum number of configurations that a line names


def numeric_lines(comparison: Comparison) -> list[str]:
    """Return a line for each numeric flag: the leader's value, and the other values that could be the best."""
    return [_numeric(found) for found in numeric_flags(comparison) if found.not_worse or found.worse]


def _numeric(found: NumericFlag) -> str:
    best = f"{found.flag}: the leader has {rounded(found.best)}"
    if not found.not_worse:
        return f"{best}; not the best: {_listed(found.worse)}"
    return f"{best}; could also be the best: {_listed(found.not_worse)}"


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(map(rounded, values))


def dataset_lines(comparisons: Sequence[Comparison]) -> list[str]:
    """Return lines that compare the configurations of a grid over all its datasets; none if it has only one dataset."""
    found = across_datasets(comparisons)
    if found is None:
        return []
    shown = [f"{name} {rank:.2f}" for name, rank in zip(found.names, found.ranks, strict=True)][:MOST_NAMES]
    more = f", and {len(found.names) - MOST_NAMES} more" if len(found.names) > MOST_NAMES else ""
    lines = [f"mean ranks over {len(found.datasets)} datasets: {', '.join(shown)}{more}"]
    if found.left_out:
        lines.append(f"not ranked: {number_of(found.left_out, 'configuration')} without results on every dataset")
    first = found.names[0]
    if found.beaten:
        worse = _some([found.names[i] for i in found.beaten])
        lines.append(f"{first} is better than {worse} on each dataset (p < 0.05, corrected for multiple comparisons)")
    else:
        lines.append(f"{first} is not significantly better than any other configuration on every dataset")
    if found.rank_test is None:
        lines.append(f"ranks are only descriptive: Friedman's test requires at least {LEAST_DATASETS} datasets")
    elif found.rank_test.p > LEVEL:
        lines.append(f"Friedman's test: no significant difference between ranks (p = {found.rank_test.p:.3f})")
    else:
        far = [
            n
            for n, rank in zip(found.names, found.ranks, strict=True)
            if rank - found.ranks[0] > found.rank_test.critical
        ]
        ahead = f"{first} ranks significantly better than {_some(far)}" if far else f"{first} has no significant lead"
        p = "< 0.001" if found.rank_test.p < 0.001 else f"= {found.rank_test.p:.3f}"
        lines.append(f"Friedman's test: p {p}; {ahead} (Nemenyi, critical difference {found.rank_test.critical:.2f})")
    return lines


def _some(names: Sequence[str]) -> str:
    if len(names) > MOST_NAMES:
        return f"{', '.join(names[:MOST_NAMES])}, and {len(names) - MOST_NAMES} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
