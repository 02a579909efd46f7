"""The table of runs in MLflow's UI, as a person reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROWS = ".ag-center-cols-container .ag-row"
# The grid has rows and cells in any order. This sorts them as they appear on the screen.
READ = """() => [...document.querySelectorAll('.ag-center-cols-container .ag-row')]
  .sort((a, b) => a.getAttribute('row-index') - b.getAttribute('row-index'))
  .map(row => Object.fromEntries([...row.querySelectorAll('.ag-cell')]
    .sort((a, b) => a.getBoundingClientRect().x - b.getBoundingClientRect().x)
    .map(cell => [cell.getAttribute('col-id').replaceAll('`', ''), cell.innerText.trim()])))"""


def rows(page: Page) -> list[dict[str, str]]:
    """Wait for the table and return the cells of each row by column, such as `params.seed`."""
    page.locator(ROWS).first.wait_for()
    return page.evaluate(READ)
