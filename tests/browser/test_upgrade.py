"""The links of `lenet-ui` open the pages of a store of release 0.2.0."""

from __future__ import annotations

import pytest

from tests.browser.served import lenet_ui
from tests.browser.table import rows
from tests.upgrade.archive import EXPECTED, PLACE, unpacked

pytestmark = pytest.mark.by_hand  # tests/upgrade and test_pages.py cover most of it


def test_links_open_pages_of_store_from_release_0_2(page, tmp_path):
    with unpacked(tmp_path / "upgraded") as outputs:
        made, groups = EXPECTED["made"], EXPECTED["compare"]["base"]["gives"][0]["groups"]
        with lenet_ui(f"sweep={made['base']}", outputs=outputs, cwd=PLACE) as served:
            page.goto(served.links["runs"])
            shown = [(row["params.activation"], float(row["metrics.best_val_accuracy"])) for row in rows(page)]
            assert [activation for activation, _ in shown] == ["tanh", "selu", "selu", "tanh", "tanh", "selu"]
            for group in groups:
                accuracies = [value for activation, value in shown if activation == group["activation"]]
                assert sum(accuracies) / len(accuracies) == pytest.approx(group["mean"])
            page.goto(served.links["curves"])
            page.get_by_test_id("experiment-view-compare-runs-card").first.locator(
                ".scatterlayer .trace"
            ).first.wait_for()
            page.goto(served.links["sweep"])
            page.get_by_text("selu").first.wait_for()
