"""The epochs that a search has trained: what was there before costs it nothing, and nothing is counted twice."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial

from lenet_exp.folders.job import Job

HAD, EPOCHS, RUN = "epochs_before", "epochs", "run"  # attributes of a trial: its run's epochs, before and for it


class EpochCounts:
    """Of first seeds by the study's trials, which outlast the jobs' file; of later ones by their jobs."""

    def __init__(self) -> None:
        self._told: dict[int, int] = {}  # of jobs in training: the epochs that their runs have
        self._later: dict[int, int] = {}  # of jobs of later seeds that have ended: epochs that were trained for them

    def resumed(self, job: Job) -> None:
        """A job whose run an earlier start began."""
        self._told[job.number] = len(job.folder.history().epochs)

    def epoch(self, number: int, epoch: int) -> None:
        """Job `number` has trained so far."""
        self._told[number] = max(self._told.get(number, 0), epoch)

    def ended(self, job: Job) -> None:
        """A job of a later seed."""
        self._told.pop(job.number, None)
        self._later[job.number] = max(0, len(job.folder.history().epochs) - job.epochs_before)

    def of_trial(self, number: int, epochs: int, trials: Sequence[FrozenTrial]) -> int:
        """Of the epochs that a trial's run has at its end, those that were trained for it: not there before any trial
        asked for it, and not told of another one."""
        run = trials[number].user_attrs.get(RUN)
        same = [t for t in trials if t.number == number or t.user_attrs.get(RUN) == run]
        told = sum(int(t.user_attrs.get(EPOCHS, 0)) for t in same if t.number != number)
        return max(0, epochs - min(int(t.user_attrs.get(HAD, 0)) for t in same) - told)

    def spent(
        self, trials: Sequence[FrozenTrial], jobs: Sequence[Job], firsts: Sequence[int], *, committed: bool = False
    ) -> int:
        """All; those in training as far as they are told.

        Args:
            firsts: the job of each trial's first seed.
            committed: of those in training only what no kill can take back.
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
