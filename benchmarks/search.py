"""Measure what fraction of a grid a search must train to find the best configuration, by replaying
searches.

The searches are replayed on a table with the real curves of all configurations in a grid on
FashionMNIST (`search_table.py`). A replay requests trials and reports results in the same way as
`hydra/sweeper=search`. It has four simulated workers, for which each epoch takes the recorded time.
Each repetition samples with a different seed. A search sees the results for only one training seed,
which depends on the repetition.

After each epoch, the benchmark evaluates the best configuration that the search has found so far.
The regret of this configuration is how far its mean accuracy over the seeds in the table is below
that of the grid's best configuration.

    python -m benchmarks.search                                     # all methods; about an hour on
                                                                    one core
    python -m benchmarks.search --ways tpe,asha random,none --repetitions 10
    python -m benchmarks.search --tried                             # settings that were considered
                                                                    for the defaults
    python -m benchmarks.search --json x.json                       # save the raw results
    python -m benchmarks.search --read x.json --output x.md --plot x.png
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.measure import keep, parser, positive
from benchmarks.search_plot import regret_figure
from benchmarks.search_replay import (
    OPTUNAS,
    Floats,
    Replayed,
    Table,
    Way,
    load,
    quick_copies,
    replay,
)
from lenet_exp.config.schema import PrunerName, SamplerName
from lenet_exp.machine import cpu_model
from lenet_exp.reports.files.plots import png

# introduces the table in which each search is judged only by the seed that it used
BY_OWN_SEED = (
    "The next table judges the same searches by the seed that each search used, without "
    "seed-to-seed variation."
)
SHARES = (0.05, 0.1, 0.15)  # fractions of the grid's epochs after which the regret is reported
FEWER = {"gp", "qmc"}  # samplers that are tested with fewer repetitions
MOST_OF_FEWER = 10  # repetitions with these samplers
BASELINE = Way("random", "none")
BATCHES = Way(batches=True)
WAYS = (
    BASELINE,
    BATCHES,
    Way("random", "asha"),
    Way("random", "hyperband"),
    Way("random", "median"),
    Way("tpe", "none"),
    Way("tpe", "asha"),
    Way("tpe", "hyperband"),
    Way("tpe", "median"),
    Way("gp", "asha"),
    Way("qmc", "asha"),
    Way("random", "asha", {}, OPTUNAS),
    Way("tpe", "asha", {}, OPTUNAS),
    Way("gp", "asha", {}, OPTUNAS),
    Way("qmc", "asha", {}, OPTUNAS),
)
TRIED = (
    BASELINE,
    BATCHES,
    *(
        Way("random", "asha", {}, {"min_resource": least, "reduction_factor": factor})
        for least in (1, 2, 3)
        for factor in (2, 3, 4)
    ),
    Way("random", "median", {}, {"n_warmup_steps": 2}),
    Way("tpe", "none"),
    Way("tpe", "none", repeats=True),
    Way("tpe", "none", {"constant_liar": True}),
    Way("tpe", "none", {"n_startup_trials": 20}),
    Way("tpe", "asha"),
    Way("tpe", "asha", {}, {"reduction_factor": 2}),
    Way("tpe", "asha", {}, {"reduction_factor": 3}),
    Way("tpe", "asha", {}, {"min_resource": 2, "reduction_factor": 2}),
    Way("tpe", "asha", {"constant_liar": True}),
    Way("tpe", "asha", {"n_startup_trials": 50}),
    Way("tpe", "median", {}, {"n_warmup_steps": 2}),
)
HEADS = ("below sd", "frugal", "trials", "pruned", "min")  # columns after those of regrets
EXPLANATION = (
    "Each percentage column shows the regret, in points, after that fraction of the grid's "
    "epochs: the median, and the value that 9 of 10 repetitions stay below. Below sd: fraction of "
    "repetitions whose final regret is below the standard deviation over seeds. Frugal: number of "
    "epochs after which random search without pruning reaches its final median regret, divided by "
    "the number after which this method reaches the same regret. Trials and pruned: mean number "
    "of trials and of pruned trials. Min: simulated minutes with four workers."
)


@dataclass(frozen=True)
class MethodResult:
    """The replayed searches with one method.

    Attributes:
        name: name of the method.
        searches: results of the searches, one for each repetition.
        regret: (repetitions, epochs + 1) regret after each number of trained epochs, starting at 0
            epochs. Before the first result, it is the regret of the worst configuration.
    """

    name: str
    searches: list[Replayed]
    regret: Floats

    def has(self, epochs: int) -> bool:
        """Return whether the searches have trained this many epochs."""
        return bool(epochs < self.regret.shape[1])

    def median(self, epochs: int) -> float:
        """Return the median regret after a number of trained epochs."""
        return float(np.median(self.regret[:, epochs]))

    def nine_of_ten(self, epochs: int) -> float:
        """Return the regret that at least nine in ten repetitions do not exceed after a number of
        trained epochs.
        """
        return float(np.quantile(self.regret[:, epochs], 0.9, method="higher"))

    def share_below(self, regret: float, epochs: int) -> float:
        """Return the fraction of repetitions whose regret is below a limit after a number of
        trained epochs.
        """
        return float((self.regret[:, epochs] < regret).mean())

    def epochs_to(self, regret: float) -> int | None:
        """Return the number of epochs after which the median regret reaches a value, or None if it
        does not.
        """
        medians = np.median(self.regret, axis=0)
        reached = np.flatnonzero(medians <= regret)
        if len(reached) == 0:
            return None
        return int(reached[0])

    def mean(self, attribute: str) -> float:
        """Return the mean of an attribute of `Replayed` over the searches."""
        return float(np.mean([getattr(search, attribute) for search in self.searches]))


def search_all(table: Table, way: Way, repetitions: int, share: float) -> MethodResult:
    """Replay all repetitions of a search with one method, up to a fraction of the grid's epochs."""
    with quick_copies():
        budget = round(share * table.grid_epochs)
        searches = [replay(table, way, repetition, budget) for repetition in range(repetitions)]
    return judged(table, way.name, searches, share)


