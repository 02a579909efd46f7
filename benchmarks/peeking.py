"""How much higher the reported accuracy is if test images choose the epoch or the seed.

The benchmark trains recipes with ten seeds that no other result uses, and evaluates each run on the
test images after each epoch. It prints the mean test accuracy of the epoch that the recipe selects
(by validation images, or the last epoch), which is what the published results report, and what
would have been reported instead:

  best epoch       each run's highest test accuracy over its epochs
  best of 5 seeds  the highest of five runs, on average over all choices of five of the ten runs
  both             the highest test accuracy of any epoch of five runs, on the same average

Nothing was chosen by these numbers: the recipes and their results were published before.

    python -m benchmarks.peeking

Data folder: $LENET_EXP_DATA (default: `data`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import combinations
from multiprocessing import get_context
from statistics import mean, stdev

import torch

from benchmarks.manifest import MANIFEST, NAMES
from benchmarks.measure import positive
from benchmarks.recipes import RECIPES, Row
from lenet_exp.api import compose
from lenet_exp.config.schema import Config
from lenet_exp.data.images import TrainingData, load_training_data
from lenet_exp.data.normalization import normalize
from lenet_exp.data.readers import read_images
from lenet_exp.training.engine import engine_of
from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.fit import fit
from lenet_exp.training.state import new_training_state

TABLE = MANIFEST.with_name("peeking.md")
SEEDS = range(700, 710)
CHOSEN = 5  # number of seeds among which the best is chosen
PEEKED = ("ancestor", "mnist_10k", "fashion_10k")  # names of the recipes


def main() -> None:
    """Train the runs, and write the table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--recipes", nargs="+", default=PEEKED, help="default: %(default)s")
    options.add_argument(
        "--workers", type=positive, default=2, help="runs side by side (default: 2)"
    )
    arguments = options.parse_args()

    lines = [
        "| dataset | recipe | epochs | test, % | best epoch | best of 5 seeds | both | n |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    rows = [row for row in RECIPES if row.name in arguments.recipes]
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        for row in rows:
            runs = list(pool.map(accuracies, [row] * len(SEEDS), SEEDS))
            epochs = len(runs[0][1])
            row_cells = [NAMES[row.dataset], f"`{row.name}`", str(epochs), *cells(runs)]
            lines.append(f"| {' | '.join(row_cells)} |")
            print(lines[-1], flush=True)
    TABLE.write_text("\n".join(lines) + "\n")


def accuracies(row: Row, seed: int) -> tuple[float, list[float]]:
    """Train a run, and return the test accuracy of its selected epoch, and of each epoch, as
    fractions.
    """
    torch.set_num_threads(1)
    config = compose([*row.overrides, f"seed={seed}", f"engine={row.engine}", "num_threads=1"])
    state = new_training_state(config, torch.device("cpu"))
    data = load_training_data(config, torch.device("cpu"))
    test = _test_data(config, data)
    engine = engine_of(config)
    measured = []
    for result in fit(state, data, engine=engine):
        if not isinstance(result, EpochResult):
            raise RuntimeError(f"{row.key} seed {seed} diverged")
        is_right = engine.evaluate(state, test).predictions == test.labels
        measured.append(float(is_right.double().mean()))
    if state.best is None:
        raise RuntimeError(f"{row.key} seed {seed} has no epoch")
    return measured[state.best.epoch - 1], measured


def _test_data(config: Config, data: TrainingData) -> TrainingData:
    """Return data that consist of all test images."""
    raw = read_images(config.dataset, config.data_root, "test")
    images = normalize(raw.images, raw.white, data.images.shape[-1], data.normalization)
    index = torch.arange(len(raw.labels))
    return replace(data, images=images, labels=raw.labels, train_index=index, val_index=index)


def cells(runs: Sequence[tuple[float, list[float]]]) -> list[str]:
    """Return the accuracies and the number of runs as text; accuracies in percent, and leads over
    the first one.
    """
    selected = [100 * accuracy for accuracy, _ in runs]
    best_epochs = [100 * max(epochs) for _, epochs in runs]
    published = mean(selected)
    texts = [f"{published:.2f} ± {stdev(selected):.2f}"]
    for value in (mean(best_epochs), best_seed(selected), best_seed(best_epochs)):
        texts.append(f"{value:.2f} (+{value - published:.2f})")
    texts.append(str(len(runs)))
    return texts


def best_seed(accuracies: Sequence[float]) -> float:
    """Return the highest accuracy of a few seeds, on average over all choices of these seeds."""
    return mean(max(chosen) for chosen in combinations(accuracies, CHOSEN))


if __name__ == "__main__":
    main()
