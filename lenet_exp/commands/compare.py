"""lenet-compare: which configuration won, by how much, whether it could be chance, and what to do next."""

from __future__ import annotations

import math
import re

from lenet_exp.commands.literal import completions, parse, run_command
from lenet_exp.errors import ConfigError, one_of
from lenet_exp.files import output_path
from lenet_exp.waiting import print_status

USAGE = """
lenet-compare: runs grouped by configuration, compared over their seeds.

  lenet-compare                          the last sweep
  lenet-compare sweep=<id>,<id>          these sweeps together: last, ids (or first digits), MLflow run ids, folders
  lenet-compare filter="params.activation = 'selu' and metrics.best_val_accuracy > 0.9"
                                         runs of the store, in MLflow's syntax; filter= alone takes all
  lenet-compare confirm=0.2              prints the command that tests the leader on new seeds; these confirm a lead of
                                         0.2 percentage points with a power of 80 %; run=true runs it, too
  lenet-compare confirm=0.2 against=baseline
                                         the same against what the sweep's line trains without what it swept, or, with
                                         against='optimizer.lr=0.1 batch_size=64', with these flags; seeds=10: so many
  lenet-compare output=report.html       writes it, too: .html (one page to explore), .md (for a pull request), .tex (a
                                         table for a paper), .csv or .json

  lenet-compare by=last                  the accuracy after the last epoch, not after the best one

  tracking.uri=      the store for filter= (MLFLOW_TRACKING_URI, else mlflow.db in the outputs folder)
  experiment=        its experiment (lenet_exp)

Only validation accuracy is compared. The leader is tested against each other configuration: paired over common seeds,
else by Welch's test, corrected for all pairs of configurations (Shaffer's method); to win, it must lead each other by
its own test (Gutmann and Maymin's rule). So in at most 5 of 100 comparisons the leader is called ahead of one that is
as good, and in 95 of 100 all intervals of its leads hold. This does not hold if runs of a configuration collapse now
and then; a run far below the others of its configuration is printed as a warning. The winner's lead is biased upwards.
Intervals cover the variation between seeds (and splits, if split_seed was swept) on these validation images.
Configurations with diverged runs rank last. While runs are missing, none wins.
"""

FORMATS = (".html", ".md", ".tex", ".csv", ".json")
BY = ("best", "last")  # same as in comparison/group.py, which imports numpy
KNOWN: dict[str, str | None] = {
    "sweep": None,
    "filter": None,
    "output": None,
    "confirm": None,
    "against": None,
    "seeds": None,
    "run": "false",
    "tracking.uri": None,
    "experiment": "lenet_exp",
    "by": "best",
}


def compare(arguments: list[str]) -> int:
    """Run `lenet-compare <arguments>` and return its exit status."""
    values = parse(arguments, KNOWN)
    output = None if values["output"] is None else output_path(values["output"], FORMATS)
    points, run = _points(values["confirm"]), values["run"] == "true"
    if run and points is None:
        raise ConfigError("run=true: runs a confirmation; set confirm=, for instance confirm=0.2")
    seeds, by = _seeds(values["seeds"]), one_of("by", values["by"], BY)
    if points is None and (alone := next((k for k in ("against", "seeds") if values[k] is not None), None)):
        raise ConfigError(f"{alone}={values[alone]}: is of a confirmation; allowed with confirm=0.2, for instance")
    others = [key for key in ("by", "experiment") if values[key] != KNOWN[key]]
    if points is not None and (
        values["filter"] is not None or output is not None or others or "," in (values["sweep"] or "")
    ):
        raise ConfigError(
            f"confirm={values['confirm']}: confirms one sweep, by its best epochs; allowed beside it are sweep=, "
            "against=, seeds=, run= and tracking.uri="
        )
    if points is not None:
        from lenet_exp.confirmation.command import ConfirmationRequest
        from lenet_exp.confirmation.start import confirm
        from lenet_exp.reports.terminal.progress import log_to_console

        log_to_console()
        request = ConfirmationRequest(points=points, seeds=seeds, against=values["against"], uri=values["tracking.uri"])
        return confirm(values["sweep"], request, run=run)
    from lenet_exp.comparison.group import CompareBy
    from lenet_exp.reports.terminal.leaderboard import print_comparison
    from lenet_exp.reports.terminal.progress import log_to_console
    from lenet_exp.sweeps.comparisons import load_comparisons

    log_to_console()
    comparisons, source = load_comparisons(
        values["sweep"],
        values["filter"],
        values["tracking.uri"],
        values["experiment"] or "",
        CompareBy(by),
    )
    if output is not None:
        print_status(f"comparing; then {output} is written")
    for comparison in comparisons:
        print_comparison(comparison)
    if output is not None:
        from lenet_exp.reports.files.comparison_file import write_comparison

        write_comparison(output, comparisons, source)
        print(f"written: {output}")
    return 0


def _points(value: str | None) -> float | None:
    try:
        points = None if value is None else float(value)
    except ValueError:
        points = math.nan
    if points is not None and not 0 < points < 100:
        raise ConfigError(f"confirm={value}: must be percentage points > 0 and < 100: the difference worth finding")
    return points


def _seeds(value: str | None) -> int | None:
    if value is None:
        return None
    from lenet_exp.comparison.power import LEAST_SEEDS, MOST_SEEDS

    if not re.fullmatch(r"\d{1,4}", value) or not LEAST_SEEDS <= int(value) <= MOST_SEEDS:
        raise ConfigError(f"seeds={value}: must be a whole number >= {LEAST_SEEDS} and <= {MOST_SEEDS:,}")
    return int(value)


def main() -> None:
    """Run the command lenet-compare."""
    run_command("lenet-compare", USAGE, compare, completions(KNOWN, sweep=("", "last"), by=BY))
