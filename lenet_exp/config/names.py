"""Short names for a sweep's jobs, built from the swept values."""

from __future__ import annotations

# Short forms of flags for job names, because MLflow shows only about 15 characters of a name.
SHORT = {
    "_target_": "class",
    "batch_size": "batch",
    "dropout_rate": "drop",
    "learning_rate": "lr",
    "momentum": "mom",
    "negative_slope": "slope",
    "num_epoch": "epochs",
    "num_threads": "threads",
    "split_seed": "split",
    "train_size": "n",
    "weight_decay": "wd",
}

LONGEST_NUMBER = 9  # characters; longer numbers are shown with four significant digits


def swept_values(swept: list[str], overrides: list[str]) -> dict[str, str]:
    """Return a job's values for the swept flags, keyed by flag.

    Args:
        swept: names of the swept flags, possibly with the prefix `+`.
        overrides: the job's overrides, each in the form `flag=value`.
    """
    values = dict(o.lstrip("+").split("=", 1) for o in overrides if "=" in o)
    return {flag.lstrip("+"): values.get(flag.lstrip("+"), "") for flag in swept}


def job_name(number: int, values: dict[str, str], groups: set[str]) -> str:
    """Return a job's name, built from its swept values.

    Args:
        number: number of the job, used in its name if no flag is swept.
        values: the job's values for the swept flags.
        groups: names of the config groups; their values are shown without the flag's name, for example, as `relu`.
    """
    parts = [value if flag in groups else f"{_short(flag)}={rounded(value)}" for flag, value in values.items()]
    return " ".join(parts) or f"job {number}"


def rounded(value: str) -> str:
    """Format a value for display, with equal numbers in the same form: `0.0` as `0`, `5e-4` as `0.0005`.

    Long numbers, such as 0.012345678901234 from a sampler, are rounded to four significant digits. Integers and words
    stay unchanged.
    """
    if value.lstrip("+-").isdigit():
        return value
    try:
        number = float(value) + 0.0  # turns -0.0 into 0.0
    except ValueError:
        return value
    return f"{number:.4g}" if len(value) > LONGEST_NUMBER else f"{number:.{LONGEST_NUMBER}g}"


def _short(flag: str) -> str:
    leaf = flag.rpartition(".")[2]
    return SHORT.get(leaf, leaf)
