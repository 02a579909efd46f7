"""Update the command output that README.md and the documentation pages show.

`python -m benchmarks.transcripts` runs the commands in order, in a folder with a neutral name, and
updates the pages with their output. The environment variable LENET_EXP_DATA must be the folder that
contains FashionMNIST. In a page, a line ` ...` represents omitted lines. tests/documents compares
the pages with the output of the commands.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path

from tests.documents.pages import ALL, COMPARED, Command, commands
from tests.tools.commands import ROOT, end, start

NEUTRAL = Path(tempfile.gettempdir()) / "lenet_exp"
HOME = "/home/me"  # path that replaces `NEUTRAL` in a page
LEFT_OUT = " ..."
# flags that save time and do not change the output
CHEAPER = ("tracking.plots=false", "tracking.models=none")
VARIES = (  # parts of the output that vary: times, speeds, cores, IDs, and paths
    (re.compile(r"(about )?(\d+(\.\d+)? (s|min|minutes?|h)\b|(half )?a minute)"), "TIME"),
    (re.compile(r"[\d,]+ images/s"), "SPEED"),
    (re.compile(r"with \d+ workers?"), "CORES"),
    (re.compile(r"(?<!weights )\b(?=[a-f]*\d)[0-9a-f]{8,32}\b"), "ID"),
    (re.compile(r"\S*/outputs\b"), "outputs"),
    (re.compile("|".join(f" {flag}" for flag in CHEAPER), re.IGNORECASE), ""),
)


def differing(shown: str, out: str, err: str) -> list[str]:
    """Return the lines that differ between a page and the output of a command.

    These are lines that the command does not print, and lines that the page omits without ` ...`.

    Args:
        shown: output that the page shows.
        out: the command's stdout, which the page must show completely, except for lines marked with
            ` ...`.
        err: the command's stderr, of which the page can show any lines.
    """
    printed = steady(out)
    progress = set(steady(err))
    wrong = []
    position = 0  # of the next line of stdout that the page must show
    may_skip = False  # whether the previous line of the page is ` ...`
    for line in steady(shown):
        if line == LEFT_OUT.strip():
            may_skip = True
            continue
        if line not in printed[position:]:
            if line in progress:
                continue
            wrong.append(line)
            position += 1  # as if it replaced the next line of stdout
        else:
            next_position = printed.index(line, position)
            if next_position > position and not may_skip:
                wrong.append(line)
            position = next_position + 1
        may_skip = False

    if not wrong and not may_skip and position < len(printed):
        return [f"not shown: {printed[position]}"]
    return wrong


def steady(text: str) -> list[str]:
    """Return the lines of a text, with placeholders for parts that vary, such as a table's column
    of seconds.
    """
    lines = []
    seconds_column = None
    for line in filter(str.strip, text.splitlines()):
        cells = re.split(r"\s{2,}", line.strip())
        if cells[0] == "#":
            seconds_column = cells.index("seconds") if "seconds" in cells else None
        elif seconds_column is not None and cells[0].isdigit() and len(cells) > seconds_column:
            cells[seconds_column] = "TIME"
        steady_line = re.sub("─+", "─", " ".join(cells))
        for pattern, placeholder in VARIES:
            steady_line = pattern.sub(placeholder, steady_line)
        lines.append(steady_line)
    return lines


def renewed(shown: str, out: str, err: str) -> str:
    """Return the output that a page shows, updated to the current output of the command.

    Lines ` ...` divide the shown output into parts. The new version of a part starts at the line
    that is most similar to the first line of the part, and has the same length. The first part
    starts at the beginning of the output, and the last part extends to its end.
    """
    parts = re.split(r"^ *\.\.\. *$", shown, flags=re.MULTILINE)
    new_parts = []
    for number, part in enumerate(parts):
        lines = part.strip("\n").split("\n")
        if lines == [""]:
            new_parts.append("")
            continue
        is_of_err = _likeness(lines[0], err) > _likeness(lines[0], out)
        output = err if is_of_err else out
        printed = [line.rstrip() for line in output.rstrip().splitlines()]

        first = 0
        if number > 0 or is_of_err:
            likenesses = [_likeness(lines[0], line) for line in printed]
            first = likenesses.index(max(likenesses))
        end = first + len(lines)
        if number == len(parts) - 1:
            end = len(printed)
        new_parts.append("\n".join(printed[first:end]))
    return f"\n{LEFT_OUT}\n".join(new_parts).strip("\n").replace(str(NEUTRAL), HOME)


def _likeness(line: str, text: str) -> float:
    """Return how similar a line is to the most similar line of a text, from 0 to 1."""
    words = " ".join(line.split())
    likeness = 0.0
    for other in text.splitlines():
        other_words = " ".join(other.split())
        likeness = max(likeness, SequenceMatcher(None, words, other_words).ratio())
    return likeness


def main() -> None:
    """Update the command output in all pages that show command output."""
    for page in COMPARED:
        path = ROOT / page
        text = path.read_text()
        # fails if the folder already exists; an existing folder must not be removed at the end
        NEUTRAL.mkdir()
        try:
            for block in ALL[page]:
                for command in commands(block):
                    if command.shown and not command.is_mistake:
                        out, err = _printed(command)
                        assert text.count(command.shown) == 1, command
                        text = text.replace(command.shown, renewed(command.shown, out, err))
        finally:
            shutil.rmtree(NEUTRAL)
        path.write_text(text)


def _printed(command: Command) -> tuple[str, str]:
    """Run a command and return its stdout and stderr."""
    words: Sequence[str] = shlex.split(command.text)
    process = start(
        *words[1:],
        program=words[0].removeprefix("lenet-"),
        cold=True,
        outputs=NEUTRAL / "outputs",
        cwd=NEUTRAL,
        env={"LENET_EXP_DATA": os.environ.get("LENET_EXP_DATA", "data")},
    )
    done = end(process)
    assert done.returncode == command.status, (command, done.stderr)
    return done.stdout, done.stderr


if __name__ == "__main__":
    main()
