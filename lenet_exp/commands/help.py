"""The help text of lenet-train and lenet-predict: each flag with its default, meaning, and range,
grouped by topic.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from lenet_exp.config.class_groups import OWN_KEYS
from lenet_exp.config.params import shown, text
from lenet_exp.config.schema import OPTIMIZER_LIMITS, all_flags, range_text, value_of
from lenet_exp.files import Json

SECOND_PAGE = {"dataset", "search", "sweep"}  # sections with flags that only `--help-all` lists
LONGEST_DEFAULT = 48  # maximum number of characters in a default value


def help_text(composed: DictConfig, schema: type, *, everything: bool) -> str:
    """Return the text that `--help` or `--help-all` prints.

    Args:
        composed: the configuration, including the user's overrides and the node `hydra`.
        schema: dataclass that defines the configuration.
        everything: whether to also list the flags in the sections of `SECOND_PAGE`.
    """
    hydra = composed.hydra
    node = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    values = cast(dict[str, Json], OmegaConf.to_container(node, resolve=True))
    folders = [
        Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"
    ]
    sections: dict[str, list[str]] = {"": []}
    for flag, _, f in all_flags(schema):
        try:
            value = value_of(values, flag)
        except KeyError:  # removed with ~flag
            continue
        names_class = "." not in flag and isinstance(value, dict)
        section = flag.partition(".")[0] if "." in flag or names_class else ""
        lines = sections.setdefault(section, [])
        if names_class:
            said = _comments(folders, flag, hydra.runtime.choices.get(flag, ""))
            other = f"keyword argument of {value.get('_target_')}"
            limits = OPTIMIZER_LIMITS if flag == "optimizer" else {}
            arguments = {k: v for k, v in value.items() if k not in OWN_KEYS}
            lines += [
                _line(f"{flag}.{k}", v, said.get(k, other), limits.get(k))
                for k, v in arguments.items()
            ]
        elif everything or section not in SECOND_PAGE:
            lines.append(_line(flag, value, f.metadata["meaning"], f.metadata["limits"]))
    for group, choice in hydra.runtime.choices.items():
        if not group.startswith("hydra/"):
            options = sorted(
                {file.stem for folder in folders for file in (folder / group).glob("*.yaml")}
            )
            sections.setdefault(group, []).insert(
                0, _line(group, choice, f"one of: {', '.join(options)}")
            )
    listed = ["\n".join(lines) for lines in sections.values() if lines]
    return "\n\n".join([hydra.help.header, *listed, hydra.help.footer])


def _comments(folders: Sequence[Path], group: str, option: str) -> dict[str, str]:
    """Return the comments on the keyword arguments in an option file, keyed by keyword."""
    for file in (folder / group / f"{option}.yaml" for folder in folders):
        if file.is_file():
            return dict(
                re.findall(r"^(\w+):.*?[ \t]#[ \t]*(\S.*)$", file.read_text("utf-8"), re.MULTILINE)
            )
    return {}


def _line(
    flag: str, value: object, meaning: str, limits: dict[str, float | None] | None = None
) -> str:
    default = shown(value) if isinstance(value, list | dict) else text(value)
    if len(default) > LONGEST_DEFAULT:
        default = f"{default[:LONGEST_DEFAULT]}..."
    bounds = range_text(limits or {})
    return f"  {f'{flag}={default}':<30}  {meaning}" + (f"  [{bounds}]" if bounds else "")
