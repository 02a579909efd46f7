"""The help text of lenet-train and lenet-predict: each flag with its default, meaning, and range,
grouped by topic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from lenet_exp.config.class_groups import OWN_KEYS
from lenet_exp.config.flags import all_flags, range_text, value_of
from lenet_exp.config.params import shown, text
from lenet_exp.config.schema import OPTIMIZER_LIMITS
from lenet_exp.files import Json

SECOND_PAGE = {"dataset", "search", "sweep"}  # sections with flags that only `--help-all` lists
LONGEST_DEFAULT = 48  # maximum number of characters in a default value

# A keyword argument in an option file and the comment in its line: `momentum: 0.9  # of SGD`.
COMMENT = re.compile(r"^(\w+):.*?[ \t]#[ \t]*(\S.*)$", re.MULTILINE)


def help_text(composed: DictConfig, schema: type, *, everything: bool) -> str:
    """Return the text that `--help` or `--help-all` prints.

    Args:
        composed: the configuration, including the user's overrides and the node `hydra`.
        schema: dataclass that defines the configuration.
        everything: whether to also list the flags in the sections of `SECOND_PAGE`.
    """
    hydra = composed.hydra
    own_keys = [str(key) for key in composed if key != "hydra"]
    node = OmegaConf.masked_copy(composed, own_keys)
    values = cast(dict[str, Json], OmegaConf.to_container(node, resolve=True))
    folders: list[Path] = []
    for source in hydra.runtime.config_sources:
        if source.schema == "file":
            folders.append(Path(source.path))

    sections: dict[str, list[str]] = {"": []}
    for flag, _, field in all_flags(schema):
        try:
            value = value_of(values, flag)
        except KeyError:  # removed with ~flag
            continue
        is_class = "." not in flag and isinstance(value, dict)
        section = ""
        if is_class or "." in flag:
            section = flag.partition(".")[0]
        lines = sections.setdefault(section, [])
        if is_class:
            option = hydra.runtime.choices.get(flag, "")
            lines += _argument_lines(flag, value, _comments(folders, flag, option))
        elif everything or section not in SECOND_PAGE:
            lines.append(_line(flag, value, field.metadata["meaning"], field.metadata["limits"]))

    for group, option in hydra.runtime.choices.items():
        if not group.startswith("hydra/"):
            options = ", ".join(_options(folders, group))
            line = _line(group, option, f"one of: {options}")
            sections.setdefault(group, []).insert(0, line)

    section_texts = ["\n".join(lines) for lines in sections.values() if lines]
    return "\n\n".join([hydra.help.header, *section_texts, hydra.help.footer])


def _argument_lines(
    flag: str, option: Mapping[str, Json], comments: Mapping[str, str]
) -> list[str]:
    """Return a line for each keyword argument of a class that an option specifies.

    Args:
        flag: the config group of the option.
        option: the content of the option file.
        comments: comments in the option file, keyed by keyword.
    """
    default_meaning = f"keyword argument of {option.get('_target_')}"
    limits = OPTIMIZER_LIMITS if flag == "optimizer" else {}
    lines: list[str] = []
    for keyword, value in option.items():
        if keyword not in OWN_KEYS:
            meaning = comments.get(keyword, default_meaning)
            lines.append(_line(f"{flag}.{keyword}", value, meaning, limits.get(keyword)))
    return lines


def _options(folders: Sequence[Path], group: str) -> list[str]:
    """Return the names of the options of a config group, sorted."""
    files = (file for folder in folders for file in (folder / group).glob("*.yaml"))
    return sorted({file.stem for file in files})


def _comments(folders: Sequence[Path], group: str, option: str) -> dict[str, str]:
    """Return the comments on the keyword arguments in an option file, keyed by keyword."""
    for folder in folders:
        file = folder / group / f"{option}.yaml"
        if file.is_file():
            return dict(COMMENT.findall(file.read_text("utf-8")))
    return {}


def _line(
    flag: str, value: object, meaning: str, limits: dict[str, float | None] | None = None
) -> str:
    default = shown(value) if isinstance(value, list | dict) else text(value)
    if len(default) > LONGEST_DEFAULT:
        default = f"{default[:LONGEST_DEFAULT]}..."
    line = f"  {f'{flag}={default}':<30}  {meaning}"
    bounds = range_text(limits or {})
    return f"{line}  [{bounds}]" if bounds else line
