"""Checks class names in files, so that only trusted classes are imported.

A model's record contains the class names of its network and activation. The file of a sweep's job
also contains the class name of its optimizer. The author of a file chooses these names, and
importing a module runs its code. Therefore, names are checked before any module is imported.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

from lenet_exp.config.check import check_image_shape
from lenet_exp.config.class_groups import CODE_KEY, OWN_KEYS, TARGET, options_of
from lenet_exp.config.image_shape import ImageShape
from lenet_exp.config.metric import BUILT_IN
from lenet_exp.config.own_code import LOADED_CODE, codes, is_available
from lenet_exp.config.schema import Config, Option
from lenet_exp.errors import ConfigError, UserError

OUR_ACTIVATION = "lenet_exp.training.activations.RReLU"
OUR_MODELS = frozenset(
    {
        "lenet_exp.training.lenet5.LeNet5",
        "lenet_exp.training.convnet.ConvNet",
        "lenet_exp.training.lenet5_1998.LeNet5Published",
        "lenet_exp.training.fully_connected.FullyConnected",
        "lenet_exp.training.fully_connected.Linear",
    }
)
OUR_LOSSES = frozenset(
    {"lenet_exp.training.losses.CrossEntropy", "lenet_exp.training.losses.Focal"}
)
OUR_METRICS = frozenset(f"lenet_exp.training.metrics.{metric}" for metric in BUILT_IN)
OUR_PARTS = OUR_LOSSES | OUR_METRICS
TORCH_PREFIXES = ("torch.nn.", "torch.optim.")

# The dotted path of a class.
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)

# Permitted values of keyword arguments: a word, such as GELU's approximate=tanh, or a number. An
# integer can be a size, such as PReLU's num_parameters.
WORD = re.compile(r"\w{1,32}", re.ASCII)
LARGEST_INTEGER = 10**6

# Names of classes, modules, and packages, and digests of code; a text separates them by commas.
Trust = str | Sequence[str] | None


@cache
def trusted_activations() -> frozenset[str]:
    """Return the names of the activation classes that a model file may use without `trust=`.

    A class of torch has two names, such as `torch.nn.ReLU` and `torch.nn.modules.activation.ReLU`.
    """
    from torch.nn.modules import activation as torch_activations

    trusted = {"torch.nn.Identity", OUR_ACTIVATION}
    for name in torch_activations.__all__:
        if name != "MultiheadAttention":  # not an activation
            trusted.add(f"torch.nn.{name}")
            trusted.add(f"{torch_activations.__name__}.{name}")
    return frozenset(trusted)


@cache
def trusted_optimizers() -> frozenset[str]:
    """Return the names of torch's optimizer classes.

    A class has two names, such as `torch.optim.SGD` and `torch.optim.sgd.SGD`.
    """
    from torch import optim

    trusted = set()
    for name, cls in vars(optim).items():
        if isinstance(cls, type) and issubclass(cls, optim.Optimizer):
            trusted.add(f"torch.optim.{name}")
            trusted.add(f"{cls.__module__}.{name}")
    return frozenset(trusted)


def check_network(model: str, config: Config, trust: Trust) -> None:
    """Check that the model and activation classes named in a file are trusted.

    Also check that the image shape is valid.

    Args:
        model: name of the model, for error messages.
        config: configuration from the file.
        trust: classes and modules that the user trusts, in addition to those in torch and
            lenet_exp.

    Raises:
        UserError: a class is not trusted, the image shape is invalid, or a keyword argument is not
            a number, true, false, null, or a plain word.
    """
    try:
        ImageShape.of(config.dataset)
        check_image_shape(config.dataset)
    except ConfigError as e:
        raise UserError(f"{model}: {e}") from e

    _check(model, "model", config.model, OUR_MODELS, trust=trust)
    if config.activation != {}:  # some models have no activation
        _check(model, "activation", config.activation, trusted_activations(), trust=trust)


def check_training(model: str, config: Config, trust: str | None) -> None:
    """Check that the other classes named in a file, such as the optimizer, are trusted.

    Retraining runs their code.

    Args:
        model: name of the model, for error messages.

    Raises:
        UserError: a class is not trusted, or a keyword argument is not a number, true, false, null,
            or a plain word.
    """
    for group, option in options_of(config).items():
        if group in {"model", "activation"}:
            continue
        trusted_classes = trusted_optimizers() if group == "optimizer" else OUR_PARTS
        _check(model, group, option, trusted_classes, trust=trust)


def _check(
    model: str, group: str, option: Any, trusted_classes: frozenset[str], *, trust: Trust
) -> None:
    """Check the class and the keyword arguments of an option from a file.

    Args:
        model: name of the model, for error messages.
        group: flag of the option, such as `activation`.
        option: value from the file, which can have any type.
        trusted_classes: names of the classes that need no `trust=`.
    """
    target = option.get("_target_") if isinstance(option, dict) else None
    if not isinstance(target, str) or not NAME.fullmatch(target):
        raise UserError(f"{model}: its record does not specify a class for its {group}")

    if not _may_import(target, option, trusted_classes, trust):
        remedy = f"{target} to trust=" if trust else f"trust={target}"
        raise UserError(
            f"{model}: its {group} is {target}, and loading it would run code that is not part of "
            f"lenet_exp or torch; if you trust it, add {remedy}"
        )

    for key, value in option.items():
        if key in OWN_KEYS:
            continue
        values = value if isinstance(value, list) else [value]
        if not all(map(_is_plain, values)):
            raise UserError(
                f"{model}: the keyword argument {key!r:.40} of its {group} "
                "must be a number or a word"
            )


def _may_import(target: str, option: Option, trusted_classes: frozenset[str], trust: Trust) -> bool:
    """Return whether the class of an option may be imported.

    Args:
        trusted_classes: names of the classes that need no `trust=`.
    """
    if target in trusted_classes or is_trusted(target, trust):
        return True
    # The user has permitted this process to run the copied code.
    return is_available(target, option.get(CODE_KEY))


def foreign_class(config: Config) -> str | None:
    """Return the name of a configuration's first foreign class, or None if it has none.

    A class is foreign if it is not in torch or lenet_exp and its module has not been imported.
    """
    for option in options_of(config).values():
        target = str(option.get(TARGET))
        if not _is_built_in(target) and not _is_imported(target, config):
            return target
    return None


def _is_built_in(target: str) -> bool:
    """Return whether a class is in lenet_exp or torch."""
    if target == OUR_ACTIVATION or target in OUR_MODELS or target in OUR_PARTS:
        return True
    return target.startswith(TORCH_PREFIXES)


def _is_imported(target: str, config: Config) -> bool:
    """Return whether the module of an own class, or the copy of its code, is already imported."""
    digest = codes(config).get(target)
    if digest is not None:
        return digest in LOADED_CODE
    module = target.rpartition(".")[0]
    return module in sys.modules


def is_trusted(target: str, trust: Trust) -> bool:
    """Return whether `trust` contains a class, its module, or a package of the module."""
    return any(f"{target}.".startswith(f"{name}.") for name in names(trust))


def names(trust: Trust) -> Sequence[str]:
    """Return the names and digests in `trust`."""
    if isinstance(trust, str):
        return trust.split(",")
    return trust or []


def _is_plain(value: Any) -> bool:
    """Return whether a keyword argument has a harmless value: a word, a number, a bool, or None."""
    if value is None or isinstance(value, bool | float):
        return True
    if isinstance(value, int):
        return abs(value) <= LARGEST_INTEGER
    return isinstance(value, str) and WORD.fullmatch(value) is not None
