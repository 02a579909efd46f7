"""Runs a search: creates trials as job slots become free, prunes trials, and trains promising configurations with more
seeds."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from lenet_exp.comparison.search.objective import EpochValidation, SearchObjective
from lenet_exp.config.schema import Cost, SamplerName
from lenet_exp.executors.launcher import ExecutorLauncher
from lenet_exp.executors.work import EpochReport
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.searches.epoch_counts import EPOCHS, HAD, RUN, EpochCounts
from lenet_exp.searches.known import first_jobs, known_jobs, seed_number
from lenet_exp.searches.plan import PlannedSearch
from lenet_exp.searches.sampling import RULES
from lenet_exp.searches.seed_race import SeedRace
from lenet_exp.searches.study import open_database
from lenet_exp.searches.trials import MOST_TOO_LARGE, TooLarge, Trials
from lenet_exp.sweeps.session import Session
from lenet_exp.training.engine import EngineChoice
from lenet_exp.training.network import count_parameters

OUTCOME, REASON = "outcome", "reason"  # attributes of a trial
MOST_REPEATED = 100  # trials in a row without training after which a search ends: nothing is left, or training fails
TRIALS_SHARE = 2 / 3  # fraction of the epochs and seconds for first seeds; the rest is for later seeds

log = logging.getLogger("lenet_exp")


class SearchRun:
    """One session of a search, which receives job events as the `Listener` of the sweep's session."""

    def __init__(self, planned: PlannedSearch) -> None:
        self.planned = planned
        self.objective = SearchObjective(planned.search.objective, planned.search.target, planned.search.cost)
        self.seeds = SeedRace(planned.asked.seeds, self.objective.sign)
        self._epoch_counts = EpochCounts()
        self._start = time.monotonic()
        self._training: dict[str, int] = {}  # for each run being trained, the number of its job
        self._duplicates: dict[str, list[int]] = {}  # for each run being trained, the jobs that wait for its result
        self._epochs: dict[int, dict[int, EpochValidation]] = {}  # results of trials in progress, by trial and epoch
        self._fruitless = 0  # number of trials in a row that trained no epoch
        self._too_large = ""  # reason why no more trials can be drawn
        self._ended_by = ""

    def open(self) -> list[Job]:
        """Open the study and return the jobs from earlier sessions. The caller must own the sweep folder."""
        planned = self.planned
        self.sweep = planned.sweep
        name = f"lenet_exp {self.sweep.id}"
        self.database = open_database(self.sweep.path, name, self.objective.directions, planned.search.storage)
        known, first, baseline = self.database.trials, planned.first_pruned, None
        if not known and planned.search.sampler is not SamplerName.grid:  # a grid contains the baseline anyway
            baseline = planned.maker.baseline()
        self.trials = Trials(
            name, planned.search, planned.flags, planned.num_epoch, known, first, self.database.rules, baseline
        )
        if known and self.database.rules < RULES and planned.asked.seeds > 1:
            log.info("the search began under an earlier release; a new rule now decides which configurations get seeds")
        return known_jobs(planned, self.database.trials)

    def run(self, session: Session, launcher: ExecutorLauncher, environment: Mapping[str, str]) -> None:
        """Train trials until a budget is spent."""
        self.session = session
        self._firsts = first_jobs(session.jobs)
        for trial in self.trials.all():
            job = session.jobs[self._firsts[trial.number]]
            if trial.user_attrs.get(OUTCOME) == Outcome.failed and job.folder.record() is None:
                session.sweep.end_job(job.number, str(trial.user_attrs.get(REASON)))  # new sessions discard old errors
            elif OUTCOME in trial.user_attrs:
                self._seed_ended(job)
        unended = self._unended()
        for job in {job.run: job for job in reversed(unended)}.values():  # duplicates of these jobs wait
            self._epoch_counts.resumed(job)
        self._keep()
        engines = list(dict.fromkeys(EngineChoice(job.engine, job.engine_why).words for job in self.planned.corners))
        for words in engines:
            log.info("engine%s: %s", " for some trials" if len(engines) > 1 else "", words)
        try:
            like = self.planned.corners
            session.train(self._jobs(unended), launcher, environment, like=like, listener=self)
        finally:
            try:
                self._keep()
            finally:
                self.database.close()
        if self._ended_by:
            log.info("search ended: %s", self._ended_by)

    def reported(self, report: EpochReport) -> bool:
        """Handle a finished epoch of a running job, and return whether to end the job's run."""
        job = self.session.jobs[report.job]
        self._epoch_counts.epoch(job.number, report.epoch)
        return self._seed_of(job) == 0 and self._note(job.trial_number, report.epoch, report)

    def ended(self, number: int) -> bool:
        """Handle the end of a job, and return whether the job failed or its run diverged.

        An interrupted job is not recorded; it resumes in the next session.
        """
        job = self.session.jobs[number]
        self._training.pop(job.run, None)
        duplicates = self._duplicates.pop(job.run, [])
        outcome, reason = self._outcome(job)
        if outcome is Outcome.killed:
            return False
        self._tell(job, outcome, reason)
        for duplicate in duplicates:
            self._answer(self.session.jobs[duplicate], outcome, reason)
        return outcome in {Outcome.failed, Outcome.diverged}

    def _unended(self) -> list[Job]:
        """Return the unfinished jobs from an earlier session, and record the finished jobs of later seeds."""
        running = [self.session.jobs[self._firsts[n]] for n in self.trials.running()]
        for job in self.session.jobs:
            if self._seed_of(job):
                self.seeds.asked(job.trial_number, self._seed_of(job))
                if (record := job.folder.record()) is None or record.outcome in {None, Outcome.killed, Outcome.pruned}:
                    running.append(job)
                else:
                    self._epoch_counts.ended(job)
                    self._seed_ended(job)
        return running

    def _jobs(self, unended: list[Job]) -> Iterator[Job | None]:
        """Yield the next job whenever `drive` has a free job slot; yield None if no job is available yet."""
        for job in unended:
            if self._has_to_train(job):
                yield job
        repeated = 0
        while True:
            why = self._no_more_trials(repeated)
            again = self.seeds.next(asking=not why) if not self._over(1.0) else None
            if again is None and why:
                if not self._training:
                    self._ended_by = why
                    return
                yield None
                continue
            try:
                job = self._ask() if again is None else self._another_seed(*again)
            except TooLarge:
                most = self.planned.search.max_parameters
                self._too_large = f"{MOST_TOO_LARGE:,} drawn configurations exceeded search.max_parameters={most}"
                continue
            repeated += again is None
            if self._has_to_train(job):
                repeated = 0
                yield job

    def _no_more_trials(self, repeated: int) -> str:
        """Return the reason why no new trial can be created now; an empty string if a new trial can be created."""
        asked = self.planned.asked
        if asked.n_trials is not None and len(self.trials) >= asked.n_trials:
            return f"n_trials={asked.n_trials}"
        if self.trials.exhausted():
            return "all configurations in the grid were tried"
        if self._too_large:
            return self._too_large
        if max(repeated, self._fruitless) >= MOST_REPEATED and asked.n_trials is None:
            return f"the last {MOST_REPEATED} trials trained no epoch"
        if (why := self._over(1.0)) or self.seeds.most == 1:
            return why
        return self._over(TRIALS_SHARE) if self.seeds.next(asking=False) is not None else ""

    def _over(self, share: float) -> str:
        """Return a budget of which at least the fraction `share` is spent, as text such as `max_epochs=100`; an empty
        string if there is no such budget."""
        asked = self.planned.asked
        if asked.max_epochs is not None and self._spent() >= share * asked.max_epochs:
            return f"max_epochs={asked.max_epochs}"
        if asked.max_seconds is not None and self._seconds() >= share * asked.max_seconds:
            return f"max_seconds={asked.max_seconds:g}"
        return ""

    def _ask(self) -> Job:
        """Create a new trial and return the job of its first seed."""
        maker, asked = self.planned.maker, {trial.user_attrs.get(RUN) for trial in self.trials.all()}
        job, trial = self.trials.ask(lambda choose: maker.job(maker.values(choose)), had=lambda job: job.run in asked)
        had = len(job.folder.history().epochs)
        self.trials.note(trial.number, RUN, job.run)
        self.trials.note(trial.number, HAD, had)
        self.database.add(self.trials.all()[trial.number])  # store the trial before other data refers to it
        self._firsts.append(len(self.session.jobs))
        return self.session.add(replace(job, trial=trial.number, epochs_before=had))

    def _another_seed(self, trial: int, seed: int) -> Job:
        maker, params = self.planned.maker, self.trials.all()[trial].params
        job = maker.job(maker.values(lambda flag: params[flag.name]), seed=self.planned.config.seed + seed)
        self.seeds.asked(trial, seed)
        had = len(job.folder.history().epochs)
        return self.session.add(replace(job, trial=trial, epochs_before=had))

    def _has_to_train(self, job: Job) -> bool:
        """Return whether a job must be trained.

        If its result exists, record the result immediately. If another job is training the same run, let the job wait
        for that result.
        """
        if job.folder.checked_result() is not None:
            self._answer(job, *self._outcome(job))
            return False
        if job.run in self._training:
            self._duplicates.setdefault(job.run, []).append(job.number)
            return False
        self._training[job.run] = job.number
        return True

    def _answer(self, job: Job, outcome: Outcome, reason: str) -> None:
        """Record the end of a job that did not have to be trained."""
        failed = outcome is Outcome.failed and job.folder.record() is None
        self.session.sweep.end_job(job.number, reason if failed else None)
        self._tell(job, outcome, reason)

    def _outcome(self, job: Job) -> tuple[Outcome, str]:
        record, error = job.folder.record(), self.session.sweep.error(job.number)
        if error is not None:
            return Outcome.failed, error
        if record is None or record.outcome is None:
            return Outcome.killed, "it did not start"
        return record.outcome, record.reason

    def _tell(self, job: Job, outcome: Outcome, reason: str) -> None:
        """Record the end of a job in the study, the database, and sweep.json."""
        if self._seed_of(job):
            self._epoch_counts.ended(job)
        else:
            self._tell_study(job, outcome, reason)
        self._seed_ended(job)
        self._keep()

    def _tell_study(self, job: Job, outcome: Outcome, reason: str) -> None:
        number, epochs = job.trial_number, job.folder.history().epochs
        for epoch in epochs[:-1] if outcome is Outcome.finished else epochs:  # as reported by a running job
            self._note(number, epoch.epoch, epoch)
        trained = self._epoch_counts.of_trial(number, len(epochs), self.trials.all())
        self._fruitless = 0 if trained else self._fruitless + 1
        self.trials.note(number, EPOCHS, trained)
        self.trials.note(number, OUTCOME, outcome.value)
        if reason:
            self.trials.note(number, REASON, reason[:500])
        size = count_parameters(job.config) if self.objective.cost is Cost.parameters else None
        self.database.end(self.trials.end(number, *self.objective.trial_result(outcome, epochs, size)))
        self._epochs.pop(number, None)

    def _seed_ended(self, job: Job) -> None:
        """Record a seed's result in the race over seeds.

        The race contains only trials that are complete in the study, and each run only once.
        """
        trial, seed = job.trial_number, self._seed_of(job)
        if seed:
            told, values = self.objective.trial_result(self._outcome(job)[0], job.folder.history().epochs)
            self.seeds.ended(trial, seed, values[0] if told is Outcome.finished and values else None)
        elif self.seeds.most > 1 and (values := self.trials.value(trial)) is not None:
            trials = self.trials.all()
            same = [n for n in self.seeds.trials() if trials[n].user_attrs.get(RUN) == job.run]
            if not same or trial in same:
                self.seeds.ended(trial, 0, values[0])

    def _note(self, number: int, epoch: int, seen: EpochValidation) -> bool:
        """Record an epoch of a trial in the study, and return whether to end the trial's run."""
        known = self._epochs.setdefault(number, {})
        known[epoch] = seen
        until = [e for n, e in known.items() if n <= epoch]
        value = self.objective.at(until)
        if self.objective.may_prune:
            self.database.report(number, epoch, value)
        spared = self.planned.is_spared(self.session.jobs[self._firsts[number]], epoch)
        return self.trials.report(number, epoch, value, spared=spared) or self.objective.reached(until)

    def _spent(self, *, committed: bool = False) -> int:
        return self._epoch_counts.spent(self.trials.all(), self.session.jobs, self._firsts, committed=committed)

    def _seconds(self) -> float:
        return self.database.seconds + time.monotonic() - self._start

    def _keep(self) -> None:
        """Save the progress of the search."""
        trials, best = self.trials.all(), self.trials.best()
        told = len(trials) - len(self.trials.running())
        plan = replace(self.planned.asked, trials=len(trials), told=told, epochs=self._spent(committed=True))
        plan = replace(plan, front=[t.number for t in self.trials.front()], ended_by=self._ended_by)
        if best is not None:
            plan = replace(plan, best_trial=best.number, best_value=best.values[0])
        if self.seeds.is_raced() and (left := self.seeds.left()):
            values = self.seeds.values(left[0]).values()
            plan = replace(plan, best_trial=left[0], best_value=sum(values) / len(values), best_seeds=len(values))
            plan = replace(plan, left=[self.session.jobs[self._firsts[trial]].run for trial in left])
        if plan.best_trial is not None:
            plan = replace(plan, best_job=self._firsts[plan.best_trial])
        self.database.keep_seconds(self._seconds())
        self.sweep.save(search=replace(plan, seconds=round(self._seconds(), 1)))

    def _seed_of(self, job: Job) -> int:
        return seed_number(self.planned, job)
