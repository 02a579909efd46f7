"""Builds the command that confirms a sweep's leader: it trains the leader and its rivals with new
seeds.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lenet_exp.comparison.compare import SPLIT, Comparison
from lenet_exp.comparison.confirmation_plan import ConfirmationPlan, plan_confirmation
from lenet_exp.config.compose import quoted
from lenet_exp.config.schema import HOOK
from lenet_exp.config.search import GRID_FLAGS
from lenet_exp.confirmation.baseline import leader_and_baseline
from lenet_exp.errors import ConfigError
from lenet_exp.folders.config_dir import config_dir_of
from lenet_exp.folders.find import find_sweep
from lenet_exp.folders.job import Job
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.runs.former_defaults import former_overrides, has_former_defaults
from lenet_exp.sweeps.confirms import Flags, flags_of

SEED_STEP = 1000  # New seeds start at a multiple of this number.

# The `sweep.*` flags that are not copied from the sweep's command.
_NOT_COPIED = (*GRID_FLAGS, "dry_run")


@dataclass(frozen=True)
class ConfirmationRequest:
    """A request to confirm a sweep's leader.

    Attributes:
        points: the lead to detect, in percentage points.
        seeds: number of new seeds; None for as many as needed.
        against: a baseline to compare the leader with, instead of the configurations that could be
            the best; see `leader_and_baseline`.
        uri: address of the store, which is required if the address of the sweep's store contains a
            password; None for the sweep's store.
    """

    points: float
    seeds: int | None = None
    against: str | None = None
    uri: str | None = None

    @property
    def flag(self) -> str:
        """The flag of the confirmation's command that states the lead to detect."""
        return f"sweep.points={self.points:g}"


@dataclass(frozen=True)
class ConfirmationCommand:
    """The command that runs a confirmation.

    Attributes:
        plan: the groups to train, and the number of seeds.
        arguments: arguments of `lenet-train`.
        before: ended confirmations of the same sweep; each additional confirmation increases the
            error rate.
        configurations: the flags of each configuration to train.
    """

    plan: ConfirmationPlan
    arguments: list[str]
    before: list[SweepFolder]
    configurations: frozenset[Flags]

    @property
    def line(self) -> str:
        """The command, quoted for a shell."""
        return shlex.join(["lenet-train", *self.arguments])


def confirmed_sweep(which: str | None) -> SweepFolder:
    """Return the sweep to confirm.

    Args:
        which: ID or folder of the sweep; None for the last sweep or, if the last sweep is a
            confirmation, for the sweep that it confirms.

    Raises:
        ConfigError: the sweep was not found.
    """
    sweep = find_sweep(which or "last")
    confirmed_id = sweep.started().confirms
    if which is not None or confirmed_id is None:
        return sweep
    return find_sweep(str(sweep.path.parent / confirmed_id))


def confirmations(sweep: SweepFolder, dataset: str) -> list[SweepFolder]:
    """Return all confirmations of a sweep on the given dataset, ended or not."""
    found = []
    for other in all_sweeps(sweep.outputs):
        confirms_sweep = other.started().confirms == sweep.id
        if confirms_sweep and other.jobs()[0].config.dataset.name == dataset:
            found.append(other)
    return found


def confirmation_command(
    sweep: SweepFolder, comparison: Comparison, request: ConfirmationRequest
) -> ConfirmationCommand:
    """Plan the confirmation of a sweep's leader on one dataset, and return its command.

    Repeated calls return the same command until the confirmation has ended. Seeds of all ended
    confirmations on the dataset in the outputs folder count as seen, because a sweep with
    additional seeds is another sweep.

    Raises:
        ConfigError: the confirmation cannot be planned, or the store's address lacks the password.
    """
    wanted = plan_confirmation(
        comparison, request.points / 100, request.seeds, baseline=request.against is not None
    )
    job_of_run = {job.run: job for job in sweep.jobs()}
    jobs = [job_of_run[group.runs[0].id] for group in wanted.groups]
    jobs = _with_former_defaults(jobs)

    ended = [
        other
        for other in confirmations(sweep, comparison.dataset)
        if other.started().confirmed is not None
    ]

    with_splits = SPLIT in sweep.started().swept
    first_seed = _first_new_seed(sweep, comparison.dataset, with_splits=with_splits)
    seeds = range(first_seed, first_seed + wanted.seeds)

    config_dir = config_dir_of(sweep.started())
    columns = _columns(jobs)
    trained = [job.config for job in jobs]
    if request.against is not None:
        own_options = Path(config_dir[-1]) if config_dir else None
        sides = leader_and_baseline(jobs[0], request.against, own_options)
        columns = _columns([replace(jobs[0], overrides=sides.fixed)])
        columns |= {f"{flag}=": list(values) for flag, values in sides.differing.items()}
        trained.append(sides.baseline)

    overrides = _overrides(columns, seeds, with_splits, request.uri)

    arguments = [*config_dir, "-m", *overrides, f"sweep.confirms={sweep.id}", request.flag]
    if request.against is not None:
        arguments.append("sweep.against=true")
    configurations = frozenset(flags_of(config) for config in trained)
    return ConfirmationCommand(wanted, arguments, ended, configurations)


