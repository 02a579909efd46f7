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
CHEAPER = (
    "tracking.plots=false",
    "tracking.models=none",
)  # flags that save time and do not change the output
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
    printed, progress = steady(out), set(steady(err))
    wrong, at, gap = [], 0, False
    for line in steady(shown):
        if line == LEFT_OUT.strip():
            gap = True
        elif line not in progress or line in printed[at:]:
            position = printed.index(line, at) if line in printed[at:] else -1
            if position < 0 or (position > at and not gap):
                wrong.append(line)
            at, gap = (position if position >= 0 else at) + 1, False
    return wrong + (
        [f"not shown: {printed[at]}"] if at < len(printed) and not gap and not wrong else []
    )


def steady(text: str) -> list[str]:
    """Return the lines of a text, with placeholders for parts that vary, such as a table's column
    of seconds.
    """
    lines, column = [], None
    for line in filter(str.strip, text.splitlines()):
        cells = re.split(r"\s{2,}", line.strip())
        if cells[0] == "#":
            column = cells.index("seconds") if "seconds" in cells else None
        elif column is not None and cells[0].isdigit() and len(cells) > column:
            cells[column] = "TIME"
        row_text = re.sub("─+", "─", " ".join(cells))
        for varies, name in VARIES:
            row_text = varies.sub(name, row_text)
        lines.append(row_text)
    return lines


def renewed(shown: str, out: str, err: str) -> str:
    """Return the output that a page shows, updated to the current output of the command.

    Lines ` ...` divide the shown output into parts. The new version of a part starts at the line
    that is most similar to the first line of the part, and has the same length. The first part
    starts at the beginning of the output, and the last part extends to its end.
    """
    parts = [
        part.strip("\n").split("\n")
        for part in re.split(r"^ *\.\.\. *$", shown, flags=re.MULTILINE)
    ]
    made = []
    for n, part in enumerate(parts):
        if part == [""]:
            made.append("")
            continue
        of_err = _likeness(part[0], err) > _likeness(part[0], out)
        printed = [line.rstrip() for line in (err if of_err else out).rstrip().splitlines()]
        whole = n == 0 and not of_err
        begin = (
            0 if whole else max(range(len(printed)), key=lambda at: _likeness(part[0], printed[at]))
        )
        end = None if n == len(parts) - 1 else begin + len(part)
        made.append("\n".join(printed[begin:end]))
    return f"\n{LEFT_OUT}\n".join(made).strip("\n").replace(str(NEUTRAL), HOME)


def _likeness(line: str, text: str) -> float:
    words = " ".join(line.split())
    return max(
        (SequenceMatcher(None, words, " ".join(o.split())).ratio() for o in text.splitlines()),
        default=0.0,
    )


def main() -> None:
    """Update the command output in all pages that show command output."""
    for page in COMPARED:
        path = ROOT / page
        text = path.read_text()
        # fails if the folder already exists; an existing folder must not be removed at the end
        NEUTRAL.mkdir()
        try:
            for command in (
                c for block in ALL[page] for c in commands(block) if c.shown and not c.is_mistake
            ):
                out, err = _printed(command)
                assert text.count(command.shown or "") == 1, command
                text = text.replace(command.shown or "", renewed(command.shown or "", out, err))
        finally:
            shutil.rmtree(NEUTRAL)
        path.write_text(text)


def _printed(command: Command) -> tuple[str, str]:
    words: Sequence[str] = shlex.split(command.text)
    environment = {"LENET_EXP_DATA": os.environ.get("LENET_EXP_DATA", "data")}
    program = words[0].removeprefix("lenet-")
    outputs = NEUTRAL / "outputs"
    done = end(
        start(*words[1:], program=program, cold=True, outputs=outputs, cwd=NEUTRAL, env=environment)
    )
    assert done.returncode == command.status, (command, done.stderr)
    return done.stdout, done.stderr


if __name__ == "__main__":
    main()
