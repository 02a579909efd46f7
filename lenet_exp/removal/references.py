"""Which sweeps of an outputs folder use which runs, without reading the jobs: they may be damaged, or many."""

from __future__ import annotations

import re
from pathlib import Path

from lenet_exp.files import from_json, read_regular
from lenet_exp.folders.damage import damaged

RUN = re.compile(rb"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")  # whatever may be the name of a run folder
AGAIN = "the line that started the sweep makes it again"

Stamp = tuple[int, int]


class Uses:
    """Who uses what, as it stands now: sweeps may be started, and searches get jobs, while one looks."""

    def __init__(self, outputs: Path) -> None:
        self._sweeps = outputs / "sweeps"
        self._known: dict[str, tuple[Stamp, frozenset[str]]] = {}

    def of(self, run: str) -> set[str]:
        """The ids of the sweeps whose jobs name a run.

        Raises:
            DamagedError: of a sweep it can't be told.
        """
        return {sweep for sweep, runs in self.by_sweep().items() if run in runs}

    def by_sweep(self) -> dict[str, frozenset[str]]:
        """The runs of each sweep; as `of`."""
        found = {}
        for folder in self._sweeps.iterdir() if self._sweeps.is_dir() else ():
            stamp = _stamp(folder / "jobs.jsonl")
            known = self._known.get(folder.name)
            if known is None or known[0] != stamp or stamp == (0, 0):
                known = (stamp, frozenset(_named(folder)))
            found[folder.name] = known
        self._known = found
        return {sweep: runs for sweep, (_, runs) in found.items()}


def runs_of(sweep: Path) -> list[str]:
    """The runs of the jobs of the sweep in a folder, in their order; nothing else of the jobs is looked at.

    Raises:
        DamagedError: a job can't be read.
    """
    try:
        lines = read_regular(sweep / "jobs.jsonl").splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            del lines[-1]  # the sweep was killed while it added a job
        return list(dict.fromkeys(str(from_json(line)["run"]) for line in lines))
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise damaged(sweep / "jobs.jsonl", type(e).__name__, AGAIN) from e


def _named(sweep: Path) -> list[str]:
    try:
        return [name.decode() for name in RUN.findall(read_regular(sweep / "jobs.jsonl"))]
    except FileNotFoundError as e:
        if not (sweep / "sweep.json").exists():  # it was not started yet
            return []
        raise damaged(sweep / "jobs.jsonl", "it is gone", AGAIN) from e


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
