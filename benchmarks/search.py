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

SEEN = "The next table judges the same searches by the seed that each search used, without seed-to-seed variation."
SHARES = (0.05, 0.1, 0.15)  # fractions of the grid's epochs after which the regret is reported
FEWER = {"gp", "qmc"}  # samplers that are tested with fewer repetitions
BASELINE, BATCHES = Way("random", "none"), Way(batches=True)
WAYS = (
    BASELINE,
    BATCHES,
    *(Way("random", pruner) for pruner in ("asha", "hyperband", "median")),
    *(Way("tpe", pruner) for pruner in ("none", "asha", "hyperband", "median")),
    *(Way(sampler, "asha") for sampler in ("gp", "qmc")),
    *(Way(sampler, "asha", {}, OPTUNAS) for sampler in ("random", "tpe", "gp", "qmc")),
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


@dataclass(frozen=True)
class Found:
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
        reached = np.flatnonzero(np.median(self.regret, 0) <= regret)
        return int(reached[0]) if len(reached) else None

    def mean(self, what: str) -> float:
        """Return the mean of an attribute of `Replayed` over the searches."""
        return float(np.mean([getattr(search, what) for search in self.searches]))


def search_all(table: Table, way: Way, repetitions: int, share: float) -> Found:
    """Replay all repetitions of a search with one method, up to a fraction of the grid's epochs."""
    with quick_copies():
        budget = round(share * table.grid_epochs)
        searches = [replay(table, way, repetition, budget) for repetition in range(repetitions)]
    return judged(table, way.name, searches, share)


def judged(
    table: Table, name: str, searches: list[Replayed], share: float, *, seen: bool = False
) -> Found:
    """Compute the regret of searches after each epoch, up to a fraction of the grid's epochs.

    Args:
        name: name of the method.
        share: fraction of the grid's epochs.
        seen: whether to use only the seed that each search saw, instead of the mean over all seeds.
    """
    rows = []
    for repetition, search in enumerate(searches):
        of = table.regret_with(table.seeds[repetition % len(table.seeds)]) if seen else table.regret
        row = np.full(round(share * table.grid_epochs) + 1, float(of.max()))
        for spent, named in zip(search.spent, search.named, strict=True):
            row[spent:] = of[named]
        rows.append(row)
    return Found(name, searches, np.array(rows))


def about(table: Table) -> list[str]:
    """Describe the table of curves and the best possible result of a search, in paragraphs."""
    spread, pairs = table.spread()
    named = [int(np.argmax(table.reached[:, seed])) for seed in table.seeds]
    whole = ", ".join(_points(float(table.regret[at])) for at in named)
    several = f"the mean over all {len(table.seeds)} seeds" if len(table.seeds) > 1 else "that seed"
    near, twice = (int((table.regret < n * spread).sum()) for n in (1, 2))
    return [
        f"Table: {len(table.accuracy):,} configurations x {table.num_epoch} epochs = {table.grid_epochs:,} epochs in "
        f"the grid. {int(table.trained.sum()):,} of {table.trained.size:,} training curves were recorded. Seeds with "
        f"complete curves: {', '.join(map(str, table.seeds))}. Each search uses one of these seeds and is judged by "
        f"{several}.",
        f"Standard deviation over seeds, pooled over the best tenth of the configurations ({pairs} of them have "
        f"several seeds): {_points(spread)} points.",
        f"Regret if the whole grid is trained with one seed, for each seed: {whole} points. {near} configurations are "
        f"within one standard deviation of the best, and {twice} are within two.",
    ]


def markdown(table: Table, found: Sequence[Found]) -> str:
    """Format the regret of all methods as a Markdown table, followed by an explanation."""
    spread, _ = table.spread()
    at = [round(share * table.grid_epochs) for share in SHARES]
    at = [n for n in at if any(f.has(n) for f in found)]
    random = next((f for f in found if f.name == BASELINE.name), None)
    goal = random.median(at[-1]) if random is not None and random.has(at[-1]) else None
    shares = [f"{n / table.grid_epochs:.0%}" for n in at]
    heads = ["method", "n", *shares, "below sd", "frugal", "trials", "pruned", "min"]
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for f in found:
        regrets = [
            f"{_points(f.median(n))} / {_points(f.nine_of_ten(n))}" if f.has(n) else "-" for n in at
        ]
        frugal, whole = "-", f.has(at[-1])
        if random is not None and goal is not None and whole:
            needed, own = random.epochs_to(goal), f.epochs_to(goal)
            frugal = f"{needed / own:.1f}" if needed and own else "< 1"
        counts = [
            f"{f.mean('trials'):.0f}",
            f"{f.mean('pruned'):.0f}",
            f"{f.mean('seconds') / 60:.1f}",
        ]
        below = f"{f.share_below(spread, at[-1]):.0%}" if math.isfinite(spread) and whole else "-"
        lines.append(
            "| "
            + " | ".join([f.name, str(len(f.searches)), *regrets, below, frugal, *counts])
            + " |"
        )
    lines += [
        "",
        "Each percentage column shows the regret, in points, after that fraction of the grid's epochs: the median, and "
        "the value that 9 of 10 repetitions stay below. Below sd: fraction of repetitions whose final regret is below "
        "the standard deviation over seeds. Frugal: number of epochs after which random search without pruning reaches "
        "its final median regret, divided by the number after which this method reaches the same regret. Trials and "
        "pruned: mean number of trials and of pruned trials. Min: simulated minutes with four workers.",
    ]
    return "\n".join(lines) + "\n"


def _measured(found: Sequence[Found]) -> str:
    repetitions = sorted({len(f.searches) for f in found})
    few = (
        ""
        if len(repetitions) == 1
        else f" ({repetitions[0]} to {repetitions[-1]} repetitions per method: n)"
    )
    date = time.strftime("%Y-%m-%d")
    return f"`python -m benchmarks.search`{few}, {date}, {cpu_model()}, optuna {version('optuna')}."


def _points(regret: float) -> str:
    return f"{regret * 100:.2f}"


def _chosen(names: Sequence[str]) -> list[Way]:
    pairs = [
        (sampler, pruner)
        for sampler in SamplerName
        for pruner in PrunerName
        if sampler is not SamplerName.grid
    ]
    ways = {f"{sampler},{pruner}": Way(sampler, pruner) for sampler, pruner in pairs} | {
        "batches": BATCHES
    }
    unknown = [name for name in names if name not in ways]
    if unknown:
        raise SystemExit(f"--ways {unknown[0]}: allowed are {', '.join(ways)}")
    return [ways[name] for name in names]


def _raw(found: Sequence[Found]) -> Mapping[str, object]:
    return {f.name: [vars(search) for search in f.searches] for f in found}


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
    table, found, start = load(), [], time.process_time()
    description = "\n\n".join(about(table))
    print(f"{description}\n", flush=True)
    for file in arguments.read or []:
        kept = json.loads(file.read_text())
        for name, searches in kept["seconds"].items():
            found.append(
                judged(
                    table,
                    name,
                    [Replayed(**search) for search in searches],
                    kept["options"]["share"],
                )
            )
    ways = _chosen(arguments.ways) if arguments.ways else TRIED if arguments.tried else WAYS
    for way in ways if not arguments.read else ():
        repetitions = (
            min(arguments.repetitions, 10) if way.sampler in FEWER else arguments.repetitions
        )
        found.append(search_all(table, way, repetitions, arguments.share))
        print(
            markdown(table, [found[-1]]).splitlines()[2],
            f"{time.process_time() - start:.0f} s of CPU",
            flush=True,
        )
    shares = [(f.regret.shape[1] - 1) / table.grid_epochs for f in found]
    seen = [
        judged(table, f.name, f.searches, s, seen=True) for f, s in zip(found, shares, strict=True)
    ]
    tables = "\n".join(
        [markdown(table, found), SEEN, "", markdown(table, seen).partition("\n\n")[0], ""]
    )
    print(f"\n{tables}")
    if arguments.output is not None:
        arguments.output.write_text(
            f"# Replayed searches\n\n{_measured(found)}\n\n{description}\n\n{tables}"
        )
    if arguments.plot is not None:
        arguments.plot.write_bytes(png(regret_figure({f.name: f.regret for f in found}, table)))
    keep(arguments, "search", _raw(found))


if __name__ == "__main__":
    main()
