"""The job frozen before a run and the record kept after it: all that is needed to rebuild and to trust a result."""

from __future__ import annotations

import time
from typing import Any

import torch

from lenet_exp.config.effective import effective
from lenet_exp.config.fingerprint import TRAINING_VERSION, fingerprint
from lenet_exp.config.schema import Config
from lenet_exp.data.images import TrainingData
from lenet_exp.machine import command_line, git_state, host, versions
from lenet_exp.training.evaluate import confusion_matrix
from lenet_exp.training.execution import describe_execution
from lenet_exp.training.lane import Best
from lenet_exp.training.weights import weights_digest


def freeze(config: Config, data: TrainingData, device: torch.device, name: str) -> dict[str, Any]:
    """The job as JSON values, before anything is trained."""
    return {
        "name": name,
        "fingerprint": fingerprint(config, data.digests),
        "training_version": TRAINING_VERSION,
        "config": effective(config),
        "data_digests": data.digests,
        "data_source": data.source,
        "data_files": data.files,
        "execution": describe_execution(config, device),
        "versions": versions(),
        "git": git_state(),
        "host": host(),
        "command": command_line(),
        "created_ms": time.time_ns() // 1_000_000,
    }


def conclude(
    job: dict[str, Any],
    outcome: str,
    *,
    epochs: int,
    seconds: float,
    seconds_to_best: float | None = None,
    resumed: int = 0,
    stopped_early: bool = False,
    best: Best | None = None,
    data: TrainingData | None = None,
    reason: str = "",
) -> dict[str, Any]:
    """The record: the job, and what came of it.

    Args:
        outcome: finished, diverged, failed or killed.
        epochs: how many were trained to their end.
        seconds: of training, those before an interruption as well.
        seconds_to_best: of them, those to the end of the best epoch.
        resumed: how often the run went on after an interruption.
        stopped_early: whether `training.patience` ended it, after `epochs`.
        reason: why it did not finish, in one line.
    """
    truth = data.labels[data.val_index] if data is not None else None
    return job | {
        "outcome": outcome,
        "reason": reason,
        "epochs": epochs,
        "seconds": round(seconds, 3),
        "seconds_to_best": None if seconds_to_best is None else round(seconds_to_best, 3),
        "resumed": resumed,
        "stopped_early": stopped_early,
        "best_epoch": best.epoch if best else None,
        "best_val_accuracy": best.val_accuracy if best else None,
        "weights_digest": weights_digest(best.weights) if best else None,
        "confusion_matrix": confusion_matrix(truth, best.predictions) if best and truth is not None else None,
        "ended_ms": time.time_ns() // 1_000_000,
    }


def same_bits(job: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether one can go on where the other stopped: equal execution and torch, on which the bits depend."""
    return job["execution"] == other["execution"] and job["versions"].get("torch") == other["versions"].get("torch")
