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
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.measure import keep, parser, positive
from benchmarks.search_replay import OPTUNAS, Replayed, Table, Way, load, quick_copies, replay

EPOCHS = (5, 9, 20)
TRIALS = (15, 30)
HEADS = (
    "epochs",
    "trials",
    "method",
    "finished",
    "9 of 10 above",
    "epochs spent",
    "regret",
    "regret, seed seen",
)
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
    first_looks = sorted({math.ceil(share * num_epoch) for share in SHARES})
    ways = []
    for factor in (2, 3, 4):
        for epochs in first_looks:
            options = {"min_resource": epochs, "reduction_factor": factor}
            ways.append(Way(pruner_options=options))
    return ways


def row(table: Table, way: Way, trials: int, searches: Sequence[Replayed]) -> str:
    """Return the table row for one search method: finished trials, trained epochs, and regret."""
    worst = int(table.regret.argmax())  # used if no trial finished
    finished = []
    spent = []
    regrets = []
    regrets_by_own_seed = []
    for repetition, search in enumerate(searches):
        finished.append((search.trials - search.pruned - search.diverged) / search.trials)
        spent.append(search.epochs / (trials * table.num_epoch))
        best = search.named[-1] if search.named else worst
        regrets.append(100 * float(table.regret[best]))
        seed = table.seeds[repetition % len(table.seeds)]
        regrets_by_own_seed.append(100 * float(table.regret_with(seed)[best]))

    least_finished = float(np.quantile(finished, 0.1, method="lower"))
    cells = [
        str(table.num_epoch),
        str(trials),
        way.name,
        f"{np.mean(finished):.0%}",
        f"{least_finished:.0%}",
        f"{np.mean(spent):.0%}",
        f"{np.mean(regrets):.2f} / {np.median(regrets):.2f}",
        f"{np.mean(regrets_by_own_seed):.2f} / {np.median(regrets_by_own_seed):.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


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

    lines = ["| " + " | ".join(HEADS) + " |", "| ---: | ---: | --- |" + " ---: |" * 5]
    print(*lines, sep="\n", flush=True)
    raw = {}
    for num_epoch in EPOCHS:
        table = load().of_epochs(num_epoch)
        ways = tried(num_epoch) if arguments.tried else WAYS
        for trials in TRIALS:
            for way in ways:
                way = replace(way, workers=arguments.workers)
                searches = []
                with quick_copies():
                    for repetition in range(arguments.repetitions):
                        searches.append(replay(table, way, repetition, math.inf, trials))
                lines.append(row(table, way, trials, searches))
                print(lines[-1], flush=True)
                raw[f"{num_epoch} {trials} {way.name}"] = [vars(search) for search in searches]

    if arguments.output is not None:
        arguments.output.write_text("\n".join(lines) + "\n")
    keep(arguments, "search_small", raw)


if __name__ == "__main__":
    main()
