"""Results of reproducing runs: a status, a one-line explanation, and details."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from lenet_exp.amounts import number_of
from lenet_exp.folders.records import Outcome, Record
from lenet_exp.reproduction.difference import differing_epochs, differing_results
from lenet_exp.training.epoch import EpochResult

SHOWN = 8  # maximum number of epochs to list


class ReproduceStatus(IntEnum):
    """Status of a reproduced run, which is also the exit status of the command."""

    identical = 0
    differs = 1
    not_comparable = 3


@dataclass(frozen=True)
class ReproduceResult:
    """The result of reproducing a run.

    Attributes:
        verdict: status of the run.
        line: one-line explanation of the status.
        details: lines with details.
    """

    verdict: ReproduceStatus
    line: str
    details: list[str] = field(default_factory=list)


def differs(why: str, details: Sequence[str] = ()) -> ReproduceResult:
    """Return a result with the status `differs`."""
    return ReproduceResult(ReproduceStatus.differs, f"differs: {why}", list(details))


def not_comparable(why: str, details: Sequence[str] = ()) -> ReproduceResult:
    """Return a result with the status `not comparable`."""
    return ReproduceResult(ReproduceStatus.not_comparable, f"not comparable: {why}", list(details))


def compare_trainings(
    record: Record,
    epochs: Sequence[EpochResult],
    repeated: Record,
    repeated_epochs: Sequence[EpochResult],
    excuse: str,
) -> ReproduceResult:
    """Compare a repeated run with the original run.

    If the original run was pruned, killed, or failed, only the epochs that it completed are
    compared.

    Args:
        record, epochs: record and epochs of the original run; without epochs, only the results are
            compared.
        repeated, repeated_epochs: record and epochs of the repeated run.
        excuse: reason why the weights can legitimately differ; empty if they must be identical.
    """
    changed = differing_epochs(epochs, repeated_epochs)
    results = differing_results(record, repeated, repeated_epochs[: record.epochs])
    if not changed and not results:
        compared = _describe_compared(record, min(len(epochs), len(repeated_epochs)))
        return ReproduceResult(ReproduceStatus.identical, f"identical bit for bit: {compared}")

    details = [*_epoch_lines(epochs, repeated_epochs, changed), *results]
    where = f"from epoch {min(changed)}" if changed else "in the result"
    if excuse:
        return not_comparable(
            f"results differ {where}, possibly because of the machine: {excuse}", details
        )
    return differs(where, details)


def _describe_compared(record: Record, epochs: int) -> str:
    """Return what was identical; 0 epochs if they are unknown."""
    text = number_of(epochs, "epoch") if epochs else "the result (epochs unknown)"
    if record.best_epoch is not None:
        text += f", best {record.reached} in epoch {record.best_epoch}"
    if record.outcome is not Outcome.finished:
        text += f", {record.outcome}: {record.reason}"
    if record.weights_digest:
        text += f", weights {record.weights_digest[:16]}"
    return text


def _epoch_lines(
    epochs: Sequence[EpochResult],
    repeated_epochs: Sequence[EpochResult],
    changed: dict[int, list[str]],
) -> list[str]:
    """Return one line for each epoch that differs, with both validation accuracies."""
    lines = []
    for epoch, names in list(changed.items())[:SHOWN]:
        original = epochs[epoch - 1].val_accuracy
        repeated = repeated_epochs[epoch - 1].val_accuracy
        lines.append(
            f"epoch {epoch}: validation {original:.4%}, now {repeated:.4%} "
            f"(different: {', '.join(names)})"
        )

    more = len(changed) - SHOWN
    if more > 0:
        lines.append(f"and {number_of(more, 'epoch')} more")
    return lines
