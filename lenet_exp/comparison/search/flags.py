"""The flags that a search varies, read from the plan of its sweep."""

from __future__ import annotations

from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser

from lenet_exp.config.space import Choice, Values, flag_of
from lenet_exp.folders.sweep_plan import SweepPlan
from lenet_exp.package_files import config_groups


@dataclass(frozen=True)
class SearchedFlag:
    """A flag that was searched.

    Attributes:
        choice: whether the flag was searched over listed values rather than a range.
        log: whether a range was searched on a logarithmic scale.
    """

    name: str
    choice: bool
    log: bool


def searched_flags(plan: SweepPlan) -> list[SearchedFlag]:
    """Return the searched flags, as spelled in the sweep's command."""
    groups = set(config_groups())
    values_of_flag: dict[str, Values] = {}
    for override in OverridesParser.create().parse_overrides(plan.overrides):
        if override.is_sweep_override():
            flag = flag_of(override, groups)
            values_of_flag[flag.name] = flag.values

    names = [swept.lstrip("+") for swept in plan.swept]
    return [_searched_flag(name, values_of_flag.get(name)) for name in names]


def _searched_flag(name: str, values: Values | None) -> SearchedFlag:
    """Describe a flag by the values among which the search chose.

    If the values are unknown (None), the flag is described as a choice.
    """
    if values is None or isinstance(values, Choice):
        return SearchedFlag(name, choice=True, log=False)
    return SearchedFlag(name, choice=False, log=values.log)
