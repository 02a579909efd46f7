"""The target of `lenet-sweep rm`: a sweep, a run, or an entire experiment."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from lenet_exp.errors import ConfigError
from lenet_exp.files import user_path
from lenet_exp.folders.find import all_runs, find_run, find_sweep
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.outputs import outputs_dir
from lenet_exp.removal.pending import PendingRemoval, pending_removals

MULTIRUN = frozenset({"-m", "--multirun", "hydra.mode=MULTIRUN"})  # the command of a sweep contains one of these

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class RemovalTarget:
    """The sweeps and runs that a single `lenet-sweep rm` removes.

    Attributes:
        pending: folder to which the sweeps and runs are moved; after an interrupted removal, it can already contain
            some of them.
        words: description of the target.
        sweeps: sweeps that have not been moved yet.
        runs: IDs of the runs, including runs that have been moved.
        alone: IDs of the runs that stay because they were trained individually before the sweep.
    """

    pending: PendingRemoval
    words: str
    sweeps: list[SweepFolder]
    runs: list[str]
    alone: frozenset[str] = frozenset()


def find_removal_target(key: str, which: str) -> RemovalTarget:
    """Return the target that the user specified.

    Args:
        key: `sweep`, `run`, or `experiment`.
        which: value of the flag `key`.

    Raises:
        ConfigError: the target is not found, or an interrupted removal must be finished first.
        DamagedError: the jobs of the sweep are corrupt.
    """
    path = user_path(which).absolute()
    is_path = "/" in which and path.parent.name in ("sweeps", "runs")
    outputs = path.parent.parent if is_path else outputs_dir()
    begun = pending_removals(outputs)
    mine = next((pending for pending in begun if _is_meant(pending, key, which)), None)
    if mine is None and begun:
        raise ConfigError(f"{key}={which}: finish the interrupted removal of {begun[0].name} first: {_again(begun[0])}")
    if key == "experiment":
        return _experiment(outputs, which)
    if mine is not None:
        runs = [] if mine.is_mlflow_done else [run for sweep in mine.sweeps() for run in sweep.run_ids()]
        of_sweep = [sweep for sweep in mine.sweeps() if sweep.id == mine.name and not mine.is_mlflow_done]
        alone = _trained_alone(of_sweep[0], outputs) if of_sweep else frozenset()
        return RemovalTarget(mine, f"{mine.name} (finishing an interrupted removal)", [], runs, alone=alone)
    if key == "sweep":
        sweep = find_sweep(which)
        words = f"sweep {sweep.id} ({sweep.started().command})"
        alone = _trained_alone(sweep, sweep.outputs)
        return RemovalTarget(PendingRemoval(sweep.outputs, sweep.id), words, [sweep], sweep.run_ids(), alone=alone)
    folder = find_run(which)
    if folder.begun() is None:
        raise ConfigError(f"run={which}: no run in {folder.path}; must be a run folder or a run ID")
    return RemovalTarget(PendingRemoval(folder.path.parent.parent, folder.id), f"run {folder.id}", [], [folder.id])


def log_unfinished(outputs: Path) -> None:
    """Log a warning for each interrupted removal, with the command that finishes it."""
    for pending in pending_removals(outputs):
        log.warning("%s: a removal was interrupted; to finish it, run: %s", pending.path, _again(pending))


def _trained_alone(sweep: SweepFolder, outputs: Path) -> frozenset[str]:
    """Return the IDs of the sweep's runs that were started individually before the sweep was first started.

    Raises:
        DamagedError: sweep.json or jobs.jsonl is corrupt.
    """
    created_ms = sweep.started().created_ms
    folders = [RunFolder(outputs / "runs" / run) for run in sweep.run_ids()]
    return frozenset(
        folder.id
        for folder in folders
        if (begun := folder.begun()) is not None
        and begun.created_ms < created_ms
        and MULTIRUN.isdisjoint(begun.command.removeprefix("python -m ").split())
        and folder.log_file.exists()  # a run from a different outputs folder has no log file
    )


def _experiment(outputs: Path, experiment: str) -> RemovalTarget:
    pending = PendingRemoval(outputs, _name_of(experiment))
    moved = {sweep.id for sweep in pending.sweeps()}
    sweeps = [s for s in all_sweeps(outputs) if s.started().experiment == experiment and s.id not in moved]
    begun = {folder.id: folder.begun() for folder in all_runs(outputs)}
    runs = [run for run, its in begun.items() if its is not None and its.config.tracking.experiment == experiment]
    if not (sweeps or runs or pending.is_started):
        raise ConfigError(f"experiment={experiment}: not found in {outputs}")
    return RemovalTarget(pending, f"experiment {experiment}", sweeps, runs)


def _is_meant(pending: PendingRemoval, key: str, which: str) -> bool:
    if key == "experiment":
        return pending.name == _name_of(which)
    name = Path(which).name
    return which == "last" or (len(name) >= 4 and pending.name.startswith(name))


def _again(pending: PendingRemoval) -> str:
    return f"lenet-sweep rm sweep={pending.name} dry_run=false"


def _name_of(experiment: str) -> str:
    return "experiment-" + hashlib.sha256(experiment.encode()).hexdigest()[:16]
