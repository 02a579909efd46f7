"""Builds the command that confirms a sweep's leader: it trains the leader and its rivals with new
seeds.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lenet_exp.comparison.compare import SPLIT, Comparison
from lenet_exp.comparison.confirm import ConfirmationPlan, plan
from lenet_exp.config.compose import quoted
from lenet_exp.config.schema import HOOK
from lenet_exp.confirmation.baseline import leader_and_baseline
from lenet_exp.errors import ConfigError
from lenet_exp.folders.config_dir import config_dir_of
from lenet_exp.folders.find import find_sweep
from lenet_exp.folders.job import Job
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.runs.former_defaults import former_overrides, has_former_defaults
from lenet_exp.sweeps.confirms import Flags, flags_of

FIRST = 1000  # new seeds start at a multiple of this number
# The `sweep.*` flags that are not copied from the sweep's command.
NOT_KEPT = "zip", "skip", "confirms", "points", "against", "resume", "force", "dry_run"


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
    confirms = sweep.started().confirms
    return (
        sweep
        if confirms is None or which is not None
        else find_sweep(str(sweep.path.parent / confirms))
    )


def confirmations(sweep: SweepFolder, dataset: str) -> list[SweepFolder]:
    """Return all confirmations of a sweep on the given dataset, ended or not."""
    found = [s for s in all_sweeps(sweep.outputs) if s.started().confirms == sweep.id]
    return [s for s in found if s.jobs()[0].config.dataset.name == dataset]


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
    baseline = request.against is not None
    wanted = plan(comparison, request.points / 100, request.seeds, baseline=baseline)
    by_run = {job.run: job for job in sweep.jobs()}
    chosen = _with_former_defaults([by_run[group.runs[0].id] for group in wanted.groups])
    ended = [
        s for s in confirmations(sweep, comparison.dataset) if s.started().confirmed is not None
    ]
    with_splits = SPLIT in sweep.started().swept
    tested = [s for s in all_sweeps(sweep.outputs) if s.started().confirmed is not None]
    before = [
        job.config
        for s in [sweep, *tested]
        for job in s.jobs()
        if job.config.dataset.name == comparison.dataset
    ]
    seen = max(max(c.seed, c.split_seed if with_splits else 0) for c in before)
    seeds = range((seen // FIRST + 1) * FIRST, (seen // FIRST + 1) * FIRST + wanted.seeds)
    own = [f"sweep.confirms={sweep.id}", request.flag]
    config_dir, columns, configs = (
        config_dir_of(sweep.started()),
        _columns(chosen),
        [job.config for job in chosen],
    )
    if request.against is not None:
        sides = leader_and_baseline(
            chosen[0], request.against, Path(config_dir[-1]) if config_dir else None
        )
        columns = _columns([replace(chosen[0], overrides=sides.fixed)])
        columns |= {f"{flag}=": list(values) for flag, values in sides.differing.items()}
        configs.append(sides.baseline)
        own.append("sweep.against=true")
    arguments = [*config_dir, "-m", *_overrides(columns, seeds, with_splits, request.uri)]
    trained = frozenset(map(flags_of, configs))
    return ConfirmationCommand(wanted, [*arguments, *own], ended, trained)


def _with_former_defaults(jobs: Sequence[Job]) -> list[Job]:
    """Return jobs whose overrides give the same configurations as in release 0.3, whose default
    values changed.
    """
    of_release_0_3 = [job for job in jobs if has_former_defaults(job.config)]
    added = dict.fromkeys(
        override for job in of_release_0_3 for override in former_overrides(job.overrides)
    )
    return [replace(job, overrides=[*job.overrides, *added]) for job in jobs]


def _columns(jobs: Sequence[Job]) -> dict[str, list[str]]:
    """Return the overrides from which the jobs were composed, as lists with one value per job,
    keyed by flag.

    The flags of the first job come first.
    """
    columns: dict[str, list[str]] = {}
    for job in jobs:
        own = {
            key + sign: _absolute(job, key, v)
            for key, sign, v in (o.partition("=") for o in job.overrides)
        }
        for key, value in own.items():  # the last of repeated overrides counts
            columns.setdefault(key, []).append(value)
    return columns


def _overrides(
    columns: Mapping[str, list[str]], seeds: range, with_splits: bool, uri: str | None
) -> list[str]:
    """Return the columns as the overrides of a single sweep, with new seeds and, if the split was
    swept, new splits.
    """
    fresh = {"seed=", "split_seed="} if with_splits else {"seed="}
    left_out = fresh | {f"sweep.{flag}=" for flag in NOT_KEPT} | {"sweep=", f"{HOOK}="}
    kept = {k: v for k, v in columns.items() if k.lstrip("+") not in left_out}
    if uri is not None:
        kept["tracking.uri="] = [uri]
    if any("***" in value for values in kept.values() for value in values):
        raise ConfigError(
            "tracking.uri: its password is not stored; set tracking.uri= to the URI with the password"
        )
    several = [key for key, values in kept.items() if len(set(values)) > 1]
    found = [
        f"{key}{','.join(values if key in several else values[:1])}" for key, values in kept.items()
    ]
    found += [f"{key}range({seeds.start},{seeds.stop})" for key in sorted(fresh)]
    zipped = [_names(several)] if len(several) > 1 else []
    zipped += [_names(sorted(fresh))] if with_splits else []
    if zipped:
        found.append(
            f"sweep.zip=[{','.join(zipped)}]" if len(zipped) > 1 else f"sweep.zip={zipped[0]}"
        )
    return found


def _names(keys: Iterable[str]) -> str:
    return f"[{','.join(key.rstrip('=').lstrip('+') for key in keys)}]"


def _absolute(job: Job, key: str, value: str) -> str:
    """Replace a relative path with the job's absolute path, and return any other value unchanged.

    The job may have been created in a different working directory.
    """
    its = job.config
    path = {
        "data_root": its.data_root,
        "model_path": its.model_path,
        "dataset.file": its.dataset.file,
    }.get(key)
    return value if path is None else quoted(path)
