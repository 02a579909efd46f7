"""Counts the epochs that a search has trained.

Epochs that existed before the search are not counted, and no epoch is counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial

from lenet_exp.folders.job import Job

# Attributes of a trial: the number of epochs that its run already had, the number of epochs trained for the trial, and
# the ID of its run.
HAD, EPOCHS, RUN = "epochs_before", "epochs", "run"


class EpochCounts:
    """Counts the epochs that a search has trained.

    The counts for each trial's first seed are stored in the study, so they are not lost if jobs.jsonl is lost. The
    counts for later seeds are computed from their jobs.
    """

    def __init__(self) -> None:
        self._told: dict[int, int] = {}  # number of epochs in the run of each running job, keyed by job number
        self._later: dict[int, int] = {}  # number of epochs trained for each ended job of a later seed

    def resumed(self, job: Job) -> None:
        """Record the epochs of a job whose run started in an earlier session."""
        self._told[job.number] = len(job.folder.history().epochs)

    def epoch(self, number: int, epoch: int) -> None:
        """Record that job `number` has finished epoch `epoch`."""
        self._told[number] = max(self._told.get(number, 0), epoch)

    def ended(self, job: Job) -> None:
        """Record the number of epochs trained for an ended job of a later seed."""
        self._told.pop(job.number, None)
        self._later[job.number] = max(0, len(job.folder.history().epochs) - job.epochs_before)

    def of_trial(self, number: int, epochs: int, trials: Sequence[FrozenTrial]) -> int:
        """Return the number of epochs that were trained for a trial.

        Epochs that existed before the trial or that count toward another trial are excluded.

        Args:
            number: number of the trial.
            epochs: number of epochs in the trial's run.
        """
        run = trials[number].user_attrs.get(RUN)
        same = [t for t in trials if t.number == number or t.user_attrs.get(RUN) == run]
        told = sum(int(t.user_attrs.get(EPOCHS, 0)) for t in same if t.number != number)
        return max(0, epochs - min(int(t.user_attrs.get(HAD, 0)) for t in same) - told)

    def spent(
        self, trials: Sequence[FrozenTrial], jobs: Sequence[Job], firsts: Sequence[int], *, committed: bool = False
    ) -> int:
        """Return the number of epochs trained for the search, including epochs of running jobs.

        Args:
            firsts: for each trial, the number of the job with its first seed.
            committed: whether to exclude epochs of running jobs that are not yet in a checkpoint, because these epochs
                would be lost if the search were killed.
        """

        def told_of(number: int) -> int:
            told = self._told.get(number, 0)
            return min(told, jobs[number].folder.progress().epochs) if committed and told else told

        spent = sum(self._later.values())
        for trial in trials:
            if EPOCHS in trial.user_attrs:
                spent += int(trial.user_attrs[EPOCHS])
            else:
                told = told_of(firsts[trial.number]) if trial.number < len(firsts) else 0
                spent += max(0, told - int(trial.user_attrs.get(HAD, 0)))
        first = set(firsts)
        spent += sum(max(0, told_of(n) - jobs[n].epochs_before) for n in self._told if n not in first)
        return spent
