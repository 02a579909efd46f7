"""Measure how many trials of a small search finish with each pruner.

The default options of the pruner `asha` are based on the results.

Searches with 15 and 30 trials of 5, 9, and 20 epochs are replayed on the table of recorded curves,
as in `search.py`. Curves with 5 epochs are the first 5 of the recorded 9 epochs. Curves with 20
epochs are interpolated. The baseline trial is omitted.

    python -m benchmarks.search_small                    # a few minutes on one core
    python -m benchmarks.search_small --tried            # settings that were considered for the
                                                         defaults
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.measure import keep, parser, positive
from benchmarks.search_replay import OPTUNAS, Replayed, Table, Way, load, quick_copies, replay

EPOCHS, TRIALS = (5, 9, 20), (15, 30)
WAYS = (
    Way(pruner="none"),
    Way(),
    Way(pruner_options=OPTUNAS),
    Way(pruner="median"),
    Way(pruner="hyperband"),
)
SHARES = (0.2, 0.25, 1 / 3, 0.4, 0.5)


def tried(num_epoch: int) -> list[Way]:
    """Return settings of `asha` that first check a trial after a certain fraction of its epochs."""
    looks = sorted({math.ceil(share * num_epoch) for share in SHARES})
    return [
        Way(pruner_options={"min_resource": least, "reduction_factor": factor})
        for factor in (2, 3, 4)
        for least in looks
    ]


def row(table: Table, way: Way, trials: int, searches: Sequence[Replayed]) -> str:
    """Return the table row for one search method: finished trials, trained epochs, and regret."""
    finished = [
        (search.trials - search.pruned - search.diverged) / search.trials for search in searches
    ]
    spent = [search.epochs / (trials * table.num_epoch) for search in searches]
    seeds = [table.seeds[repetition % len(table.seeds)] for repetition in range(len(searches))]
    worst = int(table.regret.argmax())  # used if no trial finished
    named = [
        (seed, (search.named or [worst])[-1]) for seed, search in zip(seeds, searches, strict=True)
    ]
    seen = [100 * float(table.regret_with(seed)[at]) for seed, at in named]
    mean = [100 * float(table.regret[at]) for _, at in named]
    least = float(np.quantile(finished, 0.1, method="lower"))
    cells = [
        table.num_epoch,
        trials,
        way.name,
        f"{np.mean(finished):.0%}",
        f"{least:.0%}",
        f"{np.mean(spent):.0%}",
    ]
    cells += [f"{np.mean(regret):.2f} / {np.median(regret):.2f}" for regret in (mean, seen)]
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Replay the searches and print the table."""
    options = parser(__doc__, repeats=1)
    options.add_argument(
        "--repetitions", type=positive, default=60, help="of each search (default 60)"
    )
    options.add_argument("--workers", type=positive, default=4, help="simulated (default 4)")
    options.add_argument("--tried", action="store_true", help="other settings of asha instead")
    options.add_argument("--output", type=Path, help="writes the table there, too")
    arguments = options.parse_args()
    heads = [
        "epochs",
        "trials",
        "method",
        "finished",
        "9 of 10 above",
        "epochs spent",
        "regret",
        "regret, seed seen",
    ]
    lines = ["| " + " | ".join(heads) + " |", "| ---: | ---: | --- |" + " ---: |" * 5]
    print(*lines, sep="\n", flush=True)
    raw = {}
    for num_epoch in EPOCHS:
        table = load().of_epochs(num_epoch)
        for trials in TRIALS:
            for way in tried(num_epoch) if arguments.tried else WAYS:
                way = Way(
                    way.sampler,
                    way.pruner,
                    way.sampler_options,
                    way.pruner_options,
                    arguments.workers,
                )
                with quick_copies():
                    rows = [
                        replay(table, way, n, math.inf, trials)
                        for n in range(arguments.repetitions)
                    ]
                lines.append(row(table, way, trials, rows))
                print(lines[-1], flush=True)
                raw[f"{num_epoch} {trials} {way.name}"] = [vars(search) for search in rows]
    if arguments.output is not None:
        arguments.output.write_text("\n".join(lines) + "\n")
    keep(arguments, "search_small", raw)


if __name__ == "__main__":
    main()
