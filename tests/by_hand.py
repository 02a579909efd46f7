"""Run the tests marked `by_hand`, and update the table in CONTRIBUTING.md, which says when each
file last passed.

    python -m tests.by_hand                    # run all of them, in about 40 minutes
    python -m tests.by_hand tests/executors    # run only those in a folder or file; other rows keep
                                               their dates

Exit status: 1 if a test failed or none was selected.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
HEADER = "| tests by hand | passed | failed | skipped | seconds | last run |"
RULE = "| --- | ---: | ---: | ---: | ---: | --- |"
MARK = "mark.by_hand"


@dataclass(frozen=True, kw_only=True)
class Row:
    """The last run of a file's tests.

    Attributes:
        file: path of the test file, relative to the repository.
        seconds: sum of the durations of its tests.
        date: date of the run (UTC), as YYYY-MM-DD.
    """

    file: str
    passed: int
    failed: int
    skipped: int
    seconds: int
    date: str

    def __str__(self) -> str:
        counts = f"{self.passed} | {self.failed} | {self.skipped} | {self.seconds}"
        return f"| `{self.file}` | {counts} | {self.date} |"


def files_with_tests_by_hand() -> list[str]:
    """Return the paths of the test files with this mark, relative to the repository."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file.relative_to(ROOT)) for file in files if MARK in file.read_text()]


def rows_of(page: str) -> list[Row]:
    """Return the rows of the table on a page."""
    pattern = r"^\| `(tests/[\w/.]+)` \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| ([\d-]+) \|$"
    rows = []
    for file, passed, failed, skipped, seconds, date in re.findall(pattern, page, re.MULTILINE):
        row = Row(
            file=file,
            passed=int(passed),
            failed=int(failed),
            skipped=int(skipped),
            seconds=int(seconds),
            date=date,
        )
        rows.append(row)
    return rows


def rows_of_report(report: Path, date: str) -> list[Row]:
    """Return a row for each file in a report that pytest wrote with `--junitxml`."""
    counts: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for case in ElementTree.parse(report).iter("testcase"):
        of_file = counts[_file_of(case.get("classname", ""))]
        of_file["seconds"] += float(case.get("time", 0))
        if case.find("failure") is not None or case.find("error") is not None:
            of_file["failed"] += 1
        elif case.find("skipped") is not None:
            of_file["skipped"] += 1
        else:
            of_file["passed"] += 1
    return [
        Row(
            file=file,
            passed=int(of_file["passed"]),
            failed=int(of_file["failed"]),
            skipped=int(of_file["skipped"]),
            seconds=round(of_file["seconds"]),
            date=date,
        )
        for file, of_file in counts.items()
    ]


def _file_of(module: str) -> str:
    """Return the path of a test file, given the dotted name of its module, which a class may
    follow.
    """
    parts = module.split(".")
    while parts and not (ROOT / "/".join(parts)).with_suffix(".py").is_file():
        parts.pop()
    return "/".join(parts) + ".py"


def with_rows(page: str, new: Iterable[Row]) -> str:
    """Return a page whose table has these rows in addition to its rows about other files, sorted by
    file.

    Rows of files that have no tests by hand are removed.
    """
    rows = {row.file: row for row in (*rows_of(page), *new)}
    existing = files_with_tests_by_hand()
    lines = [HEADER, RULE, *(str(rows[file]) for file in existing if file in rows)]
    before, _, rest = page.partition(f"{HEADER}\n")
    after = re.sub(r"^(\|.*\n)*", "", rest)
    return before + "\n".join(lines) + "\n" + after


def main(selected: list[str]) -> int:
    """Run the tests in these folders and files, or all of them, and update the table.

    Other arguments, such as `-n 2`, are passed on to pytest.
    """
    if any("::" in argument for argument in selected):
        sys.exit(
            "a row of the table is about a whole file: name files or folders, not single tests"
        )
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-m", "by_hand", f"--junitxml={report}"]
        status = subprocess.run([*command, *selected], cwd=ROOT).returncode
        if not report.exists():
            return 1
        new = rows_of_report(report, datetime.now(UTC).date().isoformat())
    page = with_rows(PAGE.read_text(), new)
    PAGE.write_text(page)
    print(HEADER, RULE, *rows_of(page), sep="\n")
    return min(status, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
