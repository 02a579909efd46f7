"""What the README tells people to type is right, and what it says they will see is what they see."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from benchmarks.manifest import against_readme, manifest
from lenet_exp.api import compose
from lenet_exp.config.conf_dir import CONF_DIR
from lenet_exp.config.plain import plain
from tests.commands import ROOT

README = (ROOT / "README.md").read_text()
PAGES = "\n".join([README, *(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))])
SHELL = "\n".join(re.findall(r"```bash\n(.*?)```", PAGES, re.DOTALL))
COMMANDS = re.findall(r"lenet-train\b[^\n#]*", SHELL)
MISTAKES = re.findall(r"^\$ lenet-train (.*)\n(lenet-train: .*)$", PAGES, re.MULTILINE)
ROWS = re.findall(r"^\| `--(\w+) .*?` \| `(.*?)`.*? \| (.*?) \|$", PAGES, re.MULTILINE)


def jobs(overrides: list[str]) -> list[list[str]]:
    """The jobs of a grid, as the sweeper spans it."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    (spanned,) = BasicSweeper.split_arguments(parsed, None)
    return [list(job) for job in spanned]


SEARCHES = [c.strip() for c in COMMANDS if "sweeper=search" in c]


@pytest.mark.parametrize("command", SEARCHES)
def test_a_search_of_the_readme_is_one(main, command):
    done = main(*shlex.split(command)[1:], "dataset=digits", "sweep.dry_run=true")
    assert (done.returncode, done.stderr) == (0, "")
    assert "trial" in done.stdout


@pytest.mark.parametrize(
    "command", [c.strip() for c in COMMANDS if "--" not in c and "-sc" not in c and c.strip() not in SEARCHES]
)
def test_a_command_of_the_readme_is_a_right_configuration(command):
    words = shlex.split(command)[1:]
    overrides = [word for word in words if word != "-m"]
    grid = jobs(overrides)
    assert (len(grid) > 1) == ("-m" in words and not any(word.startswith("sweep.resume=") for word in words))
    for job in (grid[0], grid[-1]):
        assert compose(job).num_epoch >= 1


def test_the_readme_has_commands():
    assert len(COMMANDS) > 5
    assert any(" -m " in command for command in COMMANDS)


def test_the_option_of_ones_own_is_found_as_typed(main, workdir):
    make = "\n".join(line for line in SHELL.splitlines() if line.startswith(("mkdir", "printf")))
    subprocess.run(["bash", "-ec", make], cwd=workdir, check=True)
    (command,) = (c for c in COMMANDS if "--config-dir" in c)
    ended = main(*shlex.split(command)[1:], "--cfg", "job")
    assert ended.returncode == 0, ended.stderr
    assert "_target_: torch.nn.GELU" in ended.stdout


@pytest.mark.parametrize(("arguments", "line"), MISTAKES)
def test_a_mistake_is_answered_as_the_readme_shows(main, arguments, line):
    ended = main(*shlex.split(arguments))
    assert (ended.returncode, ended.stderr) == (2, f"{line}\n")


def test_the_readme_shows_mistakes():
    assert MISTAKES


@pytest.mark.parametrize(("flag", "override", "default"), ROWS)
def test_a_row_of_the_flag_table_is_true(flag, override, default):
    name, _, value = override.partition("=")

    def given(*overrides: str) -> object:
        node = plain(compose(list(overrides)))
        for part in name.split("."):
            node = node[part]
        return node["name"] if isinstance(node, dict) else node

    assert name.rpartition(".")[2] == flag
    assert given(override) in (value, _number(value))
    if "differs" not in default:
        assert given() in (default, _number(default))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def test_the_flag_table_has_every_flag_of_the_ancestor():
    ancestor = "dataset activation dropout_rate optimizer lr momentum weight_decay num_epoch batch_size num_iter_echo"
    assert {flag for flag, _, _ in ROWS} == {*ancestor.split(), "data_root", "model_path"}


@pytest.mark.parametrize("group", sorted(p.name for p in CONF_DIR.iterdir() if p.is_dir()))
def test_every_option_is_named(group):
    (listed,) = re.findall(rf"`{group}` \((.*?)\)[,.]", PAGES.partition("# Flags")[2], re.DOTALL)
    assert sorted(re.split(r",\s+", listed)) == sorted(f.stem for f in (CONF_DIR / group).glob("*.yaml"))


def test_the_results_are_those_that_were_measured():
    """`python -m benchmarks.results --output benchmarks/results.md` writes them; nobody types numbers by hand."""
    assert (ROOT / "benchmarks" / "results.md").read_text() in README


def test_the_results_are_those_of_the_runs_that_the_manifest_names():
    assert against_readme(manifest(), README) == []
    (row,) = re.findall(r"^\| MNIST \| `mnist_fast` .*$", README, re.MULTILINE)
    assert len(against_readme(manifest(), README.replace(row, row.replace("99.08", "99.18")))) == 1
    assert len(against_readme({}, README)) == 2  # what is not marked as without runs
