"""Which seeds a sweep with `sweep.within` can use, and whether it adds more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lenet_exp.comparison.compare import compare_sweep
from lenet_exp.comparison.statistics.looks import FEWEST_SEEDS, MOST_SEEDS
from lenet_exp.comparison.statistics.pairs import Replicate
from lenet_exp.config.schema import SEED_FLAGS, Config
from lenet_exp.errors import ConfigError
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import job_results
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.folders.sweep_plan import RacePlan, SweepPlan
from lenet_exp.machine import now_ms

SEED = "seed"
SPLIT = "split_seed"

LARGEST_SEED = 2**63 - 1


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

    replaced_within = earlier.replaced_within
    if had_verdict and within != earlier.within:
        replaced_within = earlier.within
    requested = replace(
        earlier,
        within=within,
        replaced_within=replaced_within,
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
        replicates_of.setdefault(swept_configuration(job), {})[replicate] = None

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


def swept_configuration(job: Job) -> tuple[tuple[str, str], ...]:
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
