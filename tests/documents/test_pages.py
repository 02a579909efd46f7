"""Commands are found wherever a page has them, and taken as bash takes them."""

from __future__ import annotations

import pytest

from tests.documents.pages import Block, Command, commands, without_comment


@pytest.mark.parametrize(
    ("line", "text", "comment"),
    [
        ("lenet-train # all", "lenet-train", "all"),
        ("a 'b # c' \"# d\"  # e # f", "a 'b # c' \"# d\"", "e # f"),
        ("a b#c", "a b#c", ""),
        ("# alone", "", "alone"),
    ],
)
def test_a_comment_begins_where_it_does_for_bash(line, text, comment):
    assert without_comment(line) == (text, comment)


def test_a_bash_block_is_typed_line_by_line():
    block = Block(
        "p.md", 7, "bash", "cd x && lenet-train  # status 1: diverges\n\n# said\nlenet-train -m \\\n  seed=0,1\n"
    )
    assert commands(block) == [
        Command("p.md", 7, "cd x", "status 1: diverges"),
        Command("p.md", 7, "lenet-train", "status 1: diverges"),
        Command("p.md", 10, "lenet-train -m seed=0,1"),
    ]
    assert [c.status for c in commands(block)] == [1, 1, 0]


def test_of_a_text_block_what_follows_a_dollar_is_typed():
    block = Block("p.md", 1, "text", "$ lenet-train a\nlenet-train: a: no such flag\n$ lenet-compare\n 1  relu\n ...")
    refused, answered = commands(block)
    assert (refused.text, refused.is_mistake, refused.status) == ("lenet-train a", True, 2)
    assert (answered.line, answered.shown, answered.is_mistake) == (3, " 1  relu\n ...", False)
    assert answered.status == 0
