"""Sphinx configuration: `sphinx-build -W docs build/docs` builds the site."""

from __future__ import annotations

import re
from importlib.metadata import version as installed

from omegaconf import OmegaConf
from sphinx.application import Sphinx

from lenet_exp.config.compose import composed, composing
from lenet_exp.config.flags import all_flags, range_text, value_of
from lenet_exp.config.params import text

project = "lenet_exp"
version = release = installed("lenet_exp")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"lenet_exp {version}"
html_show_copyright = False
myst_heading_anchors = 3
default_role = "literal"  # docstrings write code in single backticks
autodoc_class_signature = "separated"  # the fields of Config would fill a page
autodoc_member_order = "bysource"
LONGEST_DEFAULT = 48  # characters
FLAGS = "<!-- table of flags: docs/conf.py inserts it -->"


def setup(app: Sphinx) -> None:
    """Register what this project adds to Sphinx."""
    app.connect("source-read", prepare_page)


def prepare_page(_: Sphinx, page: str, source: list[str]) -> None:
    """Insert the table of flags, and link Markdown files outside docs/ as downloads."""
    source[0] = re.sub(r"\]\((\.\./\.\./[^)]+\.md)\)", r"](path:\1)", source[0])
    if page == "reference/flags":
        assert FLAGS in source[0]
        source[0] = source[0].replace(FLAGS, flag_table())


def flag_table() -> str:
    """Return a Markdown table of all flags of lenet-train."""
    with composing():
        values = OmegaConf.to_container(composed([]), resolve=False)
    rows = ["| flag | default | meaning | range |", "| --- | --- | --- | --- |"]
    for flag, _, field in all_flags():
        value = value_of(values, flag)
        # the class and the keywords of a configuration group
        if isinstance(value, dict) and "_target_" in value:
            default = value["name"]
        else:
            default = re.sub(r"\$\{oc\.env:(\w+),(\w+)\}", r"$\1, else \2", text(value))
        if len(default) > LONGEST_DEFAULT:
            default = f"{default[:LONGEST_DEFAULT]}..."
        prose = f"{field.metadata['meaning']} | {range_text(field.metadata['limits'])}"
        rows.append(f"| `{flag}` | `{default}` | " + re.sub(r"([<*_])", r"\\\1", prose) + " |")
    return "\n".join(rows)
