"""Finds the epochs and values in which two runs of the same configuration differ, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence

from lenet_exp.folders.records import Outcome, Record
from lenet_exp.training.epoch import EpochResult

FIGURES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_metric", "lr")


def differing_epochs(
    epochs: Sequence[EpochResult], again: Sequence[EpochResult]
) -> dict[int, list[str]]:
    """Return the names of the values that differ, by the number of the epoch, which is counted from
    1.

    Epochs without differences are omitted, and so are epochs that only one of the runs completed.

    Args:
        epochs: epochs of the original run.
        again: epochs of the repeated run.
    """
    pairs = zip(epochs, again, strict=False)
    return {
        number: names
        for number, (was, now) in enumerate(pairs, 1)
        if (names := _of_epoch(was, now))
    }


def _of_epoch(was: EpochResult, now: EpochResult) -> list[str]:
    """Return the names of the values that differ. Weights are compared only if both epochs have
    their digest.
    """
    digests = {was.weights_digest, now.weights_digest} - {None}
    weights = ["weights"] if len(digests) == 2 else []
    return [name for name in FIGURES if getattr(was, name) != getattr(now, name)] + weights


def differing_results(record: Record, again: Record, epochs: Sequence[EpochResult]) -> list[str]:
    """Return descriptions of the parts of two results that differ, with both values.

    Args:
        epochs: epochs of the repeated run that the original run also completed. The one that is
            selected (`training.select`) is compared.
    """
    best = record.selected(epochs)
    pairs: dict[str, tuple[object, object]] = {"epochs": (record.epochs, len(epochs))}
    if best is not None:
        pairs["best epoch"] = (record.best_epoch, best.epoch)
        pairs["best validation accuracy"] = (record.best_val_accuracy, best.val_accuracy)
        pairs["weights"] = (_short(record.weights_digest), _short(best.weights_digest))
    if record.is_result:
        pairs["outcome"] = (record.outcome, again.outcome)
        pairs["stopped early"] = (record.stopped_early, again.stopped_early)
        pairs["confusion matrix"] = (record.confusion_matrix, again.confusion_matrix)
    if record.outcome is Outcome.diverged:
        pairs["divergence"] = (record.reason, again.reason)
    return [
        f"{name} {was}, now {now}" if name != "confusion matrix" else name
        for name, (was, now) in pairs.items()
        if was is not None and was != now
    ]


def _short(digest: str | None) -> str | None:
    return None if digest is None else digest[:16]
