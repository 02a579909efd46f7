"""The jobs that a sweep with `sweep.within` adds as results come in."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from lenet_exp.comparison.compare import Comparison, compare_sweep
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics.pairs import Replicate
from lenet_exp.config.schema import EXECUTION_FLAGS
from lenet_exp.folders.job import Job
from lenet_exp.reports.words.race_words import look_line
from lenet_exp.runs.jobs import freeze_jobs
from lenet_exp.sweeps.race.estimate import remaining_runs
from lenet_exp.sweeps.race.race_plan import SEED, SPLIT, swept_configuration
from lenet_exp.sweeps.session import Session

log = logging.getLogger("lenet_exp")


class GridRace:
    """Makes the jobs of a grid with `sweep.within`.

    Args:
        session: session of the sweep, whose plan has a race.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sweep = session.sweep
        plan = session.sweep.started()
        assert plan.race is not None
        self._plan = plan.race
        self._swept = plan.swept
        self._logged: dict[str, int] = {}  # seeds of the last logged look, by dataset
        self._submitted: list[int] = []  # numbers of the jobs that may not have ended
        self._num_submitted = 0
        self._session_start = time.perf_counter()
        self._start = self._session_start  # of the race, after the listed seeds
        self._seconds_before = self._plan.seconds

    def jobs(self, missing: Sequence[Job]) -> Iterator[Job | None]:
        """Yield the missing jobs, and then those of each look; yield None while jobs of a look are
        being trained.

        The listed seeds are always trained; `max_seconds` limits the added ones.
        """
        self._session_start = time.perf_counter()
        for job in missing:
            yield self._submitted_job(job)

        self._start = time.perf_counter()
        while True:
            yield from self._await_submitted()
            requests = self._next_requests()
            self._save_seconds()
            if not requests:
                return
            for job in self._frozen(requests):
                if self._is_out_of_time():
                    yield from self._await_submitted()
                    self._save_seconds(ended_by=f"max_seconds={self._plan.max_seconds:g}")
                    return
                yield from self._train(job)

    def _train(self, job: Job) -> Iterator[Job]:
        """Add a job to the sweep, and yield it if its run has to be trained."""
        job = self._session.add(job)
        if job.folder.checked_result() is not None:
            self._sweep.end_job(job.number, None)
            return
        yield self._submitted_job(job)

    def _submitted_job(self, job: Job) -> Job:
        """Return a job, and remember that it is being trained."""
        self._num_submitted += 1
        self._submitted.append(job.number)
        return job

    def _await_submitted(self) -> Iterator[None]:
        """Yield None until all submitted jobs have ended."""
        while True:
            self._submitted = [n for n in self._submitted if not self._sweep.has_ended(n)]
            if not self._submitted:
                return
            yield None

    def _is_out_of_time(self) -> bool:
        limit = self._plan.max_seconds
        if limit is None:
            return False
        return self._seconds() >= limit

    def _save_seconds(self, ended_by: str = "") -> None:
        """Save for how long seeds were added, and why that ended early."""
        self._plan = replace(self._plan, seconds=self._seconds(), ended_by=ended_by)
        self._sweep.save(race=self._plan)

    def _seconds(self) -> float:
        return self._seconds_before + time.perf_counter() - self._start

    def _next_requests(self) -> list[tuple[Job, Replicate]]:
        """Return the runs to train before the next look: for each, a job of the same configuration,
        and the replicate.
        """
        requests = []
        job_of_run = {job.run: job for job in reversed(self._session.jobs)}
        for comparison in compare_sweep(self._sweep, self._session.results()):
            race = comparison.race
            if race is None:
                continue
            self._log_look(comparison)
            for group, replicate in race.requested:
                trained = race.candidates[group].trained
                if replicate not in {run.replicate for run in trained.runs}:
                    requests.append((self._template(trained, job_of_run), replicate))
        # shorter runs first, because longer runs can continue them
        requests.sort(key=lambda request: request[0].config.num_epoch)
        return requests

    @staticmethod
    def _template(group: Group, job_of_run: dict[str, Job]) -> Job:
        """Return the first job of a configuration."""
        jobs = [job_of_run[run.id] for run in group.runs]
        return min(jobs, key=lambda job: job.number)

    def _log_look(self, comparison: Comparison) -> None:
        """Log a line about the last complete look, once."""
        race = comparison.race
        assert race is not None
        if race.seeds <= self._logged.get(comparison.dataset, 0):
            return
        self._logged[comparison.dataset] = race.seeds

        remaining = ""
        if not race.is_over:
            remaining = remaining_runs(comparison, self._plan, self._seconds_per_run())
        log.info("%s", "; ".join(filter(None, [look_line(comparison, race), remaining])))

    def _seconds_per_run(self) -> float:
        """Return the time in which this session has trained one run on all its workers, in seconds;
        NaN if it has trained none.
        """
        if not self._num_submitted:
            return math.nan
        return (time.perf_counter() - self._session_start) / self._num_submitted

    def _frozen(self, requests: Sequence[tuple[Job, Replicate]]) -> Iterator[Job]:
        """Yield the jobs of requested runs, one at a time."""
        names = {flag.lstrip("+") for flag in self._swept}
        if not names & EXECUTION_FLAGS:
            for template, replicate in requests:
                yield self._freeze([template], replicate)[0]
            return

        # Configurations that differ in their execution only have equal fingerprints. Their run
        # folders are chosen together, whether or not all of them are trained.
        templates = {swept_configuration(job): job for job in reversed(self._session.jobs)}
        for template, replicate in requests:
            frozen = self._freeze(list(templates.values()), replicate)
            yield frozen[list(templates).index(swept_configuration(template))]

    def _freeze(self, templates: Sequence[Job], replicate: Replicate) -> list[Job]:
        """Return the jobs of the templates' configurations with another seed and split."""
        seed, split = replicate
        configs = []
        overrides = []
        for template in templates:
            config = replace(template.config, seed=seed)
            changed = {SEED: str(seed)}
            if SPLIT in template.swept:
                config = replace(config, split_seed=split)
                changed[SPLIT] = str(split)
            configs.append(config)
            overrides.append(_with_values(template.overrides, changed))
        swept = list(self._swept)
        if SEED not in swept:
            swept.append(SEED)  # the names of the jobs must differ
        return freeze_jobs(swept, overrides, configs)


def _with_values(overrides: Sequence[str], values: dict[str, str]) -> list[str]:
    """Return overrides with other values of some flags, in the same places."""
    replaced = []
    for override in overrides:
        flag = override.partition("=")[0]
        if flag in values:
            replaced.append(f"{flag}={values[flag]}")
        else:
            replaced.append(override)
    missing = values.keys() - {override.partition("=")[0] for override in overrides}
    return [*replaced, *(f"{flag}={values[flag]}" for flag in sorted(missing))]
