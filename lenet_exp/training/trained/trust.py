"""Checks class names in files, so that only trusted classes are imported.

A model's record contains the class names of its network and activation; the file of a sweep's job
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
from lenet_exp.config.schema import Config
from lenet_exp.errors import ConfigError, UserError

OURS = "lenet_exp.training.activations.RReLU"
OUR_MODELS = frozenset(
    {
        "lenet_exp.training.lenet5.LeNet5",
        "lenet_exp.training.convnet.ConvNet",
        "lenet_exp.training.lenet5_1998.LeNet5Published",
        "lenet_exp.training.fully_connected.FullyConnected",
        "lenet_exp.training.fully_connected.Linear",
    }
)
OUR_PARTS = frozenset(
    f"lenet_exp.training.{name}"
    for name in (
        "losses.CrossEntropy",
        "losses.Focal",
        *(f"metrics.{metric}" for metric in BUILT_IN),
    )
)
TORCHS = ("torch.nn.", "torch.optim.")
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
WORD = re.compile(r"\w{1,32}", re.ASCII)  # such as GELU's approximate=tanh
LARGEST = 10**6  # an integer can be a size, such as PReLU's num_parameters

Trust = str | Sequence[str] | None


@cache
def trusted_activations() -> frozenset[str]:
    """Return the full names of the activation classes that a model file may use without `trust=`."""
    from torch.nn.modules import activation as theirs

    names = frozenset(theirs.__all__) - {"MultiheadAttention"}  # not an activation
    found = {f"{module}.{name}" for module in ("torch.nn", theirs.__name__) for name in names}
    return frozenset(found | {"torch.nn.Identity", OURS})


@cache
def trusted_optimizers() -> frozenset[str]:
    """Return the full names of torch's optimizer classes."""
    from torch import optim

    return frozenset(
        f"{module}.{name}"
        for name, cls in vars(optim).items()
        if isinstance(cls, type) and issubclass(cls, optim.Optimizer)
        for module in ("torch.optim", cls.__module__)
    )


def check_network(of: str, config: Config, trust: Trust) -> None:
    """Check that the model and activation classes named in a file are trusted, and that the image
    shape is valid.

    Args:
        of: name of the model, for error messages.
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
        raise UserError(f"{of}: {e}") from e
    _check(of, "model", config.model, OUR_MODELS, trust=trust)
    if config.activation != {}:  # some models have no activation
        _check(of, "activation", config.activation, trusted_activations(), trust=trust)


def check_training(of: str, config: Config, trust: str | None) -> None:
    """Check that the other classes named in a file, such as the optimizer, are trusted. Retraining
    runs their code.

    Raises:
        UserError: a class is not trusted, or a keyword argument is not a number, true, false, null,
            or a plain word.
    """
    for group, option in options_of(config).items():
        if group not in {"model", "activation"}:
            _check(
                of,
                group,
                option,
                trusted_optimizers() if group == "optimizer" else OUR_PARTS,
                trust=trust,
            )


def _check(of: str, what: str, option: Any, known: frozenset[str], trust: Trust) -> None:
    target = option.get("_target_") if isinstance(option, dict) else None
    if not (isinstance(target, str) and NAME.fullmatch(target)):
        raise UserError(f"{of}: its record does not specify a class for its {what}")
    if (
        target not in known
        and not is_trusted(target, trust)
        and not is_available(target, option.get(CODE_KEY))
    ):
        raise UserError(
            f"{of}: its {what} is {target}, and loading it would run code that is not part of lenet_exp or torch; "
            f"if you trust it, add {f'{target} to trust=' if trust else f'trust={target}'}"
        )
    for key, value in option.items():
        if key not in OWN_KEYS and not all(
            map(_plain, value if isinstance(value, list) else [value])
        ):
            raise UserError(
                f"{of}: the keyword argument {key!r:.40} of its {what} must be a number or a word"
            )


def foreign_class(config: Config) -> str | None:
    """Return the name of a configuration's first foreign class, or None if it has none.

    A class is foreign if it is not in torch or lenet_exp and its module has not been imported.
    """
    for target in (str(option.get(TARGET)) for option in options_of(config).values()):
        if target not in OUR_MODELS | OUR_PARTS | {OURS} and not target.startswith(TORCHS):
            copied = codes(config).get(target)
            if (
                copied not in LOADED_CODE
                if copied is not None
                else target.rpartition(".")[0] not in sys.modules
            ):
                return target
    return None


def is_trusted(target: str, trust: Trust) -> bool:
    """Return whether `trust` contains a class, its module, or a package that contains the module."""
    return any(f"{target}.".startswith(f"{name}.") for name in names(trust))


def names(trust: Trust) -> Sequence[str]:
    """Return the names and digests in `trust`."""
    return trust.split(",") if isinstance(trust, str) else trust or []


def _plain(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) <= LARGEST
    return (
        value is None
        or isinstance(value, bool | float)
        or (isinstance(value, str) and bool(WORD.fullmatch(value)))
    )
