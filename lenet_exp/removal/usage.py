"""What takes the space in an outputs folder, by sweep and by kind: `lenet-sweep du`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lenet_exp.addresses import sqlite_path, sqlite_uri
from lenet_exp.amounts import number_of
from lenet_exp.files import read_regular
from lenet_exp.folders.records import SweepPlan
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.removal.disk import LEFT_ASIDE, LOGS, PICTURES, RECORDS, STATES, WEIGHTS, Disk, Kinds, measure, size_of
from lenet_exp.removal.references import Uses
from lenet_exp.removal.store_size import Told, makers, told
from lenet_exp.removal.usage_table import Part, Usage

ID = re.compile(rb'"([0-9a-f]{32})"')
SEVERAL, NONE = "runs in several sweeps", "runs in no sweep"


@dataclass
class _Sums:
    """Of one part."""

    runs: int = 0
    kinds: Kinds = field(default_factory=Counter)
    mlflow: int = 0

    @property
    def total(self) -> int:
        return self.kinds.total() + self.mlflow

    def shown(self, experiment: str, words: str) -> Part:
        weights, states, pictures = (self.kinds[kind] for kind in (WEIGHTS, STATES, PICTURES))
        rest = self.kinds.total() - weights - states - pictures
        return Part(
            experiment=experiment,
            words=words,
            runs=self.runs,
            weights=weights,
            states=states,
            pictures=pictures,
            rest=rest,
            mlflow=self.mlflow,
        )


@dataclass
class _Parts:
    """Attributes:
    of_run, of_mlflow_run: to which part a run folder and an MLflow run belong.
    """

    sums: dict[tuple[str, str], _Sums] = field(default_factory=dict)
    of_run: dict[str, tuple[str, str]] = field(default_factory=dict)
    of_mlflow_run: dict[str, tuple[str, str]] = field(default_factory=dict)

    def at(self, part: tuple[str, str]) -> _Sums:
        return self.sums.setdefault(part, _Sums())


def usage_of(outputs: Path) -> Usage:
    """Reads of each run what MLflow has of it, and asks MLflow only for what can't be told from that."""
    disk = measure(outputs)
    users = Uses(outputs).by_sweep()
    plans = {
        sweep: plan for sweep in users if (plan := SweepFolder(outputs / "sweeps" / sweep).kept_plan()) is not None
    }
    parts = _Parts()
    _share_out(disk, outputs, users, plans, parts)
    made_by = makers(disk.model_paths)
    unknown = {r for r in (*disk.artifacts, *made_by.values()) if r not in parts.of_mlflow_run}
    uri = sqlite_uri(outputs / "mlflow.db")
    answer = told(uri, unknown) if disk.models or unknown else Told()
    for run_id, kinds in disk.artifacts.items():
        if run_id in parts.of_mlflow_run:
            parts.at(parts.of_mlflow_run[run_id]).mlflow += kinds.total()
    for model, size in disk.models.items():
        if made_by.get(model) in parts.of_mlflow_run:
            parts.at(parts.of_mlflow_run[made_by[model]]).mlflow += size
    shown = [sums.shown(*part) for part, sums in parts.sums.items()]
    removable = [*_removable(disk, parts), *_in_trash(disk, parts, made_by, answer, uri)]
    outside = _outside(outputs, plans)
    return Usage(
        where=str(outputs),
        files=disk.files,
        total=disk.total,
        parts=shown,
        kinds=_kinds(disk, made_by, answer),
        removable=removable,
        outside=outside,
    )


def _share_out(
    disk: Disk, outputs: Path, users: Mapping[str, frozenset[str]], plans: Mapping[str, SweepPlan], parts: _Parts
) -> None:
    """To which part each run, each sweep and each MLflow run belongs."""
    by_run: dict[str, list[str]] = {}
    for sweep, runs in users.items():
        for run in runs:
            by_run.setdefault(run, []).append(sweep)
    titles = {sweep: _title(sweep, plan) for sweep, plan in plans.items()}
    parents = {run_id: sweep for sweep, plan in plans.items() for run_id in plan.mlflow_runs.values()}
    for sweep, size in disk.sweeps.items():
        title = titles.get(sweep, ("(not known)", f"sweep {sweep}"))
        parts.at(title).kinds[RECORDS] += size
    parts.of_mlflow_run |= {run_id: titles[sweep] for run_id, sweep in parents.items()}
    for run, kinds in disk.runs.items():
        sweeps = [sweep for sweep in by_run.get(run, ()) if sweep in titles]
        if len(sweeps) == 1:
            part = titles[sweeps[0]]
        elif sweeps:
            part = (titles[sweeps[0]][0], SEVERAL)
        else:
            part = (_experiment(RunFolder(outputs / "runs" / run)), NONE)
        parts.of_run[run] = part
        sums = parts.at(part)
        sums.runs += 1
        sums.kinds += kinds
        for run_id in _mlflow_runs(outputs / "runs" / run):
            if run_id not in parents:
                parts.of_mlflow_run[run_id] = part


