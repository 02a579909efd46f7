"""Download of missing datasets with torchvision, or from an archive.

Files are verified in a temporary folder and moved to their final folder while a lock is held.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import sys
from pathlib import Path

from lenet_exp.config.schema import Dataset
from lenet_exp.data.files import candidate_folders, find_folder
from lenet_exp.errors import DataError
from lenet_exp.files import open_lock

log = logging.getLogger("lenet_exp")


def download(dataset: Dataset, root: Path, names: list[str]) -> Path:
    """Download a dataset, unless another process has already done so, and return its folder.

    Partial files from an interrupted download are removed first.

    Args:
        root: folder that contains all datasets.
        names: names of the required files.

    Raises:
        DataError: the dataset cannot be downloaded; the message lists the folders and mirrors that
            were tried.
    """
    folder = root / dataset.folder
    tried = ", ".join(map(str, candidate_folders(dataset, root)))
    advice = (
        f"copy its files ({', '.join(names)}) to {folder}, or set data_root; "
        "dataset=digits requires no files"
    )
    if dataset.torchvision_class is None and dataset.archive is None:
        raise DataError(f"dataset={dataset.name}: not found in {tried}; {advice}")

    temporary = root / f".{dataset.name}.download"
    lock_path = root / f".{dataset.name}.lock"
    root_existed = root.exists()
    sources = dataset.archive or "its only source"  # QMNIST has full URLs instead of mirrors
    try:
        cls = None if dataset.archive is not None else _with_mirrors(dataset)
        sources = ", ".join(getattr(cls, "mirrors", [])) or sources
        root.mkdir(parents=True, exist_ok=True)
        with open_lock(lock_path) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            folder_of_other_process = find_folder(dataset, root, names)
            if folder_of_other_process is not None:
                return folder_of_other_process

            shutil.rmtree(temporary, ignore_errors=True)
            log.info("dataset=%s: not found in %s; downloading", dataset.name, tried)
            with contextlib.redirect_stdout(sys.stderr):
                if cls is None:
                    files = _fetch_archive(dataset, temporary)
                else:
                    files = _fetch(cls, temporary)

            folder.mkdir(parents=True, exist_ok=True)
            for file in files:
                os.replace(file, folder / file.name)

    # urllib, sockets, archives, and torchvision raise exceptions of many classes.
    except Exception as e:
        raise DataError(
            f"dataset={dataset.name}: not found in {tried}, and the download failed "
            f"({_reason(e)}; tried {sources}); {advice}"
        ) from e
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if not root_existed and [path.name for path in root.glob("*")] == [lock_path.name]:
            shutil.rmtree(root, ignore_errors=True)
    return folder


def _fetch(cls: type, temporary: Path) -> list[Path]:
    """Download all files of a dataset to a folder, with a progress bar.

    torchvision verifies the MD5 of each file.
    """
    from torchvision import datasets

    parts: tuple[dict[str, str | bool], ...] = ({"train": True},)  # torchvision downloads all
    if issubclass(cls, datasets.QMNIST):
        parts = ({"what": "train"}, {"what": "test"})
    for part in parts:
        cls(str(temporary), download=True, **part)

    files = sorted((temporary / cls.__name__ / "raw").iterdir())
    return [file for file in files if file.suffix != ".gz"]


def _fetch_archive(dataset: Dataset, temporary: Path) -> list[Path]:
    """Download a dataset's archive, verify its MD5, and extract the dataset's files by name."""
    from torchvision.datasets.utils import download_and_extract_archive

    download_and_extract_archive(str(dataset.archive), str(temporary), md5=dataset.archive_md5)
    names = set[str]()
    for names_of_part in dataset.files.values():
        names.update(names_of_part)
        names.update(f"{name}.gz" for name in names_of_part)
    return [file for file in temporary.rglob("*") if file.is_file() and file.name in names]


def _with_mirrors(dataset: Dataset) -> type:
    """Return torchvision's class for a dataset, with the mirrors in `dataset.mirrors` if set.

    Raises:
        DataError: mirrors are set for a dataset that has only one source.
    """
    from torchvision import datasets

    cls: type = getattr(datasets, str(dataset.torchvision_class))
    if not dataset.mirrors:
        return cls
    if issubclass(cls, datasets.QMNIST):
        raise DataError(
            f"dataset.mirrors={dataset.mirrors}: must be null; {dataset.name} has only one source"
        )
    mirrors = [f"{mirror.removesuffix('/')}/" for mirror in dataset.mirrors]
    return type(cls.__name__, (cls,), {"mirrors": mirrors})


def _reason(error: Exception) -> str:
    """Return the last line of an error's message, without the lines that torchvision adds."""
    reason = type(error).__name__
    for line in str(error).splitlines():
        if line.strip() and not line.startswith("Tried"):
            reason = line.strip()
    return reason.rstrip(":")
