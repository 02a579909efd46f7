"""Finds the epochs and values in which two runs of the same configuration differ, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence

from lenet_exp.folders.records import Outcome, Record
from lenet_exp.training.epoch import MODEL_METRICS, EpochResult

EXACT_VALUES = (*MODEL_METRICS, "val_metric", "lr")  # of an epoch; the durations always differ


def differing_epochs(
    epochs: Sequence[EpochResult], repeated_epochs: Sequence[EpochResult]
) -> dict[int, list[str]]:
    """Return the names of the values that differ, by the epoch, which is counted from 1.

    Epochs without differences are omitted, and so are epochs that only one of the runs completed.

    Args:
        epochs: epochs of the original run.
        repeated_epochs: epochs of the repeated run.
    """
    differing = {}
    pairs = zip(epochs, repeated_epochs, strict=False)
    for number, (original, repeated) in enumerate(pairs, 1):
        names = _differing_values(original, repeated)
        if names:
            differing[number] = names
    return differing


def _differing_values(original: EpochResult, repeated: EpochResult) -> list[str]:
    """Return the names of the values that differ.

    Weights are compared only if both epochs have their digest.
    """
    names = [name for name in EXACT_VALUES if getattr(original, name) != getattr(repeated, name)]
    digests = {original.weights_digest, repeated.weights_digest} - {None}
    if len(digests) == 2:
        names.append("weights")
    return names


def differing_results(record: Record, repeated: Record, epochs: Sequence[EpochResult]) -> list[str]:
    """Return descriptions of the parts of two results that differ, with both values.

    Args:
        record: record of the original run.
        repeated: record of the repeated run.
        epochs: epochs of the repeated run that the original run also completed. The one that is
            selected (`training.select`) is compared.
    """
    best = record.selected(epochs)

    # the value of the original run, and that of the repeated run
    pairs: dict[str, tuple[object, object]] = {"epochs": (record.epochs, len(epochs))}
    if best is not None:
        pairs["best epoch"] = (record.best_epoch, best.epoch)
        pairs["best validation accuracy"] = (record.best_val_accuracy, best.val_accuracy)
        pairs["weights"] = (_short(record.weights_digest), _short(best.weights_digest))
    if record.is_result:
        pairs["outcome"] = (record.outcome, repeated.outcome)
        pairs["stopped early"] = (record.stopped_early, repeated.stopped_early)
        pairs["confusion matrix"] = (record.confusion_matrix, repeated.confusion_matrix)
    if record.outcome is Outcome.diverged:
        pairs["divergence"] = (record.reason, repeated.reason)

    descriptions = []
    for name, (original_value, repeated_value) in pairs.items():
        if original_value is None or original_value == repeated_value:
            continue
        if name == "confusion matrix":  # too large for a line
            descriptions.append(name)
        else:
            descriptions.append(f"{name} {original_value}, now {repeated_value}")
    return descriptions


def _short(digest: str | None) -> str | None:
    return None if digest is None else digest[:16]
