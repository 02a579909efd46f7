"""Configurations as text: MLflow parameters, one per flag with the same name as the flag, and short
names for jobs.
"""

from __future__ import annotations

from omegaconf import MISSING

from lenet_exp.config.class_groups import CODE_KEY, OWN_KEYS, TARGET, VERSION, is_own, options_of
from lenet_exp.config.schema import Config, Option, all_flags, has_effect
from lenet_exp.config.search import AT_THE_TOP
from lenet_exp.config.typed_json import to_plain

# Flags that are not settings of a run, such as destinations and budgets. The logged config.yaml
# contains them.
_NOT_PARAMS = ("tracking", "sweep", "search", "keep_state", *AT_THE_TOP)
# Flags that are logged in addition to the dataset's name. The name represents all other flags of
# the dataset.
_DATASET_SHOWN = {"val_size", "train_size"}
_DIGITS = 12  # number of digits of the digest of own code
# Flags that are logged only if they differ from these values.
_DATASET_CHANGED = {"channels": 1, "image_size": None, "exact_classes": False, "stratified": False}
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
    "weight_decay": "wd",
}

LONGEST_NUMBER = 9  # characters; longer numbers are shown with four significant digits


def params(config: Config) -> dict[str, str]:
    """Return the values of a configuration's flags as strings, omitting flags that are missing or
    have no effect.

    Args:
        config: effective configuration, such as the one in a record. Flags can be missing in
            records from older releases.
    """
    options = options_of(config)
    found = {"dataset": config.dataset.name} | {
        group: str(option["name"]) for group, option in options.items()
    }
    found |= {
        f"{group}.{TARGET}": str(o[TARGET])
        for group, o in options.items()
        if is_own(str(o[TARGET]))
    }
    found |= {
        f"{group}.{VERSION}": str(o[CODE_KEY])[:_DIGITS]
        for group, o in options.items()
        if CODE_KEY in o
    }
    for key, value in to_plain(config).items():
        if key in _NOT_PARAMS or (key == "init_from" and value is None):
            continue
        if isinstance(value, dict):
            changed = {
                k for k, neutral in _DATASET_CHANGED.items() if value.get(k, neutral) != neutral
            }
            shown = (
                _DATASET_SHOWN | changed if key == "dataset" else value.keys() - OWN_KEYS - {"own"}
            )
            found |= {f"{key}.{k}": text(v) for k, v in value.items() if k in shown}
        else:
            found[key] = text(value)
    for flag in (flag for flag in options if "." in flag):
        found |= params_of(flag, options[flag])
    mute = {flag for flag, _, f in all_flags() if flag in found and not has_effect(config, f)}
    return {flag: value for flag, value in found.items() if flag not in mute and value != MISSING}


def params_of(flag: str, option: Option) -> dict[str, str]:
    """Return the name and the keyword arguments of an option as parameters."""
    return {flag: str(option["name"])} | {
        f"{flag}.{k}": text(v) for k, v in option.items() if k not in OWN_KEYS
    }


def text(value: object) -> str:
    """Return a single value in the form used on the command line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def shown(value: object) -> str:
    """Return a list or dict in the form used on the command line."""
    return str(value).replace("'", "").replace(" ", "")


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
        groups: names of the config groups; their values are shown without the flag's name, for
            example, as `relu`.
    """
    parts = [
        value if flag in groups else f"{_short(flag)}={rounded(value)}"
        for flag, value in values.items()
    ]
    return " ".join(parts) or f"job {number}"


def rounded(value: str) -> str:
    """Format a value for display, with equal numbers in the same form: `0.0` as `0`, `5e-4` as
    `0.0005`.

    Long numbers, such as 0.012345678901234 from a sampler, are rounded to four significant digits.
    Integers and words stay unchanged.
    """
    if value.lstrip("+-").isdigit():
        return value
    try:
        number = float(value) + 0.0  # turns -0.0 into 0.0
    except ValueError:
        return value
    return f"{number:.4g}" if len(value) > LONGEST_NUMBER else f"{number:.{LONGEST_NUMBER}g}"


def _short(flag: str) -> str:
    leaf = flag.removesuffix(".own").rpartition(".")[2]
    return SHORT.get(leaf, leaf)
