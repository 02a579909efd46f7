"""Make up runs with known accuracies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from lenet_exp.comparison.runs import ComparedRun
from lenet_exp.folders.records import TestResult

BASE = {
    "dataset": "mnist",
    "dataset.val_size": "10000",
    "activation": "selu",
    "optimizer": "sgd",
    "optimizer.lr": "0.01",
    "num_epoch": "3",
    "split_seed": "0",
}


def made(seed: int, accuracy: float | None, outcome: str = "finished", **more: Any) -> ComparedRun:
    """Return a run whose last epoch is a point worse than its best; `optimizer__lr="0.1"` sets
    optimizer.lr.
    """
    flags: dict[str, Any] = dict(BASE)
    for name, value in more.items():
        flags[name.replace("__", ".")] = value

    curve: list[float] = []
    if accuracy is not None:
        curve = [accuracy - 0.02, accuracy, accuracy - 0.01]

    return ComparedRun(
        id=f"{sorted(flags.items())} {seed}",
        flags=flags,
        seed=seed,
        outcome=outcome,
        best=accuracy,
        best_epoch=2 if curve else None,
        seconds_to_best=1.5 if curve else None,
        curve=lambda: curve,
        last=lambda: curve[-1] if curve else None,
    )


def many(accuracies: Mapping[int, float] | Iterable[float], **flags: Any) -> list[ComparedRun]:
    """Return finished runs of one configuration, from accuracies by seed or for seeds from 0."""
    by_seed = accuracies if isinstance(accuracies, Mapping) else dict(enumerate(accuracies))
    return [made(seed, accuracy, **flags) for seed, accuracy in by_seed.items()]


def scored(runs: Iterable[ComparedRun], accuracies: Mapping[int, float]) -> list[ComparedRun]:
    """Return the runs with these test accuracies by seed; other seeds have none."""
    results = {seed: TestResult(accuracy, "", None) for seed, accuracy in accuracies.items()}
    return [replace(run, test_result=partial(results.get, run.seed)) for run in runs]
