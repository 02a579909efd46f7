"""The `--config-dir` arguments of a sweep, and the command that resumes the sweep."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from lenet_exp.files import user_path
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_plan import SweepPlan

# The beginnings of the flags that are allowed besides `sweep.resume=`.
RESUMABLE = ("sweep.", "hydra.", "hydra/", "tracking.uri", "~sweep.")


def config_dir_of(plan: SweepPlan) -> list[str]:
    """Return a sweep's `--config-dir` arguments with an absolute path; empty if it had none.

    A relative path is resolved against the directory in which the sweep was started.
    """
    words = shlex.split(plan.command)
    next_words = [*words[1:], ""]
    for word, next_word in zip(words, next_words, strict=True):
        name, equals_sign, value = word.partition("=")
        if name in {"--config-dir", "-cd"}:
            folder = value if equals_sign else next_word
            path = Path(plan.directory) / user_path(folder)
            return ["--config-dir", os.path.abspath(path)]
    return []


def resume_command(sweep: SweepFolder) -> str:
    """Return the command that resumes a sweep.

    A search composes new jobs, so it needs its `--config-dir` arguments again. The jobs of a grid
    are stored.
    """
    plan = sweep.kept_plan()
    config_dir = []
    if plan is not None and plan.search is not None:
        config_dir = config_dir_of(plan)
    return shlex.join(["lenet-train", "-m", *config_dir, f"sweep.resume={sweep.id}"])
