"""Checks that only this user and root can change code that will run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from lenet_exp.cache import is_writable_by_others


def others_can_change(root: Path, files: Iterable[str] = ()) -> str:
    """Return which code other users can change, and what to do about it.

    Args:
        root: folder with the code.
        files: paths of files in this folder. The folders that contain them are checked, too.

    Returns:
        A part of an error message; empty if only this user and root can change the code.
    """
    paths = {root}
    for file in files:
        paths.add(root / file)
        paths.update(root / folder for folder in Path(file).parents)
    statuses = {path: path.stat() for path in sorted(paths)}

    for path, status in statuses.items():
        if status.st_uid not in {os.geteuid(), 0}:
            return (
                f"{path} belongs to another user, who could change the code; "
                "copy it to a folder of your own"
            )

    writable = [path for path, status in statuses.items() if is_writable_by_others(status)]
    if not writable:
        return ""
    commands = " && ".join(_commands_to_protect(root, writable))
    return f"{writable[0]} can be changed by other users; run: {commands}"


def _commands_to_protect(root: Path, writable: list[Path]) -> list[str]:
    """Return the commands after which other users can no longer change these paths.

    Args:
        root: folder that contains the paths, or is one of them.
    """
    commands = []
    if root in writable:
        commands.append(shlex.join(["chmod", "go-w", str(root)]))

    # The files and folders directly in `root` that are writable or contain something writable.
    entries = set[str]()
    for path in writable:
        if path != root:
            first_part = path.relative_to(root).parts[0]
            entries.add(str(root / first_part))
    if entries:
        commands.append(shlex.join(["chmod", "-R", "go-w", *sorted(entries)]))
    return commands
