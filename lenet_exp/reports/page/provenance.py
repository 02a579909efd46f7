"""Describes how the runs in a comparison were created: data, split, settings, engine, versions,
commit, and machine.
"""

from __future__ import annotations

from collections.abc import Iterable

from lenet_exp.amounts import first_of, number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.runs import Provenance
from lenet_exp.folders.records import Record
from lenet_exp.reports.run_source import RunSource

MOST = 12  # maximum number of values listed for a fact


def facts(comparison: Comparison) -> dict[str, str]:
    """Return facts about the runs in a comparison, keyed by name. If the runs differ, a fact lists
    several values.
    """
    runs = [run for group in comparison.groups for run in group.runs]
    made = [run.provenance for run in runs if run.provenance is not None]

    def of(flag: str) -> str:
        return _listed(run.flags.get(flag, "") for run in runs)

    digests = {
        split: _listed(m.data_digests.get(split, "") for m in made)
        for split in ("train", "validation")
    }
    images = {
        "validation": of("dataset.val_size"),
        "training": of("dataset.train_size").replace("null", "all others"),
    }
    found = {
        "Dataset": comparison.dataset,
        "SHA-256": "; ".join(f"{split} {digest}" for split, digest in digests.items() if digest),
        "Images": ", ".join(f"{number} for {use}" for use, number in images.items() if number),
        "Split seed": of("split_seed") or _listed(str(run.split) for run in runs),
        "Seed": _listed(str(seed) for seed in sorted({run.seed for run in runs})),
        "Epochs": of("num_epoch"),
        "Batch size": of("batch_size"),
        "Engine": _listed(map(_engine, made)),
        "Versions": _listed(
            ", ".join(f"{name} {v}" for name, v in m.versions.items()) for m in made
        ),
        "Commit": _listed(map(_commit, made)),
        "Machine": _listed(
            ", ".join(filter(None, [m.host, str(m.execution.get("device_model", ""))]))
            for m in made
        ),
    }
    return {name: text for name, text in found.items() if text}


def reproduce_command(comparison: Comparison, source: RunSource) -> str | None:
    """Return the command that reproduces the leader's best run, or None if no run finished."""
    best = comparison.leader.best_run if comparison.leader is not None else None
    if best is None:
        return None
    stored = best.mlflow_runs().get(source.store or "")
    return (
        f"lenet-reproduce run={best.id if source.command is not None or stored is None else stored}"
    )


def _engine(made: Provenance | Record) -> str:
    threads = str(made.execution.get("num_threads", ""))
    shown = [
        str(made.execution[name])
        for name in ("engine", "device")
        if made.execution.get(name, "auto") != "auto"
    ]
    return ", ".join([*shown, *([number_of(int(threads), "thread")] if threads.isdigit() else [])])


def _commit(made: Provenance | Record) -> str:
    changed = " (with uncommitted changes)" if made.git.get("git_dirty") == "true" else ""
    return f"{made.git['git_commit']}{changed}" if "git_commit" in made.git else ""


def _listed(values: Iterable[str]) -> str:
    return first_of(list(dict.fromkeys(filter(None, values))), MOST, "; ")
