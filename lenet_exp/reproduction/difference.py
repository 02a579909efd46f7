"""Compares two runs of the same configuration, and finds the epochs and values that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lenet_exp.folders.records import Outcome, Record
from lenet_exp.training.epoch import EpochResult

FIGURES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_metric", "lr")


@dataclass(frozen=True)
class RunDifference:
    """The differences between two runs, compared bit for bit. An instance without differences is falsy.

    Attributes:
        epochs: names of the values that differ, keyed by the number of the epoch, which is counted from 1. Epochs
            without differences are omitted.
        result: descriptions of the parts of the result that differ, with both values.
        last: number of the last epoch that both runs completed; 0 if the record has no epochs.
    """

    epochs: dict[int, list[str]]
    result: list[str]
    last: int

    def __bool__(self) -> bool:
        return bool(self.epochs or self.result)

    @property
    def where(self) -> str:
        """Location of the first difference: `from epoch 3`, or `in the result`."""
        return f"from epoch {min(self.epochs)}" if self.epochs else "in the result"


def differences(
    record: Record, epochs: Sequence[EpochResult], again: Record, again_epochs: Sequence[EpochResult]
) -> RunDifference:
    """Compare a repeated run with the record and the epochs of the original run.

    If the original run was pruned, killed, or failed, only the epochs that it completed are compared.

    Args:
        record, epochs: record and epochs of the original run.
        again, again_epochs: record and epochs of the repeated run.
    """
    pairs = list(zip(epochs, again_epochs, strict=False))
    found = {number: names for number, (was, now) in enumerate(pairs, 1) if (names := _of_epoch(was, now))}
    return RunDifference(found, _of_result(record, again, again_epochs[: record.epochs]), len(pairs))


def _of_epoch(was: EpochResult, now: EpochResult) -> list[str]:
    """Return the names of the values that differ. Weights are compared only if both epochs have their digest."""
    digests = {was.weights_digest, now.weights_digest} - {None}
    weights = ["weights"] if len(digests) == 2 else []
    return [name for name in FIGURES if getattr(was, name) != getattr(now, name)] + weights


def _of_result(record: Record, again: Record, epochs: Sequence[EpochResult]) -> list[str]:
    """Return descriptions of the differences between two results.

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
