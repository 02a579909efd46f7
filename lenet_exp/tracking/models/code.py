"""Decides whether the copied code of a record may run, and exchanges copies with MLflow."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path

from lenet_exp.code_packages import FOLDER, import_together
from lenet_exp.config.class_groups import TARGET
from lenet_exp.config.own_code import (
    LOADED_CODE,
    codes,
    identity_of,
    with_options,
    without_identity,
)
from lenet_exp.config.schema import Config
from lenet_exp.errors import UserError
from lenet_exp.folders.code_folder import load_code, read_code
from lenet_exp.outputs import outputs_dir
from lenet_exp.tracking.stores.store import Store, connect
from lenet_exp.training.trained.trust import Trust, is_trusted, names

SHA = "sha256:"  # start of a digest in trust=

log = logging.getLogger("lenet_exp")


Source = (
    Path | tuple[str, str] | None
)  # an outputs folder, or the address of a store and the ID of an MLflow run


def with_trusted_code(of: str, config: Config, trust: Trust, source: Source) -> Config:
    """Make the code of a record's classes available in this process, if the user owns it or trusts
    its digest.

    Args:
        of: name of the model, for error messages.
        config: configuration in the record.
        trust: classes, modules, and digests that the user trusts.
        source: place of the record, from which copies of other users are read.

    Returns:
        The configuration. A class that the user trusts by name has no copy and is imported from its
        current file; a warning is logged if the code of this file is different.

    Raises:
        UserError: the code is not trusted, is not available, or could have been changed by another
            user.
    """
    local = set()
    for target, digest in codes(config).items():
        if digest in LOADED_CODE:
            continue
        place = source / FOLDER / digest if isinstance(source, Path) else Path(FOLDER) / digest
        if (outputs_dir() / FOLDER / digest).is_dir():
            load_code({target: digest}, outputs_dir())
        elif f"{SHA}{digest}" in names(trust):
            if not (
                _downloaded(*source, digest) if isinstance(source, tuple) else _read(place, digest)
            ):
                raise UserError(f"{of}: the code of {target} ({SHA}{digest}) was not found")
        elif is_trusted(target, trust):
            local.add(target)
            if identity_of(target) != digest:
                log.warning(
                    "%s: your version of %s differs from the code that trained the model",
                    of,
                    target,
                )
        elif isinstance(source, Path) and not place.is_dir():
            raise UserError(
                f"{of}: the code of {target} ({place}) was not found; copy the folder {FOLDER} of its outputs folder, "
                f"or add trust={target} to use your own version of the code"
            )
        else:
            raise UserError(
                f"{of}: loading it would run code that is not part of lenet_exp or torch: {target} ({place}); if you "
                f"trust this code, add trust={SHA}{digest}, or trust={target} to use your own version of it"
            )
    import_together(
        [LOADED_CODE[digest] for digest in codes(config).values() if digest in LOADED_CODE]
    )
    return with_options(config, lambda o: without_identity(o) if str(o.get(TARGET)) in local else o)


def _read(place: Path, digest: str) -> bool:
    if place.is_dir():
        LOADED_CODE[digest] = read_code(place, digest)
    return digest in LOADED_CODE


def _downloaded(uri: str, run_id: str, digest: str) -> bool:
    """Download a copy from an MLflow run or from the runs of its sweeps, and return whether one of
    them has it.
    """
    client = connect(uri)
    sweeps = client.get_run(run_id).data.tags.get("sweeps", "").split(",")
    for each in filter(None, [run_id, *sweeps]):
        if any(
            artifact.path == f"{FOLDER}/{digest}"
            for artifact in client.list_artifacts(each, FOLDER)
        ):
            with tempfile.TemporaryDirectory() as scratch:
                return _read(
                    Path(client.download_artifacts(each, f"{FOLDER}/{digest}", scratch)), digest
                )
    return False


def log_code(store: Store, run_id: str, configs: Iterable[Config]) -> None:
    """Upload the copies of configurations to an MLflow run, unless the run has them."""
    client = store.client
    wanted = {*codes(*configs).values()}
    had = {artifact.path for artifact in client.list_artifacts(run_id, FOLDER)} if wanted else set()
    for digest in wanted:
        place = store.outputs / FOLDER / digest
        if f"{FOLDER}/{digest}" not in had and place.is_dir():
            client.log_artifacts(run_id, str(place), f"{FOLDER}/{digest}")
