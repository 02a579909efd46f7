"""What `lenet-sweep rm` is asked to remove; what an earlier one began and did not finish comes first."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

from lenet_exp.errors import ConfigError, DamagedError
from lenet_exp.files import user_path
from lenet_exp.folders.damage import say
from lenet_exp.folders.find import all_runs, find_run, find_sweep
from lenet_exp.folders.records import SweepPlan
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.outputs import outputs_dir
from lenet_exp.removal.references import Uses, runs_of
from lenet_exp.removal.removing import Removing, all_removing

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class Unit:
    """What is removed at once: a sweep with its runs, or runs of no sweep.

    Attributes:
        removing: where it goes, and perhaps is already in part.
        sweep: its folder, where that lies now.
        plan: the sweep's.
        runs: names of run folders.
    """

    removing: Removing
    experiment: str
    sweep: SweepFolder | None = None
    plan: SweepPlan | None = None
    runs: list[str] = field(default_factory=list)

    @property
    def words(self) -> str:
        if self.plan is not None:
            return f"sweep {self.removing.name} ({self.plan.command})"
        if self.sweep is not None or self.removing.is_told:
            return self.removing.name
        return f"runs of experiment {self.experiment} in no sweep" if len(self.runs) != 1 else f"run {self.runs[0]}"

    @property
    def is_whole(self) -> bool:
        """Whether it is a sweep whose folder lies where it was made."""
        return self.sweep is not None and self.sweep.path == self.lies

    @property
    def began(self) -> bool:
        """Whether an earlier `lenet-sweep rm` has begun it."""
        return not self.removing.is_empty

    @property
    def lies(self) -> Path:
        """Where the sweep's folder lies as long as it is not removed."""
        return self.removing.outputs / "sweeps" / self.removing.name


def sweep_unit(which: str) -> Unit:
    """The sweep that a person names; one whose removal did not come to its end comes first.

    Raises:
        ConfigError: there is none.
        DamagedError: what it was asked for can't be read.
    """
    path = user_path(which).absolute()
    for outputs in dict.fromkeys((outputs_dir(), path.parent.parent)):
        for removing in all_removing(outputs):
            unit = _begun(removing)
            ids = unit.plan.mlflow_runs.values() if unit.plan is not None else ()
            begins = len(which) >= 4 and removing.name.startswith(which)
            if (which == "last" and unit.sweep is not None) or begins or path == unit.lies or which in ids:
                return unit
    return _unit_of(find_sweep(which))


def run_unit(which: str) -> Unit:
    """The run that a person names, as `sweep_unit`."""
    for removing in all_removing(outputs_dir()):
        if len(which) >= 4 and removing.name.startswith(which):
            return _begun(removing)
    folder = find_run(which)
    begun = folder.begun()
    if begun is None:
        raise ConfigError(f"run={which}: nothing was begun in {folder.path}; allowed is a run")
    outputs = folder.path.parent.parent
    return Unit(Removing(outputs, folder.id), begun.config.tracking.experiment, runs=[folder.id])


def experiment_units(experiment: str) -> list[Unit]:
    """All sweeps of an experiment in the outputs folder, those that confirm others first, and its runs in no sweep.

    Raises:
        ConfigError: there is nothing of it.
    """
    outputs, name = outputs_dir(), _lone_name(experiment)
    begun = [unit for unit in map(_begun, all_removing(outputs)) if unit.experiment in (experiment, "")]
    sweeps = [unit for unit in map(_unit_of, all_sweeps(outputs)) if unit.experiment == experiment]
    sweeps.sort(key=lambda unit: unit.plan is None or unit.plan.confirms is None)
    used = {run for runs in Uses(outputs).by_sweep().values() for run in runs}
    names, alone = set(), []
    for folder in (folder for folder in all_runs(outputs) if folder.id not in used):
        record = folder.begun()
        if record is not None:
            names.add(record.config.tracking.experiment)
            alone += [folder.id] if record.config.tracking.experiment == experiment else []
    begun = [replace(unit, runs=alone) if unit.removing.name == name else unit for unit in begun]
    is_begun = any(unit.removing.name == name for unit in begun)
    lone = [Unit(Removing(outputs, name), experiment, runs=alone)] if alone and not is_begun else []
    found = [*begun, *sweeps, *lone]
    if not found:
        names |= {str(plan.experiment) for sweep in all_sweeps(outputs) if (plan := sweep.kept_plan()) is not None}
        raise ConfigError(
            f"experiment={experiment}: nothing of it in {outputs}"
            + (f"; allowed is {', '.join(sorted(names))}" if names else "")
        )
    return found


def tell_unfinished(outputs: Path) -> None:
    """Says which removals did not come to their end, and what brings them there."""
    for removing in all_removing(outputs):
        log.warning(
            "%s: a removal was ended in the middle; to finish it: lenet-sweep rm sweep=%s dry_run=false",
            removing.path,
            removing.name,
        )


def _unit_of(sweep: SweepFolder) -> Unit:
    plan = sweep.started()
    return Unit(Removing(sweep.outputs, sweep.id), plan.experiment, sweep, plan, runs_of(sweep.path))


def _begun(removing: Removing) -> Unit:
    """Of a removal that did not come to its end: what can still be read of it. Once MLflow knows, nothing need be."""
    sweep = removing.sweep
    plan = sweep.kept_plan() if sweep is not None and not removing.is_told else None
    if sweep is not None and plan is not None:
        try:
            return Unit(removing, plan.experiment, sweep, plan, runs_of(sweep.path))
        except DamagedError as e:
            say(e)
            return Unit(removing, plan.experiment, sweep, plan)
    begun = [] if removing.is_told else [record for f in removing.runs() if (record := f.begun()) is not None]
    return Unit(removing, begun[0].config.tracking.experiment if begun else "", sweep)


def _lone_name(experiment: str) -> str:
    return "experiment-" + hashlib.sha256(experiment.encode()).hexdigest()[:16]