def judged(
    table: Table, name: str, searches: list[Replayed], share: float, *, by_own_seed: bool = False
) -> MethodResult:
    """Compute the regret of searches after each epoch, up to a fraction of the grid's epochs.

    Args:
        name: name of the method.
        share: fraction of the grid's epochs.
        by_own_seed: whether to use only the seed that each search used, instead of the mean over
            all seeds.
    """
    epochs = round(share * table.grid_epochs)
    rows = []
    for repetition, search in enumerate(searches):
        regret = table.regret
        if by_own_seed:
            regret = table.regret_with(table.seeds[repetition % len(table.seeds)])
        row = np.full(epochs + 1, float(regret.max()))
        for spent, configuration in zip(search.spent, search.named, strict=True):
            row[spent:] = regret[configuration]
        rows.append(row)
    return MethodResult(name, searches, np.array(rows))


def about(table: Table) -> list[str]:
    """Describe the table of curves and the best possible result of a search, in paragraphs."""
    spread, pairs = table.spread()
    regrets_of_whole_grid = []
    for seed in table.seeds:
        best = int(np.argmax(table.reached[:, seed]))
        regrets_of_whole_grid.append(_points(float(table.regret[best])))
    judge = "that seed"
    if len(table.seeds) > 1:
        judge = f"the mean over all {len(table.seeds)} seeds"
    within_one = int((table.regret < spread).sum())
    within_two = int((table.regret < 2 * spread).sum())

    return [
        f"Table: {len(table.accuracy):,} configurations x {table.num_epoch} epochs = "
        f"{table.grid_epochs:,} epochs in the grid. {int(table.trained.sum()):,} of "
        f"{table.trained.size:,} training curves were recorded. Seeds with complete curves: "
        f"{', '.join(map(str, table.seeds))}. Each search uses one of these seeds and is judged by "
        f"{judge}.",
        "Standard deviation over seeds, pooled over the best tenth of the configurations "
        f"({pairs} of them have several seeds): {_points(spread)} points.",
        "Regret if the whole grid is trained with one seed, for each seed: "
        f"{', '.join(regrets_of_whole_grid)} points. {within_one} configurations are within one "
        f"standard deviation of the best, and {within_two} are within two.",
    ]


def markdown(table: Table, results: Sequence[MethodResult]) -> str:
    """Format the regret of all methods as a Markdown table, followed by an explanation."""
    looks = []  # numbers of epochs after which the regret is shown
    for share in SHARES:
        epochs = round(share * table.grid_epochs)
        if any(result.has(epochs) for result in results):
            looks.append(epochs)
    baseline = next((result for result in results if result.name == BASELINE.name), None)

    shares = [f"{epochs / table.grid_epochs:.0%}" for epochs in looks]
    heads = ["method", "n", *shares, *HEADS]
    lines = [_line(heads), "| --- |" + " ---: |" * (len(heads) - 1)]
    lines += [_line(_cells(table, result, looks, baseline)) for result in results]
    lines += ["", EXPLANATION]
    return "\n".join(lines) + "\n"


def _cells(
    table: Table, result: MethodResult, looks: Sequence[int], baseline: MethodResult | None
) -> list[str]:
    """Return the cells of one method's row.

    Args:
        looks: numbers of epochs after which the regret is shown.
        baseline: random search without pruning, if it was replayed.
    """
    cells = [result.name, str(len(result.searches))]
    for epochs in looks:
        if result.has(epochs):
            middle = _points(result.median(epochs))
            cells.append(f"{middle} / {_points(result.nine_of_ten(epochs))}")
        else:
            cells.append("-")

    spread, _ = table.spread()
    if math.isfinite(spread) and result.has(looks[-1]):
        cells.append(f"{result.share_below(spread, looks[-1]):.0%}")
    else:
        cells.append("-")

    cells.append(_frugal(result, looks[-1], baseline))
    cells.append(f"{result.mean('trials'):.0f}")
    cells.append(f"{result.mean('pruned'):.0f}")
    cells.append(f"{result.mean('seconds') / 60:.1f}")
    return cells


