"""CONTRIBUTING.md lists the last run of all tests that CI does not run."""

from __future__ import annotations

from tests.by_hand import PAGE, Row, files_with_tests_by_hand, rows_of, with_rows


def test_table_has_a_passed_run_of_each_file_with_tests_by_hand():
    rows = rows_of(PAGE.read_text())
    assert [row.file for row in rows] == files_with_tests_by_hand()
    assert [row.file for row in rows if row.failed or not row.passed] == []


def test_run_of_one_file_keeps_the_dates_of_others():
    first, second, *_ = files_with_tests_by_hand()
    old = [
        Row(file=file, passed=1, failed=0, skipped=0, seconds=5, date="2026-01-01")
        for file in (first, second)
    ]
    page = with_rows(PAGE.read_text(), old)
    new = Row(file=second, passed=2, failed=1, skipped=0, seconds=7, date="2026-02-02")
    changed = with_rows(page, [new])
    assert rows_of(changed)[:2] == [old[0], new]
    assert with_rows(changed, []) == changed
