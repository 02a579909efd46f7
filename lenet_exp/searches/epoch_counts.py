"""Counts the epochs that a search has trained.

Epochs that existed before the search or were inherited from another run are not counted, and no
epoch is counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial

from lenet_exp.folders.job import Job
from lenet_exp.folders.run_folder import RunFolder

# Attributes of a trial: the number of epochs that its run already had, the number of epochs trained
# for the trial, and the ID of its run.
HAD, EPOCHS, RUN = "epochs_before", "epochs", "run"


class EpochCounts:
    """Counts the epochs of running jobs and of ended jobs of later seeds.

    The counts for each trial's first seed are stored in the study when the trial ends, so they are
    not lost if jobs.jsonl is lost.
    """

    def __init__(self) -> None:
        self._before: dict[
            int, int
        ] = {}  # number of epochs that each running job does not train, keyed by job number
        self._running: dict[
            int, int
        ] = {}  # number of epochs trained for each running job, keyed by job number
        self._later = 0  # number of epochs trained for the ended jobs of later seeds

    def trained(self, job: Job, epochs: int) -> None:
        """Record that the run of a running job has this number of epochs."""
        if epochs and job.number not in self._before:
            self._before[job.number] = _untrained(job)
        trained = epochs - self._before.get(job.number, 0)
        self._running[job.number] = max(self._running.get(job.number, 0), trained)

    def ended(self, job: Job, *, later: bool) -> None:
        """Record the end of a job.

        Args:
            later: whether the job trained a later seed, whose epochs are not stored in the study.
        """
        self._running.pop(job.number, None)
        self._later += max(0, len(job.folder.history().epochs) - _untrained(job)) if later else 0

    def spent(self, trials: Sequence[FrozenTrial]) -> int:
        """Return the number of epochs trained for the search, including epochs of running jobs."""
        return sum(_trained(trial) for trial in trials) + self._later + sum(self._running.values())


def _untrained(job: Job) -> int:
    return max(job.epochs_before, job.folder.inherited_epochs())


def epochs_of_trial(number: int, folder: RunFolder, trials: Sequence[FrozenTrial]) -> int:
    """Return the number of epochs that were trained for a trial.

    Epochs that existed before the trial, were inherited, or count toward another trial are
    excluded.

    Args:
        number: number of the trial.
        folder: folder of the trial's run.
    """
    run = trials[number].user_attrs.get(RUN)
    same = [t for t in trials if t.number == number or t.user_attrs.get(RUN) == run]
    others = sum(_trained(t) for t in same if t.number != number)
    had = min(int(t.user_attrs.get(HAD, 0)) for t in same)
    return max(0, len(folder.history().epochs) - max(had, folder.inherited_epochs()) - others)


def _trained(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get(EPOCHS, 0))
