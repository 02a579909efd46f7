"""Use a comparison's page in a browser as a person does."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Frame, Locator, Page

TRIES = 5
MS_PER_TRY = 3000
SIZES = ((1600, 1000), (1280, 800), (390, 844))
VISIBLE = "tbody tr[data-i]:not(.off)"
# Returns the pixel of the page at which a chart draws a data point.
WHERE = """([name, series, point]) => {
  const area = document.querySelector(`[data-chart=${name}] .chart`);
  const at = echarts.getInstanceByDom(area).convertToPixel({ seriesIndex: series }, point);
  const box = area.getBoundingClientRect();
  return [box.x + at[0], box.y + at[1]];
}"""
OPTION = """(name) => {
  const chart = echarts.getInstanceByDom(document.querySelector(`[data-chart=${name}] .chart`));
  return JSON.parse(JSON.stringify(chart.getOption()));
}"""


class Report:
    """The page, opened from a file."""

    def __init__(self, page: Page | Frame) -> None:
        self.page = page

    def open(self, path: Path) -> Report:
        self.page.goto(path.as_uri())
        return self

    def rows(self, column: str) -> list[str]:
        """Return the texts of the visible rows in a column, by CSS class."""
        return self.page.locator(f"{VISIBLE} td.{column}").all_inner_texts()

    def ranks(self) -> list[int]:
        """Return the visible rows' ranks in the original leaderboard, from 1."""
        rows = self.page.locator(VISIBLE)
        return list(rows.evaluate_all("rows => rows.map(row => Number(row.dataset.i) + 1)"))

    def chart(self, name: str) -> Locator:
        """Wait until a chart is drawn, and return its card."""
        card = self.page.locator(f"[data-chart={name}]")
        card.scroll_into_view_if_needed()
        card.locator("canvas").first.wait_for()
        return card

    def option(self, name: str) -> Any:
        """Return the ECharts option of a chart."""
        self.chart(name)
        return self.page.evaluate(OPTION, name)

    def hover(self, name: str, series: int, point: list[Any]) -> str:
        """Move the mouse to a data point and return the text of the tooltip."""
        from playwright.sync_api import TimeoutError as TooLate

        self.chart(name)
        page = self.page
        assert hasattr(page, "mouse")  # a frame has none
        tip = page.locator(f"[data-chart={name}] .tip")
        for _ in range(TRIES):  # charts that are drawn later may move this one away from the mouse
            x, y = page.evaluate(WHERE, [name, series, point])
            page.mouse.move(x - 3, y - 3)
            page.mouse.move(x, y)
            with contextlib.suppress(TooLate):
                tip.wait_for(timeout=MS_PER_TRY)
                break
        tip.wait_for()
        return str(tip.inner_text())
