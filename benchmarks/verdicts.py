"""Measure how often verdicts are wrong, and how much they find, in simulated sweeps with known true
means.

The functions of lenet_exp judge each sweep. Three percentages must be at most 5.5: sweeps in which
a configuration is wrongly declared behind, sweeps with a wrong winner, and sweeps in which a truly
best configuration is outside the set that could be the best. A row above 5.5% is repeated with
100,000 sweeps on other random numbers, which count instead.

    python -m benchmarks.verdicts                       # 5,000 sweeps per scenario, fewer with many
                                                        configurations
    python -m benchmarks.verdicts --quick               # 1,000 sweeps, few scenarios, no
                                                        repetitions, no goals
    python -m benchmarks.verdicts --output FILE         # write the tables to a Markdown file
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from benchmarks.counts import Counts, run
from benchmarks.measure import positive
from benchmarks.new_images import BEST_EPOCH, NEW_IMAGES, best_epoch_rows, new_image_rows
from benchmarks.scenarios import LADDER, SEEDS_OF, TWO, collapses, earlier, grid, recorded
from benchmarks.simulated import Source
from benchmarks.studies import (
    BEST_PER,
    DATASETS,
    INTERACTIONS,
    RANKS,
    VALUES,
    best_per_rows,
    dataset_rows,
    interaction_rows,
    rank_rows,
    value_rows,
)
from lenet_exp.machine import cpu_model

INTRO = """# Error rates of verdicts

See how often verdicts are wrong, and how much they find, in simulated sweeps whose true means are known. The functions
of lenet_exp judge each sweep. `python -m benchmarks.verdicts --output FILE` writes this page.

The leader is the configuration with the best mean; others are **behind** if tests of all pairs with moderated variances
find that they are worse. A configuration is **outside** the set that could be the best if it is behind, or if a better
one beats it in a test that is corrected for k - 1 comparisons ([How the statistics
work](../docs/explanation/statistics.md)).

A sweep has k configurations with n seeds each. The results are percentages. "1.0 → 2.0" shows release 0.2 and the
present rule on the same sweeps. Release 0.2 did not moderate variances, and its set contained every configuration that
was not behind. For k = 2 and 3, both rules are identical.

- **false behind**: sweeps in which the leader is declared better than a configuration that is at least as good. Goal:
  at most 5.5
- **false wins**: sweeps in which the leader is declared better than all others, but one of them is at least as good.
  Goal: at most 5.5
- **best outside**: sweeps in which a truly best configuration is outside the set. If several are tied, each one is
  counted separately, and the table shows the largest percentage. Goal: at most 5.5
- **hold**: sweeps in which all simultaneous intervals of the leader's leads contain the true leads
- **worse behind**, **worse outside**: truly worse configurations that are behind, or outside the set
- **wins**: sweeps in which the best configuration is declared better than all others

`*` marks a row that was above 5.5 and was repeated with 100,000 sweeps on other random numbers (50,000 with 50
configurations). The table shows only the repetition.

## Scenarios

Means and standard deviations (sd) are in units of 0.2 points, a typical standard deviation over seeds. Noise is normal,
and all configurations have the same seeds unless stated otherwise.

- **all equal**: all true means are 0
- **two best**, **three best**: two or three means are 0, and the others are 20 or 4 lower
- **ladder**: one mean is 0, and the others are 1 to 12 lower in equal steps
- **sd 1**: all standard deviations are 1
- **sd 3^U**, **sd 10^U**: U is uniform between 0 and 1, drawn for each configuration and sweep
- **sd one 10**, **sd one 0.1**, **sd half 10**: the sd of one or half of the configurations, at random positions; the
  others have 1
- **sd wild**: the last k / 6 configurations have 40; on the ladder, they are 100 lower
- **sd a best 3**, **sd a best 10**: the sd of one of the best configurations; the others have 1
- **correlation**: correlation of any two configurations over seeds
- **skewed**: 1 minus an exponential variable
- **250 images**, **10,000 images**: accuracies 0.985 + 0.004 x and 0.995 + 0.0004 x, rounded to 1 / images, at most 1
- **25% missing**: each run is missing with this probability. Configurations with fewer than two runs are not counted
- **other seeds**: each configuration has its own seeds

