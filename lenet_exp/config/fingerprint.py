"""The fingerprint of an experiment: a hash of only those settings that can change its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import Field
from typing import Any, cast

from lenet_exp.config.class_groups import CLASS_GROUPS, CODE_KEY
from lenet_exp.config.flags import all_flags, has_effect, value_of
from lenet_exp.config.image_shape import ImageShape
from lenet_exp.config.metric import MAXIMIZE
from lenet_exp.config.own_code import without_package
from lenet_exp.config.schema import Config, Option
from lenet_exp.config.targets import canonical_config, canonical_keywords, option_class
from lenet_exp.files import Json

# Increase this number if a change to the code makes the same configuration produce different
# weights. Tests compare losses with stored values to detect such a change.
TRAINING_VERSION = 1
# The time to search for a shorter run grows with this number: for 10,000, it is 0.25 s.
MOST_EPOCHS = 10_000


def fingerprint(
    config: Config, data_digests: dict[str, str], group_rates: Sequence[float] = ()
) -> str:
    """Return the fingerprint of a configuration.

    The fingerprint is the SHA-256 digest (hex) of `TRAINING_VERSION`, the data digests, the shape
    of the images if it differs from that of MNIST, and all settings that differ from their neutral
    value. It does not depend on paths, names, intervals, the device, or the number of threads. It
    also ignores default arguments of classes and flags without effect, such as `momentum` for an
    optimizer that lacks it.

    Args:
        data_digests: SHA-256 digest of the images and labels in each split.
        group_rates: learning rates of the optimizer's parameter groups, if a schedule scales each
            of them; see `training.optimizer.scheduled_rates`.
    """
    values = fingerprinted(config, data_digests)
    if group_rates:
        values["group_rates"] = list(group_rates)
    return _digest(values)


def shorter_fingerprints(config: Config, data_digests: dict[str, str]) -> Iterator[str]:
    """Yield the fingerprint of the configuration with each smaller `num_epoch`, largest first.

    Numbers greater than `MOST_EPOCHS` are omitted.
    """
    values = fingerprinted(config, data_digests)
    settings = cast(dict[str, Json], values["settings"])
    largest = min(config.num_epoch - 1, MOST_EPOCHS)
    for num_epoch in range(largest, 0, -1):
        settings["num_epoch"] = num_epoch
        yield _digest(values)


def _digest(values: dict[str, Json]) -> str:
    canonical_json = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical_json.encode()).hexdigest()


def fingerprinted(config: Config, data_digests: dict[str, str]) -> dict[str, Json]:
    """Return the values that `fingerprint` hashes."""
    config = canonical_config(config)
    settings: dict[str, Json] = {}
    for flag, _, field in all_flags():
        if not _can_change_result(config, flag, field):
            continue

        value = value_of(config, flag)
        if flag in CLASS_GROUPS:
            value = _fingerprinted_option(flag, value)
        elif flag == "init_from":  # the name of the weights does not count, only their digest
            value = str(value).rpartition("@")[2]

        if value is not None:
            settings[flag] = value

    values: dict[str, Json] = {
        "training_version": TRAINING_VERSION,
        "data": data_digests,
        "settings": settings,
    }
    differences_from_mnist = ImageShape.of(config.dataset).differences
    if differences_from_mnist:
        values["images"] = differences_from_mnist
    return values


def _can_change_result(config: Config, flag: str, field: Field[Any]) -> bool:
    """Return whether a flag's value can make the result different from that without the flag."""
    if not field.metadata["result"]:
        return False
    if value_of(config, flag) == field.metadata["neutral"]:
        return False
    return has_effect(config, field)


def _fingerprinted_option(group: str, option: Option) -> Option | None:
    """Return an option's class and effective arguments.

    Returns:
        None if the run is the same without the option's group. An example for `optimizer=sgd` is
        `{class: torch.optim.sgd.SGD, keywords: {lr: 0.1, momentum: 0.9}}`.
    """
    if not option:
        return None

    cls = option_class(group, option)
    class_name = without_package(f"{cls.__module__}.{cls.__qualname__}")
    arguments = canonical_keywords(group, option)
    if class_name == CLASS_GROUPS[group].neutral and not arguments:
        return None

    values: Option = {"class": class_name, "keywords": arguments}
    if CODE_KEY in option:
        values["code"] = option[CODE_KEY]
    if group == "metric":
        values["direction"] = option.get("direction", MAXIMIZE)
    if group == "activation":
        values["monotone"] = bool(option.get("monotone", False))
    return values
