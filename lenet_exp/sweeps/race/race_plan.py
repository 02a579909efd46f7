"""Sweeps with `sweep.within`: which seeds they can use, and the jobs that they add as results come
in.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from lenet_exp.comparison.compare import Comparison, compare_sweep
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics.looks import FEWEST_SEEDS, MOST_SEEDS
from lenet_exp.comparison.statistics.pairs import Replicate
from lenet_exp.config.schema import EXECUTION_FLAGS, SEED_FLAGS, Config
from lenet_exp.errors import ConfigError
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import job_results
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.folders.sweep_plan import RacePlan, SweepPlan
from lenet_exp.machine import now_ms
from lenet_exp.reports.words.race_words import look_line
from lenet_exp.runs.jobs import freeze_jobs
from lenet_exp.sweeps.session import Session

SEED = "seed"
SPLIT = "split_seed"

LARGEST_SEED = 2**63 - 1

log = logging.getLogger("lenet_exp")


def plan_race(
    config: Config, sweep: SweepFolder, jobs: Sequence[Job], swept: Sequence[str]
) -> RacePlan | None:
    """Return the plan of a sweep that adds seeds; None if neither this command nor an earlier one
    sets `sweep.within`. Flags that this command does not set keep their earlier values.

    Args:
        config: configuration of one job; its `sweep.*` flags and `max_seconds` apply to the sweep.
        sweep: folder of the sweep.
        jobs: jobs that the sweep's command lists; if an earlier command added seeds, any jobs.
        swept: names of the swept flags.

    Raises:
        ConfigError: the sweep cannot add seeds, or a limit is below the number of listed seeds.
    """
    earlier_plan = _plan_of(sweep)
    earlier = earlier_plan.race if earlier_plan is not None else None
    within = config.sweep.within
    if earlier is not None and within is None:
        within = earlier.within
    if within is None:
        _check_no_flags_of_race(config)
        return None
    is_confirmation = earlier_plan is not None and earlier_plan.confirms is not None
    if config.sweep.confirms is not None or is_confirmation:
        raise ConfigError(
            f"sweep.within={within:g}: a confirmation has a fixed number of seeds; remove this flag"
        )

    had_verdict = earlier_plan is not None and earlier_plan.outcome is Outcome.finished
    if earlier is None:
        listed = _listed_replicates(jobs, swept, within)
        earlier = RacePlan(
            within=within,
            most_seeds=MOST_SEEDS,
            listed=len(listed),
            replicates=listed,
            after_verdict=had_verdict and len(listed) > 1,
        )
    most_seeds = config.sweep.most_seeds or earlier.most_seeds
    fewest = max(earlier.listed, FEWEST_SEEDS)
    if most_seeds < fewest:
        raise ConfigError(
            f"sweep.most_seeds={most_seeds}: must be at least {fewest}, the number of listed seeds"
        )

    requested = replace(
        earlier,
        within=within,
        most_seeds=most_seeds,
        max_seconds=config.max_seconds or earlier.max_seconds,
        replicates=_replicates(earlier.replicates, most_seeds, sweep, swept),
    )
    return requested if requested == earlier else replace(requested, ended_by="")


def _plan_of(sweep: SweepFolder) -> SweepPlan | None:
    """Return the stored plan of a sweep; None if the sweep was never started."""
    return sweep.kept_plan() if sweep.path.is_dir() else None


def _check_no_flags_of_race(config: Config) -> None:
    """Check that flags that require `sweep.within` are not set."""
    limits = {"sweep.most_seeds": config.sweep.most_seeds, "max_seconds": config.max_seconds}
    for flag, value in limits.items():
        if value is not None:
            raise ConfigError(f"{flag}={value:g}: requires sweep.within, such as sweep.within=0.5")


def _listed_replicates(jobs: Sequence[Job], swept: Sequence[str], within: float) -> list[Replicate]:
    """Return the seed and the split of each replicate that a sweep's command lists, in order.

    Raises:
        ConfigError: configurations differ in their replicates, splits are crossed with seeds or
            swept alone, or a dataset has a single configuration.
    """
    names = [flag.lstrip("+") for flag in swept]
    argument = f"sweep.within={within:g}"
    replicates_of: dict[tuple[tuple[str, str], ...], dict[Replicate, None]] = {}
    for job in jobs:
        replicate = _replicate(job.config, names)
        replicates_of.setdefault(_configuration(job), {})[replicate] = None

    first, *others = [list(replicates) for replicates in replicates_of.values()]
    if any(set(replicates) != set(first) for replicates in others):
        raise ConfigError(
            f"{argument}: every configuration must have the same seeds; "
            "do not zip or skip them with other flags"
        )
    if SPLIT in names:
        seeds = [seed for seed, _ in first]
        splits = [split for _, split in first]
        are_zipped = len(set(seeds)) == len(first) and len(set(splits)) == len(first)
        if not are_zipped:
            raise ConfigError(
                f"{argument}: each split_seed must belong to one seed; "
                f"set sweep.zip=[{SEED},{SPLIT}]"
            )
    _check_several(replicates_of, argument)
    return first


def _check_several(configurations: Iterable[tuple[tuple[str, str], ...]], argument: str) -> None:
    """Check that each dataset has several configurations."""
    num_on_dataset: dict[str, int] = {}
    for values in configurations:
        dataset = dict(values).get("dataset", "")
        num_on_dataset[dataset] = num_on_dataset.get(dataset, 0) + 1
    if min(num_on_dataset.values()) < 2:
        raise ConfigError(
            f"{argument}: must sweep a flag other than the seed, such as activation=relu,selu"
        )


def _replicate(config: Config, swept: Sequence[str]) -> Replicate:
    """Return the seed of a job and, if splits are swept, its split; otherwise, 0."""
    return config.seed, config.split_seed if SPLIT in swept else 0


def _configuration(job: Job) -> tuple[tuple[str, str], ...]:
    """Return the swept flags of a job and their values, without the seeds."""
    return tuple(item for item in job.swept.items() if item[0] not in SEED_FLAGS)


def _seeds_of_confirmations(sweep: SweepFolder) -> set[int]:
    """Return the seeds that confirmations of a sweep's leader use."""
    seeds: set[int] = set()
    for other in all_sweeps(sweep.outputs, quietly=True):
        if other.started().confirms == sweep.id:
            seeds.update(job.config.seed for job in other.jobs())
    return seeds


