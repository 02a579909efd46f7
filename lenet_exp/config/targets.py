"""Lookup of the classes that option files specify as `_target_` and checks of their keyword
arguments.

To add an activation or an optimizer, add a YAML file with `_target_`, keyword arguments, and, for
an activation, `monotone`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any, cast

from lenet_exp.addresses import frozen_uri
from lenet_exp.config.class_groups import CLASS_GROUPS, CODE_KEY, is_own, option_name, options_of
from lenet_exp.config.explain import sweep_hint
from lenet_exp.config.own_code import (
    check_folder_was_searched,
    identity_of,
    import_class_module,
    without_package,
)
from lenet_exp.config.schema import Config, Option, with_value, within
from lenet_exp.errors import ConfigError, did_you_mean, first_line
from lenet_exp.stopping import raise_stop


def find_class(target: str, base: type, code: str = "") -> type:
    """Return the class at a dotted path or, if `base` is `object`, the class or function.

    Args:
        code: identity of the code of the user's own class; see `own_code.identity_of`.

    Raises:
        ConfigError: the class cannot be imported, or is not a subclass of `base`.
    """
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_class_module(target, code), name)
    except BaseException as e:  # a user's module can raise any exception
        raise_stop(e)
        missing = (
            isinstance(e, ModuleNotFoundError)
            and e.name is not None
            and f"{module}.".startswith(f"{e.name}.")
        )
        if missing:
            check_folder_was_searched(target)
        hint = (
            "; run the command in the folder that contains it and conf, or set PYTHONPATH"
            if missing
            else ""
        )
        raise ConfigError(
            f"_target_={target}: cannot be imported ({without_package(first_line(e))}){hint}"
        ) from e
    if base is object and not callable(found):
        raise ConfigError(f"_target_={target}: must be a function or a class")
    if base is not object and not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(
            f"_target_={target}: must be a subclass of {base.__module__}.{base.__qualname__}"
        )
    return cast(type, found)


def keywords(group: str, option: Option) -> Option:
    """Check and return the arguments that an option passes to its class, except `momentum` if the
    class lacks it.

    Args:
        group: name of the option's config group.
        option: content of the option file.

    Raises:
        ConfigError: `_target_` is missing, the class does not accept an argument, or a value has
            the wrong type.
    """
    cls = option_class(group, option)
    accepted = inspect.signature(cls).parameters
    own, supplied = CLASS_GROUPS[group].own, CLASS_GROUPS[group].supplied
    found: Option = {}
    for key, value in option.items():
        if key in own:
            continue
        if group == "optimizer" and key == "momentum" and key not in accepted:
            _checked("optimizer.momentum", value, 0.0)
            continue
        if key in supplied:
            raise ConfigError(
                f"{group}.{key}={value}: must not be set here; it is set by {supplied[key]}"
            )
        if key not in accepted:
            known = ", ".join(k for k in accepted if k not in supplied)
            there = (
                f"; expected one of: {known}"
                if known
                else "; the class accepts no keyword arguments"
            )
            why = (
                f"unknown keyword argument of {cls.__name__}{did_you_mean(key, accepted) or there}"
            )
            raise ConfigError(f"{group}.{key}={value}: {why}")
        found[key] = _checked(f"{group}.{key}", value, accepted[key].default)
    return found


def option_class(group: str, option: Option) -> type:
    """Return the class (or, if the group has no base class, perhaps the function) that an option's
    `_target_` names.

    Raises:
        ConfigError: `_target_` is missing or does not specify a subclass of the group's base class.
    """
    target = option.get("_target_")
    if not isinstance(target, str):
        raise ConfigError(
            f"{group}: its option file must set _target_ to the dotted path of a class"
        )
    module, _, name = (CLASS_GROUPS[group].base or "builtins.object").rpartition(".")
    code = str(option.get(CODE_KEY) or (identity_of(target) if is_own(target) else ""))
    return find_class(target, getattr(import_module(module), name), code)


def instance(group: str, option: Option) -> Callable[..., Any]:
    """Return an instance of an option's class, or the option's function with its keyword arguments."""
    target, given = option_class(group, option), keywords(group, option)
    return cast(
        Callable[..., Any],
        target(**given) if isinstance(target, type) else partial(target, **given),
    )


def canonical_keywords(group: str, option: Option) -> Option:
    """Return an option's arguments that differ from the defaults of its class, with all numbers as
    floats.

    Only these arguments can change the result.
    """
    accepted = inspect.signature(option_class(group, option)).parameters
    given = {key: _canonical(value) for key, value in keywords(group, option).items()}
    return {
        key: value for key, value in given.items() if value != _canonical(accepted[key].default)
    }


def accepted_arguments(model: Option) -> set[str]:
    """Return which of the arguments `activation` and `dropout_rate` a model's class accepts."""
    accepted = inspect.signature(option_class("model", model)).parameters
    return {"activation", "dropout_rate"} & accepted.keys()


def canonical_config(config: Config, *, imports: bool = True) -> Config:
    """Return the effective form of a configuration, for records and comparisons.

    The effective form omits passwords and values without effect, such as `momentum` for Adam or an
    activation that the model does not accept.

    Args:
        imports: whether to import classes to look up the arguments that they accept; if false, all
            arguments are kept.
    """
    for group, option in options_of(config).items():
        given = keywords(group, option) if imports else option
        used = {k: v for k, v in option.items() if k in given or k in CLASS_GROUPS[group].own}
        if (
            imports and group == "model"
        ):  # convert sizes as their class does, because 1 and 1.0 are the same width
            used |= {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}
        config = with_value(config, group, {"name": option_name(option)} | used)
    if imports and "activation" not in accepted_arguments(config.model):
        config = replace(config, activation={})
    if imports and "dropout_rate" not in accepted_arguments(config.model):
        config = with_value(config, "regularization.dropout_rate", 0.0)
    return replace(config, tracking=replace(config.tracking, uri=frozen_uri(config.tracking.uri)))


def _canonical(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | list | tuple):
        return value
    return float(value) if isinstance(value, int | float) else [_canonical(v) for v in value]


def _checked(flag: str, value: Any, default: Any) -> Any:
    """Return a value, converted to the type of the argument's default if the default determines the
    type.

    Raises:
        ConfigError: the value cannot be converted.
    """
    for number in value if isinstance(value, list | tuple) else [value]:
        if isinstance(number, int | float) and not within(number, {}):
            raise ConfigError(f"{flag}={value}: must be a finite number")
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ConfigError(f"{flag}={value}: must be true or false")
    elif isinstance(default, int | float):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{flag}={value}: must be a number{sweep_hint(flag, value, 'float')}")
        return value if isinstance(default, int) and isinstance(value, int) else float(value)
    elif isinstance(default, tuple):
        numbers = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else []
        sizes = flag.startswith("model.") and all(
            isinstance(d, int) for d in default
        )  # the number of sizes can differ
        right = [
            isinstance(v, int if sizes else int | float) and not isinstance(v, bool)
            for v in numbers
        ]
        if not (right and all(right)) or not (sizes or len(numbers) == len(default)):
            wanted = "integers" if sizes else f"{len(default)} numbers"
            raise ConfigError(
                f"{flag}={value}: must be {wanted}, such as [{', '.join(map(str, default))}]"
            )
        if sizes:
            return tuple(numbers)
        pairs = zip(numbers, default, strict=True)
        return tuple(v if isinstance(v, int) and isinstance(d, int) else float(v) for v, d in pairs)
    return value
