"""MLflow parameters for a configuration: one parameter per flag, with the same name as the flag."""

from __future__ import annotations

from omegaconf import MISSING

from lenet_exp.config.class_groups import CODE_KEY, OWN_KEYS, TARGET, VERSION, is_own, options_of
from lenet_exp.config.plain import plain
from lenet_exp.config.schema import Config, Option, has_effect, knobs
from lenet_exp.config.search import AT_THE_TOP

# Flags that are not settings of a run, such as destinations and budgets. The logged config.yaml contains them.
_NOT_PARAMS = ("tracking", "sweep", "search", "keep_state", *AT_THE_TOP)
# Flags that are logged in addition to the dataset's name. The name represents all other flags of the dataset.
_DATASET_SHOWN = {"val_size", "train_size"}
_DIGITS = 12  # number of digits of the digest of own code
# Flags that are logged only if they differ from these values.
_DATASET_CHANGED = {"channels": 1, "image_size": None, "exact_classes": False, "stratified": False}


def params(config: Config) -> dict[str, str]:
    """Return the values of a configuration's flags as strings, omitting flags that are missing or have no effect.

    Args:
        config: effective configuration, such as the one in a record. Flags can be missing in records from older
            releases.
    """
    options = options_of(config)
    found = {"dataset": config.dataset.name} | {group: str(option["name"]) for group, option in options.items()}
    found |= {f"{group}.{TARGET}": str(o[TARGET]) for group, o in options.items() if is_own(str(o[TARGET]))}
    found |= {f"{group}.{VERSION}": str(o[CODE_KEY])[:_DIGITS] for group, o in options.items() if CODE_KEY in o}
    for key, value in plain(config).items():
        if key in _NOT_PARAMS or (key == "init_from" and value is None):
            continue
        if isinstance(value, dict):
            changed = {k for k, neutral in _DATASET_CHANGED.items() if value.get(k, neutral) != neutral}
            shown = _DATASET_SHOWN | changed if key == "dataset" else value.keys() - OWN_KEYS - {"own"}
            found |= {f"{key}.{k}": text(v) for k, v in value.items() if k in shown}
        else:
            found[key] = text(value)
    for flag in (flag for flag in options if "." in flag):
        found |= params_of(flag, options[flag])
    mute = {flag for flag, _, f in knobs() if flag in found and not has_effect(config, f)}
    return {flag: value for flag, value in found.items() if flag not in mute and value != MISSING}


def params_of(flag: str, option: Option) -> dict[str, str]:
    """Return the name and the keyword arguments of an option as parameters."""
    return {flag: str(option["name"])} | {f"{flag}.{k}": text(v) for k, v in option.items() if k not in OWN_KEYS}


def text(value: object) -> str:
    """Return a single value in the form used on the command line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def shown(value: object) -> str:
    """Return a list or dict in the form used on the command line."""
    return str(value).replace("'", "").replace(" ", "")
