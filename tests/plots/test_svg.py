"""Figures: right numbers at right places, nothing that breaks a page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.plots.svg import bar_chart, line_chart, row_chart, ticks

values = st.floats(-1e6, 1e6, allow_nan=False)


@given(low=values, width=st.floats(1e-3, 1e6))
def test_ticks_cover_the_range_in_even_steps(low: float, width: float) -> None:
    found = ticks(low, low + width)
    slack = 1e-6 * (abs(low) + width)
    assert found[0] <= low + slack
    assert found[-1] >= low + width - slack
    steps = [b - a for a, b in pairwise(found)]
    assert 2 <= len(found) <= 12
    assert max(steps) - min(steps) <= 1e-6 * max(1, abs(low) + width)


def test_a_flat_curve_still_has_an_axis() -> None:
    assert len(ticks(3.0, 3.0)) >= 2
    ElementTree.fromstring(line_chart({"a": [(1, 3.0)]}, title="flat", x_name="step"))


def test_a_higher_value_is_drawn_higher() -> None:
    svg = line_chart({"a": [(0, 1.0), (1, 5.0)]}, title="t", x_name="x")
    heights = [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', svg)]
    assert heights[0] > heights[1]


def test_no_points_draw_nothing_and_a_nan_is_left_out() -> None:
    assert line_chart({"a": []}, title="t", x_name="x") == ""
    svg = line_chart({"a": [(0, 1.0), (1, float("nan")), (2, 2.0)]}, title="t", x_name="x")
    assert "nan" not in svg.lower()


@pytest.mark.parametrize("chart", [bar_chart, row_chart])
def test_names_are_escaped(chart: object) -> None:
    more = {"x_name": "x"} if chart is bar_chart else {}
    svg = chart({"<script>alert(1)</script>": 2.0}, title="a & b", **more)  # type: ignore[operator]
    ElementTree.fromstring(svg)
    assert "<script>" not in svg


def test_bars_are_in_proportion() -> None:
    svg = row_chart({"whole": 10.0, "half": 5.0}, title="t")
    widths = [float(w) for w in re.findall(r'class="bar" x="\d+" y="\d+" width="([\d.]+)"', svg)]
    assert widths[1] == pytest.approx(widths[0] / 2, abs=0.1)


def test_a_curve_that_is_zero_throughout_lies_on_the_axis() -> None:
    chart = line_chart({"share": [(1, 0.0), (2, 0.0)]}, title="t", x_name="x", zero=True)
    assert (
        ">0</text>" in chart
        and ">1</text>" in chart
        and "-" not in "".join(re.findall(r">([^<]*)</text>", chart))
    )
