"""Tables that the functions of the Python API return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lenet_exp.errors import ConfigError
from lenet_exp.files import Json

if TYPE_CHECKING:
    import pandas as pd

    from lenet_exp.comparison.compare import Comparison
    from lenet_exp.comparison.studies.interactions import Interactions

Row = Mapping[str, Json]
EffectRows = Callable[["Interactions"], Sequence[Row]]

NOT_A_GRID = (
    "sweep at least two flags, with at most five values for contrasts, and seed=range(3) in a grid"
)


def leaderboard_table(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """Return the leaderboards of several datasets as one table, with a row per configuration."""
    import pandas as pd

    from lenet_exp.reports.comparison_records import ranked_records

    rows: list[Row] = []
    for records in ranked_records(comparisons):
        rows += records
    table = pd.DataFrame(rows)

    for comparison in comparisons:
        for flag in comparison.flags:
            table[flag] = _as_numbers(table[flag])
    return table


def effects_table(comparisons: Sequence[Comparison], rows_of: EffectRows) -> pd.DataFrame:
    """Return the rows about the full grid of each dataset as one table.

    Args:
        rows_of: function that returns the rows of a grid.

    Raises:
        ConfigError: a dataset has no rows.
    """
    import pandas as pd

    table_rows: list[Row] = []
    for comparison in comparisons:
        interactions = comparison.interactions
        rows: Sequence[Row] = []
        if interactions is not None:
            rows = rows_of(interactions)
        if interactions is None or not rows:
            reason = NOT_A_GRID
            if interactions is not None:
                reason = interactions.no_test or NOT_A_GRID
            raise ConfigError(
                f"effects of flags on {comparison.dataset} cannot be tested: {reason}"
            )
        for row in rows:
            left_out = [*interactions.left_out]
            table_rows.append({"dataset": comparison.dataset, "left_out": left_out, **row})
    return pd.DataFrame(table_rows)


def interaction_rows(interactions: Interactions) -> list[Row]:
    """Return a row for each pair of flags."""
    from lenet_exp.reports.words.study_words import interaction_record

    return [interaction_record(pair) for pair in interactions.pairs]


def contrast_rows(interactions: Interactions) -> list[Row]:
    """Return a row for each pair of values of a flag."""
    return [vars(contrast) for contrast in interactions.contrasts]


def _as_numbers(values: pd.Series[Any]) -> pd.Series[Any]:
    """Return a flag's values as numbers, with NaN for `-` (no effect) and `null`; unchanged if any
    is not numeric.
    """
    import pandas as pd

    has_no_value = values.isin(["-", "null", "None"])
    numbers = pd.to_numeric(values.mask(has_no_value), errors="coerce")
    is_text = numbers.isna() & ~has_no_value & values.notna()
    if is_text.any() or has_no_value.all():
        return values
    return numbers
