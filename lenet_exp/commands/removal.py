"""lenet-sweep rm: removes sweeps, runs, or everything in an experiment."""

from __future__ import annotations

import shlex

from lenet_exp.errors import ConfigError

KNOWN: dict[str, str | None] = {"sweep": None, "experiment": None, "run": None, "dry_run": "true", "mlflow": "true"}
WHAT = ("sweep", "experiment", "run")


def rm(values: dict[str, str | None]) -> int:
    """Run `lenet-sweep rm` with the values of its flags and return its exit status."""
    named = [(key, value) for key in WHAT if (value := values[key]) is not None]
    if len(named) != 1:
        typed = ", ".join(f"{key}=" for key, _ in named) or "(nothing)"
        raise ConfigError(f"rm {typed}: must be one of sweep=, experiment=, run=")
    ((key, which),) = named
    dry_run, mlflow = (values[flag] == "true" for flag in ("dry_run", "mlflow"))
    from lenet_exp.removal.remove import remove, show
    from lenet_exp.removal.target import find_target

    target = find_target(key, which)
    if not dry_run:
        return remove(target, mlflow=mlflow)
    which = target.pending.name if which == "last" else which  # `last` may name another sweep by then
    without = "" if mlflow else " mlflow=false"
    return show(target, mlflow=mlflow, command=f"lenet-sweep rm {key}={shlex.quote(which)} dry_run=false{without}")