"""
GOALS = ("false_behind", "false_wins", "best_outside")  # percentages for which there is a goal
MOST_WRONG = 5.5  # this goal
MEASURES = (*GOALS, "held", "worse_behind", "worse_outside", "wins")
GRID_K = (2, 3, 4, 6, 10, 18, 50)
QUICK_K = (2, 6, 18)
SHARE = {10: 0.6, 18: 0.4, 50: 0.1, 200: 0.06}  # sweeps by number of configurations, as a fraction
REPEATED = {50: 50_000, 200: 2_000}  # sweeps of a repetition; otherwise 100,000
POWERS = (  # columns of the table of power
    ("sd 1", "sd 1; correlation 0"),
    ("sd 3^U", "sd 3^U; correlation 0"),
    ("sd 10^U", "sd 10^U; correlation 0"),
    ("wild", "sd wild; correlation 0"),
    ("correlation 0.8", "sd 1; correlation 0.8"),
)
POWER = """
## Worse configurations outside the set

The share of the worse configurations on the ladder that are outside the set that could be the best, by standard
deviations. The last two columns show the share that is behind, and the wins.
"""
UNEQUAL = """
## Two tied best configurations, one of them noisier

Two configurations are the best, and the others are 4 lower. One of the best has an sd of 1, 3, or 10. All others
have 1.
"""
RECORDED = """
## Recorded configurations

Means and standard deviations of 6, 10, or 18 configurations in random grids from 1,008 recorded configurations
([search_table.py](search_table.py)), or of six networks with ten recorded seeds on MNIST ("frontier", from
[histories](histories)). The best 2, 3, or all of them are set to the best mean ("tied"). Noise is normal, or half of
its variance comes from the recorded residuals, drawn by seed for all configurations together ("residuals"). Accuracies
are rounded to 1/10,000.
"""
COLLAPSES = """
## Collapses

One configuration collapses in each run with a probability of 10%: its accuracy falls by 20 or 50 standard deviations.
All its runs are better by a constant, so all true means are equal. No test of a few runs can detect such a
configuration before its first collapse. With three seeds, none of its runs collapses in 73% of sweeps. Moderated
variances make such unseen collapses worse: the tests assume that the configuration is as stable as the others. There is
no goal for these rows. In contrast, diverged runs are visible, and their configurations rank last.
"""
EARLIER = """
## Scenarios of release 0.2

Each seed has an effect with sd 1 on all configurations. In "correlated" rows, each seed has an additional effect that
differs between configurations. In "rounded" rows, accuracies are multiples of the sd. Rows such as "two best" and
"nearly best" test a step-down method if only some of the means are equal. In rows with "collapse" or "collapses", a run
in ten ends 50 standard deviations lower. There is no goal for these rows, or for the
rows with one skewed configuration.
"""
WORST_BY_SIZE = """\
## False claims

