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
    """Download a dataset, unless another process has already done so, and return the dataset's
    folder.

    Partial files from an interrupted download are removed first.

    Args:
        root: folder that contains all datasets.
        names: names of the required files.

    Raises:
        DataError: the dataset cannot be downloaded; the message lists the folders and mirrors that
            were tried.
    """
    folder = root / dataset.folder
    tried = ", ".join(str(c) for c in candidate_folders(dataset, root))
    help_line = f"copy its files ({', '.join(names)}) to {folder}, or set data_root; dataset=digits requires no files"
    if dataset.torchvision_class is None and dataset.archive is None:
        raise DataError(f"dataset={dataset.name}: not found in {tried}; {help_line}")
    aside, mirrors = (
        root / f".{dataset.name}.download",
        dataset.archive or "its only source",
    )  # QMNIST has full URLs
    made = not root.exists()
    try:
        cls = None if dataset.archive is not None else _with_mirrors(dataset)
        mirrors = ", ".join(getattr(cls, "mirrors", [])) or mirrors
        root.mkdir(parents=True, exist_ok=True)
        with open_lock(root / f".{dataset.name}.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            there = find_folder(dataset, root, names)
            if there is not None:  # another process downloaded it in the meantime
                return there
            shutil.rmtree(aside, ignore_errors=True)
            log.info("dataset=%s: not found in %s; downloading", dataset.name, tried)
            with contextlib.redirect_stdout(sys.stderr):
                files = _fetch_archive(dataset, aside) if cls is None else _fetch(cls, aside)
            folder.mkdir(parents=True, exist_ok=True)
            for file in files:
                os.replace(file, folder / file.name)
    except (
        Exception
    ) as e:  # urllib, sockets, archives, and torchvision raise exceptions of many classes
        raise DataError(
            f"dataset={dataset.name}: not found in {tried}, and the download failed ({_reason(e)}; tried {mirrors}); "
            f"{help_line}"
        ) from e
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if made and [p.name for p in root.glob("*")] == [f".{dataset.name}.lock"]:
            shutil.rmtree(root, ignore_errors=True)
    return folder


def _fetch(cls: type, aside: Path) -> list[Path]:
    """Download all files of a dataset to a folder with a progress bar; torchvision verifies the MD5
    of each file.
    """
    from torchvision import datasets

    parts = (
        ({"what": "train"}, {"what": "test"})
        if issubclass(cls, datasets.QMNIST)
        else ({"train": True},)
    )
    for part in parts:
        cls(str(aside), download=True, **part)
    return [
        file for file in sorted((aside / cls.__name__ / "raw").iterdir()) if file.suffix != ".gz"
    ]


def _fetch_archive(dataset: Dataset, aside: Path) -> list[Path]:
    """Download a dataset's archive, verify its MD5, and extract the dataset's files from it, by
    name.
    """
    from torchvision.datasets.utils import download_and_extract_archive

    download_and_extract_archive(str(dataset.archive), str(aside), md5=dataset.archive_md5)
    wanted = {
        end for files in dataset.files.values() for file in files for end in (file, f"{file}.gz")
    }
    return [file for file in aside.rglob("*") if file.is_file() and file.name in wanted]


def _with_mirrors(dataset: Dataset) -> type:
    """Return torchvision's class for a dataset, with the mirrors from `dataset.mirrors` if any are
    set.

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
    return type(
        cls.__name__,
        (cls,),
        {"mirrors": [m if m.endswith("/") else f"{m}/" for m in dataset.mirrors]},
    )


def _reason(error: Exception) -> str:
    lines = [
        line.strip()
        for line in str(error).splitlines()
        if line.strip() and not line.startswith("Tried")
    ]
    return (lines[-1] if lines else type(error).__name__).rstrip(":")
