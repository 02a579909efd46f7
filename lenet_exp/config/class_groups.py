"""The config groups whose options name a class (`_target_`) and its keywords."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ClassGroup:
    """Rules for the options of a config group that name classes."""

    base: str
    own: frozenset[str] = frozenset({"_target_", "name"})
    supplied: Mapping[str, str] = field(default_factory=dict)


# Keywords that control how an optimizer's step is executed; lenet_exp selects the fastest that the device supports.
_EXECUTION = ("foreach", "fused", "capturable", "differentiable")

CLASS_GROUPS = {
    "activation": ClassGroup(base="torch.nn.Module", own=frozenset({"_target_", "name", "monotone"})),
    "optimizer": ClassGroup(
        base="torch.optim.Optimizer",
        supplied={"weight_decay": "regularization.weight_decay", **dict.fromkeys(("params", *_EXECUTION), "lenet_exp")},
    ),
}
OWN_KEYS = frozenset[str]().union(*(group.own for group in CLASS_GROUPS.values()))
