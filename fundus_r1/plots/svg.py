"""Line charts, bars and funnels as inline SVG.

Colours are CSS variables of the page (``--s1`` ... ``--s4``), so a figure follows its dark and
light scheme. Each figure carries its numbers as a ``<title>`` for the pointer and for readers
who do not see it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

WIDTH, HEIGHT = 520, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 34

Point = tuple[float, float]


def _number(value: float) -> str:
    if value == 0 or 0.01 <= abs(value) < 10000:
        return f"{value:.3g}"
    return f"{value:.1e}"


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers that cover [low, high], about `wanted` steps apart.

    The first is not above `low`, the last not below `high`.
    """
    if not high > low:
        low, high = low - 0.5, low + 0.5
    raw = (high - low) / wanted
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _frame(title: str, body: str, width: int = WIDTH, height: int = HEIGHT) -> Markup:
    box = f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}"'
    return Markup(f'<svg class="plot" {box}>{body}</svg>')


def _text(x: float, y: float, text: str, css: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{escape(text)}</text>'


def line_chart(
    series: Mapping[str, Sequence[Point]],
    *,
    title: str,
    x_name: str,
    zero: bool = False,
    width: int = WIDTH,
    height: int = HEIGHT,
) -> Markup:
    """Curves over a common x axis.

    Args:
        series: name -> (x, y) points in order of x; up to four are told apart by colour.
        title: what the figure shows, for readers who do not see it.
        x_name: written under the x axis.
        zero: whether the y axis must begin at zero.
        width: of the figure; the smaller, the larger its text beside it.
        height: of the figure.

    Returns:
        An ``<svg>``; an empty text if there is no point at all.
    """
    points = [point for curve in series.values() for point in curve if math.isfinite(point[1])]
    if not points:
        return Markup("")
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = min([*ys, 0.0] if zero else ys), max(ys)
    y_ticks = ticks(low, high if high > low or not zero else low + 1)
    counted = all(x == int(x) for x in xs)
    x_ticks = [
        tick
        for tick in ticks(min(xs), max(xs), 5)
        if min(xs) <= tick <= max(xs) and (tick == int(tick) or not counted)
    ] or [xs[0]]
    x_span = (max(xs) - min(xs)) or 1.0
    y_span = y_ticks[-1] - y_ticks[0]

    def at(x: float, y: float) -> Point:
        return (
            LEFT + (x - min(xs)) / x_span * (width - LEFT - RIGHT),
            height - BOTTOM - (y - y_ticks[0]) / y_span * (height - TOP - BOTTOM),
        )

    body = []
    for tick in y_ticks:
        _, y = at(xs[0], tick)
        body.append(f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        body.append(_text(LEFT - 6, y + 3.5, _number(tick), "tick", "end"))
    body += [_text(at(tick, y_ticks[0])[0], height - BOTTOM + 15, _number(tick), "tick") for tick in x_ticks]
    body.append(_text((LEFT + width - RIGHT) / 2, height - 4, x_name, "axis"))
    for number, (name, curve) in enumerate(series.items(), start=1):
        seen = [at(x, y) for x, y in curve if math.isfinite(y)]
        if not seen:
            continue
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in seen)
        last = next(y for _, y in reversed(curve) if math.isfinite(y))
        told = f"<title>{escape(name)}: last {_number(last)}</title>"
        color = f"var(--s{(number - 1) % 4 + 1})"
        if len(seen) > 1:
            body.append(f'<polyline class="curve" points="{path}" style="stroke:{color}">{told}</polyline>')
        dots = seen if len(seen) <= 24 else [seen[-1]]
        body += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" style="fill:{color}">{told}</circle>' for x, y in dots
        ]
    return _frame(title, "".join(body), width, height)


def bar_chart(bars: Mapping[str, float], *, title: str, x_name: str) -> Markup:
    """Upright bars with their values on top.

    Args:
        bars: name -> value, not negative, in the order in which they are drawn.
        title: what the figure shows, for readers who do not see it.
        x_name: written under the bars.
    """
    if not bars:
        return Markup("")
    top = max(bars.values()) or 1.0
    room = (WIDTH - LEFT - RIGHT) / len(bars)
    body = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>'
    ]
    for number, (name, value) in enumerate(bars.items()):
        height = value / top * (HEIGHT - TOP - BOTTOM - 14)
        x, y = LEFT + number * room, HEIGHT - BOTTOM - height
        body.append(
            f'<rect class="bar" x="{x + room * 0.14:.1f}" y="{y:.1f}" width="{room * 0.72:.1f}" '
            f'height="{height:.1f}" rx="2"><title>{escape(name)}: {_number(value)}</title></rect>'
        )
        body.append(_text(x + room / 2, y - 4, _number(value), "value"))
        body.append(_text(x + room / 2, HEIGHT - BOTTOM + 15, name, "tick"))
    body.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, x_name, "axis"))
    return _frame(title, "".join(body))


def row_chart(rows: Mapping[str, float], *, title: str, total: float | None = None) -> Markup:
    """Level bars, one a row, with name and value: funnels and counts by kind.

    Args:
        rows: name -> value, in the order in which they are drawn.
        title: what the figure shows, for readers who do not see it.
        total: what a full row stands for; the largest value if not given.
    """
    if not rows:
        return Markup("")
    step, name_room, value_room = 30, 190, 60
    full = total or max(rows.values()) or 1.0
    height = step * len(rows) + 6
    body = []
    for number, (name, value) in enumerate(rows.items()):
        y = number * step + 6
        width = value / full * (WIDTH - name_room - value_room)
        body.append(_text(name_room - 10, y + 15, name, "label", "end"))
        body.append(
            f'<rect class="track" x="{name_room}" y="{y}" width="{WIDTH - name_room - value_room}" '
            f'height="{step - 10}" rx="3"/>'
        )
        body.append(
            f'<rect class="bar" x="{name_room}" y="{y}" width="{width:.1f}" height="{step - 10}" rx="3">'
            f"<title>{escape(name)}: {_number(value)}</title></rect>"
        )
        body.append(_text(WIDTH - value_room + 8, y + 15, f"{value:,.0f}", "value", "start"))
    return _frame(title, "".join(body), height=height)
