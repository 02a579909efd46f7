"""Read the commands on the documentation pages, and the output that the pages show.

A page is README.md, CONTRIBUTING.md, or one of docs/**/*.md. Commands are the lines of its bash
blocks, including indented blocks, and the lines after `$ ` in its text blocks, which show the
output below. A text block without `$ ` right below a bash block shows the output of the last
command in that block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from tests.tools.commands import ROOT

README = "README.md"
TUTORIAL = "docs/tutorials/first-hour.md"
FRESH = (README, TUTORIAL)  # their readers have not run any command before
PAGES = (
    README,
    "CONTRIBUTING.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
)
# see benchmarks/transcripts.py
COMPARED = (README, "docs/how-to/compare.md", "docs/how-to/reproduce.md")
# A block of another kind could hide a command.
KINDS = {"bash", "python", "text", "yaml", "{toctree}", "{eval-rst}"}
FENCE = re.compile(r"^ *```([\w{}-]*)$")
FILE = re.compile(r"Save this file as `([^`]+)`:$")
INDENTED = re.compile(r"^ {4}(?=(lenet-\w+|optuna-\w+|mlflow|python|pip) )")


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        line: number of its first line in the page.
        shown: text block below a bash block.
        file: path of the file that the reader saves the block as, according to the line above it.
    """

    page: str
    line: int
    kind: str
    text: str
    shown: str | None = None
    file: str | None = None


@dataclass(frozen=True)
class Command:
    """A command on a page; a line with `&&` has several commands.

    Attributes:
        text: command without its comment.
        shown: output that the page shows, or None.
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
        """The exit status according to the comment or the shown error."""
        if self.is_mistake:
            return 2
        stated = re.search(r"\bstatus (\d+)\b", self.comment)
        return int(stated[1]) if stated else 0

    @property
    def is_compared(self) -> bool:
        """Whether the shown output is compared with the printed output."""
        return self.page in COMPARED and self.shown is not None and not self.is_mistake

    @property
    def is_mistake(self) -> bool:
        """Whether the page shows a one-line error of the command."""
        return self.shown is not None and self.shown.startswith(f"{self.text.split()[0]}: ")


def blocks(page: str) -> list[Block]:
    """Return all blocks of a page in order."""
    in_order: list[Block] = []
    open_block: Block | None = None
    lines: list[str] = []  # of the open block
    above = ""  # the last line with text before a block
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        fence = FENCE.match(line)
        if open_block is not None and fence is None:
            lines.append(line)
        elif open_block is not None:
            in_order.append(replace(open_block, text="\n".join(lines)))
            open_block = None
            above = ""
        elif fence is not None:
            saved_as = FILE.search(above)
            file = None if saved_as is None else saved_as[1]
            open_block = Block(page, number + 1, fence[1], "", file=file)
            lines = []
        elif line.strip():
            above = line.strip()
            if INDENTED.match(line):
                in_order.append(Block(page, number, "bash", above))
    assert open_block is None, f"{page}:{open_block}: a block that does not end"

    for n, (block, below) in enumerate(pairwise(in_order)):
        is_bash_above_text = block.kind == "bash" and below.kind == "text"
        # between them are a fence, an empty line and a fence
        is_adjacent = below.line == block.line + len(block.text.splitlines()) + 3
        if is_bash_above_text and is_adjacent and "$ " not in below.text:
            in_order[n] = replace(block, shown=below.text)
    return in_order


def save_files(page: str, folder: Path) -> None:
    """Save the files that a page shows in a folder."""
    for block in ALL[page]:
        if block.file is not None:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{block.text}\n")


def commands(block: Block) -> list[Command]:
    """Return the commands of a block in order."""
    if block.kind == "bash":
        in_order: list[Command] = []
        for number, line in _joined(block.text, block.line):
            in_order += _split(block.page, number, line)
        if in_order:
            in_order[-1] = replace(in_order[-1], shown=block.shown)
        return in_order
    if block.kind == "text":
        return list(_answered(block))
    return []


def _joined(text: str, first: int) -> Iterator[tuple[int, str]]:
    """Yield lines with their numbers, and join each line that ends with a backslash to the next
    line.
    """
    whole = ""
    first_of_whole = first
    for number, line in enumerate(text.splitlines(), first):
        if not whole:
            first_of_whole = number
        whole += line.strip()
        if whole.endswith("\\"):
            whole = whole[:-1]
        elif whole:
            yield first_of_whole, whole
            whole = ""


def _split(page: str, number: int, line: str, shown: str | None = None) -> Iterator[Command]:
    """Yield the commands of a line, which have the same comment and output."""
    text, comment = without_comment(line)
    if not text:
        return
    for part in re.split(r"\s&&\s", text):
        yield Command(page, number, part.strip(), comment, shown)


def _answered(block: Block) -> Iterator[Command]:
    """Yield the commands after `$ ` with the lines below them."""
    lines = block.text.splitlines()
    typed = [n for n, line in enumerate(lines) if line.startswith("$ ")]
    for n, following in pairwise([*typed, len(lines)]):
        shown = "\n".join(lines[n + 1 : following])
        yield from _split(block.page, block.line + n, lines[n][2:], shown)


def without_comment(line: str) -> tuple[str, str]:
    """Split a line into the command and the comment after it, as bash does."""
    quote = ""
    for n, letter in enumerate(line):
        if quote:
            if letter == quote:
                quote = ""
        elif letter in "'\"":
            quote = letter
        elif letter == "#" and (n == 0 or line[n - 1].isspace()):
            return line[:n].strip(), line[n + 1 :].strip()
    return line.strip(), ""


ALL = {page: blocks(page) for page in PAGES}
COMMANDS = [command for page in PAGES for block in ALL[page] for command in commands(block)]
