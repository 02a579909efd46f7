"""Decides whether the copied code of a record may run, and exchanges copies with MLflow."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_exp.config.class_groups import CODE_KEY, TARGET
from lenet_exp.config.own_code import codes, know, known_code, with_options
from lenet_exp.config.schema import Config
from lenet_exp.errors import UserError
from lenet_exp.folders.code_folder import FOLDER, load_code, read_code
from lenet_exp.outputs import outputs_dir
from lenet_exp.tracking.stores.store import Store, connect
from lenet_exp.training.trained.trust import Trust, is_trusted, names

if TYPE_CHECKING:
    from mlflow import MlflowClient

SHA = "sha256:"  # start of a digest in trust=


def with_trusted_code(
    of: str, config: Config, trust: Trust, outputs: Path | None, run: tuple[str, str] | None
) -> Config:
    """Make the code of a record's classes available in this process, if the user owns it or trusts its digest.

    Args:
        of: name of the model, for error messages.
        config: configuration in the record.
        trust: classes, modules, and digests that the user trusts.
        outputs: the outputs folder that contains the record; None if it is from elsewhere.
        run: address of the MLflow store and ID of the run that contain the record; None if it is from elsewhere.

    Returns:
        The configuration. A class that the user trusts by name has no copy and is imported from its current file.

    Raises:
        UserError: the code is not trusted, is not available, or could have been changed by another user.
    """
    local = set()
    for target, digest in codes(config).items():
        if known_code(digest) is not None:
            continue
        if (outputs_dir() / FOLDER / digest).is_dir():
            load_code({target: digest}, outputs_dir())
        elif f"{SHA}{digest}" in names(trust):
            place = None if outputs is None else outputs / FOLDER / digest
            if place is not None and place.is_dir():
                know(read_code(place, digest))
            elif run is None or not _download(*run, digest):
                raise UserError(f"{of}: the code of {target} ({SHA}{digest}) was not found")
        elif is_trusted(target, trust):
            local.add(target)
        else:
            where = f"artifact {FOLDER}/{digest}" if outputs is None else str(outputs / FOLDER / digest)
            raise UserError(
                f"{of}: loading it would run code that is not part of lenet_exp or torch: {target} ({where}); if you "
                f"trust this code, add trust={SHA}{digest}, or trust={target} to use your own version of it"
            )
    return with_options(
        config, lambda o: {k: v for k, v in o.items() if k != CODE_KEY} if str(o.get(TARGET)) in local else o
    )


def _download(uri: str, run_id: str, digest: str) -> bool:
    """Download a copy from an MLflow run or from the runs of its sweeps, and return whether one of them has it."""
    client = connect(uri)
    sweeps = client.get_run(run_id).data.tags.get("sweeps", "").split(",")
    for each in filter(None, [run_id, *sweeps]):
        if any(artifact.path == f"{FOLDER}/{digest}" for artifact in client.list_artifacts(each, FOLDER)):
            with tempfile.TemporaryDirectory() as scratch:
                know(read_code(Path(client.download_artifacts(each, f"{FOLDER}/{digest}", scratch)), digest))
            return True
    return False


def log_code(store: Store, run_id: str, configs: Iterable[Config]) -> None:
    """Upload the copies of configurations to an MLflow run, unless the run has them."""
    client: MlflowClient = store.client
    wanted = {*codes(*configs).values()}
    had = {artifact.path for artifact in client.list_artifacts(run_id, FOLDER)} if wanted else set()
    for digest in wanted:
        place = store.outputs / FOLDER / digest
        if f"{FOLDER}/{digest}" not in had and place.is_dir():
            client.log_artifacts(run_id, str(place), f"{FOLDER}/{digest}")