def _first_new_seed(sweep: SweepFolder, dataset: str, *, with_splits: bool) -> int:
    """Return the lowest multiple of `SEED_STEP` above all seeds that were seen on a dataset.

    It is also above the seeds that the sweep can still add (`sweep.within`). Seen are the seeds of
    the sweep and of all ended confirmations. For example, it is 1000 after the seeds 0 to 4, and
    2000 after the seeds 1000 to 1019.

    Args:
        with_splits: whether new splits are needed, so that `split_seed` counts as a seed.
    """
    sweeps = [sweep]
    for other in all_sweeps(sweep.outputs):
        if other.started().confirmed is not None:
            sweeps.append(other)

    seen = []
    for seen_sweep in sweeps:
        for job in seen_sweep.jobs():
            config = job.config
            if config.dataset.name != dataset:
                continue
            seen.append(config.seed)
            if with_splits:
                seen.append(config.split_seed)

    race = sweep.started().race
    if race is not None:
        for seed, split in race.replicates:
            seen.append(seed)
            if with_splits:
                seen.append(split)
    return (max(seen) // SEED_STEP + 1) * SEED_STEP


def _with_former_defaults(jobs: Sequence[Job]) -> list[Job]:
    """Return jobs whose overrides give the same configurations as in release 0.3, whose default
    values changed.
    """
    added: dict[str, None] = {}
    for job in jobs:
        if has_former_defaults(job.config):
            added |= dict.fromkeys(former_overrides(job.overrides))
    return [replace(job, overrides=[*job.overrides, *added]) for job in jobs]


def _columns(jobs: Sequence[Job]) -> dict[str, list[str]]:
    """Return the overrides from which the jobs were composed, as one column of values per flag.

    For example, `{"num_epoch=": ["5", "5"], "optimizer=": ["sgd", "adam"]}` for two jobs. The flags
    of the first job come first. The last of repeated overrides counts.
    """
    columns: dict[str, list[str]] = {}
    for job in jobs:
        row: dict[str, str] = {}
        for override in job.overrides:
            flag, sign, value = override.partition("=")
            row[flag + sign] = _absolute(job, flag, value)
        for key, value in row.items():
            columns.setdefault(key, []).append(value)
    return columns


def _overrides(
    columns: Mapping[str, list[str]], seeds: range, with_splits: bool, uri: str | None
) -> list[str]:
    """Return the columns as the overrides of a single sweep, with new seeds and, if the split was
    swept, new splits.

    For example, the columns above give `num_epoch=5 optimizer=sgd,adam seed=range(1000,1005)`. If
    several columns differ, `sweep.zip=` makes their values change together.
    """
    seed_keys = ["seed=", "split_seed="] if with_splits else ["seed="]
    copied = _copied(columns, seed_keys)
    if uri is not None:
        copied["tracking.uri="] = [uri]
    _check_no_hidden_password(copied)

    overrides = []
    differing = []
    for key, values in copied.items():
        if len(set(values)) > 1:
            differing.append(key)
            overrides.append(f"{key}{','.join(values)}")
        else:
            overrides.append(f"{key}{values[0]}")
    for key in seed_keys:
        overrides.append(f"{key}range({seeds.start},{seeds.stop})")

    zipped = []
    if len(differing) > 1:
        zipped.append(_list_of_flags(differing))
    if with_splits:
        zipped.append(_list_of_flags(seed_keys))
    if len(zipped) == 1:
        overrides.append(f"sweep.zip={zipped[0]}")
    elif zipped:
        overrides.append(f"sweep.zip=[{','.join(zipped)}]")
    return overrides


def _copied(columns: Mapping[str, list[str]], seed_keys: Sequence[str]) -> dict[str, list[str]]:
    """Return the columns without seeds and without flags that belong to the earlier sweep."""
    of_sweep = [f"sweep.{flag}=" for flag in _NOT_COPIED]
    omitted = {*seed_keys, *of_sweep, "sweep=", f"{HOOK}="}
    return {key: values for key, values in columns.items() if key.lstrip("+") not in omitted}


def _check_no_hidden_password(columns: Mapping[str, list[str]]) -> None:
    """Check that no stored address contains `***` instead of its password."""
    for values in columns.values():
        if any("***" in value for value in values):
            raise ConfigError(
                "tracking.uri: its password is not stored; set tracking.uri= to the URI with the "
                "password"
            )


def _list_of_flags(keys: Iterable[str]) -> str:
    """Return keys such as `+optimizer.lr=` as a list of flags for `sweep.zip`."""
    return f"[{','.join(key.rstrip('=').lstrip('+') for key in keys)}]"


def _absolute(job: Job, flag: str, value: str) -> str:
    """Replace a relative path with the job's absolute path, and return any other value unchanged.

    The job may have been created in a different working directory.
    """
    config = job.config
    path_of_flag = {
        "data_root": config.data_root,
        "model_path": config.model_path,
        "dataset.file": config.dataset.file,
    }
    path = path_of_flag.get(flag)
    return value if path is None else quoted(path)
