"""Counts the epochs that a search has trained. Epochs that existed before cost nothing, and no epoch is counted
twice."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial

from lenet_exp.folders.job import Job

HAD, EPOCHS, RUN = "epochs_before", "epochs", "run"  # trial attributes: earlier epochs, epochs trained for it, and run


class EpochCounts:
    """The epochs of a search.

    The epochs of first seeds are stored in the study's trials, which survive the loss of jobs.json. The epochs of later
    seeds are derived from their jobs.
    """

    def __init__(self) -> None:
        self._told: dict[int, int] = {}  # epochs of the runs of running jobs
        self._later: dict[int, int] = {}  # epochs trained for ended jobs of later seeds

    def resumed(self, job: Job) -> None:
        """Record a job whose run began in an earlier session."""
        self._told[job.number] = len(job.folder.history().epochs)

    def epoch(self, number: int, epoch: int) -> None:
        """Record that job `number` has trained `epoch` epochs."""
        self._told[number] = max(self._told.get(number, 0), epoch)

    def ended(self, job: Job) -> None:
        """Record the end of a later seed's job."""
        self._told.pop(job.number, None)
        self._later[job.number] = max(0, len(job.folder.history().epochs) - job.epochs_before)

    def of_trial(self, number: int, epochs: int, trials: Sequence[FrozenTrial]) -> int:
        """Return how many of a run's epochs were trained for a trial: the epochs that neither existed before nor count
        for another trial."""
        run = trials[number].user_attrs.get(RUN)
        same = [t for t in trials if t.number == number or t.user_attrs.get(RUN) == run]
        told = sum(int(t.user_attrs.get(EPOCHS, 0)) for t in same if t.number != number)
        return max(0, epochs - min(int(t.user_attrs.get(HAD, 0)) for t in same) - told)

    def spent(
        self, trials: Sequence[FrozenTrial], jobs: Sequence[Job], firsts: Sequence[int], *, committed: bool = False
    ) -> int:
        """Return the number of epochs trained for the search, including epochs of running jobs.

        Args:
            firsts: number of each trial's first job.
            committed: whether to count only epochs of running jobs that have a checkpoint, which a kill cannot undo.
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
