"""Describes how the runs in a comparison were created: data, split, settings, engine, versions,
commit, and machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lenet_exp.amounts import first_of, number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.runs import ComparedRun, Provenance
from lenet_exp.folders.records import Record
from lenet_exp.reports.run_source import RunSource

# Maximum number of values listed for a fact.
MOST = 12


def facts(comparison: Comparison) -> dict[str, str]:
    """Return facts about the runs in a comparison, keyed by name; unknown facts are left out.

    If the runs differ, a fact lists several values, for example `native, cpu, 1 thread; native,
    cpu, 2 threads`.
    """
    runs = [run for group in comparison.groups for run in group.runs]
    provenances = [run.provenance for run in runs if run.provenance is not None]
    seeds = sorted({run.seed for run in runs})
    splits = _values(runs, "split_seed") or _listed(str(run.split) for run in runs)

    texts = {
        "Dataset": comparison.dataset,
        "SHA-256": _digests(provenances),
        "Images": _images(runs),
        "Split seed": splits,
        "Seed": _listed(str(seed) for seed in seeds),
        "Epochs": _values(runs, "num_epoch"),
        "Batch size": _values(runs, "batch_size"),
        "Engine": _listed(_engine(provenance) for provenance in provenances),
        "Versions": _listed(_versions(provenance) for provenance in provenances),
        "Commit": _listed(_commit(provenance) for provenance in provenances),
        "Machine": _listed(_machine(provenance) for provenance in provenances),
    }
    return {name: text for name, text in texts.items() if text}


def reproduce_command(comparison: Comparison, source: RunSource) -> str | None:
    """Return the command that reproduces the leader's best run, or None if no run finished.

    The runs of a filter may exist only in MLflow, so the command names the MLflow run if it is
    known.
    """
    if comparison.leader is None:
        return None
    best_run = comparison.leader.best_run
    if best_run is None:
        return None

    run_id = best_run.id
    mlflow_run_id = best_run.mlflow_runs().get(source.store or "")
    if source.command is None and mlflow_run_id is not None:
        run_id = mlflow_run_id
    return f"lenet-reproduce run={run_id}"


def _values(runs: Sequence[ComparedRun], flag: str) -> str:
    """List the values of a flag; empty if no run has the flag."""
    return _listed(run.flags.get(flag, "") for run in runs)


def _digests(provenances: Sequence[Provenance | Record]) -> str:
    """List the digests of each split's images: `train 1a2b...; validation 3c4d...`."""
    parts = []
    for split in ("train", "validation"):
        digests = _listed(provenance.data_digests.get(split, "") for provenance in provenances)
        if digests:
            parts.append(f"{split} {digests}")
    return "; ".join(parts)


def _images(runs: Sequence[ComparedRun]) -> str:
    """Return the number of images of each kind: `10000 for validation, all others for training`."""
    parts = []
    validation = _values(runs, "dataset.val_size")
    if validation:
        parts.append(f"{validation} for validation")

    training = _values(runs, "dataset.train_size").replace("null", "all others")
    if training:
        parts.append(f"{training} for training")
    return ", ".join(parts)


def _engine(provenance: Provenance | Record) -> str:
    """Return the engine, the device, and the number of threads: `native, cpu, 1 thread`."""
    execution = provenance.execution
    parts = []
    for name in ("engine", "device"):
        value = execution.get(name, "auto")
        if value != "auto":
            parts.append(str(value))

    threads = str(execution.get("num_threads", ""))
    if threads.isdigit():
        parts.append(number_of(int(threads), "thread"))
    return ", ".join(parts)


def _versions(provenance: Provenance | Record) -> str:
    return ", ".join(f"{package} {version}" for package, version in provenance.versions.items())


def _commit(provenance: Provenance | Record) -> str:
    """Return the git commit, and whether files had changed; empty outside a git checkout."""
    git = provenance.git
    if "git_commit" not in git:
        return ""
    changed = " (with uncommitted changes)" if git.get("git_dirty") == "true" else ""
    return f"{git['git_commit']}{changed}"


def _machine(provenance: Provenance | Record) -> str:
    """Return the host name and the model of the device, as far as they are known."""
    device_model = str(provenance.execution.get("device_model", ""))
    return ", ".join(filter(None, [provenance.host, device_model]))


def _listed(values: Iterable[str]) -> str:
    """List the different values that are not empty, in their order."""
    different = dict.fromkeys(filter(None, values))
    return first_of(list(different), MOST, "; ")