The worst of all scenarios by number of configurations and seeds (k x n).
"""
WORST_BY_SCENARIO = """
The worst of all k x n by scenario. The size in parentheses belongs to the second percentage.
"""
WORST_ROWS = """
The rows with the largest percentages for which there is a goal.
"""
# titles, and functions that yield rows with whether the goals are reached
STUDIES = (
    (INTERACTIONS, interaction_rows),
    (VALUES, value_rows),
    (BEST_PER, best_per_rows),
    (DATASETS, dataset_rows),
    (RANKS, rank_rows),
    (NEW_IMAGES, new_image_rows),
    (BEST_EPOCH, best_epoch_rows),
)


@dataclass(frozen=True)
class Row:
    """The results of a scenario: counts for lenet_exp and for release 0.2, and whether they are
    from a repetition.
    """

    source: Source
    new: Counts
    old: Counts
    repeated: bool = False

    @property
    def size(self) -> str:
        """The numbers of configurations and seeds, such as 18x3."""
        return f"{self.source.k}x{self.source.n}"

    @property
    def name(self) -> str:
        """The name of the scenario with its details."""
        return "; ".join(filter(None, [self.source.name, self.source.details]))

    @property
    def worst(self) -> float:
        """The largest percentage for which there is a goal."""
        return max(map(self.new.percent, GOALS))

    @property
    def missed(self) -> bool:
        """Whether a goal is missed."""
        return self.source.goal and self.worst > MOST_WRONG

    def cells(self, *measures: str) -> str:
        """Format percentages of both rules as cells of a table."""
        return " | ".join(self._cell(measure) for measure in measures)

    def _cell(self, measure: str) -> str:
        is_about_worse = measure in ("worse_behind", "worse_outside", "wins")
        if is_about_worse and not self.new.worse:
            return ""
        mark = "*" if self.repeated and measure in GOALS else ""
        return f"{self.old.percent(measure):.1f} → {self.new.percent(measure):.1f}{mark}"


def simulate(sources: Iterable[Source], sweeps: int, seed: int, quick: bool) -> Iterator[Row]:
    """Yield the results of each scenario; repeat those that are above the goal."""
    for number, source in enumerate(sources):
        k = source.k
        n = source.n
        count = max(int(sweeps * SHARE.get(k, 1)), 100)
        row = Row(source, *run(source, count, (seed, k, n, number)))
        if row.missed and not quick:
            count = REPEATED.get(k, 100_000)
            if "other seeds" in row.name and k > 6:
                count = 20_000
            row = Row(source, *run(source, count, (seed, k, n, number, 1)), repeated=True)
            print(f"repeated: {row.size} {row.name}: {row.worst:.2f}", file=sys.stderr, flush=True)
        yield row


def head(*columns: str) -> str:
    """Return the first two lines of a table, with spaces instead of underscores in the names of its
    columns.
    """
    names = [column.replace("_", " ").replace("held", "hold") for column in columns]
    return f"| {' | '.join(names)} |\n|{' --- |' * len(names)}"


def worst_of(rows: Iterable[Row], key: Callable[[Row], str]) -> Iterator[str]:
    """Yield a line of a table for each key: the worst percentages of its rows, and the size of the
    worst row.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    for name, group in groups.items():
        cells = []
        for measure in (*GOALS, "held"):
            sign = -1 if measure == "held" else 1
            old = max(group, key=lambda row: sign * row.old.percent(measure))
            new = max(group, key=lambda row: sign * row.new.percent(measure))
            mark = "*" if new.repeated and measure in GOALS else ""
            percentages = f"{old.old.percent(measure):.1f} → {new.new.percent(measure):.1f}{mark}"
            cells.append(f"{percentages} ({new.size})")
        yield f"| {name} | {' | '.join(cells)} |"


def tables(results: Mapping[str, list[Row]]) -> Iterator[str]:
    """Yield the tables about verdicts.

    Args:
        results: the results of each group of scenarios.
    """
    yield from false_claims(results["grid"])
    yield from power_table(results["grid"])
    yield from unequal_table(results["grid"])
    yield RECORDED
    yield from rows_of(results["recorded"], MEASURES)
    yield COLLAPSES
    yield from rows_of(results["collapses"], (*GOALS, "held"))
    yield EARLIER
    yield from rows_of(results["earlier"], MEASURES)