def _replicates(
    first: Sequence[Replicate], count: int, sweep: SweepFolder, swept: Sequence[str]
) -> list[Replicate]:
    """Return this many replicates: the given ones, and then new ones, which follow the largest seed
    and, if splits are swept, the largest split. Seeds of a confirmation are skipped.

    Raises:
        ConfigError: no larger seeds exist.
    """
    splits_are_swept = any(flag.lstrip("+") == SPLIT for flag in swept)
    replicates = list(first[:count])
    used_seeds: set[int] = set()
    if len(replicates) < count:
        used_seeds = _seeds_of_confirmations(sweep)

    seed = max(seed for seed, _ in replicates)
    split = max(split for _, split in replicates)
    while len(replicates) < count:
        seed += 1
        if seed in used_seeds:
            continue
        if splits_are_swept:
            split += 1
        replicates.append((seed, split))

    if max(seed, split) > LARGEST_SEED:
        raise ConfigError(
            f"seed={first[-1][0]}: sweep.within adds larger seeds, which must be less than 2**63"
        )
    return replicates


def with_added_jobs(sweep: SweepFolder, known_jobs: list[Job]) -> list[Job]:
    """Return the first jobs of a sweep, followed by those that it has added since."""
    plan = _plan_of(sweep)
    if plan is None or plan.race is None:
        return known_jobs
    return [*known_jobs, *sweep.jobs()[len(known_jobs) :]]


def is_race_over(sweep: SweepFolder, jobs: Sequence[Job], plan: RacePlan | None) -> bool:
    """Return whether a sweep adds no more seeds, or never did.

    Args:
        jobs: all jobs of the sweep so far.
        plan: plan of the race, as requested now; None if there is none.
    """
    if plan is None:
        return True
    stored_plan = sweep.kept_plan()
    if stored_plan is None or stored_plan.race != plan:
        return False
    if plan.ended_by:
        return True
    results = job_results(sweep, jobs, now_ms())
    return all(
        comparison.race is None or comparison.race.is_over
        for comparison in compare_sweep(sweep, results)
    )


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
        self._start = time.perf_counter()
        self._seconds_before = self._plan.seconds

    def jobs(self, missing: Sequence[Job]) -> Iterator[Job | None]:
        """Yield the missing jobs, and then those of each look; yield None while jobs of a look are
        being trained.

        The listed seeds are always trained; `max_seconds` limits the added ones.
        """
        for job in missing:
            self._submitted.append(job.number)
            yield job

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
        self._submitted.append(job.number)
        yield job

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
        if race.seeds > self._logged.get(comparison.dataset, 0):
            self._logged[comparison.dataset] = race.seeds
            log.info("%s", look_line(comparison, race))

    def _frozen(self, requests: Sequence[tuple[Job, Replicate]]) -> Iterator[Job]:
        """Yield the jobs of requested runs, one at a time."""
        names = {flag.lstrip("+") for flag in self._swept}
        if not names & EXECUTION_FLAGS:
            for template, replicate in requests:
                yield self._freeze([template], replicate)[0]
            return

        # Configurations that differ in their execution only have equal fingerprints. Their run
        # folders are chosen together, whether or not all of them are trained.
        templates = {_configuration(job): job for job in reversed(self._session.jobs)}
        for template, replicate in requests:
            frozen = self._freeze(list(templates.values()), replicate)
            yield frozen[list(templates).index(_configuration(template))]

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
