"""The flags whose values specify a class or function (`_target_`) and its keyword arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lenet_exp.config.flags import value_of
from lenet_exp.config.schema import Config, Option


@dataclass(frozen=True)
class ClassGroup:
    """Rules for a flag whose values specify classes.

    Attributes:
        base: dotted path of the required base class; empty if a function or the instances of a
            class are called.
        own: keys that describe the option and are not passed to its class.
        supplied: keyword arguments that an option must not set, each with the flag that sets it
            instead.
        neutral: dotted path of the class that, with its default arguments, results in the same run
            as omitting the group; None if there is no such class.
    """

    base: str = ""
    own: frozenset[str] = frozenset({"_target_", "name", "_code_"})
    supplied: Mapping[str, str] = field(default_factory=dict)
    neutral: str | None = None


# Arguments that control how an optimizer's step is executed. lenet_exp sets them to the fastest
# values for the device.
_EXECUTION_ARGUMENTS = ("foreach", "fused", "capturable", "differentiable")

_IMAGE_ARGUMENTS = dict.fromkeys(("in_channels", "num_classes", "image_size"), "dataset")

CLASS_GROUPS = {
    "model": ClassGroup(
        base="torch.nn.Module",
        supplied={
            **_IMAGE_ARGUMENTS,
            "activation": "activation",
            "dropout_rate": "regularization.dropout_rate",
        },
        neutral="lenet_exp.training.lenet5.LeNet5",
    ),
    "activation": ClassGroup(
        base="torch.nn.Module", own=frozenset({"_target_", "name", "_code_", "monotone"})
    ),
    "optimizer": ClassGroup(
        base="torch.optim.Optimizer",
        supplied={
            "weight_decay": "regularization.weight_decay",
            **dict.fromkeys(("params", *_EXECUTION_ARGUMENTS), "lenet_exp"),
        },
    ),
    "loss": ClassGroup(
        base="torch.nn.Module",
        supplied={"label_smoothing": "training.label_smoothing", "class_counts": "dataset"},
        neutral="lenet_exp.training.losses.CrossEntropy",
    ),
    "metric": ClassGroup(
        own=frozenset({"_target_", "name", "_code_", "direction", "percent"}),
        supplied=dict.fromkeys(("labels", "logits"), "lenet_exp"),
        neutral="lenet_exp.training.metrics.accuracy",
    ),
    "schedule.own": ClassGroup(supplied=dict.fromkeys(("step", "steps"), "lenet_exp")),
    "augmentation.own": ClassGroup(supplied=dict.fromkeys(("images", "generator"), "lenet_exp")),
}
# Last part of the params with the short digest of own code, such as `model.code`.
VERSION = "code"
# Key of an option's class.
TARGET = "_target_"
# Key of the identity of the class's code (see `own_code`), which jobs and records contain.
CODE_KEY = "_code_"
OWN_KEYS = CLASS_GROUPS["activation"].own


def options_of(config: Config, groups: Iterable[str] = CLASS_GROUPS) -> dict[str, Option]:
    """Return the options of a configuration that specify classes.

    They are keyed by flag, such as `model` or `schedule.own`.

    Flags without a class are omitted, such as the activation of a model that accepts none.
    """
    options = {}
    for group in groups:
        option = value_of(config, group)
        if isinstance(option, dict) and option:
            options[group] = option
    return options


def option_name(option: Option) -> str:
    """Return the name of an option; by default, this is the name of its class in lowercase."""
    class_name = str(option.get(TARGET)).rpartition(".")[2]
    return str(option.get("name") or class_name.lower())


def is_own(target: str) -> bool:
    """Return whether the class at a path is the user's own, not one of torch or lenet_exp."""
    return not f"{target}.".startswith(("torch.", "lenet_exp."))
