"""The commands of each page run in order in a new folder and end as the page states (see
rules.py).
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.documents.pages import ALL, COMMANDS, FRESH, KINDS, PAGES, README, TUTORIAL, commands
from tests.documents.reader import Reader
from tests.documents.rules import RULES, SMALLER, Way, extras_are_there, rule_of
from tests.tools.commands import ROOT
from tests.tools.records import changed_model

SELDOM = [
    *(f"docs/how-to/{name}.md" for name in ("clusters", "disk", "mlflow", "server")),
    "docs/reference/python.md",
]
OWN = "docs/how-to/own-network.md"
OFTEN = [page for page in PAGES if page not in (*FRESH, *SELDOM, OWN)]


def bring(folder: Path) -> None:
    """Write a model with a user's own activation, and the module that defines it, for the
    reader.
    """
    own = {"activation": {"_target_": "mine.activations.Swish", "monotone": False}}
    changed_model(folder / "given.safetensors", lambda record: record["config"].update(own))
    (folder / "mine").mkdir()
    (folder / "mine" / "activations.py").write_text(
        "from torch import nn\n\n\nclass Swish(nn.SiLU):\n    pass\n"
    )


@pytest.mark.parametrize(
    "pages",
    [
        pytest.param([README], marks=pytest.mark.slow(seconds=40), id="README.md"),
        pytest.param([OWN], marks=pytest.mark.slow(seconds=25), id="own network"),
        pytest.param([TUTORIAL], marks=pytest.mark.by_hand, id="tutorial"),
        pytest.param(OFTEN, marks=pytest.mark.by_hand, id="pages of training and comparison"),
        pytest.param(SELDOM, marks=pytest.mark.by_hand, id="pages of servers and clusters"),
    ],
)
def test_commands_of_page_end_as_documented(pages, tmp_path, empty_store, real_data):
    folder = tmp_path / "fresh"
    folder.mkdir()
    if pages[0] not in FRESH:  # their readers have run commands before
        shutil.copytree(empty_store, folder / "outputs")
        bring(folder)
    wrong = []
    for page in pages:
        with Reader(folder, real_data) as reader:
            for block in ALL[page]:
                if block.kind == "python" or block.file is not None:
                    reader.execute(block)
                for command in commands(block):
                    reader.type(command)
        wrong += reader.wrong
    assert not wrong, "\n".join(["", *wrong])


@pytest.mark.parametrize(
    "command",
    [command for command in COMMANDS if command.is_mistake],
    ids=lambda command: command.text,
)
def test_printed_error_equals_shown_error(main, command):
    program, *words = shlex.split(command.text)
    done = main(*words, program=program.removeprefix("lenet-"))
    assert done.returncode == command.status
    assert done.stderr == f"{command.shown.strip()}\n"


@pytest.mark.parametrize("page", PAGES)
def test_page_has_known_kinds_of_blocks_and_existing_extras(page):
    extras_are_there((ROOT / page).read_text())
    assert {block.kind for block in ALL[page]} <= KINDS


def test_every_lenet_command_on_pages_is_found():
    for page in PAGES:
        lines_of_commands = {command.line for command in COMMANDS if command.page == page}
        lenet_lines = set()
        for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
            if re.match(r"(\$ | {4})?lenet-\w+( |$)", line):
                lenet_lines.add(number)
        assert lenet_lines <= lines_of_commands


def test_every_rule_is_used_and_excluded_commands_are_covered():
    assert {rule_of(command) for command in COMMANDS} >= set(RULES)

    scripts = ""
    for page in PAGES:
        for block in ALL[page]:
            if block.kind == "python":
                scripts += f"{block.text}\n"
    assert [large for large in SMALLER if large not in scripts] == []

    for rule in RULES:
        claimed = [command for command in COMMANDS if rule_of(command) is rule]
        assert rule.why
        for written, _ in rule.instead:
            assert any(written in command.text for command in claimed)
        if rule.way is Way.elsewhere:
            assert not re.search("lenet-(?!exp)", rule.fits), "commands of lenet_exp must run"
            assert rule.covered
            assert all((ROOT / path).is_file() for path in rule.covered)
            if rule.check is not None:
                for command in claimed:
                    rule.check(command.text)
