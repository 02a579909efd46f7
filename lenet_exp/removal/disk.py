"""How many bytes lie where in an outputs folder, by one walk that opens no file.

A size is a file's apparent one, as of `ls -l`; a file with several names (hard links) counts once, a link as itself,
and a folder not at all, as in `du -sb` since coreutils 9.2.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lenet_exp.removal.removing import FOLDER as REMOVING

WEIGHTS, STATES, LOGS, PICTURES, RECORDS = "model weights", "states to go on from", "logs", "pictures", "records"
LEFT_ASIDE = "left by killed writes, or damaged"
ASIDE = re.compile(r"\..+\..{8}|.+\.damaged")  # as `files.write_atomic` names them, and what is set aside
BEGUN = ("job.json", "record.json")

Kinds = Counter[str]  # bytes by kind of file


@dataclass
class Disk:
    """What lies in an outputs folder, in bytes.

    Attributes:
        runs: by run folder.
        sweeps: by sweep folder.
        artifacts, models: of MLflow, where they lie beside its database: by MLflow run and by logged model; by name of
            the experiment's folder, what else is there.
        model_paths: where each logged model lies.
        database: of MLflow, with its journal.
        removing: what `lenet-sweep rm` has not deleted yet.
        others: by the name in the outputs folder.
        files: how many there are.
        begun: run folders in which something was begun.
    """

    runs: dict[str, Kinds] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    sweeps: Kinds = field(default_factory=Counter)
    artifacts: dict[str, Kinds] = field(default_factory=dict)
    models: Kinds = field(default_factory=Counter)
    model_paths: dict[str, Path] = field(default_factory=dict)
    database: int = 0
    removing: int = 0
    others: Kinds = field(default_factory=Counter)
    files: int = 0

    @property
    def total(self) -> int:
        """Bytes of all."""
        inside = sum(kinds.total() for part in (self.runs, self.artifacts) for kinds in part.values())
        return inside + self.sweeps.total() + self.models.total() + self.database + self.removing + self.others.total()


def measure(outputs: Path) -> Disk:
    """Walks through an outputs folder; what vanishes meanwhile does not count."""
    disk = Disk()
    for parts, size in _sizes(outputs):
        disk.files += 1
        _sort_in(disk, outputs, parts, size)
    return disk


def size_of(folder: Path) -> int:
    """Bytes in a folder."""
    return sum(size for _, size in _sizes(folder))


def kind_of(name: str) -> str:
    """Of a file in a run folder, by its name."""
    if ASIDE.fullmatch(name):
        return LEFT_ASIDE
    stem, suffix = os.path.splitext(name)
    if suffix == ".safetensors":
        return STATES if stem.startswith("state-") else WEIGHTS
    return {".log": LOGS, ".png": PICTURES}.get(suffix, RECORDS)


def _sort_in(disk: Disk, outputs: Path, parts: tuple[str, ...], size: int) -> None:
    top = parts[0]
    if top == "runs" and len(parts) > 2:
        disk.runs.setdefault(parts[1], Counter())[kind_of(parts[2])] += size
        if parts[2] in BEGUN:
            disk.begun.add(parts[1])
    elif top == "sweeps" and len(parts) > 2:
        disk.sweeps[parts[1]] += size
    elif top == REMOVING:
        disk.removing += size
    elif top == "mlartifacts" and len(parts) > 4 and parts[2] == "models":
        disk.models[parts[3]] += size
        disk.model_paths.setdefault(parts[3], outputs.joinpath(*parts[:4]))
    elif top == "mlartifacts" and len(parts) > 3:
        disk.artifacts.setdefault(parts[2], Counter())[PICTURES if parts[-1].endswith(".png") else RECORDS] += size
    elif top.startswith("mlflow.db"):
        disk.database += size
    else:
        disk.others[top] += size


def _sizes(root: Path) -> Iterator[tuple[tuple[str, ...], int]]:
    """The parts of each file's path below the root, and its bytes."""
    seen: set[tuple[int, int]] = set()
    waiting: list[tuple[tuple[str, ...], str]] = [((), str(root))]
    while waiting:
        parts, path = waiting.pop()
        try:
            entries = os.scandir(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        with entries:
            for entry in entries:
                here = (*parts, entry.name)
                try:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((here, entry.path))
                        continue
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if found.st_nlink > 1 and stat.S_ISREG(found.st_mode):
                    if (found.st_dev, found.st_ino) in seen:
                        continue
                    seen.add((found.st_dev, found.st_ino))
                yield here, found.st_size
