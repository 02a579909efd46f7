"""The fingerprint of an experiment: a hash that covers only the settings that can change its
result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import cast

from lenet_exp.config.class_groups import CLASS_GROUPS, CODE_KEY
from lenet_exp.config.image_shape import ImageShape
from lenet_exp.config.metric import DIRECTIONS
from lenet_exp.config.own_code import without_package
from lenet_exp.config.schema import Config, Option, all_flags, has_effect, value_of
from lenet_exp.config.targets import canonical_config, canonical_keywords, option_class
from lenet_exp.files import Json

# Increase this number if a change to the code makes the same configuration produce different
# weights. Tests compare losses with stored values to detect such a change.
TRAINING_VERSION = 1
MOST_EPOCHS = (
    10_000  # the time for a search grows with this number: for 10,000, it is a quarter of a second
)


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
    """Yield the fingerprint of the configuration with each smaller `num_epoch` up to `MOST_EPOCHS`,
    largest first.
    """
    values = fingerprinted(config, data_digests)
    settings = cast(dict[str, Json], values["settings"])
    for num_epoch in range(min(config.num_epoch - 1, MOST_EPOCHS), 0, -1):
        settings["num_epoch"] = num_epoch
        yield _digest(values)


def _digest(values: dict[str, Json]) -> str:
    return hashlib.sha256(
        json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def fingerprinted(config: Config, data_digests: dict[str, str]) -> dict[str, Json]:
    """Return the values that `fingerprint` hashes."""
    settings: dict[str, Json] = {}
    config = canonical_config(config)
    for flag, _, f in all_flags():
        value = value_of(config, flag)
        if not f.metadata["result"] or value == f.metadata["neutral"] or not has_effect(config, f):
            continue
        found = _option(flag, value) if flag in CLASS_GROUPS else value
        if flag == "init_from":  # the name of the weights does not count, only their digest
            found = str(value).rpartition("@")[2]
        if found is not None:
            settings[flag] = found
    shape = ImageShape.of(config.dataset).differences
    images = {"images": shape} if shape else {}
    return {
        "training_version": TRAINING_VERSION,
        "data": data_digests,
        "settings": settings,
        **images,
    }


def _option(group: str, option: Option) -> Option | None:
    """Return an option's class and effective arguments, or None if the run is the same without the
    option's group.
    """
    if not option:
        return None
    cls = option_class(group, option)
    name = without_package(f"{cls.__module__}.{cls.__qualname__}")
    named = {"class": name, "keywords": canonical_keywords(group, option)}
    if named == {"class": CLASS_GROUPS[group].neutral, "keywords": {}}:
        return None
    if CODE_KEY in option:
        named["code"] = option[CODE_KEY]
    if group == "metric":
        named["direction"] = option.get("direction", DIRECTIONS[0])
    return named | (
        {"monotone": bool(option.get("monotone", False))} if group == "activation" else {}
    )
