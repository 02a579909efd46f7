"""Runs a search: creates trials as job slots become free, prunes trials, and trains promising
configurations with more seeds."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from lenet_exp.comparison.search.objective import EpochValidation
from lenet_exp.config.schema import Cost, SamplerName
from lenet_exp.executors.launcher import ExecutorLauncher
from lenet_exp.executors.work import EpochReport
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.searches.epoch_counts import EPOCHS, HAD, RUN, EpochCounts, epochs_of_trial
from lenet_exp.searches.plan import PlannedSearch
from lenet_exp.searches.seed_race import SeedRace
from lenet_exp.searches.study import StudyDatabase
from lenet_exp.searches.trials import MOST_TOO_LARGE, TooLarge, Trials
from lenet_exp.sweeps.session import Session
from lenet_exp.training.engine import EngineChoice
from lenet_exp.training.network import count_parameters

OUTCOME, REASON = "outcome", "reason"  # attributes of a trial
# trials in a row without training after which a search ends: nothing is left, or training fails
MOST_REPEATED = 100
# fraction of the epochs and seconds for first seeds; the rest is for later seeds
TRIALS_SHARE = 2 / 3

log = logging.getLogger("lenet_exp")


class SearchRun:
    """One session of a search, which receives the job events of the sweep's session.

    Args:
        planned: the search.
        session: session of the sweep, with the jobs from earlier sessions.
        database: the study.
    """

    def __init__(self, planned: PlannedSearch, session: Session, database: StudyDatabase) -> None:
        self._start = time.monotonic()
        self.planned = planned
        self.session = session
        self.database = database
        self.objective = planned.objective
        # A grid contains the baseline anyway.
        is_first = not database.trials and planned.search.sampler is not SamplerName.grid
        self.trials = Trials(
            planned.study_name,
            planned.search,
            planned.flags,
            planned.num_epoch,
            known=database.trials,
            first=min(map(planned.first_pruned, planned.corners)),
            baseline=planned.maker.baseline() if is_first else None,
            metric=self.objective.metric,
        )
        self.seeds = SeedRace(planned.plan.seeds, self.objective.sign)
        self._firsts = {
            job.trial_number: job for job in session.jobs if planned.seed_number(job) == 0
        }
        self._epoch_counts = EpochCounts()
        self._training: dict[
            str, list[Job]
        ] = {}  # for each run being trained, the jobs that wait for its result
        self._epochs: dict[
            int, dict[int, EpochValidation]
        ] = {}  # results of trials in progress, by trial and epoch
        self._fruitless = 0  # number of trials in a row that trained no epoch
        self._too_large = ""  # reason why no more trials can be drawn
        self._ended_by = ""

    def run(self, launcher: ExecutorLauncher, environment: Mapping[str, str]) -> None:
        """Train trials until a budget is spent."""
        for trial in self.trials.all():
            job = self._firsts[trial.number]
            if trial.user_attrs.get(OUTCOME) == Outcome.failed and job.folder.record() is None:
                error = str(trial.user_attrs.get(REASON))
                self.session.sweep.end_job(job.number, error)  # new sessions discard old errors
            elif OUTCOME in trial.user_attrs:
                self._seed_ended(job)
        unended = self._unended()
        for job in {
            job.run: job for job in reversed(unended)
        }.values():  # duplicates of these jobs wait
            self._epoch_counts.trained(job, len(job.folder.history().epochs))
        self._keep()
        sample_jobs = self.planned.corners
        engines = list(
            dict.fromkeys(EngineChoice(job.engine, job.engine_why).words for job in sample_jobs)
        )
        for words in engines:
            log.info("engine%s: %s", " for some trials" if len(engines) > 1 else "", words)
        try:
            self.session.train(
                self._jobs(unended),
                launcher,
                environment,
                sample_jobs=sample_jobs,
                answer=self.reported,
                ended=self.ended,
            )
        finally:
            self._keep()
        if self._ended_by:
            log.info("search ended: %s", self._ended_by)

    def reported(self, report: EpochReport) -> bool:
        """Handle a finished epoch of a running job, and return whether to end the job's run."""
        job = self.session.jobs[report.job]
        self._epoch_counts.trained(job, report.epoch)
        return self.planned.seed_number(job) == 0 and self._note(
            job.trial_number, report.epoch, report
        )

    def ended(self, number: int) -> bool:
        """Handle the end of a job, and return whether the job failed or its run diverged.

        An interrupted job is not recorded; it resumes in the next session.
        """
        job = self.session.jobs[number]
        duplicates = self._training.pop(job.run, [])
        outcome, reason = self._outcome(job)
        if outcome is Outcome.killed:
            return False
        self._tell(job, outcome, reason)
        for duplicate in duplicates:
            self._answer(duplicate, outcome, reason)
        return outcome in {Outcome.failed, Outcome.diverged}

    def _unended(self) -> list[Job]:
        """Return the unfinished jobs from an earlier session, and record the finished jobs of later
        seeds.
        """
        running = [self._firsts[n] for n in self.trials.running()]
        for job in self.session.jobs:
            if seed := self.planned.seed_number(job):
                self.seeds.asked(job.trial_number, seed)
                if (record := job.folder.record()) is None or record.outcome in {
                    None,
                    Outcome.killed,
                    Outcome.pruned,
                }:
                    running.append(job)
                else:
                    self._epoch_counts.ended(job, later=True)
                    self._seed_ended(job)
        return running

    def _jobs(self, unended: list[Job]) -> Iterator[Job | None]:
        """Yield the next job whenever `drive` has a free job slot; yield None if no job is
        available yet.
        """
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
                self._too_large = (
                    f"{MOST_TOO_LARGE:,} drawn configurations exceeded search.max_parameters={most}"
                )
                continue
            repeated += again is None
            if self._has_to_train(job):
                repeated = 0
                yield job

    def _no_more_trials(self, repeated: int) -> str:
        """Return the reason why no new trial can be created now; an empty string if a new trial can
        be created.
        """
        plan = self.planned.plan
        if plan.n_trials is not None and len(self.trials) >= plan.n_trials:
            return f"n_trials={plan.n_trials}"
        if self.trials.exhausted():
            return "all configurations in the grid were tried"
        if self._too_large:
            return self._too_large
        if max(repeated, self._fruitless) >= MOST_REPEATED and plan.n_trials is None:
            return f"the last {MOST_REPEATED} trials trained no epoch"
        if (why := self._over(1.0)) or self.seeds.most == 1:
            return why
        return self._over(TRIALS_SHARE) if self.seeds.next(asking=False) is not None else ""

    def _over(self, share: float) -> str:
        """Return a budget of which at least the fraction `share` is spent, as text such as
        `max_epochs=100`; an empty string if there is no such budget."""
        plan = self.planned.plan
        if (
            plan.max_epochs is not None
            and self._epoch_counts.spent(self.trials.all()) >= share * plan.max_epochs
        ):
            return f"max_epochs={plan.max_epochs}"
        if plan.max_seconds is not None and self._seconds() >= share * plan.max_seconds:
            return f"max_seconds={plan.max_seconds:g}"
        return ""

    def _ask(self) -> Job:
        """Create a new trial and return the job of its first seed."""
        maker, runs = self.planned.maker, {trial.user_attrs.get(RUN) for trial in self.trials.all()}
        job, trial = self.trials.ask(
            lambda choose: maker.job(maker.values(choose)), had=lambda job: job.run in runs
        )
        had = len(job.folder.history().epochs)
        self.trials.note(trial.number, RUN, job.run)
        self.trials.note(trial.number, HAD, had)
        # store the trial before other data refers to it
        self.database.add(self.trials.all()[trial.number])
        self._firsts[trial.number] = self.session.add(
            replace(job, trial=trial.number, epochs_before=had)
        )
        return self._firsts[trial.number]

    def _another_seed(self, trial: int, seed: int) -> Job:
        job = self.planned.job(self.trials.all()[trial], self.planned.config.seed + seed)
        self.seeds.asked(trial, seed)
        had = len(job.folder.history().epochs)
        return self.session.add(replace(job, trial=trial, epochs_before=had))

    def _has_to_train(self, job: Job) -> bool:
        """Return whether a job must be trained.

        If its result exists, record the result immediately. If another job is training the same
        run, let the job wait for that result.
        """
        if job.folder.checked_result() is not None:
            self._answer(job, *self._outcome(job))
            return False
        if job.run in self._training:
            self._training[job.run].append(job)
            return False
        self._training[job.run] = []
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
        is_first = self.planned.seed_number(job) == 0
        if is_first:
            self._tell_study(job, outcome, reason)
        self._epoch_counts.ended(job, later=not is_first)
        self._seed_ended(job)
        self._keep()

    def _tell_study(self, job: Job, outcome: Outcome, reason: str) -> None:
        number, epochs = job.trial_number, job.folder.history().epochs
        # as reported by a running job
        for epoch in epochs[:-1] if outcome is Outcome.finished else epochs:
            self._note(number, epoch.epoch, epoch)
        trained = epochs_of_trial(number, job.folder, self.trials.all())
        self._fruitless = 0 if trained else self._fruitless + 1
        self.trials.note(number, EPOCHS, trained)
        self.trials.note(number, OUTCOME, outcome.value)
        if reason:
            self.trials.note(number, REASON, reason[:500])
        size = count_parameters(job.config) if self.objective.cost is Cost.parameters else None
        self.database.end(
            self.trials.end(number, *self.objective.trial_result(outcome, epochs, size))
        )
        self._epochs.pop(number, None)

    def _seed_ended(self, job: Job) -> None:
        """Record a seed's result in the race over seeds.

        The race contains only trials that are complete in the study, and each run only once.
        """
        trial, seed = job.trial_number, self.planned.seed_number(job)
        if seed:
            outcome, values = self.objective.trial_result(
                self._outcome(job)[0], job.folder.history().epochs
            )
            self.seeds.ended(
                trial, seed, values[0] if outcome is Outcome.finished and values else None
            )
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
        spared = epoch < self.planned.first_pruned(self._firsts[number])
        return self.trials.report(number, epoch, value, spared=spared) or self.objective.reached(
            until
        )

    def _seconds(self) -> float:
        return self.database.seconds + time.monotonic() - self._start

    def _keep(self) -> None:
        """Save the progress of the search."""
        trials, best = self.trials.all(), self.trials.best()
        plan = replace(
            self.planned.plan,
            trials=len(trials),
            finished_trials=len(trials) - len(self.trials.running()),
            epochs=self._epoch_counts.spent(trials),
            seconds=round(self._seconds(), 1),
            front=[t.number for t in self.trials.front()],
            ended_by=self._ended_by,
        )
        if best is not None:
            plan = replace(plan, best_trial=best.number, best_value=best.values[0])
        if self.seeds.is_raced() and (left := self.seeds.left()):
            values = self.seeds.values(left[0]).values()
            plan = replace(
                plan,
                best_trial=left[0],
                best_value=sum(values) / len(values),
                best_seeds=len(values),
            )
            plan = replace(plan, left=[self._firsts[trial].run for trial in left])
        if plan.best_trial is not None:
            plan = replace(plan, best_job=self._firsts[plan.best_trial].number)
        self.database.keep_seconds(plan.seconds)
        self.session.sweep.save(search=plan)
