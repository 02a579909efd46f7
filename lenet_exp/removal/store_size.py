"""What a store says of the files that lie on this machine: which are of champions, and which are of deleted runs."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lenet_exp.addresses import sqlite_path
from lenet_exp.errors import UserError, first_line
from lenet_exp.files import read_regular
from lenet_exp.tracking.stores.store import answering, connect

PAGE = 1000
MOST = 10_000  # model versions; there is one for each champion that there was
MAKER = re.compile(rb"^run_id: ([0-9a-f]{32})\s*$", re.MULTILINE)

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class Told:
    """Attributes:
    registered: MLflow runs and logged models of registered models, champions among them.
    deleted: of the runs that were asked for, those that somebody deleted; `mlflow gc` removes their files.
    """

    registered: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)


def makers(models: Mapping[str, Path]) -> dict[str, str]:
    """By logged model, the MLflow run that made it, as the model's own file says."""
    found = {}
    for model, folder in models.items():
        try:
            named = MAKER.search(read_regular(folder / "artifacts" / "MLmodel"))
        except OSError:
            continue
        if named is not None:
            found[model] = named[1].decode()
    return found


def told(uri: str, unknown: Collection[str]) -> Told | None:
    """What the store says; None where it can't be asked, which is said.

    Args:
        unknown: MLflow runs that no folder here knows.
    """
    from mlflow.entities import ViewType

    database = sqlite_path(uri)
    if database is not None and not database.exists():
        return Told()
    try:
        client = connect(uri)
        with answering(uri):
            versions = client.search_model_versions(max_results=MOST)
            registered = {str(key) for version in versions for key in (version.run_id, version.model_id) if key}
            experiments = [e.experiment_id for e in client.search_experiments()]
            deleted: set[str] = set()
            wanted = sorted(unknown)
            for start in range(0, len(wanted), PAGE):
                ids = ", ".join(f"'{run_id}'" for run_id in wanted[start : start + PAGE])
                query = f"attributes.run_id IN ({ids})"
                found = client.search_runs(experiments, query, ViewType.DELETED_ONLY, max_results=PAGE)
                deleted |= {str(run.info.run_id) for run in found}
    except UserError as e:
        log.warning("which files are of champions, and which of deleted runs, is not known: %s", first_line(e))
        return None
    return Told(registered, deleted)
