"""Runs a search: creates trials as job slots become free, prunes trials, and trains promising
configurations with more seeds."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace

from lenet_exp.executors.launcher import ExecutorLauncher
from lenet_exp.executors.work import EpochReport
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.searches.budget import SearchBudget
from lenet_exp.searches.plan import PlannedSearch
from lenet_exp.searches.recording import SearchRecorder
from lenet_exp.searches.study import StudyDatabase
from lenet_exp.searches.trial_attributes import EPOCHS_BEFORE, OUTCOME, REASON, RUN
from lenet_exp.searches.trials import Choose, TooLarge
from lenet_exp.sweeps.session import Session
from lenet_exp.training.engine import EngineChoice

log = logging.getLogger("lenet_exp")


class SearchRun:
    """One session of a search, which receives the job events of the sweep's session.

    Args:
        planned: the search.
        session: session of the sweep, with the jobs from earlier sessions.
        database: the study.
    """

    def __init__(self, planned: PlannedSearch, session: Session, database: StudyDatabase) -> None:
        self._planned = planned
        self._session = session
        self._database = database
        self._recorder = SearchRecorder(planned, session, database)
        self._budget = SearchBudget(planned, self._recorder)
        self._trials = self._recorder.trials
        self._seed_race = self._recorder.seed_race
        self._first_jobs = self._recorder.first_jobs
        # For each run being trained, the other jobs that wait for its result.
        self._waiting_jobs: dict[str, list[Job]] = {}

    def run(self, launcher: ExecutorLauncher, environment: Mapping[str, str]) -> None:
        """Train trials until a budget is spent."""
        self._restore_ended_trials()
        unfinished_jobs = self._unfinished_jobs()
        self._restore_epoch_counts(unfinished_jobs)
        self._recorder.save()

        self._log_engines()
        try:
            self._session.train(
                self._jobs(unfinished_jobs),
                launcher,
                environment,
                sample_jobs=self._planned.corners,
                answer=self._on_epoch,
                ended=self._on_end,
            )
        finally:
            self._recorder.save()
        if self._recorder.ended_by:
            log.info("search ended: %s", self._recorder.ended_by)

    def _restore_ended_trials(self) -> None:
        """Restore the results of trials that ended in an earlier session."""
        for trial in self._trials.all():
            job = self._first_jobs[trial.number]
            failed = trial.user_attrs.get(OUTCOME) == Outcome.failed
            if failed and job.folder.record() is None:
                # A new session discards the errors of earlier sessions.
                error = str(trial.user_attrs.get(REASON))
                self._session.sweep.end_job(job.number, error)
            elif OUTCOME in trial.user_attrs:
                self._recorder.record_seed(job)

    def _unfinished_jobs(self) -> list[Job]:
        """Return the unfinished jobs from an earlier session, and record the finished jobs of later
        seeds.
        """
        unfinished_jobs = [self._first_jobs[number] for number in self._trials.running()]
        for job in self._session.jobs:
            seed = self._planned.seed_number(job)
            if seed == 0:
                continue
            self._seed_race.request(job.trial_number, seed)
            if _is_finished(job):
                self._recorder.epoch_counts.end(job, is_later_seed=True)
                self._recorder.record_seed(job)
            else:
                unfinished_jobs.append(job)
        return unfinished_jobs

    def _restore_epoch_counts(self, unfinished_jobs: list[Job]) -> None:
        """Count the epochs that unfinished jobs trained in an earlier session."""
        # Only the first job of a run trains; the others wait for its result.
        job_by_run: dict[str, Job] = {}
        for job in unfinished_jobs:
            job_by_run.setdefault(job.run, job)
        for job in job_by_run.values():
            self._recorder.epoch_counts.update(job, len(job.folder.history().epochs))

    def _log_engines(self) -> None:
        engines: list[str] = []
        for job in self._planned.corners:
            words = EngineChoice(job.engine, job.engine_why).words
            if words not in engines:
                engines.append(words)
        scope = " for some trials" if len(engines) > 1 else ""
        for words in engines:
            log.info("engine%s: %s", scope, words)

    def _on_epoch(self, report: EpochReport) -> bool:
        """Handle a finished epoch of a running job, and return whether to end the job's run."""
        job = self._session.jobs[report.job]
        self._recorder.epoch_counts.update(job, report.epoch)
        if self._planned.seed_number(job) != 0:
            return False
        return self._recorder.record_epoch(job.trial_number, report.epoch, report)

    def _on_end(self, number: int) -> bool:
        """Handle the end of a job, and return whether the job failed or its run diverged.

        An interrupted job is not recorded; it resumes in the next session.
        """
        job = self._session.jobs[number]
        waiting_jobs = self._waiting_jobs.pop(job.run, [])
        outcome, reason = self._recorder.outcome(job)
        if outcome is Outcome.killed:
            return False

        self._recorder.record_end(job, outcome, reason)
        for waiting_job in waiting_jobs:
            self._end_without_training(waiting_job, outcome, reason)
        return outcome in {Outcome.failed, Outcome.diverged}

    def _jobs(self, unfinished_jobs: list[Job]) -> Iterator[Job | None]:
        """Yield the next job whenever `drive` has a free job slot; yield None if no job is
        available yet.
        """
        for job in unfinished_jobs:
            if self._must_train(job):
                yield job

        repeated_trials = 0  # number of trials in a row that did not have to be trained
        while True:
            why_no_trial = self._budget.why_no_trial(repeated_trials)
            next_seed = None
            if not self._budget.spent():
                next_seed = self._seed_race.next_seed(can_create_trial=not why_no_trial)

            if next_seed is None and why_no_trial:
                if not self._waiting_jobs:
                    self._recorder.ended_by = why_no_trial
                    return
                yield None
                continue

            try:
                if next_seed is None:
                    job = self._new_trial()
                    repeated_trials += 1
                else:
                    trial, seed = next_seed
                    job = self._new_seed(trial, seed)
            except TooLarge:
                self._budget.set_only_too_large()
                continue

            if self._must_train(job):
                repeated_trials = 0
                yield job

    def _new_trial(self) -> Job:
        """Create a new trial and return the job of its first seed."""
        maker = self._planned.maker
        runs = {trial.user_attrs.get(RUN) for trial in self._trials.all()}

        def make_job(choose: Choose) -> Job:
            return maker.job(maker.values(choose))

        job, trial = self._trials.ask(make_job, is_repeated=lambda job: job.run in runs)
        epochs_before = len(job.folder.history().epochs)
        self._trials.set_attribute(trial.number, RUN, job.run)
        self._trials.set_attribute(trial.number, EPOCHS_BEFORE, epochs_before)
        # The trial is stored before other data refers to it.
        self._database.add(self._trials.all()[trial.number])

        job = replace(job, trial=trial.number, epochs_before=epochs_before)
        job = self._session.add(job)
        self._first_jobs[trial.number] = job
        return job

    def _new_seed(self, trial: int, seed: int) -> Job:
        """Create and return the job of a trial's later seed."""
        job = self._planned.job(self._trials.all()[trial], self._planned.config.seed + seed)
        self._seed_race.request(trial, seed)
        epochs_before = len(job.folder.history().epochs)
        return self._session.add(replace(job, trial=trial, epochs_before=epochs_before))

    def _must_train(self, job: Job) -> bool:
        """Return whether a job must be trained.

        If its result exists, record the result immediately. If another job is training the same
        run, let the job wait for that result.
        """
        if job.folder.checked_result() is not None:
            outcome, reason = self._recorder.outcome(job)
            self._end_without_training(job, outcome, reason)
            return False
        if job.run in self._waiting_jobs:
            self._waiting_jobs[job.run].append(job)
            return False
        self._waiting_jobs[job.run] = []
        return True

    def _end_without_training(self, job: Job, outcome: Outcome, reason: str) -> None:
        """Record the end of a job that did not have to be trained."""
        error = None
        if outcome is Outcome.failed and job.folder.record() is None:
            error = reason
        self._session.sweep.end_job(job.number, error)
        self._recorder.record_end(job, outcome, reason)


def _is_finished(job: Job) -> bool:
    """Return whether the run of a later seed has a result. A pruned run resumes instead."""
    record = job.folder.record()
    if record is None:
        return False
    return record.outcome not in {None, Outcome.killed, Outcome.pruned}
