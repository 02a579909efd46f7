"""Update the command outputs that README.md and the pages show.

`python -m benchmarks.transcripts` runs the commands in order, in a folder with a neutral name, and writes what they
print. LENET_EXP_DATA is the folder with FashionMNIST. A line ` ...` in a page stands for lines that it leaves out.
tests/documents compares the pages with the commands.
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
HOME = "/home/me"  # replaces it in a page
LEFT_OUT = " ..."
CHEAPER = ("tracking.plots=false", "tracking.models=none")  # and prints the same
VARIES = (  # times, speeds, cores, ids, paths
    (re.compile(r"(about )?(\d+(\.\d+)? (s|min|minutes?|h)\b|(half )?a minute)"), "TIME"),
    (re.compile(r"[\d,]+ images/s"), "SPEED"),
    (re.compile(r"with \d+ workers?"), "CORES"),
    (re.compile(r"(?<!weights )\b(?=[a-f]*\d)[0-9a-f]{8,32}\b"), "ID"),
    (re.compile(r"\S*/outputs\b"), "outputs"),
    (re.compile("|".join(f" {flag}" for flag in CHEAPER), re.IGNORECASE), ""),
)


def differing(shown: str, out: str, err: str) -> list[str]:
    """Return the lines of a page that a command does not print, or that it prints and the page omits without a mark.

    Args:
        out, err: the command's stdout, which the page shows in full or with ` ...`, and its stderr.
    """
    printed, progress = steady(out), set(steady(err))
    wrong, at, gap = [], 0, False
    for line in steady(shown):
        if line == LEFT_OUT.strip():
            gap = True
        elif line not in progress or line in printed[at:]:
            found = printed.index(line, at) if line in printed[at:] else -1
            if found < 0 or (found > at and not gap):
                wrong.append(line)
            at, gap = (found if found >= 0 else at) + 1, False
    return wrong + ([f"not shown: {printed[at]}"] if at < len(printed) and not gap and not wrong else [])


def steady(text: str) -> list[str]:
    """Return lines without the parts that vary, such as a table's column of seconds."""
    lines, column = [], None
    for line in filter(str.strip, text.splitlines()):
        cells = re.split(r"\s{2,}", line.strip())
        if cells[0] == "#":
            column = cells.index("seconds") if "seconds" in cells else None
        elif column is not None and cells[0].isdigit() and len(cells) > column:
            cells[column] = "TIME"
        said = re.sub("─+", "─", " ".join(cells))
        for varies, name in VARIES:
            said = varies.sub(name, said)
        lines.append(said)
    return lines


def renewed(shown: str, out: str, err: str) -> str:
    """Return the shown lines as they are printed now.

    Each part starts at the line most similar to its first and has the same length. The part before the first ` ...`
    starts at the output's start, and the one after the last ends at its end.
    """
    parts = [part.strip("\n").split("\n") for part in re.split(r"^ *\.\.\. *$", shown, flags=re.MULTILINE)]
    made = []
    for n, part in enumerate(parts):
        if part == [""]:
            made.append("")
            continue
        of_err = _likeness(part[0], err) > _likeness(part[0], out)
        printed = [line.rstrip() for line in (err if of_err else out).rstrip().splitlines()]
        whole = n == 0 and not of_err
        begin = 0 if whole else max(range(len(printed)), key=lambda at: _likeness(part[0], printed[at]))
        end = None if n == len(parts) - 1 else begin + len(part)
        made.append("\n".join(printed[begin:end]))
    return f"\n{LEFT_OUT}\n".join(made).strip("\n").replace(str(NEUTRAL), HOME)


def _likeness(line: str, text: str) -> float:
    words = " ".join(line.split())
    return max((SequenceMatcher(None, words, " ".join(o.split())).ratio() for o in text.splitlines()), default=0.0)


def main() -> None:
    """Update the outputs in all pages that show any."""
    for page in COMPARED:
        path = ROOT / page
        text = path.read_text()
        NEUTRAL.mkdir()  # it must be ours
        try:
            for command in (c for block in ALL[page] for c in commands(block) if c.shown and not c.is_mistake):
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
    done = end(start(*words[1:], program=program, cold=True, outputs=outputs, cwd=NEUTRAL, env=environment))
    assert done.returncode == command.status, (command, done.stderr)
    return done.stdout, done.stderr


if __name__ == "__main__":
    main()
