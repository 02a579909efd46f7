"""Each command of the pages is typed in a fresh folder, in order, and ends as the page says (rules.py has how)."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from docs import samples as samples_
from lenet_exp.tracking.shipped import shipped_file
from lenet_exp.training.weights import load_weights, save_weights
from tests.commands import ROOT
from tests.documents.pages import ALL, COMMANDS, KINDS, PAGES, commands
from tests.documents.reader import Reader, names
from tests.documents.rules import BROUGHT, RULES, SMALLER, Way, extras_are_there, rule_of

SECONDS_A_COMMAND = 1.5
SWISH = "from torch import nn\n\n\nclass Swish(nn.SiLU):\n    pass\n"


def _typed(page: str) -> int:
    """How many of its commands are typed in its folder."""
    return sum(c.page == page and rule_of(c).way is not Way.elsewhere and not c.is_mistake for c in COMMANDS)


TYPED = [
    pytest.param(page, marks=pytest.mark.slow(seconds=round(_typed(page) * SECONDS_A_COMMAND)))
    for page in PAGES
    if _typed(page) or any(block.kind == "python" for block in ALL[page])
]


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples, and a model with an activation of one's own."""
    folder = tmp_path_factory.mktemp("brought")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        samples_.main()
    weights, metadata = load_weights(shipped_file("mnist"))
    record = json.loads(metadata["record"])
    record["config"]["activation"] = {"_target_": "mine.activations.Swish", "monotone": False}
    save_weights(folder / "samples" / "swish.safetensors", weights, {"record": json.dumps(record)})
    (folder / "samples" / "swish.py").write_text(SWISH)
    return folder / "samples"


@pytest.fixture(scope="session")
def mnist(request: pytest.FixtureRequest) -> str | None:
    """The folder with real MNIST, where there is one."""
    try:
        return str(request.getfixturevalue("real_data"))
    except pytest.skip.Exception:
        return None


@pytest.mark.parametrize("page", TYPED)
def test_what_a_page_says_can_be_typed(page, brought, tmp_path, mnist):
    folder = tmp_path / "fresh"
    folder.mkdir()
    with Reader(folder, brought, mnist) as reader:
        for block in ALL[page]:
            if block.kind == "python":
                reader.execute(block)
            for command in commands(block):
                reader.type(command)
    assert not reader.wrong, "\n".join(["", *reader.wrong])
    if reader.left_out:
        pytest.skip("no MNIST; not typed: " + "; ".join(reader.left_out))


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.is_mistake], ids=lambda command: command.text)
def test_a_mistake_is_answered_as_it_is_shown(main, command):
    program, *words = shlex.split(command.text)
    done = main(*words, program=program.removeprefix("lenet-"))
    assert (done.returncode, done.stderr) == (command.status, f"{command.shown.strip()}\n")


@pytest.mark.parametrize("page", PAGES)
def test_an_extra_is_there_that_a_page_names_anywhere(page):
    extras_are_there((ROOT / page).read_text())


def test_the_pages_have_commands():
    assert len([c for c in COMMANDS if rule_of(c).way is Way.typed]) > 40
    assert any(c.is_mistake for c in COMMANDS)


def test_a_block_is_of_a_kind_that_is_read():
    assert {block.kind for page in PAGES for block in ALL[page]} <= KINDS


def test_every_rule_claims_a_command_and_says_why():
    claimed = {rule_of(command) for command in COMMANDS}
    assert [rule.fits for rule in RULES if rule not in claimed] == []
    assert all(rule.why for rule in RULES)
    texts = [command.text for command in COMMANDS]
    for rule in RULES:
        for written, _ in rule.instead:
            assert any(written in c.text for c in COMMANDS if rule_of(c) is rule), written
    assert [name for name in BROUGHT if not any(names(text, name) for text in texts)] == []
    scripts = "\n".join(b.text for page in PAGES for b in ALL[page] if b.kind == "python")
    assert [large for large in SMALLER if large not in scripts] == []


@pytest.mark.parametrize("rule", [r for r in RULES if r.way is Way.elsewhere], ids=lambda rule: rule.why)
def test_what_is_not_typed_is_tried_elsewhere(rule):
    assert rule.covered
    assert all((ROOT / path).is_file() for path in rule.covered)
    assert not re.search("lenet-(?!exp)", rule.fits), "what is ours is typed"
    for command in COMMANDS:
        if rule_of(command) is rule and rule.check:
            rule.check(command.text)
