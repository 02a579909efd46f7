"""A search: its trials are made as places become free, told as they end, and pruned at their epochs."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from lenet_exp.config.schema import Objective
from lenet_exp.errors import DamagedError
from lenet_exp.executors.executor import GivesExecutor, Report
from lenet_exp.folders.damage import say
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.reports.progress import display
from lenet_exp.sweeps.search_database import Database, open_database
from lenet_exp.sweeps.search_plan import Planned
from lenet_exp.sweeps.search_trials import Choose, Trials, direction
from lenet_exp.sweeps.session import Session
from lenet_exp.training.engine import Chosen
from lenet_exp.training.fit import EpochResult

HAD, EPOCHS, RUN, OUTCOME, REASON = "epochs_before", "epochs", "run", "outcome", "reason"  # attributes of a trial
MOST_REPEATED = 100  # trials in a row that trained nothing: the space is all but gone through, or nothing trains here

log = logging.getLogger("lenet_exp")


class SearchRun:
    """One start of a search; a `Listener` of its session."""

    def __init__(self, planned: Planned) -> None:
        self.planned = planned
        self._start = time.monotonic()
        self._flying: dict[str, int] = {}  # runs that train now, and the trial that they train for
        self._twins: dict[str, list[int]] = {}  # trials that wait for the run of another
        self._epochs: dict[int, dict[int, float]] = {}  # of trials that have not been told: the objective by epoch
        self._committed: dict[int, int] = {}  # of trials that go on: the epochs that an earlier start trained
        self._fruitless = 0  # trials in a row that ended without an epoch of their own

    def open(self) -> list[Job]:
        """The jobs of the trials that there are; the caller owns the sweep."""
        planned = self.planned
        self.sweep = planned.sweep
        name, objective = f"lenet_exp {self.sweep.id}", planned.search.objective
        self.database: Database = open_database(self.sweep.path, name, direction(objective), planned.search.storage)
        self.trials = Trials(name, planned.search, planned.flags, planned.num_epoch, self.database.trials)
        return self._known_jobs()

    def run(self, session: Session, launcher: GivesExecutor, environment: Mapping[str, str]) -> None:
        """Goes on to the budgets."""
        self.session = session
        for trial in self.trials.all():
            if trial.user_attrs.get(OUTCOME) == Outcome.failed and session.jobs[trial.number].folder.record() is None:
                session.sweep.end_job(trial.number, str(trial.user_attrs.get(REASON)))  # a new start forgets it
        self._keep()
        engines = list(dict.fromkeys(Chosen(job.engine, job.engine_why).words for job in self.planned.corners))
        for words in engines:
            log.info("engine%s: %s", " of some trials" if len(engines) > 1 else "", words)
        running = [session.jobs[number] for number in self.trials.running()]
        going_on = {job.run: job for job in reversed(running)}.values()  # the others wait for these
        self._committed = {job.number: len(job.folder.history().epochs) for job in going_on}
        try:
            with display.sweep(len(running), sum(job.config.num_epoch for job in running)):
                like = self.planned.corners
                session.train(self._jobs(), launcher, environment, like=like, listener=self)
        finally:
            self._keep()
            self.database.close()

    def reported(self, report: Report) -> bool:
        """An epoch of a trial in training; whether it is pruned."""
        value = report.val_loss if self._is_loss else report.val_accuracy
        return self._note(report.job, report.epoch, value)

    def ended(self, number: int) -> bool:
        """Tells the study how a trial ended, unless it was interrupted: then it goes on at the next start. Whether it
        counts as a failure."""
        job = self.session.jobs[number]
        self._flying.pop(job.run, None)
        twins = self._twins.pop(job.run, [])
        outcome, reason = self._outcome(job)
        if outcome is Outcome.killed:
            return False
        self._tell(job, outcome, reason)
        for twin in twins:
            self._answer(self.session.jobs[twin], outcome, reason)
        return outcome in {Outcome.failed, Outcome.diverged}

    def _jobs(self) -> Iterator[Job]:
        """Asked for by `drive` whenever a place is free."""
        for number in self.trials.running():
            if self._has_to_train(job := self.session.jobs[number]):
                yield job
        repeated = 0
        while self._goes_on(repeated):
            job = self._ask()
            repeated += 1
            if self._has_to_train(job):
                repeated = 0
                yield job

    def _goes_on(self, repeated: int) -> bool:
        asked, trials = self.planned.asked, len(self.trials)
        why = None
        if asked.n_trials is not None and trials >= asked.n_trials:
            why = f"n_trials={asked.n_trials}"
        elif asked.max_epochs is not None and self._spent() >= asked.max_epochs:
            why = f"max_epochs={asked.max_epochs}"
        elif asked.max_seconds is not None and self._seconds() >= asked.max_seconds:
            why = f"max_seconds={asked.max_seconds:g}"
        elif self.trials.exhausted():
            why = "the grid is gone through"
        elif max(repeated, self._fruitless) >= MOST_REPEATED and asked.n_trials is None:
            why = f"the last {MOST_REPEATED} trials trained nothing"
        if why is not None:
            log.debug("search: no more trials: %s", why)
        return why is None

    def _ask(self) -> Job:
        def make(choose: Choose) -> Job:
            return self.planned.maker.job(self.planned.maker.values(choose))

        job, trial = self.trials.ask(make)
        self.trials.note(trial.number, RUN, job.run)
        self.trials.note(trial.number, HAD, len(job.folder.history().epochs))
        self.database.add(self.trials.all()[trial.number])  # whole, before anything else knows of it
        return self.session.add(job)

    def _has_to_train(self, job: Job) -> bool:
        """Whether a trial has to be trained; one whose result is there is told at once."""
        if job.folder.whole_result() is not None:
            self._answer(job, *self._outcome(job))
            return False
        if job.run in self._flying:
            self._twins.setdefault(job.run, []).append(job.number)
            return False
        self._flying[job.run] = job.number
        return True

    def _answer(self, job: Job, outcome: Outcome, reason: str) -> None:
        """Tells of a trial that needed no training of its own."""
        if outcome is Outcome.failed and job.folder.record() is None:
            self.session.sweep.end_job(job.number, reason)
        else:
            self.session.sweep.end_job(job.number, None)
        self._tell(job, outcome, reason)

    def _outcome(self, job: Job) -> tuple[Outcome, str]:
        record, error = job.folder.record(), self.session.sweep.error(job.number)
        if error is not None:
            return Outcome.failed, error
        if record is None or record.outcome is None:
            return Outcome.killed, "it did not begin"
        return record.outcome, record.reason

    def _tell(self, job: Job, outcome: Outcome, reason: str) -> None:
        """A trial has ended: study, database and sweep.json know."""
        number, history = job.number, job.folder.history()
        values = [e.val_loss if self._is_loss else e.val_accuracy for e in history.epochs]
        told = history.epochs[:-1] if outcome is Outcome.finished else history.epochs  # as a run in training tells them
        for epoch in told:
            self._note(number, epoch.epoch, self._value(epoch))
        trained = max(0, len(history.epochs) - self._paid(number, job.run))
        self._fruitless = 0 if trained else self._fruitless + 1
        self.trials.note(number, EPOCHS, trained)
        self.trials.note(number, OUTCOME, outcome.value)
        if reason:
            self.trials.note(number, REASON, reason[:500])
        value = (min(values) if self._is_loss else max(values)) if values else None
        if outcome is Outcome.finished and value is None:  # a result without a history is none
            outcome = Outcome.failed
        self.database.end(self.trials.end(number, outcome, value))
        self._epochs.pop(number, None)
        self._keep()

    def _paid(self, number: int, run: str) -> int:
        """Epochs of a trial's run that were there when it was asked for, or that another trial has been told with."""
        trials = self.trials.all()
        others = [t.user_attrs for t in trials if t.number != number and t.user_attrs.get(RUN) == run]
        told = [int(a[HAD]) + int(a[EPOCHS]) for a in others if EPOCHS in a]
        return max([int(trials[number].user_attrs.get(HAD, 0)), *told])

    def _note(self, number: int, epoch: int, value: float) -> bool:
        """The study hears the best of the epochs so far."""
        known = self._epochs.setdefault(number, {})
        known[epoch] = value
        until = [v for e, v in known.items() if e <= epoch]
        best = min(until) if self._is_loss else max(until)
        pruned = self.trials.report(number, epoch, best)
        self.database.report(number, epoch, best)
        return pruned

    def _value(self, epoch: EpochResult) -> float:
        return epoch.val_loss if self._is_loss else epoch.val_accuracy

    @property
    def _is_loss(self) -> bool:
        return self.planned.search.objective is Objective.loss

    def _spent(self) -> int:
        """Epochs that were trained for this search; those of trials in training as far as they are told."""
        spent = 0
        for trial in self.trials.all():
            before, told = int(trial.user_attrs.get(HAD, 0)), self._epochs.get(trial.number, {})
            running = max(self._committed.get(trial.number, 0), *told, 0)
            spent += trial.user_attrs.get(EPOCHS, max(0, running - before))
        return spent

    def _seconds(self) -> float:
        return self.database.seconds + time.monotonic() - self._start

    def _keep(self) -> None:
        """How far it is."""
        trials, best = self.trials.all(), self.trials.best()
        told = len(trials) - len(self.trials.running())
        plan = replace(self.planned.asked, trials=len(trials), told=told, epochs=self._spent())
        if best is not None:
            plan = replace(plan, best_trial=best.number, best_value=best.value)
        self.database.keep_seconds(self._seconds())
        self.sweep.save(search=replace(plan, seconds=round(self._seconds(), 1)))

    def _known_jobs(self) -> list[Job]:
        """Those that are kept; a trial whose job was lost has it made again."""
        try:
            kept = self.sweep.jobs() if self.sweep.kept_plan() is not None else []
        except DamagedError as e:
            say(e)
            kept = []
        found = []
        for trial in self.database.trials:
            job = kept[trial.number] if trial.number < len(kept) else None
            if job is None or job.run != trial.user_attrs.get(RUN):
                params = trial.params
                made = self.planned.maker.job(self.planned.maker.values(lambda flag, p=params: p[flag.name]))  # type: ignore[misc]
                job = replace(made, number=trial.number)
            found.append(job)
        return found