def false_claims(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the tables of the worst percentages in the grid of scenarios."""
    yield WORST_BY_SIZE
    yield head("k x n", *GOALS, "held")
    for line in worst_of(rows, lambda row: row.size):
        _, size, *_ = line.split()
        yield line.replace(f" ({size})", "")

    yield WORST_BY_SCENARIO
    yield head("scenario", *GOALS, "held")
    yield from worst_of(rows, lambda row: row.name)

    yield WORST_ROWS
    yield head("scenario", "k x n", *MEASURES)
    for row in sorted(rows, key=lambda row: -row.worst)[:40]:
        yield f"| {row.name} | {row.size} | {row.cells(*MEASURES)} |"


def power_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the table of worse configurations outside the set, by size of the sweep."""
    row_of = {(row.size, row.name): row for row in rows}
    columns = [name for name, _ in POWERS]
    yield POWER
    yield head("k x n", *columns, "worse_behind, sd 1", "wins, sd 1")
    for size in sizes_of(rows):
        rows_of_size = [row_of[size, f"{LADDER}; {details}"] for _, details in POWERS]
        cells = " | ".join(row.cells("worse_outside") for row in rows_of_size)
        yield f"| {size} | {cells} | {rows_of_size[0].cells('worse_behind', 'wins')} |"


def unequal_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the table of two tied best configurations with different standard deviations, by size
    of the sweep.
    """
    row_of = {(row.size, row.name): row for row in rows}
    columns = []
    for spread in ("sd 1", "3", "10"):
        columns += [f"false_behind, {spread}", f"best_outside, {spread}"]
    yield UNEQUAL
    yield head("k x n", *columns)
    for size in sizes_of(rows):
        if (size, f"{TWO}; sd 1; correlation 0") not in row_of:
            continue
        cells = []
        for spread in ("1", "a best 3", "a best 10"):
            row = row_of.get((size, f"{TWO}; sd {spread}; correlation 0"))
            if row is not None:
                cells.append(row.cells("false_behind", "best_outside"))
        yield f"| {size} | {' | '.join(cells)} |"


def rows_of(rows: Sequence[Row], measures: Sequence[str]) -> Iterator[str]:
    """Yield a table with a line for each row."""
    yield head("scenario", "k x n", *measures)
    for row in rows:
        yield f"| {row.source.name} | {row.size} | {row.cells(*measures)} |"


def sizes_of(rows: Sequence[Row]) -> list[str]:
    """Return the sizes of the sweeps, in the order of the rows."""
    return list(dict.fromkeys(row.size for row in rows))


def scenarios(quick: bool) -> dict[str, list[Source]]:
    """Return the groups of scenarios."""
    of_grid: list[Source] = []
    for k, n in product(QUICK_K if quick else GRID_K, SEEDS_OF):
        of_grid += grid(k, n)
    return {
        "grid": of_grid,
        "recorded": list(recorded()),
        "collapses": list(collapses()),
        "earlier": list(earlier(quick)),
    }


def main() -> None:
    """Run the simulations and print the tables. Exit with status 1 if a goal is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sweeps", type=positive, default=None, help="of each scenario with few configurations"
    )
    parser.add_argument(
        "--quick", action="store_true", help="1,000 sweeps, few scenarios, no repetitions, no goals"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the tables there, too")
    arguments = parser.parse_args()
    sweeps = arguments.sweeps or (1000 if arguments.quick else 5000)
    begin = time.process_time()
    lines = []
    missed = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    results = {}
    for name, sources in scenarios(arguments.quick).items():
        results[name] = list(simulate(sources, sweeps, arguments.seed, arguments.quick))
    for line in tables(results):
        say(line)
    for rows in results.values():
        for row in rows:
            if row.missed:
                missed.append(f"{row.size} {row.name}: {row.worst:.2f}")

    for title, study in STUDIES:
        say(title)
        _, heading, *_ = title.split("\n")
        for line, is_good in study(2 * sweeps, arguments.seed):
            say(line)
            if not is_good:
                missed.append(f"{heading}: {line}")

    seconds = time.process_time() - begin
    say(f"\n{sweeps:,} sweeps per scenario, {seconds:.0f} s of one core ({cpu_model()}).")
    if arguments.output is not None:
        arguments.output.write_text(INTRO + "\n".join(lines) + "\n")
    if missed and not arguments.quick:
        sys.exit("goal missed: " + "\n".join(missed))


if __name__ == "__main__":
    main()
