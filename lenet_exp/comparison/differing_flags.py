"""Finds the flags by which configurations differ, and prepares their values for display."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from lenet_exp.comparison.group import Group
from lenet_exp.comparison.runs import RECIPE, ComparedRun
from lenet_exp.config.class_groups import CLASS_GROUPS, TARGET, VERSION
from lenet_exp.folders.records import Record


def differing_flags(groups: Sequence[Group], swept: Sequence[str]) -> list[str]:
    """Return the flags by which groups can be told apart, swept flags first.

    For example, let `optimizer` and `optimizer.lr` be swept in four groups:

    | group | optimizer | optimizer.lr | optimizer.momentum | optimizer.betas | augmentation.own |
    | 1     | sgd       | 0.1          | 0.9                |                 |                  |
    | 2     | sgd       | 0.01         | 0.9                |                 |                  |
    | 3     | adam      | 0.01         |                    | [0.9,0.999]     |                  |
    | 4     | adam      | 0.01         |                    | [0.9,0.999]     | flip             |

    1. `optimizer` and `optimizer.lr` have two values. The other flags have one value each, because
       a missing flag has no value.
    2. These two flags have 3 combinations of values for 4 groups, so another flag is needed. The
       flags that some groups lack are tried in order. With `optimizer.momentum` or
       `optimizer.betas`, there are still 3 combinations; with `augmentation.own`, there are 4.

    The result is `optimizer`, `optimizer.lr`, and `augmentation.own`.

    Flags that merely accompany another flag are omitted: keywords with one value per class
    (`_follows_class`), and flags that follow from a swept recipe (`_not_in_recipe`).

    Args:
        groups: the groups, each with other flags.
        swept: names of the swept flags, possibly with a leading `+`.
    """
    swept = [flag.lstrip("+") for flag in swept]
    present = dict.fromkeys(flag for group in groups for flag in group.flags)
    with_swept = _belonging_to(swept, present)
    flags = list(dict.fromkeys([*with_swept, *present]))

    differing = []
    for flag in flags:
        values = {group.flags[flag] for group in groups if flag in group.flags}
        if len(values) > 1 and (flag in swept or not _follows_class(flag, swept, groups)):
            differing.append(flag)

    differing = _with_flags_that_some_lack(differing, flags, groups)
    if RECIPE in differing:
        return _not_in_recipe(differing, with_swept, groups)
    return differing


def _belonging_to(swept: Sequence[str], present: Collection[str]) -> list[str]:
    """Return the swept flags with the flags below them, such as `optimizer.lr` for `optimizer`."""
    found = []
    for swept_flag in swept:
        for flag in present:
            if flag == swept_flag or flag.startswith(f"{swept_flag}."):
                found.append(flag)
    return found


def _with_flags_that_some_lack(
    differing: list[str], flags: Sequence[str], groups: Sequence[Group]
) -> list[str]:
    """Add flags that some groups lack, if groups cannot be told apart without them.

    Args:
        differing: flags with several values, in the order of `flags`.
        flags: all flags of the groups, in the order of the result.
    """
    for flag in flags:
        if _combinations(groups, differing) == len(groups):
            break

        some_lack_flag = any(flag not in group.flags for group in groups)
        if flag in differing or not some_lack_flag:
            continue

        longer = [other for other in flags if other == flag or other in differing]
        if _combinations(groups, longer) > _combinations(groups, differing):
            differing = longer
    return differing


def _not_in_recipe(
    differing: Sequence[str], with_swept: Sequence[str], groups: Sequence[Group]
) -> list[str]:
    """Return the recipe and the flags that do not follow from it.

    These are the flags that were swept, too, and flags with several values for one recipe.

    Args:
        differing: flags that differ between groups, including the recipe.
        with_swept: the swept flags with the flags below them.
    """
    recipes = _combinations(groups, [RECIPE])
    result = []
    for flag in differing:
        was_swept = flag == RECIPE or flag in with_swept
        if was_swept or _combinations(groups, [RECIPE, flag]) > recipes:
            result.append(flag)
    return result


def _follows_class(flag: str, swept: Collection[str], groups: Sequence[Group]) -> bool:
    """Return whether a keyword differs only because swept classes differ.

    For example, `model.units` follows from `model` if it is 10 for every group with `model=a` and
    20 for every group with `model=b`.
    """
    if not _is_keyword_of_class(flag, swept):
        return False

    class_flag = _class_flag(flag)
    values_by_class: dict[str, set[str]] = {}
    for group in groups:
        if flag in group.flags:
            class_name = group.flags.get(class_flag, "")
            values_by_class.setdefault(class_name, set()).add(group.flags[flag])
    return all(len(values) == 1 for values in values_by_class.values())


def _is_keyword_of_class(flag: str, swept: Collection[str]) -> bool:
    """Return whether a flag is a keyword of a class that can differ between groups.

    The class can differ if its flag was swept. The keywords `_target_` and `code`, which hold the
    class itself and its version, can always differ.
    """
    class_flag = _class_flag(flag)
    if "." not in flag or class_flag not in CLASS_GROUPS:
        return False
    key = flag.partition(".")[2]
    return class_flag in swept or key in {TARGET, VERSION}


def _class_flag(flag: str) -> str:
    """Return the flag of the class that a keyword belongs to, such as `model` for `model.units`."""
    if flag == "regularization.dropout_rate":
        return "model"  # The model decides whether there is any dropout.
    return flag.partition(".")[0]


def _combinations(groups: Sequence[Group], flags: Sequence[str]) -> int:
    """Return how many different combinations of values groups have for the given flags."""
    return len({tuple(group.flags.get(flag) for flag in flags) for group in groups})


def with_recipes(groups: Sequence[Group]) -> list[Group]:
    """Return the groups with their recipes added to their flags, if recipes were swept.

    If several recipes give the same configuration, the value is, for example, `fast = default`.
    """
    runs = [run for group in groups for run in group.runs]
    if not all(run.recipe for run in runs):
        return list(groups)

    named = []
    for group in groups:
        recipes = dict.fromkeys(run.recipe for run in group.runs)
        flags = group.flags | {RECIPE: " = ".join(recipes)}
        named.append(replace(group, flags=flags))
    return named


def with_newest_code(groups: Sequence[Group]) -> list[Group]:
    """Return the groups with the newest version of the user's code marked, such as `3f2a (newest)`.

    Nothing is marked if all runs of a class used one version.
    """
    marked = list(groups)
    for class_flag in CLASS_GROUPS:
        flag = f"{class_flag}.{VERSION}"
        newest = _newest_version(marked, flag)
        if newest is None:
            continue

        new_value = {flag: f"{newest} (newest)"}
        for position, group in enumerate(marked):
            if group.flags.get(flag) == newest:
                marked[position] = replace(group, flags=group.flags | new_value)
    return marked


def _newest_version(groups: Sequence[Group], flag: str) -> str | None:
    """Return the version of a class that the latest run used.

    Args:
        flag: the flag of the version.

    Returns:
        None if there are fewer than two versions, or the time is unknown for one of them.
    """
    latest_ms: dict[str, int] = {}
    for group in groups:
        if flag not in group.flags:
            continue
        version = group.flags[flag]
        created_ms = max(_created_ms(run) for run in group.runs)
        latest_ms[version] = max(latest_ms.get(version, 0), created_ms)

    times_are_known = all(latest_ms.values())
    if len(latest_ms) < 2 or not times_are_known:
        return None
    return max(latest_ms, key=lambda version: latest_ms[version])


def _created_ms(run: ComparedRun) -> int:
    """Return the time at which a run started, in milliseconds since 1970; 0 if unknown."""
    return run.provenance.created_ms if isinstance(run.provenance, Record) else 0
