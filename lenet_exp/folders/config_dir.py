"""Where the user's own options lie that a sweep was typed with."""

from __future__ import annotations

import shlex
from pathlib import Path

from lenet_exp.files import user_path
from lenet_exp.folders.records import SweepPlan


def config_dir_of(plan: SweepPlan) -> list[str]:
    """Where the user's own options lie, as the sweep's line said it and as seen from its working directory."""
    words = shlex.split(plan.command)
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, sign, value = word.partition("=")
        if name in {"--config-dir", "-cd"}:
            return ["--config-dir", str((Path(plan.directory) / user_path(value if sign else following)).absolute())]
    return []
