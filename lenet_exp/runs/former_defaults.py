"""Default values of optimizers that changed after release 0.3, which stored commands rely on.

Release 0.3 gave Adam, AdamW, and RMSprop the learning rate of the original script, and RMSprop a
momentum.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lenet_exp.config.class_groups import option_name
from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.config.schema import Config
from lenet_exp.data.images import data_digests
from lenet_exp.folders.job import Job
from lenet_exp.folders.run_folder import RunFolder, run_id

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True, kw_only=True)
class Change:
    """Default value of an optimizer's keyword argument in release 0.3, and since then."""

    former: float
    now: float


RATE = Change(former=0.01, now=0.001)
CHANGES = {
    "adam": {"lr": RATE},
    "adamw": {"lr": RATE},
    "rmsprop": {"lr": RATE, "momentum": Change(former=0.9, now=0.0)},
}


def former_overrides(overrides: Sequence[str]) -> list[str]:
    """Return the overrides that give a command the default values of release 0.3.

    The list is empty if the command needs none. The overrides fit all optimizers of the command,
    because SGD has the same values.

    Args:
        overrides: overrides of the command, such as `optimizer=sgd,adam`.
    """
    values = {}
    for override in overrides:
        if "=" in override:
            flag, value = override.lstrip("+").split("=", 1)
            values[flag] = value

    optimizers = values.get("optimizer", "").split(",")
    former = {}
    for optimizer in optimizers:
        for key, change in CHANGES.get(optimizer, {}).items():
            former[f"optimizer.{key}"] = change.former

    return [f"{flag}={value:g}" for flag, value in former.items() if flag not in values]


def has_former_defaults(config: Config) -> bool:
    """Return whether a configuration's optimizer has default values of release 0.3 that changed."""
    changes = CHANGES.get(option_name(config.optimizer), {})
    if not changes:
        return False
    return all(config.optimizer.get(key) == change.former for key, change in changes.items())


def with_former_defaults(config: Config) -> Config | None:
    """Return a configuration with its optimizer's default values of release 0.3.

    The result is None if the optimizer has none that changed.
    """
    changes = CHANGES.get(option_name(config.optimizer), {})
    former = {}
    for key, change in changes.items():
        if config.optimizer.get(key) == change.now:
            former[key] = change.former

    if not former:
        return None
    return replace(config, optimizer=config.optimizer | former)


def log_former_run(job: Job) -> None:
    """Log a message if a new run has a finished counterpart with defaults of release 0.3."""
    former = with_former_defaults(job.config)
    if former is None or job.folder.result() is not None:
        return

    digest = fingerprint(former, data_digests(former))
    folder = RunFolder(job.outputs / "runs" / run_id(former.tracking.experiment, digest))
    if folder.result() is None:
        return

    changes = CHANGES[option_name(former.optimizer)].items()
    values = " ".join(f"optimizer.{key}={change.former:g}" for key, change in changes)
    log.info(
        "run %s has the default values of release 0.3; to reuse it, add %s",
        folder.id[:8],
        values,
    )
