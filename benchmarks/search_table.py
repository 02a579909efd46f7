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
EPOCHS, SEEDS = 9, (0, 1, 2)
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
    return [
        [f"{f}={v}" for f, v in zip(FLAGS, v, strict=True)]
        for v in itertools.product(*FLAGS.values())
    ]


def curve(number: int, seed: int) -> str:
    """Train a configuration with a seed, and return its curve as a line of JSON. A diverged curve
    has fewer epochs.
    """
    torch.set_num_threads(1)
    config = compose([*BASE, *configurations()[number], f"seed={seed}"])
    device = torch.device("cpu")
    data, state = load_training_data(config, device), new_training_state(config, device)
    epochs = [result for result in fit(state, data) if isinstance(result, EpochResult)]
    kept = [(e.val_accuracy, e.val_loss, e.epoch_seconds) for e in epochs]
    return json.dumps({"number": number, "seed": seed, "epochs": kept})


def lines_file() -> Path:
    """Return the path of the file to which the curves are written."""
    return outputs_dir() / "search_table.jsonl"


def known() -> Iterator[dict[str, Any]]:
    """Yield all existing curves, packed or not. Incomplete lines, which remain after a kill, are
    ignored.
    """
    if PACKED.exists():
        table = np.load(PACKED)
        columns = [table[name].astype(float) for name in ("accuracy", "loss", "seconds")]
        for number, at in np.argwhere(table["trained"]):
            rows = np.stack([column[number, at] for column in columns], 1)
            epochs = rows[~np.isnan(rows).any(1)].tolist()
            yield {"number": int(number), "seed": SEEDS[at], "epochs": epochs}
    file = lines_file()
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            yield json.loads(line)
        except ValueError:
            continue


def train(workers: int) -> None:
    """Train the missing curves in random order, so that an incomplete table is a sample of the
    whole table.
    """
    recorded = {(c["number"], c["seed"]) for c in known()}
    todo = [
        (n, s)
        for s in SEEDS
        for n in np.random.default_rng(s).permutation(len(configurations())).tolist()
    ]
    todo = [pair for pair in todo if pair not in recorded]
    lines_file().parent.mkdir(parents=True, exist_ok=True)
    print(f"{len(todo)} curves to train")
    with lines_file().open("a") as file, ProcessPoolExecutor(workers) as pool:
        for done, future in enumerate(
            as_completed([pool.submit(curve, *pair) for pair in todo]), 1
        ):
            # the line break separates the curve from an incomplete line
            file.write("\n" + future.result())
            file.flush()
            if done % 100 == 0:
                print(f"{done} of {len(todo)}", flush=True)


def pack() -> None:
    """Write all curves to the file `PACKED`, as arrays (configurations, seeds, epochs).

    The arrays contain the validation accuracy, the validation loss, and the duration in seconds;
    NaN after a divergence.
    """
    shape = (len(configurations()), len(SEEDS), EPOCHS)
    accuracy, loss, seconds = (np.full(shape, math.nan, dtype=np.float32) for _ in range(3))
    trained = np.zeros(shape[:2], dtype=bool)
    for found in known():
        place = (found["number"], SEEDS.index(found["seed"]))
        trained[place] = True
        for i, (a, lo, s) in enumerate(found["epochs"]):
            accuracy[(*place, i)], loss[(*place, i)], seconds[(*place, i)] = a, lo, s
    np.savez_compressed(
        PACKED,
        trained=trained,
        accuracy=accuracy,
        loss=loss,
        seconds=seconds.astype(np.float16),
        flags=np.array(json.dumps(FLAGS)),
    )
    print(
        f"{trained.sum()} of {trained.size} curves in {PACKED} ({PACKED.stat().st_size / 1e3:.0f} kB)"
    )


def main() -> None:
    """Train or pack the curves, as the command line specifies."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("what", choices=["train", "pack"])
    options.add_argument("--workers", type=positive, default=2)
    arguments = options.parse_args()
    train(arguments.workers) if arguments.what == "train" else pack()


if __name__ == "__main__":
    main()
