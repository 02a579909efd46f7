"""The config groups whose options specify a class (`_target_`) and its keyword arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ClassGroup:
    """Rules for a config group whose options specify classes.

    Attributes:
        base: dotted path of the required base class.
        own: keys that describe the option and are not passed to its class.
        supplied: keyword arguments that an option must not set, each with the flag that sets it instead.
        neutral: dotted path of the class that, with its default arguments, results in the same run as omitting the
            group; None if there is no such class.
    """

    base: str
    own: frozenset[str] = frozenset({"_target_", "name", "_code_"})
    supplied: Mapping[str, str] = field(default_factory=dict)
    neutral: str | None = None


CODE = "_code"  # suffix of the names, such as `model_code`, under which records store digests of the user's own code

# Arguments that control how an optimizer's step is executed. lenet_exp sets them to the fastest values for the device.
_EXECUTION = ("foreach", "fused", "capturable", "differentiable")

_IMAGES = dict.fromkeys(("in_channels", "num_classes", "image_size"), "dataset")

CLASS_GROUPS = {
    "model": ClassGroup(
        base="torch.nn.Module",
        supplied=_IMAGES | {"activation": "activation", "dropout_rate": "regularization.dropout_rate"},
        neutral="lenet_exp.training.lenet5.LeNet5",
    ),
    "activation": ClassGroup(base="torch.nn.Module", own=frozenset({"_target_", "name", "_code_", "monotone"})),
    "optimizer": ClassGroup(
        base="torch.optim.Optimizer",
        supplied={"weight_decay": "regularization.weight_decay", **dict.fromkeys(("params", *_EXECUTION), "lenet_exp")},
    ),
}
VERSION = "code"  # last part of the params with the short digest of own code, such as `model.code`
TARGET = "_target_"  # key of an option's class
CODE_KEY = "_code_"  # key of the identity of the class's code (see `own_code`), which jobs and records contain
OWN_KEYS = frozenset[str]().union(*(group.own for group in CLASS_GROUPS.values()))


def is_own(target: str) -> bool:
    """Return whether the class at a dotted path is the user's own, not one of torch or lenet_exp."""
    return not f"{target}.".startswith(("torch.", "lenet_exp."))
