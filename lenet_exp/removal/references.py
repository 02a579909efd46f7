"""Which runs a sweep needs, and which sweeps of an outputs folder need a run."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from lenet_exp.files import from_json, read_regular
from lenet_exp.folders.damage import damaged


def runs_of(sweep: Path) -> list[str]:
    """The names of the run folders of a sweep's jobs, in their order; nothing else of a job is read.

    Raises:
        DamagedError: a job cannot be read.
    """
    try:
        lines = read_regular(sweep / "jobs.jsonl").splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            del lines[-1]  # the sweep was killed while it added a job
        return list(dict.fromkeys(str(from_json(line)["run"]) for line in lines))
    except (OSError, ValueError, KeyError, TypeError) as e:
        again = "the line that started the sweep makes it again"
        raise damaged(sweep / "jobs.jsonl", type(e).__name__, again) from e


def users_of(outputs: Path, but: Collection[str]) -> dict[str, list[str]]:
    """By run folder, the sweeps that need it.

    Args:
        but: ids of sweeps that do not count.

    Raises:
        DamagedError: the jobs of a sweep cannot be read, so that nobody knows what it needs.
    """
    users: dict[str, list[str]] = {}
    for started in sorted((outputs / "sweeps").glob("*/sweep.json")):
        sweep = started.parent
        for run in runs_of(sweep) if sweep.name not in but else ():
            users.setdefault(run, []).append(sweep.name)
    return users
