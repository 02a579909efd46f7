"""What `lenet-sweep rm` is asked to remove: a sweep, a run, or all of an experiment; an interrupted removal first."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from lenet_exp.errors import ConfigError
from lenet_exp.files import user_path
from lenet_exp.folders.find import all_runs, find_run, find_sweep
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.outputs import outputs_dir
from lenet_exp.removal.references import runs_of, trained_alone
from lenet_exp.removal.removing import Removing, all_removing

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class Unit:
    """What is removed at once.

    Attributes:
        removing: where its folders go; what an interrupted removal has moved is there already.
        words: what it is.
        sweeps: that are still in their place.
        runs: names of run folders, in their place or not.
        alone: those of them that stay, since they were trained before the sweep, in none.
    """

    removing: Removing
    words: str
    sweeps: list[SweepFolder]
    runs: list[str]
    alone: frozenset[str] = frozenset()


def find_unit(key: str, which: str) -> Unit:
    """What `sweep=`, `run=` or `experiment=` names.

    Raises:
        ConfigError: there is no such thing, or another removal has to be finished first.
        DamagedError: the jobs of the sweep cannot be read.
    """
    path = user_path(which).absolute()
    is_path = "/" in which and path.parent.name in ("sweeps", "runs")
    outputs = path.parent.parent if is_path else outputs_dir()
    begun = all_removing(outputs)
    mine = next((removing for removing in begun if _is_meant(removing, key, which)), None)
    if mine is None and begun:
        raise ConfigError(
            f"{key}={which}: the removal of {begun[0].name} was interrupted; finish it first: {_again(begun[0])}"
        )
    if key == "experiment":
        return _experiment(outputs, which)
    if mine is not None:
        runs = [] if mine.is_told else [run for sweep in mine.sweeps() for run in runs_of(sweep.path)]
        of_sweep = [sweep for sweep in mine.sweeps() if sweep.id == mine.name and not mine.is_told]
        alone = trained_alone(of_sweep[0], outputs) if of_sweep else frozenset()
        return Unit(mine, f"{mine.name}: its removal was interrupted, and is finished", [], runs, alone)
    if key == "sweep":
        sweep = find_sweep(which)
        words = f"sweep {sweep.id} ({sweep.started().command})"
        alone = trained_alone(sweep, sweep.outputs)
        return Unit(Removing(sweep.outputs, sweep.id), words, [sweep], runs_of(sweep.path), alone)
    folder = find_run(which)
    if folder.begun() is None:
        raise ConfigError(f"run={which}: nothing was begun in {folder.path}; must be a run")
    return Unit(Removing(folder.path.parent.parent, folder.id), f"run {folder.id}", [], [folder.id])


def tell_unfinished(outputs: Path) -> None:
    """Logs which removals were interrupted, and the commands that finish them."""
    for removing in all_removing(outputs):
        log.warning("%s: a removal was ended in the middle; to finish it: %s", removing.path, _again(removing))


def _experiment(outputs: Path, experiment: str) -> Unit:
    removing = Removing(outputs, _name_of(experiment))
    moved = {sweep.id for sweep in removing.sweeps()}
    sweeps = [s for s in all_sweeps(outputs) if s.started().experiment == experiment and s.id not in moved]
    begun = {folder.id: folder.begun() for folder in all_runs(outputs)}
    runs = [run for run, its in begun.items() if its is not None and its.config.tracking.experiment == experiment]
    if not (sweeps or runs or removing.is_begun):
        raise ConfigError(f"experiment={experiment}: nothing of it in {outputs}; lenet-sweep list shows experiments")
    return Unit(removing, f"experiment {experiment}", sweeps, runs)


def _is_meant(removing: Removing, key: str, which: str) -> bool:
    if key == "experiment":
        return removing.name == _name_of(which)
    name = Path(which).name
    return which == "last" or (len(name) >= 4 and removing.name.startswith(name))


def _again(removing: Removing) -> str:
    return f"lenet-sweep rm sweep={removing.name} dry_run=false"


def _name_of(experiment: str) -> str:
    return "experiment-" + hashlib.sha256(experiment.encode()).hexdigest()[:16]
