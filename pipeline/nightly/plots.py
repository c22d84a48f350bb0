"""Trends as inline SVG: a plot of some nights, and a sparkline for a row of a table. No script, no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 320, 110, 6, 18, 20
SPARK = (72, 18)

Values = Sequence[float | None]


def trend(title: str, values: Values, nights: Sequence[str], states: Sequence[str], shown: Sequence[str],
          zero: bool = True) -> str:  # fmt: skip
    """A line over nights, a dot for each, coloured by how the night ended.

    :param states: class of each dot: "good", "warn" or "bad"
    :param shown: each value as text, for its dot
    :param zero: whether the axis begins at 0; else at the least value
    """
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = (0.0 if zero else min(known)), max(known)
    points = _points(values, low, (high or 1.0) if zero else high, (LEFT, TOP, WIDTH - 2 * LEFT, HEIGHT - TOP - BOTTOM))
    dots = "".join(
        f'<circle class="{states[at]}" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{escape(nights[at])}: '
        f"{escape(shown[at])}</title></circle>"
        for at, (x, y) in points.items()
    )
    last = max(points)
    top = next(shown[at] for at in points if values[at] == high)
    floor = HEIGHT - BOTTOM
    return (
        f'<figure><figcaption>{escape(title)} <b>{escape(shown[last])}</b></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}: {escape(shown[last])}">'
        f'<line class="axis" x1="{LEFT}" y1="{floor}" x2="{WIDTH - LEFT}" y2="{floor}"/>'
        f'<text x="{LEFT}" y="12">{escape(top)}</text>'
        f'<polyline points="{_joined(points)}"/>{dots}'
        f'<text x="{LEFT}" y="{HEIGHT - 5}">{escape(nights[min(points)])}</text>'
        f'<text x="{WIDTH - LEFT}" y="{HEIGHT - 5}" text-anchor="end">{escape(nights[last])}</text></svg></figure>'
    )  # fmt: skip


def spark(values: Values, says: str) -> str:
    """A line without axes, from its least to its greatest value; a level one where all are equal."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    width, height = SPARK
    points = _points(values, min(known), max(known), (2, 3, width - 4, height - 6))
    x, y = points[max(points)]
    return (
        f'<svg class="spark" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(says)}">'
        f'<polyline points="{_joined(points)}"/><circle cx="{x:.1f}" cy="{y:.1f}" r="2"/></svg>'
    )


def _points(values: Values, low: float, high: float, box: tuple[float, ...]) -> dict[int, tuple[float, float]]:
    """Where each value that is known lies; equal values lie in the middle."""
    left, top, width, height = box
    span, last = high - low, max(len(values) - 1, 1)
    found = {}
    for at, value in enumerate(values):
        if value is not None:
            share = (value - low) / span if span else 0.5
            found[at] = (left + width * at / last, top + height * (1 - share))
    return found


def _joined(points: dict[int, tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points.values())
