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
from lenet_exp.config.schema import Config, Option
from lenet_exp.errors import UserError
from lenet_exp.folders.code_folder import load_code, read_code
from lenet_exp.outputs import outputs_dir
from lenet_exp.tracking.stores.store import Store, connect
from lenet_exp.training.trained.trust import Trust, is_trusted, names

SHA = "sha256:"  # start of a digest in trust=

# an outputs folder, or the address of a store and the ID of an MLflow run
Source = Path | tuple[str, str] | None

log = logging.getLogger("lenet_exp")


def with_trusted_code(of: str, config: Config, trust: Trust, source: Source) -> Config:
    """Make the code of a record's classes available in this process, if the user trusts it.

    The user trusts the code in the user's own outputs folder, and code whose digest is in `trust`.

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
    own_versions = set()  # classes that are imported from the user's current files
    for target, digest in codes(config).items():
        if digest in LOADED_CODE:
            continue

        if (outputs_dir() / FOLDER / digest).is_dir():
            load_code({target: digest}, outputs_dir())
        elif f"{SHA}{digest}" in names(trust):
            if not _read_from(source, digest):
                raise UserError(f"{of}: the code of {target} ({SHA}{digest}) was not found")
        elif is_trusted(target, trust):
            own_versions.add(target)
            if identity_of(target) != digest:
                log.warning(
                    "%s: your version of %s differs from the code that trained the model",
                    of,
                    target,
                )
        else:
            raise _untrusted(of, target, digest, source)

    loaded = [LOADED_CODE[digest] for digest in codes(config).values() if digest in LOADED_CODE]
    import_together(loaded)

    def without_copy(option: Option) -> Option:
        if str(option.get(TARGET)) in own_versions:
            return without_identity(option)
        return option

    return with_options(config, without_copy)


def _untrusted(of: str, target: str, digest: str, source: Source) -> UserError:
    """Return the error for code that the user does not trust; it says how to trust the code."""
    place = _place_of(source, digest)
    if isinstance(source, Path) and not place.is_dir():
        return UserError(
            f"{of}: the code of {target} ({place}) was not found; copy the folder {FOLDER} of its "
            f"outputs folder, or add trust={target} to use your own version of the code"
        )
    return UserError(
        f"{of}: loading it would run code that is not part of lenet_exp or torch: {target} "
        f"({place}); if you trust this code, add trust={SHA}{digest}, or trust={target} to use "
        "your own version of it"
    )


def _place_of(source: Source, digest: str) -> Path:
    """Return the folder of a copy; relative if the source is not an outputs folder."""
    if isinstance(source, Path):
        return source / FOLDER / digest
    return Path(FOLDER) / digest


def _read_from(source: Source, digest: str) -> bool:
    """Read a copy from its source, and return whether the copy is available in this process."""
    if isinstance(source, tuple):
        uri, run_id = source
        return _download(uri, run_id, digest)
    return _read(_place_of(source, digest), digest)


def _read(place: Path, digest: str) -> bool:
    if place.is_dir():
        LOADED_CODE[digest] = read_code(place, digest)
    return digest in LOADED_CODE


def _download(uri: str, run_id: str, digest: str) -> bool:
    """Download a copy from an MLflow run or from the runs of its sweeps.

    Returns:
        Whether one of these runs has the copy.
    """
    client = connect(uri)
    copy = f"{FOLDER}/{digest}"
    sweeps = client.get_run(run_id).data.tags.get("sweeps", "").split(",")
    for run in [run_id, *sweeps]:
        if not run:
            continue
        if any(artifact.path == copy for artifact in client.list_artifacts(run, FOLDER)):
            with tempfile.TemporaryDirectory() as scratch:
                place = Path(client.download_artifacts(run, copy, scratch))
                return _read(place, digest)
    return False


def log_code(store: Store, run_id: str, configs: Iterable[Config]) -> None:
    """Upload the copies of configurations to an MLflow run, unless the run has them."""
    digests = set(codes(*configs).values())
    if not digests:
        return

    client = store.client
    uploaded = {artifact.path for artifact in client.list_artifacts(run_id, FOLDER)}
    for digest in digests:
        place = store.outputs / FOLDER / digest
        if f"{FOLDER}/{digest}" not in uploaded and place.is_dir():
            client.log_artifacts(run_id, str(place), f"{FOLDER}/{digest}")
