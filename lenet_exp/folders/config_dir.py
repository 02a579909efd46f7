"""Lookup of the folder with a user's own option files (`--config-dir`) with which a sweep was started."""

from __future__ import annotations

import shlex
from pathlib import Path

from lenet_exp.files import user_path
from lenet_exp.folders.records import SweepPlan


def config_dir_of(plan: SweepPlan) -> list[str]:
    """Return a sweep's `--config-dir` arguments with an absolute path, or an empty list if the sweep had none.

    A relative path is resolved against the directory in which the sweep was started.
    """
    words = shlex.split(plan.command)
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, sign, value = word.partition("=")
        if name in {"--config-dir", "-cd"}:
            return ["--config-dir", str((Path(plan.directory) / user_path(value if sign else following)).absolute())]
    return []
