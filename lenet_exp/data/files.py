"""Lookup and reading of a dataset's files, with checks for unexpected content."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from lenet_exp.config.schema import Dataset
from lenet_exp.errors import DataError
from lenet_exp.package_files import CONF_DIR


def find_folder(dataset: Dataset, root: Path, names: list[str]) -> Path | None:
    """Return the first candidate folder that contains all files of a dataset, or None.

    Args:
        root: folder that contains all datasets.
        names: names of the uncompressed files; each can also be a .gz file.
    """
    for folder in candidate_folders(dataset, root):
        if all(_exists(folder, name) for name in names):
            return folder
    return None


def _exists(folder: Path, name: str) -> bool:
    return (folder / name).is_file() or (folder / f"{name}.gz").is_file()


def candidate_folders(dataset: Dataset, root: Path) -> list[Path]:
    """Return the folders that can contain a dataset, in search order: first that in `root`."""
    return [root / dataset.folder, *map(Path, dataset.also_in)]


def read_file(dataset: Dataset, folder: Path, name: str) -> tuple[bytes, str]:
    """Return the uncompressed content of a dataset's file, and its SHA-256 digest.

    If the correct digest of the file is known, the digest is checked.

    Raises:
        DataError: the file cannot be read, or its content does not match the dataset.
    """
    path = folder / name
    if not path.is_file():
        path = folder / f"{name}.gz"
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, ValueError, zlib.error) as e:
        raise DataError(f"dataset={dataset.name}: cannot read {path} ({e})") from e

    measured = hashlib.sha256(content).hexdigest()
    expected = dataset.sha256.get(name)
    if expected is not None and measured != expected:
        difference = (
            f"SHA-256 {measured[:16]}..., expected {expected[:16]}...; {len(content):,} bytes"
        )
        known_file = _files_by_digest().get(measured)
        if known_file is not None:
            difference = f"it is {known_file}"
        raise DataError(
            f"dataset={dataset.name}: {path} is not the {name} file of {dataset.name} "
            f"({difference}); remove the file or set data_root to a different folder. "
            "To use your own dataset, set dataset=folder"
        )
    return content, measured


@cache
def _files_by_digest() -> dict[str, str]:
    """Return the description `the <file> file of <dataset>` of each file whose digest is known."""
    files: dict[str, str] = {}
    for option in sorted((CONF_DIR / "dataset").glob("*.yaml")):
        digests = OmegaConf.select(OmegaConf.load(option), "sha256") or {}
        for name, digest in digests.items():
            if digest:
                files[digest] = f"the {name} file of {option.stem}"
    return files
