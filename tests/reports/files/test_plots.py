"""Figures drawn with matplotlib."""

from __future__ import annotations

import warnings

from lenet_exp.reports.files.plots import png, reliability_figure


def test_characters_missing_in_default_font_use_installed_font(caplog):
    with warnings.catch_warnings(action="error"):  # matplotlib warns about each character without a glyph
        figure = reliability_figure({}, "\U0001d49c script")  # in matplotlib's STIXGeneral
        png(figure)
    (title,) = (text for text in figure.texts if "script" in text.get_text())
    assert len(title.get_fontfamily()) == 2
    assert caplog.records == []
