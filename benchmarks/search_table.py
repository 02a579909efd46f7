"""Record the curves of 1,008 configurations on FashionMNIST with three seeds, for replaying
searches.

The grid consists of 7 activations, 4 optimizers, 3 learning rates, 3 dropout rates, 2 weight
decays, and 2 schedules. Each run trains on 10,000 images with batch size 128 for 9 epochs, with the
native engine. This takes about an hour and a half on two idle cores. If it is interrupted, rerun
the same command to resume.

    python -m benchmarks.search_table train --workers 2     # add a line per curve to
                                                            search_table.jsonl in the outputs
    python -m benchmarks.search_table pack                  # write these curves to
                                                            benchmarks/search_table.npz

Data folder: $LENET_EXP_DATA (default: `data`).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure import positive
from lenet_exp.config.compose import compose
from lenet_exp.data.images import load_training_data
from lenet_exp.outputs import outputs_dir
from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.fit import fit
from lenet_exp.training.state import new_training_state

PACKED = Path(__file__).with_name("search_table.npz")
EPOCHS = 9
SEEDS = (0, 1, 2)
FLAGS = {
    "activation": ["relu", "leaky_relu", "prelu", "rrelu", "elu", "selu", "tanh"],
    "optimizer": ["sgd", "adam", "adamw", "rmsprop"],
    "optimizer.lr": ["0.1", "0.01", "0.001"],
    "regularization.dropout_rate": ["0", "0.2", "0.5"],
    "regularization.weight_decay": ["0", "0.0005"],
    "schedule": ["constant", "linear"],
}
BASE = [
    "dataset=fashion_mnist",
    "dataset.train_size=10000",
    "batch_size=128",
    f"num_epoch={EPOCHS}",
    "num_threads=1",
    "device=cpu",
    "engine=native",
]


def configurations() -> list[list[str]]:
    """Return the overrides of each configuration, in the table's order."""
    overrides = []
    for values in itertools.product(*FLAGS.values()):
        overrides.append([f"{flag}={value}" for flag, value in zip(FLAGS, values, strict=True)])
    return overrides


def curve(number: int, seed: int) -> str:
    """Train a configuration with a seed, and return its curve as a line of JSON. A diverged curve
    has fewer epochs.
    """
    torch.set_num_threads(1)
    device = torch.device("cpu")
    config = compose([*BASE, *configurations()[number], f"seed={seed}"])
    data = load_training_data(config, device)
    state = new_training_state(config, device)

    epochs = []
    for result in fit(state, data):
        if isinstance(result, EpochResult):
            epochs.append((result.val_accuracy, result.val_loss, result.epoch_seconds))
    return json.dumps({"number": number, "seed": seed, "epochs": epochs})


def recorded_curves() -> Iterator[dict[str, Any]]:
    """Yield all existing curves, packed or not. Incomplete lines, which remain after a kill, are
    ignored.
    """
    if PACKED.exists():
        table = np.load(PACKED)
        columns = [table[name].astype(float) for name in ("accuracy", "loss", "seconds")]
        for number, seed_index in np.argwhere(table["trained"]):
            rows = np.stack([column[number, seed_index] for column in columns], 1)
            epochs = rows[~np.isnan(rows).any(1)].tolist()
            yield {"number": int(number), "seed": SEEDS[seed_index], "epochs": epochs}

    file = lines_file()
    if not file.exists():
        return
    for line in file.read_text().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def missing_curves() -> list[tuple[int, int]]:
    """Return the configuration and the seed of each missing curve. The configurations of a seed are
    in random order, so that an incomplete table is a sample of the whole table.
    """
    recorded = {(curve["number"], curve["seed"]) for curve in recorded_curves()}
    missing = []
    for seed in SEEDS:
        numbers = np.random.default_rng(seed).permutation(len(configurations())).tolist()
        missing += [(number, seed) for number in numbers if (number, seed) not in recorded]
    return missing


def lines_file() -> Path:
    """Return the path of the file to which the curves are written."""
    return outputs_dir() / "search_table.jsonl"


def train(workers: int) -> None:
    """Train the missing curves."""
    missing = missing_curves()
    lines_file().parent.mkdir(parents=True, exist_ok=True)
    print(f"{len(missing)} curves to train")

    with lines_file().open("a") as file, ProcessPoolExecutor(workers) as pool:
        futures = [pool.submit(curve, number, seed) for number, seed in missing]
        for done, future in enumerate(as_completed(futures), start=1):
            # the line break separates the curve from an incomplete line
            file.write("\n" + future.result())
            file.flush()
            if done % 100 == 0:
                print(f"{done} of {len(missing)}", flush=True)


def pack() -> None:
    """Write all curves to the file `PACKED`, as arrays (configurations, seeds, epochs).

    The arrays contain the validation accuracy, the validation loss, and the duration in seconds;
    NaN after a divergence.
    """
    shape = (len(configurations()), len(SEEDS), EPOCHS)
    accuracy = np.full(shape, math.nan, dtype=np.float32)
    loss = np.full(shape, math.nan, dtype=np.float32)
    seconds = np.full(shape, math.nan, dtype=np.float32)
    trained = np.zeros(shape[:2], dtype=bool)
    for recorded in recorded_curves():
        number = recorded["number"]
        seed_index = SEEDS.index(recorded["seed"])
        trained[number, seed_index] = True
        for epoch, values in enumerate(recorded["epochs"]):
            place = (number, seed_index, epoch)
            accuracy[place], loss[place], seconds[place] = values

    np.savez_compressed(
        PACKED,
        trained=trained,
        accuracy=accuracy,
        loss=loss,
        seconds=seconds.astype(np.float16),
        flags=np.array(json.dumps(FLAGS)),
    )
    kilobytes = PACKED.stat().st_size / 1e3
    print(f"{trained.sum()} of {trained.size} curves in {PACKED} ({kilobytes:.0f} kB)")


def main() -> None:
    """Train or pack the curves, as the command line specifies."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("what", choices=["train", "pack"])
    options.add_argument("--workers", type=positive, default=2)
    arguments = options.parse_args()

    if arguments.what == "train":
        train(arguments.workers)
    else:
        pack()


if __name__ == "__main__":
    main()
