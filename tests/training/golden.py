"""Golden losses: the results of a few configurations when `TRAINING_VERSION` was last raised.

    python -m tests.training.golden        rewrites golden.json; run it only after raising
                                           TRAINING_VERSION

Rounding depends on the processor, so the test compares with a tolerance. To measure the differences
on this machine:

    ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_CBWR=COMPATIBLE pytest
    tests/training/test_golden.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lenet_exp.config.fingerprint import TRAINING_VERSION
from lenet_exp.training.epoch import EpochResult
from tests.training.small import ACTIVATIONS, OPTIMIZERS, train

FILE = Path(__file__).with_name("golden.json")
STEPS = 10
# With their defaults, adaptive optimizers amplify rounding differences too fast to compare across
# processors.
TAMED = {
    "adam": ["optimizer.lr=0.001"],
    "adamw": ["optimizer.lr=0.001"],
    "rmsprop": ["optimizer.lr=0.0002", "optimizer.momentum=0.9", "optimizer.eps=0.001"],
}

CONFIGURATIONS = {
    **{name: [f"activation={name}"] for name in ACTIVATIONS},
    **{
        name: [f"optimizer={name}", *TAMED.get(name, [])] for name in OPTIMIZERS if name != "sgd"
    },  # selu uses sgd
    "dropout": ["regularization=dropout"],
    "dropout and rrelu": ["regularization=dropout_weight_decay", "activation=rrelu"],
    "one cycle": ["schedule=one_cycle"],
    "cosine, averaged": ["schedule=cosine", "schedule.warmup=0.1", "training.ema_decay=0.9"],
    "linear, smoothed, clipped": [
        "schedule=linear",
        "training.label_smoothing=0.1",
        "training.clip_norm=1",
    ],
    "affine": ["augmentation=affine"],
    "everything drawn": ["augmentation=[shift,elastic,flip,erase]", "schedule=step"],
    "other seeds": ["seed=1", "split_seed=2", "regularization=none"],
}


def outcome(name: str) -> dict[str, Any]:
    """Return the first step losses and the first epoch of a configuration."""
    _, (result,) = train("num_iter_echo=1", *CONFIGURATIONS[name])
    assert isinstance(result, EpochResult)
    steps = {"step_losses": [loss for _, loss, _ in result.step_losses[:STEPS]]}
    return steps | {
        name: getattr(result, name)
        for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    }


def main() -> None:
    golden = {
        "training_version": TRAINING_VERSION,
        "outcomes": {name: outcome(name) for name in CONFIGURATIONS},
    }
    FILE.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