def _frugal(result: MethodResult, epochs: int, baseline: MethodResult | None) -> str:
    """Return how many times fewer epochs a method needs than the baseline, to reach the regret that
    the baseline has after a number of epochs.
    """
    if baseline is None or not baseline.has(epochs) or not result.has(epochs):
        return "-"
    goal = baseline.median(epochs)
    epochs_of_baseline = baseline.epochs_to(goal)
    epochs_of_method = result.epochs_to(goal)
    if not epochs_of_baseline or not epochs_of_method:
        return "< 1"
    return f"{epochs_of_baseline / epochs_of_method:.1f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _measured(results: Sequence[MethodResult]) -> str:
    """Describe with what the results were measured."""
    repetitions = sorted({len(result.searches) for result in results})
    text_of_repetitions = ""
    if len(repetitions) > 1:
        text_of_repetitions = f" ({repetitions[0]} to {repetitions[-1]} repetitions per method: n)"
    date = time.strftime("%Y-%m-%d")
    return (
        f"`python -m benchmarks.search`{text_of_repetitions}, {date}, {cpu_model()}, "
        f"optuna {version('optuna')}."
    )


def _points(regret: float) -> str:
    return f"{regret * 100:.2f}"


def _chosen(names: Sequence[str]) -> list[Way]:
    """Return the methods with these names, as in `--ways`."""
    ways = {}
    for sampler in SamplerName:
        for pruner in PrunerName:
            if sampler is not SamplerName.grid:
                ways[f"{sampler},{pruner}"] = Way(sampler, pruner)
    ways["batches"] = BATCHES

    for name in names:
        if name not in ways:
            raise SystemExit(f"--ways {name}: allowed are {', '.join(ways)}")
    return [ways[name] for name in names]


def _read(table: Table, file: Path) -> list[MethodResult]:
    """Judge the searches in a file that `--json` wrote."""
    contents = json.loads(file.read_text())
    share = contents["options"]["share"]
    results = []
    for name, fields_of_searches in contents["seconds"].items():
        searches = [Replayed(**fields) for fields in fields_of_searches]
        results.append(judged(table, name, searches, share))
    return results


def _replayed(
    table: Table, ways: Sequence[Way], repetitions: int, share: float
) -> list[MethodResult]:
    """Replay the searches with each method, and print a row of the table after each method."""
    start = time.process_time()
    results = []
    for way in ways:
        number = repetitions
        if way.sampler in FEWER:
            number = min(repetitions, MOST_OF_FEWER)
        results.append(search_all(table, way, number, share))
        row = markdown(table, [results[-1]]).splitlines()[2]
        print(row, f"{time.process_time() - start:.0f} s of CPU", flush=True)
    return results


def _tables(table: Table, results: Sequence[MethodResult]) -> str:
    """Return the tables in which the methods are judged by all seeds, and by the seed of each
    search.
    """
    by_own_seed = []
    for result in results:
        share = (result.regret.shape[1] - 1) / table.grid_epochs
        by_own_seed.append(judged(table, result.name, result.searches, share, by_own_seed=True))
    rows_by_own_seed, _, _ = markdown(table, by_own_seed).partition("\n\n")
    return "\n".join([markdown(table, results), BY_OWN_SEED, "", rows_by_own_seed, ""])


def _raw(results: Sequence[MethodResult]) -> Mapping[str, object]:
    return {result.name: [vars(search) for search in result.searches] for result in results}


def main() -> None:
    """Replay the searches with each method and print the table."""
    options = parser(__doc__, repeats=1)
    options.add_argument(
        "--repetitions", type=positive, default=50, help="of each way (default 50; gp and qmc: 10)"
    )
    options.add_argument(
        "--share", type=float, default=SHARES[-1], help="of the grid's epochs (default 0.15)"
    )
    options.add_argument(
        "--ways", nargs="+", metavar="SAMPLER,PRUNER", help="only these; batches is one, too"
    )
    options.add_argument(
        "--read", nargs="+", type=Path, metavar="FILE", help="nothing is replayed: what --json kept"
    )
    options.add_argument("--tried", action="store_true", help="other settings instead")
    options.add_argument("--output", type=Path, help="writes the table there, too")
    options.add_argument("--plot", type=Path, help="draws the regret over the epochs there (PNG)")
    arguments = options.parse_args()

    table = load()
    description = "\n\n".join(about(table))
    print(f"{description}\n", flush=True)

    ways: Sequence[Way] = WAYS
    if arguments.ways:
        ways = _chosen(arguments.ways)
    elif arguments.tried:
        ways = TRIED
    results: list[MethodResult] = []
    if arguments.read:
        for file in arguments.read:
            results += _read(table, file)
    else:
        results = _replayed(table, ways, arguments.repetitions, arguments.share)

    tables = _tables(table, results)
    print(f"\n{tables}")
    if arguments.output is not None:
        page = f"# Replayed searches\n\n{_measured(results)}\n\n{description}\n\n{tables}"
        arguments.output.write_text(page)
    if arguments.plot is not None:
        regrets = {result.name: result.regret for result in results}
        arguments.plot.write_bytes(png(regret_figure(regrets, table)))
    keep(arguments, "search", _raw(results))


if __name__ == "__main__":
    main()
