"""Removal of secrets in addresses (users, passwords, tokens, and queries) from files that earlier releases wrote.

The digests of records and jobs are updated. Results, fingerprints, and weights do not change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from safetensors import SafetensorError

from lenet_exp.addresses import hide_password
from lenet_exp.files import from_json, read_regular, write_atomic
from lenet_exp.folders.digests import redacted
from lenet_exp.folders.owner import own, owner_of
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.training.trained.weights import load_arrays, save_arrays

FOLDERS = ("runs", "sweeps", "reproduced")
MODEL = ".safetensors"
NO_TEXT = {MODEL, ".png", ".db"}
MAY_HOLD = re.compile(r"://\S*[@?]|url: /")  # only the few files that match are parsed


def cleaned_text(text: str) -> str:
    """Return the text of a file without secrets; if the text is JSON or JSON Lines, its digests are updated."""
    if not MAY_HOLD.search(text):
        return text
    try:
        value = from_json(text)
    except ValueError:
        lines = text.splitlines(keepends=True)
        return "".join(map(cleaned_text, lines)) if len(lines) > 1 else hide_password(text)
    clean, end = redacted(value), text[len(text.rstrip()) :]
    return text if clean == value else json.dumps(clean, indent=1 if "\n" in text.rstrip() else None) + end


def read_text(path: Path) -> str:
    """Return the text of a file, with invalid bytes escaped."""
    return read_regular(path).decode(errors="backslashreplace")


def files_with_secrets(outputs: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the run or sweep folder and the path of each file that contains a secret."""
    for folder in (folder for kind in FOLDERS for folder in sorted((outputs / kind).glob("*"))):
        for path in [*sorted(folder.rglob("*")), *_model_files(folder)]:
            with suppress(OSError, ValueError, SafetensorError):  # the file was removed, or is corrupt
                texts = _texts(path)
                if texts != _cleaned(texts):
                    yield folder, path


def clean(outputs: Path) -> tuple[list[Path], list[Path]]:
    """Remove the secrets from all files in an outputs folder.

    Returns:
        The cleaned files and the files that were skipped because a live process owns their folder.
    """
    done, left = list[Path](), list[Path]()
    for folder, found in groupby(files_with_secrets(outputs), lambda pair: pair[0]):
        paths = [path for _, path in found]
        if owner_of(folder) is not None:
            left += paths
            continue
        with own(folder, "this folder"), RunFolder(folder).delivery_lock():
            for path in paths:
                texts = _cleaned(_texts(path))
                if path.suffix == MODEL:
                    save_arrays(path, load_arrays(path)[0], texts)
                else:
                    write_atomic(path, texts["text"])
        done += paths
    return done, left


def _model_files(folder: Path) -> list[Path]:
    """Return the model files that a run wrote to its `model_path`."""
    begun = RunFolder(folder).begun()
    place = begun.config.model_path if begun is not None else None
    return sorted(Path(place).glob(f"*_{folder.name[:8]}{MODEL}")) if place else []


def _texts(path: Path) -> dict[str, str]:
    """Return the texts in a file, keyed by name: the metadata of a model file, or the content of a text file."""
    if path.suffix == MODEL:
        return load_arrays(path)[1]
    return {"text": read_text(path)} if path.suffix not in NO_TEXT and path.is_file() else {}


def _cleaned(texts: dict[str, str]) -> dict[str, str]:
    return {name: cleaned_text(text) for name, text in texts.items()}
