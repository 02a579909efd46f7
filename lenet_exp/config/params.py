"""Configurations as text: MLflow parameters, each with the name of its flag, and short job
names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from omegaconf import MISSING

from lenet_exp.config.class_groups import CODE_KEY, OWN_KEYS, TARGET, VERSION, is_own, options_of
from lenet_exp.config.flags import all_flags, has_effect
from lenet_exp.config.schema import Config, Option
from lenet_exp.config.search import AT_THE_TOP
from lenet_exp.config.typed_json import to_plain
from lenet_exp.files import Json

# Flags that are not settings of a run, such as destinations and budgets. The logged config.yaml
# contains them.
_NOT_PARAMS = ("tracking", "sweep", "search", "keep_state", *AT_THE_TOP)
# Flags that are logged in addition to the dataset's name, which represents the dataset's other
# flags.
_DATASET_SHOWN = {"val_size", "train_size"}
_DIGEST_DIGITS = 12  # number of digits of the digest of own code
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
    """Return the values of a configuration's flags as strings.

    Flags that are missing or have no effect are omitted.

    Args:
        config: effective configuration, such as the one in a record. Flags can be missing in
            records from older releases.
    """
    options = options_of(config)
    values = {"dataset": config.dataset.name}
    values |= {flag: str(option["name"]) for flag, option in options.items()}
    values |= _params_of_own_classes(options)

    for key, value in to_plain(config).items():
        if key in _NOT_PARAMS:
            continue
        if key == "init_from" and value is None:
            continue
        if isinstance(value, dict):
            values |= _section_params(key, value)
        else:
            values[key] = text(value)

    # Sections omit their key `own`, whose value is an option with a class.
    for flag, option in options.items():
        if "." in flag:
            values |= params_of(flag, option)

    for flag, _, field in all_flags():
        if flag in values and not has_effect(config, field):
            del values[flag]
    return {flag: value for flag, value in values.items() if value != MISSING}


def _params_of_own_classes(options: Mapping[str, Option]) -> dict[str, str]:
    """Return the paths of the user's own classes, and the starts of the digests of their code."""
    targets = {}
    versions = {}
    for flag, option in options.items():
        target = str(option[TARGET])
        if is_own(target):
            targets[f"{flag}.{TARGET}"] = target
        if CODE_KEY in option:
            versions[f"{flag}.{VERSION}"] = str(option[CODE_KEY])[:_DIGEST_DIGITS]
    return targets | versions


def _section_params(section: str, values: Mapping[str, Json]) -> dict[str, str]:
    """Return the parameters of a section such as `dataset` or `regularization`, or of an option
    such as `optimizer`, without the name and the class.
    """
    if section == "dataset":
        logged = set(_DATASET_SHOWN)
        for key, neutral in _DATASET_CHANGED.items():
            if values.get(key, neutral) != neutral:
                logged.add(key)
    else:
        logged = values.keys() - OWN_KEYS - {"own"}
    return {f"{section}.{key}": text(value) for key, value in values.items() if key in logged}


def params_of(flag: str, option: Option) -> dict[str, str]:
    """Return the name and the keyword arguments of an option as parameters."""
    values = {flag: str(option["name"])}
    for key, value in option.items():
        if key not in OWN_KEYS:
            values[f"{flag}.{key}"] = text(value)
    return values


def text(value: object) -> str:
    """Return a single value in the form used on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def shown(value: object) -> str:
    """Return a list or dict in the form used on the command line."""
    return str(value).replace("'", "").replace(" ", "")


def swept_values(swept: list[str], overrides: list[str]) -> dict[str, str]:
    """Return a job's values for the swept flags, keyed by flag.

    Args:
        swept: names of the swept flags, possibly with the prefix `+`.
        overrides: the job's overrides, each in the form `flag=value`.
    """
    values = values_by_flag(overrides)
    names = [flag.lstrip("+") for flag in swept]
    return {name: values.get(name, "") for name in names}


def values_by_flag(overrides: Iterable[str]) -> dict[str, str]:
    """Return the values in overrides, keyed by flag. Overrides without a value are omitted."""
    values = {}
    for override in overrides:
        flag, sign, value = override.lstrip("+").partition("=")
        if sign:
            values[flag] = value
    return values


def job_name(number: int, values: dict[str, str], groups: set[str]) -> str:
    """Return a job's name, built from its swept values.

    Args:
        number: number of the job, used in its name if no flag is swept.
        values: the job's values for the swept flags.
        groups: names of the config groups; their values are shown without the flag's name, for
            example, as `relu`.
    """
    parts = []
    for flag, value in values.items():
        if flag in groups:
            parts.append(value)
        else:
            parts.append(f"{_short(flag)}={rounded(value)}")
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
    digits = 4 if len(value) > LONGEST_NUMBER else LONGEST_NUMBER
    return f"{number:.{digits}g}"


def _short(flag: str) -> str:
    leaf = flag.removesuffix(".own").rpartition(".")[2]
    return SHORT.get(leaf, leaf)