def _title(sweep: str, plan: SweepPlan) -> tuple[str, str]:
    swept = " ".join(flag.rpartition(".")[2] for flag in plan.swept)
    return plan.experiment, f"sweep {sweep}  {swept}".strip()


def _experiment(folder: RunFolder) -> str:
    begun = folder.begun()
    return begun.config.tracking.experiment if begun is not None else "(nothing begun)"


def _mlflow_runs(run: Path) -> set[str]:
    """All that its books name; the sweeps' own runs are among them."""
    found: set[str] = set()
    for name in ("delivered.json", "abandoned.json"):
        try:
            found |= {run_id.decode() for run_id in ID.findall(read_regular(run / name))}
        except OSError:
            continue
    return found


def _kinds(disk: Disk, made_by: Mapping[str, str], answer: Told | None) -> list[tuple[str, int]]:
    runs, artifacts = (sum(part.values(), Counter()) for part in (disk.runs, disk.artifacts))
    registered = answer.registered if answer is not None else set()
    champions = sum(size for model, size in disk.models.items() if {model, made_by.get(model)} & registered)
    found = [(f"{kind} in run folders", runs[kind]) for kind in (WEIGHTS, STATES, LOGS, PICTURES, RECORDS)]
    return [
        *found,
        (LEFT_ASIDE, runs[LEFT_ASIDE]),
        ("sweeps' own files: jobs, studies, logs", disk.sweeps.total()),
        ("MLflow: registered models, champions among them", champions),
        ("MLflow: other models" if answer is not None else "MLflow: models", disk.models.total() - champions),
        ("MLflow: pictures", artifacts[PICTURES]),
        ("MLflow: records, configurations, logs", artifacts[RECORDS]),
        ("MLflow: database", disk.database),
        ("being removed", disk.removing),
        *disk.others.items(),
    ]


def _removable(disk: Disk, parts: _Parts) -> list[tuple[str, int, str]]:
    found = []
    for (experiment, words), sums in parts.sums.items():
        runs = [run for run in parts.of_run if parts.of_run[run] == (experiment, words) and run in disk.begun]
        if words == NONE and runs:
            found.append((f"{number_of(len(runs), 'run')} in no sweep, of experiment {experiment}", sums.total, ALONE))
    empty = [kinds for run, kinds in disk.runs.items() if run not in disk.begun]
    if empty:
        size = sum(kinds.total() for kinds in empty)
        found.append(
            (f"{number_of(len(empty), 'run folder')} in which nothing was begun", size, "rmdir, once nothing trains")
        )
    aside = sum(kinds[LEFT_ASIDE] for kinds in disk.runs.values())
    if aside:
        found.append((LEFT_ASIDE, aside, "goes when the run goes on, or with its sweep"))
    if disk.removing:
        found.append(("what lenet-sweep rm began to remove", disk.removing, "lenet-sweep list says how to finish it"))
    return found


ALONE = "lenet-sweep rm run=<its folder's name>, one by one"


def _in_trash(
    disk: Disk, parts: _Parts, made_by: Mapping[str, str], answer: Told | None, uri: str
) -> list[tuple[str, int, str]]:
    """MLflow's files that no run folder knows: of deleted runs, and of others."""
    sizes: Counter[str] = Counter()
    for run_id, kinds in disk.artifacts.items():
        sizes[run_id] += kinds.total()
    for model, size in disk.models.items():
        if answer is None or not {model, made_by.get(model)} & answer.registered:
            sizes[made_by.get(model, "")] += size
    unknown = {run_id: size for run_id, size in sizes.items() if run_id not in parts.of_mlflow_run}
    deleted = {run_id for run_id in unknown if answer is not None and run_id in answer.deleted}
    found = []
    for runs, words, how in (
        (deleted, "deleted in MLflow", f"mlflow gc --tracking-uri {uri} --backend-store-uri {uri}"),
        (
            unknown.keys() - deleted,
            "of MLflow runs that no run folder here knows",
            "in MLflow's page: delete; then mlflow gc",
        ),
    ):
        size = sum(unknown[run_id] for run_id in runs)
        found += [(words, size, how)] if size else []
    return found


def _outside(outputs: Path, plans: Mapping[str, SweepPlan]) -> list[tuple[str, int]]:
    """Databases elsewhere on this machine that sweeps went to, with the artifacts beside them."""
    found = {}
    for uri in {plan.tracking_uri for plan in plans.values() if plan.tracking_uri is not None}:
        database = sqlite_path(uri)
        if database is not None and database.is_file() and outputs not in database.parents:
            found[str(database)] = database.stat().st_size
            artifacts = database.parent / "mlartifacts"
            found |= {str(artifacts): size_of(artifacts)} if artifacts.is_dir() else {}
    return sorted(found.items())
