"""Download of missing datasets with torchvision, or from an archive.

Files are verified in a temporary folder and moved to their final folder while a lock is held.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import posixpath
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lenet_exp.config.schema import Dataset
from lenet_exp.data.files import candidate_folders, find_folder
from lenet_exp.errors import DataError
from lenet_exp.files import open_lock

log = logging.getLogger("lenet_exp")


def download(dataset: Dataset, root: Path, names: list[str]) -> Path:
    """Download a dataset, unless another process has already done so, and return the dataset's folder.

    Partial files from an interrupted download are removed first.

    Args:
        root: folder that contains all datasets.
        names: names of the required files.

    Raises:
        DataError: the dataset cannot be downloaded; the message lists the folders and mirrors that were tried.
    """
    folder = root / dataset.folder
    tried = ", ".join(str(c) for c in candidate_folders(dataset, root))
    help_line = f"copy its files ({', '.join(names)}) to {folder}, or set data_root; dataset=digits requires no files"
    if dataset.torchvision_class is None and dataset.archive is None:
        raise DataError(f"dataset={dataset.name}: not found in {tried}; {help_line}")
    cls = None if dataset.archive is not None else _with_mirrors(dataset)
    mirrors = dataset.archive or ", ".join(getattr(cls, "mirrors", [])) or "its only source"  # QMNIST has full URLs
    aside = root / f".{dataset.name}.download"
    made = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with open_lock(root / f".{dataset.name}.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            there = find_folder(dataset, root, names)
            if there is not None:  # another process downloaded it in the meantime
                return there
            shutil.rmtree(aside, ignore_errors=True)
            log.info("dataset=%s: not found in %s; downloading", dataset.name, tried)
            if cls is None:
                files = _fetch_archive(dataset, aside)
            else:
                _fetch(cls, aside)
                files = [file for file in sorted((aside / cls.__name__ / "raw").iterdir()) if file.suffix != ".gz"]
            folder.mkdir(parents=True, exist_ok=True)
            for file in files:
                os.replace(file, folder / file.name)
    except Exception as e:  # urllib, sockets, archives, and torchvision raise exceptions of many classes
        raise DataError(
            f"dataset={dataset.name}: not found in {tried}, and the download failed ({_reason(e)}; tried {mirrors}); "
            f"{help_line}"
        ) from e
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if made:
            _remove_empty(root, dataset)
    return folder


def _fetch(cls: type, aside: Path) -> None:
    """Download all files of a dataset to a folder with a progress bar; torchvision verifies the MD5 of each file."""
    from torchvision import datasets

    parts = ({"what": "train"}, {"what": "test"}) if issubclass(cls, datasets.QMNIST) else ({"train": True},)
    with contextlib.redirect_stdout(sys.stderr):
        for part in parts:
            cls(str(aside), download=True, **part)


def _fetch_archive(dataset: Dataset, aside: Path) -> list[Path]:
    """Download a dataset's archive, verify its MD5, and extract the dataset's files from it, by name."""
    from torchvision.datasets.utils import download_url

    assert dataset.archive is not None
    name = posixpath.basename(dataset.archive)
    with contextlib.redirect_stdout(sys.stderr):
        download_url(dataset.archive, str(aside), name, dataset.archive_md5)
    wanted = {end for files in dataset.files.values() for file in files for end in (file, f"{file}.gz")}
    found = []
    with _opened(aside / name) as members:
        for member, content in members:
            target = aside / "files" / posixpath.basename(member)
            if target.name in wanted:
                target.parent.mkdir(exist_ok=True)
                with content as source, target.open("wb") as out:
                    shutil.copyfileobj(source, out)
                found.append(target)
    (aside / name).unlink()
    return found


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """Open a .zip or .tar.gz archive, and yield the name and content of each regular file."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            yield ((info.filename, packed.open(info)) for info in packed.infolist() if not info.is_dir())
    else:
        with tarfile.open(archive) as tar:
            opened = ((member.name, tar.extractfile(member)) for member in tar if member.isfile())
            yield ((name, content) for name, content in opened if content is not None)


def _with_mirrors(dataset: Dataset) -> type:
    """Return torchvision's class for a dataset, with the mirrors from `dataset.mirrors` if any are set.

    Raises:
        DataError: mirrors are set for a dataset that has only one source.
    """
    from torchvision import datasets

    cls: type = getattr(datasets, str(dataset.torchvision_class))
    if not dataset.mirrors:
        return cls
    if issubclass(cls, datasets.QMNIST):
        raise DataError(f"dataset.mirrors={dataset.mirrors}: must be null; {dataset.name} has only one source")
    return type(cls.__name__, (cls,), {"mirrors": [m if m.endswith("/") else f"{m}/" for m in dataset.mirrors]})


def _remove_empty(root: Path, dataset: Dataset) -> None:
    """Remove the data folder if it contains only the lock for this download."""
    if [p.name for p in root.glob("*")] == [f".{dataset.name}.lock"]:
        shutil.rmtree(root, ignore_errors=True)


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Tried")]
    return (lines[-1] if lines else type(error).__name__).rstrip(":")
