"""Records the results of a search's jobs in the study and its database, in the race over seeds, and
in sweep.json."""

from __future__ import annotations

import time
from dataclasses import replace

from lenet_exp.comparison.search.objective import EpochValidation
from lenet_exp.config.schema import Cost, SamplerName
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.sweep_plan import SearchPlan
from lenet_exp.searches.epoch_counts import EpochCounts, epochs_of_trial
from lenet_exp.searches.plan import PlannedSearch
from lenet_exp.searches.seed_race import SeedRace
from lenet_exp.searches.study import StudyDatabase
from lenet_exp.searches.trial_attributes import EPOCHS, OUTCOME, REASON, RUN
from lenet_exp.searches.trials import Trials
from lenet_exp.sweeps.session import Session
from lenet_exp.training.network import count_parameters

MOST_REASON_CHARACTERS = 500


class SearchRecorder:
    """Records the results of the jobs of a search.

    Args:
        planned: the search.
        session: session of the sweep, with the jobs from earlier sessions.
        database: the study.

    Attributes:
        trials: the trials, which are created and pruned by Optuna.
        seed_race: the race over seeds, which assigns additional seeds.
        epoch_counts: the epochs trained so far.
        first_jobs: job of each trial's first seed, keyed by trial.
        trials_without_training: number of trials in a row, up to the last ended one, that trained
            no epoch.
        ended_by: reason why the search ended; empty if it has not ended.
    """

    def __init__(self, planned: PlannedSearch, session: Session, database: StudyDatabase) -> None:
        self._start = time.monotonic()
        self._planned = planned
        self._session = session
        self._database = database
        self._objective = planned.objective

        # A grid contains the baseline anyway.
        baseline = None
        if not database.trials and planned.search.sampler is not SamplerName.grid:
            baseline = planned.maker.baseline()
        self.trials = Trials(
            planned.study_name,
            planned.search,
            planned.flags,
            planned.num_epoch,
            earlier_trials=database.trials,
            first_pruned=min(map(planned.first_pruned, planned.corners)),
            baseline=baseline,
            metric=self._objective.metric,
        )
        self.seed_race = SeedRace(planned.plan.seeds, self._objective.sign)
        self.epoch_counts = EpochCounts()
        self.first_jobs: dict[int, Job] = {}
        for job in session.jobs:
            if planned.seed_number(job) == 0:
                self.first_jobs[job.trial_number] = job

        # Results of trials in progress, keyed by trial and epoch.
        self._epochs: dict[int, dict[int, EpochValidation]] = {}
        self.trials_without_training = 0
        self.ended_by = ""

    def seconds(self) -> float:
        """Return the duration of the search in seconds, over all sessions."""
        return self._database.seconds + time.monotonic() - self._start

    def outcome(self, job: Job) -> tuple[Outcome, str]:
        """Return how a job ended, and why; `killed` if it has not ended."""
        error = self._session.sweep.error(job.number)
        if error is not None:
            return Outcome.failed, error
        record = job.folder.record()
        if record is None or record.outcome is None:
            return Outcome.killed, "it did not start"
        return record.outcome, record.reason

    def record_epoch(self, trial: int, epoch: int, validation: EpochValidation) -> bool:
        """Record an epoch of a trial in the study, and return whether to end the trial's run."""
        epochs = self._epochs.setdefault(trial, {})
        epochs[epoch] = validation
        until_epoch = [result for number, result in epochs.items() if number <= epoch]
        value = self._objective.at(until_epoch)
        if self._objective.may_prune:
            self._database.report(trial, epoch, value)

        is_warm_up = epoch < self._planned.first_pruned(self.first_jobs[trial])
        if self.trials.report(trial, epoch, value, exempt=is_warm_up):
            return True
        return self._objective.reached(until_epoch)

    def record_end(self, job: Job, outcome: Outcome, reason: str) -> None:
        """Record the end of a job in the study, the database, and sweep.json."""
        is_first_seed = self._planned.seed_number(job) == 0
        if is_first_seed:
            self._end_trial(job, outcome, reason)
        self.epoch_counts.end(job, is_later_seed=not is_first_seed)
        self.record_seed(job)
        self.save()

    def record_seed(self, job: Job) -> None:
        """Record the result of an ended job in the race over seeds.

        The race contains only trials that are complete in the study, and each run only once.
        """
        trial = job.trial_number
        seed = self._planned.seed_number(job)
        if seed:
            run_outcome, _ = self.outcome(job)
            outcome, values = self._objective.trial_result(run_outcome, job.folder.history().epochs)
            value = None
            if outcome is Outcome.finished and values:
                value = values[0]
            self.seed_race.record(trial, seed, value)
            return

        if self.seed_race.max_seeds == 1:
            return
        first_values = self.trials.values(trial)
        if first_values is not None and not self._is_raced_by_other_trial(job):
            self.seed_race.record(trial, 0, first_values[0])

    def save(self) -> None:
        """Save the progress of the search."""
        plan = self._with_best(self._plan_with_progress())
        self._database.store_seconds(plan.seconds)
        self._session.sweep.save(search=plan)

    def _end_trial(self, job: Job, outcome: Outcome, reason: str) -> None:
        """End the trial of a job's first seed in the study and the database."""
        trial = job.trial_number
        epochs = job.folder.history().epochs
        # A running job does not report the last epoch of a finished run.
        reported_epochs = epochs[:-1] if outcome is Outcome.finished else epochs
        for epoch in reported_epochs:
            self.record_epoch(trial, epoch.epoch, epoch)

        trained_epochs = epochs_of_trial(trial, job.folder, self.trials.all())
        if trained_epochs:
            self.trials_without_training = 0
        else:
            self.trials_without_training += 1

        self.trials.set_attribute(trial, EPOCHS, trained_epochs)
        self.trials.set_attribute(trial, OUTCOME, outcome.value)
        if reason:
            self.trials.set_attribute(trial, REASON, reason[:MOST_REASON_CHARACTERS])

        parameters = None
        if self._objective.cost is Cost.parameters:
            parameters = count_parameters(job.config)
        trial_outcome, values = self._objective.trial_result(outcome, epochs, parameters)
        ended_trial = self.trials.end(trial, trial_outcome, values)
        self._database.end(ended_trial)
        self._epochs.pop(trial, None)

    def _is_raced_by_other_trial(self, job: Job) -> bool:
        """Return whether the race contains the run of a job's first seed under another trial only.

        Two trials with the same configuration have the same run.
        """
        trials = self.trials.all()
        trials_of_run = [
            number
            for number in self.seed_race.trials()
            if trials[number].user_attrs.get(RUN) == job.run
        ]
        return bool(trials_of_run) and job.trial_number not in trials_of_run

    def _plan_with_progress(self) -> SearchPlan:
        trials = self.trials.all()
        return replace(
            self._planned.plan,
            trials=len(trials),
            finished_trials=len(trials) - len(self.trials.running()),
            epochs=self.epoch_counts.total(trials),
            seconds=round(self.seconds(), 1),
            front=[trial.number for trial in self.trials.front()],
            ended_by=self.ended_by,
        )

    def _with_best(self, plan: SearchPlan) -> SearchPlan:
        """Return the plan with the best trial: that of the race over seeds, if any trial has a
        second seed."""
        best_trial = self.trials.best()
        if best_trial is not None:
            plan = replace(plan, best_trial=best_trial.number, best_value=best_trial.values[0])

        could_be_best = self.seed_race.could_be_best() if self.seed_race.is_raced() else []
        if could_be_best:
            best = could_be_best[0]
            values = self.seed_race.values(best).values()
            plan = replace(
                plan,
                best_trial=best,
                best_value=sum(values) / len(values),
                best_seeds=len(values),
                left=[self.first_jobs[trial].run for trial in could_be_best],
            )

        if plan.best_trial is not None:
            plan = replace(plan, best_job=self.first_jobs[plan.best_trial].number)
        return plan
