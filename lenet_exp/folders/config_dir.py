"""The `--config-dir` arguments with which a sweep was started, and the command that resumes the
sweep.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from lenet_exp.files import user_path
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_plan import SweepPlan

RESUMABLE = (
    "sweep.",
    "hydra.",
    "hydra/",
    "tracking.uri",
    "~sweep.",
)  # flags allowed besides `sweep.resume=`


def config_dir_of(plan: SweepPlan) -> list[str]:
    """Return a sweep's `--config-dir` arguments with an absolute path, or an empty list if the
    sweep had none.

    A relative path is resolved against the directory in which the sweep was started.
    """
    words = shlex.split(plan.command)
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, sign, value = word.partition("=")
        if name in {"--config-dir", "-cd"}:
            return [
                "--config-dir",
                os.path.abspath(Path(plan.directory) / user_path(value if sign else following)),
            ]
    return []


def resume_command(sweep: SweepFolder) -> str:
    """Return the command that resumes a sweep.

    A search composes new jobs, so it needs its `--config-dir` arguments again. The jobs of a grid
    are stored.
    """
    plan = sweep.kept_plan()
    config_dir = [] if plan is None or plan.search is None else config_dir_of(plan)
    return shlex.join(["lenet-train", "-m", *config_dir, f"sweep.resume={sweep.id}"])
