"""Lookup of the classes that option files specify as `_target_`, and checks of their arguments.

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
from lenet_exp.config.class_groups import (
    CLASS_GROUPS,
    CODE_KEY,
    TARGET,
    is_own,
    option_name,
    options_of,
)
from lenet_exp.config.explain import sweep_hint
from lenet_exp.config.flags import with_value, within
from lenet_exp.config.own_code import (
    check_folder_was_searched,
    identity_of,
    import_class_module,
    without_package,
)
from lenet_exp.config.schema import Config, Option
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
        cls = getattr(import_class_module(target, code), name)
    except BaseException as e:  # a user's module can raise any exception
        raise_stop(e)
        hint = ""
        if _is_not_found(e, module):
            check_folder_was_searched(target)
            hint = "; run the command in the folder that contains it and conf, or set PYTHONPATH"
        problem = without_package(first_line(e))
        raise ConfigError(f"_target_={target}: cannot be imported ({problem}){hint}") from e

    if base is object:
        if not callable(cls):
            raise ConfigError(f"_target_={target}: must be a function or a class")
    elif not isinstance(cls, type) or not issubclass(cls, base):
        raise ConfigError(
            f"_target_={target}: must be a subclass of {base.__module__}.{base.__qualname__}"
        )
    return cast(type, cls)


def _is_not_found(error: BaseException, module: str) -> bool:
    """Return whether a module or a package that contains it was not found.

    The result is False if the module was found and imports another module that was not found.
    """
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return False
    return f"{module}.".startswith(f"{error.name}.")


def keywords(group: str, option: Option) -> Option:
    """Check and return the arguments that an option passes to its class.

    `momentum` of an optimizer is checked, but omitted if the class lacks it.

    Args:
        group: name of the option's config group.
        option: content of the option file.

    Raises:
        ConfigError: `_target_` is missing, the class does not accept an argument, or a value has
            the wrong type.
    """
    cls = option_class(group, option)
    accepted = inspect.signature(cls).parameters
    supplied = CLASS_GROUPS[group].supplied

    arguments: Option = {}
    for key, value in option.items():
        if key in CLASS_GROUPS[group].own:
            continue
        flag = f"{group}.{key}"
        if flag == "optimizer.momentum" and key not in accepted:
            _checked(flag, value, 0.0)
            continue
        if key in supplied:
            raise ConfigError(f"{flag}={value}: must not be set here; it is set by {supplied[key]}")
        if key not in accepted:
            unsupplied = [name for name in accepted if name not in supplied]
            hint = did_you_mean(key, accepted) or _expected_one_of(unsupplied)
            problem = f"unknown keyword argument of {cls.__name__}{hint}"
            raise ConfigError(f"{flag}={value}: {problem}")
        arguments[key] = _checked(flag, value, accepted[key].default)
    return arguments


def _expected_one_of(arguments: list[str]) -> str:
    if not arguments:
        return "; the class accepts no keyword arguments"
    return f"; expected one of: {', '.join(arguments)}"


def option_class(group: str, option: Option) -> type:
    """Return the class that an option's `_target_` names.

    If the group has no base class, the result can also be a function.

    Raises:
        ConfigError: `_target_` is missing or does not specify a subclass of the group's base class.
    """
    target = option.get(TARGET)
    if not isinstance(target, str):
        raise ConfigError(
            f"{group}: its option file must set _target_ to the dotted path of a class"
        )

    base_path = CLASS_GROUPS[group].base or "builtins.object"
    module, _, name = base_path.rpartition(".")
    base = getattr(import_module(module), name)

    code = str(option.get(CODE_KEY) or "")
    if not code and is_own(target):
        code = identity_of(target)
    return find_class(target, base, code)


def instance(group: str, option: Option) -> Callable[..., Any]:
    """Return an instance of an option's class, or the option's function with its arguments."""
    target = option_class(group, option)
    arguments = keywords(group, option)
    if isinstance(target, type):
        return cast(Callable[..., Any], target(**arguments))
    return partial(target, **arguments)


def canonical_keywords(group: str, option: Option) -> Option:
    """Return an option's arguments that differ from the defaults of its class.

    Only these arguments can change the result. All numbers are converted to floats.
    """
    accepted = inspect.signature(option_class(group, option)).parameters
    canonical = {}
    for key, value in keywords(group, option).items():
        canonical_value = _canonical(value)
        if canonical_value != _canonical(accepted[key].default):
            canonical[key] = canonical_value
    return canonical


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
        name = {"name": option_name(option)}
        effective = _effective_option(group, option) if imports else option
        config = with_value(config, group, name | effective)

    if imports:
        accepted = accepted_arguments(config.model)
        if "activation" not in accepted:
            config = replace(config, activation={})
        if "dropout_rate" not in accepted:
            config = with_value(config, "regularization.dropout_rate", 0.0)
    tracking = replace(config.tracking, uri=frozen_uri(config.tracking.uri))
    return replace(config, tracking=tracking)


def _effective_option(group: str, option: Option) -> Option:
    """Return an option without the arguments that its class does not accept."""
    arguments = keywords(group, option)
    effective: Option = {}
    for key, value in option.items():
        if key in arguments or key in CLASS_GROUPS[group].own:
            effective[key] = value

    # Convert sizes as the model's class does, because 1 and 1.0 are the same width.
    if group == "model":
        for key, value in arguments.items():
            effective[key] = list(value) if isinstance(value, tuple) else value
    return effective


def _canonical(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return value


def _checked(flag: str, value: Any, default: Any) -> Any:
    """Return a value, converted to the type of the argument's default if that determines the type.

    Raises:
        ConfigError: the value cannot be converted.
    """
    items = value if isinstance(value, list | tuple) else [value]
    for item in items:
        if isinstance(item, int | float) and not within(item, {}):
            raise ConfigError(f"{flag}={value}: must be a finite number")

    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ConfigError(f"{flag}={value}: must be true or false")
        return value
    if isinstance(default, int | float):
        if not _is_number(value):
            hint = sweep_hint(flag, value, "float")
            raise ConfigError(f"{flag}={value}: must be a number{hint}")
        return _as_default(value, default)
    if isinstance(default, tuple):
        return _checked_tuple(flag, value, default)
    return value


def _checked_tuple(flag: str, value: Any, default: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a value as a tuple: the sizes of a model, or as many numbers as in the default.

    The number of sizes of a model can differ from that in the default.
    """
    has_integer_default = all(isinstance(number, int) for number in default)
    are_sizes = flag.startswith("model.") and has_integer_default
    numbers = []
    if isinstance(value, Iterable) and not isinstance(value, str):
        numbers = list(value)

    if are_sizes:
        expected = "integers"
        is_valid = all(map(_is_integer, numbers))
    else:
        expected = f"{len(default)} numbers"
        is_valid = all(map(_is_number, numbers)) and len(numbers) == len(default)
    if not numbers or not is_valid:
        example = ", ".join(map(str, default))
        raise ConfigError(f"{flag}={value}: must be {expected}, such as [{example}]")

    if are_sizes:
        return tuple(numbers)
    return tuple(map(_as_default, numbers, default))


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_default(number: float, default: float) -> float:
    """Return a number as a float, or unchanged if it and the default are integers."""
    if isinstance(number, int) and isinstance(default, int):
        return number
    return float(number)
