"""The tables in README.md and docs are correct, on whichever page they are."""

from __future__ import annotations

import functools
import re
import tomllib
from typing import Any

import pytest
import yaml

from benchmarks.manifest import against_table, manifest, pages
from benchmarks.recipes import FRONTIER, RECIPES
from benchmarks.results import fast_words
from lenet_exp.config.typed_json import to_plain
from lenet_exp.package_files import CONF_DIR
from tests.tools.commands import ROOT
from tests.tools.configs import compose

TEXT = pages()
ROWS = re.findall(r"^\| `--(\w+) .*?` \| `(.*?)`.*? \| (.*?) \|$", TEXT, re.MULTILINE)


@pytest.mark.parametrize(("flag", "override", "default"), ROWS)
def test_row_of_flag_table_is_correct(flag, override, default):
    name, _, value = override.partition("=")

    assert name.rpartition(".")[2] == flag
    assert given(name, override) in (value, _number(value))
    if "differs" not in default:
        assert given(name) in (default, _number(default))


def given(name: str, *overrides: str) -> object:
    """Return the value of a flag in a composed configuration."""
    node = composed(*overrides)
    for part in name.split("."):
        node = node[part]
    return node["name"] if isinstance(node, dict) else node


@functools.cache
def composed(*overrides: str) -> dict[str, Any]:
    return to_plain(compose(list(overrides)))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def test_flag_table_has_every_flag_of_the_original_script():
    ancestor = (
        "dataset activation dropout_rate optimizer lr momentum weight_decay num_epoch batch_size "
        "num_iter_echo"
    )
    assert {flag for flag, _, _ in ROWS} == {*ancestor.split(), "data_root", "model_path"}


@pytest.mark.parametrize("group", sorted(p.name for p in CONF_DIR.iterdir() if p.is_dir()))
def test_every_option_is_documented(group):
    """The options follow the group's name, in parentheses or in the next cell of a table."""
    listed = re.findall(rf"`{group}` (?:\(([^)]*)\)|\| ([^|]*) \|)", TEXT)
    found = [sorted(re.split(r",\s+", (a or b).replace("`", ""))) for a, b in listed]
    assert sorted(f.stem for f in (CONF_DIR / group).glob("*.yaml")) in found


def test_result_tables_equal_measured_tables():
    """`benchmarks.results --output benchmarks/results.md`, `benchmarks.frontier`,
    `benchmarks.peeking` write them.
    """
    for name in ("results.md", "frontier.md", "peeking.md"):
        assert (ROOT / "benchmarks" / name).read_text() in TEXT


def test_results_agree_with_runs_in_manifest():
    assert against_table(manifest(), TEXT) == []
    assert fast_words(manifest()) in TEXT
    (row,) = re.findall(r"^\| MNIST \| `mnist_fast` .*$", TEXT, re.MULTILINE)
    assert len(against_table(manifest(), TEXT.replace(row, row.replace(" ± ", "9 ± ")))) == 1
    measured = [*RECIPES, *(row for row in FRONTIER if row.key in manifest())]
    assert len(against_table({}, TEXT)) == len(measured)


def test_changelog_and_citation_name_the_current_release():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    latest, date = re.search(
        r"^## ([\d.]+) - ([\d-]+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    ).groups()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert latest == citation["version"] == version
    assert date == str(citation["date-released"])
