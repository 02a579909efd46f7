"""lenet-compare: what won, by how much, is it luck, what next?"""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_exp.config.literal import parse, run_command
from lenet_exp.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from lenet_exp.comparison.compare import Comparison

USAGE = """
lenet-compare: runs grouped by configuration, compared over their seeds.

  lenet-compare                          the last sweep
  lenet-compare sweep=<id>,<id>          these sweeps together: last, ids (or first digits), MLflow run ids, folders
  lenet-compare filter="params.activation = 'selu' and metrics.best_val_accuracy > 0.9"
                                         runs of the store, in MLflow's syntax; filter= alone takes all
  lenet-compare output=report.html       writes it, too: .html (one page with pictures), .md, .csv or .json

  tracking.uri=      the store for filter= (MLFLOW_TRACKING_URI, else mlflow.db in the outputs folder)
  experiment=        its experiment (lenet_exp)

Only validation accuracy is compared. The leader is held against each other group: paired over common seeds, else by
Welch's test, corrected by Holm's method (5 % for all together). It was chosen by the same runs, so its lead is rather
too large than too small: new seeds confirm it.
"""

FORMATS = (".html", ".md", ".csv", ".json")
KNOWN: dict[str, str | None] = {
    "sweep": None,
    "filter": None,
    "output": None,
    "tracking.uri": None,
    "experiment": "lenet_exp",
}


def find(
    sweep: str | None, filter_string: str | None, uri: str | None, experiment: str
) -> tuple[list[Comparison], str]:
    """The comparisons of what was asked for, and what that is called.

    Raises:
        UserError: there is no such sweep, store or run, or MLflow does not understand the filter.
    """
    from lenet_exp.comparison.compare import compare_runs
    from lenet_exp.comparison.sources import runs_of_filter, runs_of_sweeps

    if sweep is not None and filter_string is not None:
        raise ConfigError("sweep= and filter=: allowed is one of them")
    if filter_string is not None:
        runs, swept, title = (
            *runs_of_filter(filter_string, uri, experiment),
            filter_string or f"all runs of {experiment}",
        )
    else:
        runs, swept, title = runs_of_sweeps((sweep or "last").split(","), uri, experiment)
    if not runs:
        raise ConfigError(f"filter={filter_string}: no run of {experiment} is so")
    return compare_runs(runs, swept), title


def compare(
    *,
    sweep: str | list[str] | None = None,
    filter: str | None = None,  # as the command names it
    tracking_uri: str | None = None,
    experiment: str = "lenet_exp",
) -> pd.DataFrame:
    """The leaderboard of a sweep, of several, or of the runs that a filter finds; see `lenet-compare --help`.

    Returns:
        One row a group (a configuration without its seed), best first within its data set: `dataset`, `rank`, the flags
        that differ, `n`, `mean`, `sd`, `low` and `high` (95 % interval) of the best validation accuracy as fractions,
        `best_epoch` and `seconds_to_best` (means), counts of outcomes, and how the leader stands against it: `behind`
        with `behind_low`, `behind_high`, `differs` and `verdict`.

    Raises:
        UserError: there is no such sweep, store or run, or MLflow does not understand the filter.
    """
    import pandas as pd

    from lenet_exp.reports.leaderboard import records

    which = ",".join(sweep) if isinstance(sweep, list) else sweep
    comparisons, _ = find(which, filter, tracking_uri, experiment)
    return pd.DataFrame([row for comparison in comparisons for row in records(comparison)])


def run(arguments: list[str]) -> int:
    """The exit status of `lenet-compare <arguments>`."""
    values = parse(arguments, KNOWN)
    output = _output(values["output"])
    from lenet_exp.reports.leaderboard import print_comparison
    from lenet_exp.reports.progress import log_to_console

    log_to_console()
    comparisons, title = find(values["sweep"], values["filter"], values["tracking.uri"], values["experiment"] or "")
    for comparison in comparisons:
        print_comparison(comparison)
    if output is not None:
        from lenet_exp.reports.comparison_file import write_comparison

        write_comparison(output, comparisons, title)
        print(f"written: {output}")
    return 0


def _output(output: str | None) -> Path | None:
    if output is None:
        return None
    path = Path(output).expanduser().absolute()
    if path.suffix not in FORMATS:
        raise ConfigError(f"output={output}: allowed is a file ending in {', '.join(FORMATS)}")
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise ConfigError(f"output={output}: allowed is a file in a folder that exists and can be written")
    return path


def main() -> None:
    """The command lenet-compare."""
    run_command("lenet-compare", USAGE, run)


class _CallableModule(types.ModuleType):
    """`lenet_exp.compare` is this module, for `python -m lenet_exp.compare`, and the function of the Python API too."""

    def __call__(self, **which: Any) -> pd.DataFrame:
        return compare(**which)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    main()
