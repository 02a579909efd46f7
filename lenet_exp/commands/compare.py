"""lenet-compare: compare configurations across seeds.

  lenet-compare                          compare the configurations of the last sweep
  lenet-compare sweep=<id>,<id>          compare several sweeps together; give 'last', IDs (or their
                                         first few characters), MLflow run IDs, or folders
  lenet-compare filter="params.model = 'lenet5' and tags.users LIKE '%ada%' and tags.note = 'first'"
                                         compare all runs in the store that match an MLflow filter,
                                         here on the model, the users, and a custom tag; an empty
                                         filter= matches every run. There is no verdict if the
                                         filter selects runs by a metric
  lenet-compare confirm=0.2              print a command that tests the leader on enough new seeds
                                         to confirm a lead of 0.2 percentage points with 80% power;
                                         run=true also runs that command
  lenet-compare confirm=0.2 against=baseline
                                         test the leader against a baseline: the configuration that
                                         the sweep's command gives without its swept flags
  lenet-compare confirm=0.2 against='optimizer.lr=0.1 batch_size=64'
                                         test the leader against a configuration of your choice
  lenet-compare confirm=0.2 seeds=10     set the number of new seeds
  lenet-compare output=report.html       also write a report: .html (interactive page), .md (for a
                                         pull request), .tex (table for a paper), .csv, or .json
  lenet-compare output=table.tex columns=accuracy,n
                                         write only these columns of accuracy, interval, n,
                                         parameters, lead, test, and test_lead
  lenet-compare output=table.tex matrix=model,dataset
                                         write a matrix (.tex, .md, .html, or .csv), or print it
                                         without output=: the flags of the rows and of the columns;
                                         matrix=model+optimizer,dataset has a row for each
                                         combination
  lenet-compare output=figure.pdf figure=curves
                                         write a figure (.pdf, .svg, or .png) as wide as a column of
                                         a paper; figure= is leaderboard (default), curves,
                                         interaction, parameters, or history; figure.width=17 sets
                                         the width in centimeters
  lenet-compare output=figure.pdf figure=interaction flags=activation,optimizer
                                         show a line for each activation, and the optimizers along
                                         the axis
  lenet-compare only='optimizer.lr<0.05 and activation=relu,selu'
                                         show part of the configurations; the signs are = != < <= >
                                         >=
  lenet-compare best_per=activation      compare each activation at its own best values of the other
                                         flags
  lenet-compare details=true             also print the effects of flags, interactions, and all
                                         notes
  lenet-compare by=last                  compare accuracy after the last epoch instead of after the
                                         best epoch

  tracking.uri=      MLflow store for filter= and for MLflow run IDs of sweeps in other outputs
                     folders (default: $MLFLOW_TRACKING_URI, else mlflow.db in the outputs folder)
  experiment=        MLflow experiment for filter= and for these run IDs (default: lenet_exp)

How it works
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

from lenet_exp.commands.literal import FlagValues, parse, run_command
from lenet_exp.errors import ConfigError
from lenet_exp.files import output_path, write_output_file
from lenet_exp.reports.words.method import METHOD
from lenet_exp.waiting import print_status

if TYPE_CHECKING:
    from lenet_exp.reports.files.matrix import Matrix

FIGURE_FORMATS = (".pdf", ".svg", ".png")
MATRIX_FORMATS = (".html", ".md", ".tex", ".csv")
FORMATS = (".html", ".md", ".tex", ".csv", ".json", *FIGURE_FORMATS)

# For each of these flags, the formats of output= with which it can be combined.
FORMATS_OF_FLAG = {
    "figure": FIGURE_FORMATS,
    "figure.width": FIGURE_FORMATS,
    "flags": FIGURE_FORMATS,
    "columns": (".tex",),
}

# The flags that can be combined with confirm=, and those of them that require it.
CONFIRM_FLAGS = {"confirm", "sweep", "against", "seeds", "run", "tracking.uri"}
ONLY_WITH_CONFIRM = ("against", "seeds", "run")

FLAGS: FlagValues = {
    "sweep": None,
    "filter": None,
    "output": None,
    "figure": None,
    "figure.width": None,
    "flags": None,
    "columns": None,
    "confirm": None,
    "against": None,
    "seeds": None,
    "run": "false",
    "details": "false",
    "tracking.uri": None,
    "experiment": "lenet_exp",
    "by": "best",
    "only": None,
    "best_per": None,
    "matrix": None,
}


def compare(arguments: list[str]) -> int:
    """Run `lenet-compare <arguments>` and return its exit status."""
    values = parse(arguments, FLAGS)
    output = _output(values)
    _check_figure_flags(values, output)
    _check_matrix_flags(values)
    width = _number("figure.width", values, "a width in centimeters from 4 to 100", 4, most=100)
    points = _number(
        "confirm",
        values,
        "a number of percentage points greater than 0 and less than 100",
        math.ulp(0),
        most=math.nextafter(100, 0),
    )
    seeds = _seeds(values["seeds"])
    _check_confirm_flags(values, has_points=points is not None)

    from lenet_exp.reports.terminal.log_output import log_to_console

    log_to_console()
    if points is not None:
        return _confirm(values, points, seeds)
    return _compare(values, output, width)


def _output(values: FlagValues) -> Path | None:
    if values["output"] is None:
        return None
    formats = FORMATS if values["matrix"] is None else MATRIX_FORMATS
    return output_path(values["output"], formats)


def _check_figure_flags(values: FlagValues, output: Path | None) -> None:
    for flag, formats in FORMATS_OF_FLAG.items():
        if values[flag] is None:
            continue
        if output is None or output.suffix.lower() not in formats:
            raise ConfigError(
                f"{flag}={values[flag]}: "
                f"requires output= with a file that ends with {' or '.join(formats)}"
            )
    if values["flags"] is not None and values["figure"] != "interaction":
        raise ConfigError(f"flags={values['flags']}: requires figure=interaction")


def _check_matrix_flags(values: FlagValues) -> None:
    if values["matrix"] is None:
        return
    for flag in ("columns", "details"):
        if values[flag] != FLAGS[flag]:
            raise ConfigError(f"{flag}={values[flag]}: cannot be combined with matrix=")


def _check_confirm_flags(values: FlagValues, *, has_points: bool) -> None:
    changed_flags = [flag for flag, default in FLAGS.items() if values[flag] != default]
    if not has_points:
        for flag in ONLY_WITH_CONFIRM:
            if flag in changed_flags:
                raise ConfigError(
                    f"{flag}={values[flag]}: requires confirm=; for example, add confirm=0.2"
                )
        return

    has_other_flags = not CONFIRM_FLAGS.issuperset(changed_flags)
    has_several_sweeps = "," in (values["sweep"] or "")
    if has_other_flags or has_several_sweeps:
        raise ConfigError(
            f"confirm={values['confirm']}: can be combined only with sweep= (a single sweep), "
            "against=, seeds=, run=, and tracking.uri="
        )


def _confirm(values: FlagValues, points: float, seeds: int | None) -> int:
    """Print a command that confirms the leader, or run it, and return the exit status."""
    from lenet_exp.confirmation.command import ConfirmationRequest
    from lenet_exp.confirmation.start import confirm

    request = ConfirmationRequest(
        points=points, seeds=seeds, against=values["against"], uri=values["tracking.uri"]
    )
    return confirm(values["sweep"], request, run=values["run"] == "true")


def _compare(values: FlagValues, output: Path | None, width: float | None) -> int:
    """Compare configurations, print or write the result, and return the exit status."""
    from lenet_exp.reports.files.matrix import matrix_of
    from lenet_exp.reports.terminal.leaderboard import print_comparison, print_datasets
    from lenet_exp.sweeps.comparisons import load_comparisons
    from lenet_exp.tracking.stores.find_runs import runs_of_filter

    comparisons, source = load_comparisons(
        values["sweep"],
        values["filter"],
        values["tracking.uri"],
        values["experiment"] or "",
        by=values["by"] or "",
        only=values["only"],
        best_per=values["best_per"],
        find_runs=runs_of_filter,
    )
    if values["matrix"] is not None:
        return _matrix(matrix_of(comparisons, values["matrix"]), output)

    written: list[str] = []
    if output is not None:
        from lenet_exp.reports.files.comparison_file import write_comparison, write_figures

        print_status(f"comparing runs and writing {output}")
        if output.suffix.lower() in FIGURE_FORMATS:
            figure = values["figure"] or "leaderboard"
            flags = _listed(values["flags"])
            paths = write_figures(output, comparisons, figure, width, flags=flags)
            written = [f"figure: {path}" for path in paths]
        else:
            write_comparison(output, comparisons, source, _listed(values["columns"]))
            written = [f"report: {output}"]

    for comparison in comparisons:
        print_comparison(comparison, details=values["details"] == "true")
    print_datasets(comparisons)
    for line in written:
        print(line)
    return 0


def _matrix(matrix: Matrix, output: Path | None) -> int:
    """Print a matrix, write it to a file if requested, and return the exit status."""
    from lenet_exp.reports.terminal.plain import PlainTable, wide_console

    head, *rows = matrix.table(str, "{} *")
    table = PlainTable()
    for number, title in enumerate(head):
        is_row_flag = number < len(matrix.rows)
        table.add_column(title, justify="left" if is_row_flag else "right")
    for row in rows:
        table.add_row(*row)

    console = wide_console()
    console.print(table)
    console.lines(matrix.caption("*"))
    if output is not None:
        write_output_file(output, matrix.text(output.suffix.lower()))
        print(f"report: {output}")
    return 0


def _listed(value: str | None) -> list[str] | None:
    """Return the items of a comma-separated value."""
    return None if value is None else value.split(",")


def _number(
    flag: str, values: FlagValues, expected: str, least: float, *, most: float
) -> float | None:
    """Return the number that a flag is set to; None if the flag is not set.

    Args:
        expected: description of the valid numbers, for an error message.
        least: smallest valid number.
        most: largest valid number.

    Raises:
        ConfigError: the value is not a number, or is out of range.
    """
    value = values[flag]
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise ConfigError(f"{flag}={value}: must be {expected}")
    return number


def _seeds(value: str | None) -> int | None:
    if value is None:
        return None
    from lenet_exp.comparison.statistics.power import LEAST_SEEDS, MOST_SEEDS

    is_integer = re.fullmatch(r"\d{1,4}", value)
    if not is_integer or not LEAST_SEEDS <= int(value) <= MOST_SEEDS:
        raise ConfigError(f"seeds={value}: must be an integer from {LEAST_SEEDS} to {MOST_SEEDS:,}")
    return int(value)


def main() -> None:
    """Run the `lenet-compare` command."""
    usage = (__doc__ or "") + indent(METHOD, "  ")
    run_command("lenet-compare", usage, compare)
