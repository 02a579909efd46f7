"""Counts the epochs that a search has trained.

Epochs that existed before the search or were inherited from another run are not counted, and no
epoch is counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial

from lenet_exp.folders.job import Job
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.searches.trial_attributes import EPOCHS, EPOCHS_BEFORE, RUN


class EpochCounts:
    """Counts the epochs of running jobs and of ended jobs of later seeds.

    The counts for each trial's first seed are stored in the study when the trial ends, so they are
    not lost if jobs.jsonl is lost.
    """

    def __init__(self) -> None:
        # For each running job, keyed by job number: the epochs of its run that it does not train,
        # and the epochs that it has trained.
        self._untrained: dict[int, int] = {}
        self._trained: dict[int, int] = {}
        self._later_seeds = 0  # epochs trained for the ended jobs of later seeds

    def update(self, job: Job, epochs: int) -> None:
        """Record that the run of a running job has this number of epochs."""
        if epochs and job.number not in self._untrained:
            self._untrained[job.number] = _untrained_epochs(job)
        trained = epochs - self._untrained.get(job.number, 0)
        self._trained[job.number] = max(self._trained.get(job.number, 0), trained)

    def end(self, job: Job, *, is_later_seed: bool) -> None:
        """Record the end of a job.

        Args:
            is_later_seed: whether the job trained a later seed, whose epochs are not stored in the
                study.
        """
        self._trained.pop(job.number, None)
        if is_later_seed:
            epochs = len(job.folder.history().epochs)
            self._later_seeds += max(0, epochs - _untrained_epochs(job))

    def total(self, trials: Sequence[FrozenTrial]) -> int:
        """Return the number of epochs trained for the search, including epochs of running jobs."""
        of_ended_trials = sum(_stored_epochs(trial) for trial in trials)
        of_running_jobs = sum(self._trained.values())
        return of_ended_trials + self._later_seeds + of_running_jobs


def _untrained_epochs(job: Job) -> int:
    """Return the number of epochs of a job's run that were not trained for the job."""
    return max(job.epochs_before, job.folder.inherited_epochs())


def epochs_of_trial(number: int, folder: RunFolder, trials: Sequence[FrozenTrial]) -> int:
    """Return the number of epochs that were trained for a trial.

    Epochs that existed before the trial, were inherited, or count toward another trial are
    excluded. For example, a run with 9 epochs had 2 when its first trial was created, and an
    earlier trial stored 3 of them. The result is then 9 - 2 - 3 = 4.

    Args:
        number: number of the trial.
        folder: folder of the trial's run.
    """
    run = trials[number].user_attrs.get(RUN)
    epochs_before = int(trials[number].user_attrs.get(EPOCHS_BEFORE, 0))
    of_other_trials = 0
    for trial in trials:
        if trial.number != number and trial.user_attrs.get(RUN) == run:
            of_other_trials += _stored_epochs(trial)
            epochs_before = min(epochs_before, int(trial.user_attrs.get(EPOCHS_BEFORE, 0)))

    untrained = max(epochs_before, folder.inherited_epochs())
    return max(0, len(folder.history().epochs) - untrained - of_other_trials)


def _stored_epochs(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get(EPOCHS, 0))
