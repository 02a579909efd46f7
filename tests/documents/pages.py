"""What the pages tell people to type, and what they say is answered.

A page is README.md, one of docs/**/*.md, or CONTRIBUTING.md. Typed are the lines of its bash blocks, also of those
that are indented, and those after `$ ` in its text blocks, which show the answer below. A text block without one,
right below a bash block, shows what the last command there prints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from tests.tools.commands import ROOT

README = "README.md"
TUTORIAL = "docs/tutorials/first-hour.md"
FRESH = (README, TUTORIAL)  # typed by a reader who has typed nothing before
PAGES = (README, "CONTRIBUTING.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")))
COMPARED = (README, "docs/how-to/compare.md", "docs/how-to/reproduce.md")  # see benchmarks/transcripts.py
KINDS = {"bash", "python", "text", "yaml", "{toctree}", "{eval-rst}"}  # one of another kind could hide a command
FENCE = re.compile(r"^ *```([\w{}-]*)$")
INDENTED = re.compile(r"^ {4}(?=(lenet-\w+|optuna-\w+|mlflow|python|pip) )")


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        line: the number of its first line in the page.
        shown: of a bash block: the text block below it.
    """

    page: str
    line: int
    kind: str
    text: str
    shown: str | None = None


@dataclass(frozen=True)
class Command:
    """A command as a page has it; a line with `&&` has several.

    Attributes:
        text: without its comment.
        shown: what the page says is answered; None where it says nothing.
    """

    page: str
    line: int
    text: str
    comment: str = ""
    shown: str | None = None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"

    @property
    def status(self) -> int:
        """What its comment, or the mistake that is shown, says that it ends with."""
        if self.is_mistake:
            return 2
        said = re.search(r"\bstatus (\d+)\b", self.comment)
        return int(said[1]) if said else 0

    @property
    def is_compared(self) -> bool:
        """Whether what the page shows is compared with what the command prints."""
        return self.page in COMPARED and self.shown is not None and not self.is_mistake

    @property
    def is_mistake(self) -> bool:
        """Whether one line is shown by which the command refuses it."""
        return self.shown is not None and self.shown.startswith(f"{self.text.split()[0]}: ")


def blocks(page: str) -> list[Block]:
    """All blocks of a page, from its first line to its last."""
    found: list[Block] = []
    inside: tuple[int, str, list[str]] | None = None
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        fence = FENCE.match(line)
        if fence is None and inside is not None:
            inside[2].append(line)
        elif fence is not None and inside is None:
            inside = (number + 1, fence[1], [])
        elif inside is not None:
            found.append(Block(page, inside[0], inside[1], "\n".join(inside[2])))
            inside = None
        elif INDENTED.match(line):
            found.append(Block(page, number, "bash", line.strip()))
    assert inside is None, f"{page}:{inside}: a block that does not end"
    for n, (block, below) in enumerate(pairwise(found)):
        adjacent = below.line == block.line + len(block.text.splitlines()) + 3
        if (block.kind, below.kind) == ("bash", "text") and adjacent and "$ " not in below.text:
            found[n] = replace(block, shown=below.text)
    return found


def commands(block: Block) -> list[Command]:
    """What a block says is typed, in order."""
    if block.kind == "bash":
        found = [one for number, line in _joined(block.text, block.line) for one in _split(block.page, number, line)]
        return [*found[:-1], *(replace(last, shown=block.shown) for last in found[-1:])]
    if block.kind == "text":
        return list(_answered(block))
    return []


def _joined(text: str, first: int) -> Iterator[tuple[int, str]]:
    """Lines, those that end with a backslash with the next ones."""
    whole, begun = "", first
    for number, line in enumerate(text.splitlines(), first):
        whole, begun = (whole + line.strip(), begun) if whole else (line.strip(), number)
        if whole.endswith("\\"):
            whole = whole[:-1]
        elif whole:
            yield begun, whole
            whole = ""


def _split(page: str, number: int, line: str, shown: str | None = None) -> Iterator[Command]:
    text, comment = without_comment(line)
    for part in re.split(r"\s&&\s", text) if text else ():
        yield Command(page, number, part.strip(), comment, shown)


def _answered(block: Block) -> Iterator[Command]:
    lines = block.text.splitlines()
    typed = [n for n, line in enumerate(lines) if line.startswith("$ ")]
    for n, following in pairwise([*typed, len(lines)]):
        yield from _split(block.page, block.line + n, lines[n][2:], "\n".join(lines[n + 1 : following]))


def without_comment(line: str) -> tuple[str, str]:
    """A command, and what bash takes as the comment after it."""
    quote = ""
    for n, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "#" and (n == 0 or line[n - 1].isspace()):
            return line[:n].strip(), line[n + 1 :].strip()
    return line.strip(), ""


ALL = {page: blocks(page) for page in PAGES}
COMMANDS = [command for page in PAGES for block in ALL[page] for command in commands(block)]
