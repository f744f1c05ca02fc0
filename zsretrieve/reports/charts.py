"""Plots as SVG: axes, and lines, points and bars between them. A page may give the named colours other values."""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

# Those of a light page, and of a file by itself.
COLOURS = {
    "ink": "#1c2430", "soft": "#5c6675", "line": "#e2dfd6", "first": "#3b6fb6", "second": "#c26a1b",
    "third": "#1f7a4d", "fourth": "#a23b82", "fifth": "#2a8fa6", "sixth": "#8a7a10", "over": "#ffffff",
}  # fmt: skip
_STEPS = (1, 2, 5)
_MOST_TICKS = 6

Point = tuple[float, float]
Tick = tuple[float, str]


@dataclass
class Chart:
    """Axes in a box of pixels (left, top, right, bottom), over a range of x and of y values."""

    box: tuple[float, float, float, float]
    x: tuple[float, float]
    y: tuple[float, float]
    parts: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> Point:
        """Where values are, in pixels."""
        left, top, right, bottom = self.box
        across, up = (x - self.x[0]) / (self.x[1] - self.x[0]), (y - self.y[0]) / (self.y[1] - self.y[0])
        return left + across * (right - left), bottom - up * (bottom - top)

    def axes(self, x_label: str, y_label: str, x_ticks: Sequence[Tick], y_ticks: Sequence[Tick]) -> None:
        left, top, right, bottom = self.box
        for value, text in y_ticks:
            _, y = self.at(self.x[0], value)
            self._stroke("line", f"M{left:.1f} {y:.1f}H{right:.1f}", 0.8)
            self.text((left - 6, y + 4), text, anchor="end")
        for value, text in x_ticks:
            x, _ = self.at(value, self.y[0])
            self._stroke("soft", f"M{x:.1f} {bottom:.1f}v4", 1)
            self.text((x, bottom + 18), text, anchor="middle")
        self._stroke("soft", f"M{left:.1f} {top:.1f}V{bottom:.1f}H{right:.1f}", 1)
        self.text(((left + right) / 2, bottom + 38), x_label, anchor="middle")
        self.text((left - 46, (top + bottom) / 2), y_label, anchor="middle", turned=-90)

    def line(self, colour: str, points: Sequence[Point], *, width: float = 1.8, dashed: bool = False) -> None:
        places = [self.at(*point) for point in points]
        self._stroke(colour, "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places), width, dashed=dashed)

    def points(self, colour: str, points: Sequence[Point]) -> None:
        for x, y in (self.at(*point) for point in points):
            self.parts.append(f'<circle {_paint(colour, "fill")} cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>')

    def bar(self, colour: str, low: Point, high: Point, opacity: float = 1.0) -> None:
        """A rectangle between two corners."""
        (x, bottom), (right, y) = self.at(*low), self.at(*high)
        size = f'x="{x:.1f}" y="{y:.1f}" width="{right - x:.1f}" height="{bottom - y:.1f}"'
        self.parts.append(f'<rect {_paint(colour, "fill")} fill-opacity="{opacity:.3g}" {size}/>')

    def text(
        self, place: Point, text: str, colour: str = "ink", *, anchor: str = "start", size: int = 12, turned: int = 0
    ) -> None:
        """A text at a place in pixels."""
        x, y = place
        turn = f' transform="rotate({turned} {x:.1f} {y:.1f})"' if turned else ""
        self.parts.append(
            f'<text {_paint(colour, "fill")} x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{turn}>'
            f"{html.escape(visible(text))}</text>"
        )

    def legend(self, place: Point, entries: Sequence[tuple[str, str]]) -> None:
        """The texts of colours, one below the other, from a place in pixels."""
        x, y = place
        for row, (colour, text) in enumerate(entries):
            self._stroke(colour, f"M{x:.1f} {y + 18 * row - 4:.1f}h18", 3)
            self.text((x + 24, y + 18 * row), text)

    def _stroke(self, colour: str, path: str, width: float, *, dashed: bool = False) -> None:
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(f'<path {_paint(colour, "stroke")} fill="none" stroke-width="{width}"{dashes} d="{path}"/>')


def svg(width: float, height: float, alt: str, *charts: Chart) -> str:
    """Charts as one image; ``alt`` says what it shows."""
    body = "".join(part for chart in charts for part in chart.parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="{html.escape(alt)}" font-family="system-ui, sans-serif">{body}</svg>'
    )


def percent_ticks(low: float, high: float) -> list[Tick]:
    return [(value, f"{round(100 * value, 6):g} %") for value in _ticks(low, high, 0.01)]


def count_ticks(most: int) -> list[Tick]:
    return [(value, f"{value:g}") for value in _ticks(0, most, 1)]


def number_ticks(low: float, high: float) -> list[Tick]:
    """Round numbers of any size."""
    least = 10.0 ** math.floor(math.log10((high - low) / 100))
    return [(value, f"{value:g}") for value in _ticks(low, high, least)]


def _ticks(low: float, high: float, least: float) -> list[float]:
    """Round numbers in a range, few of them, at least so far apart."""
    sizes = (least * step * 10**power for power in range(12) for step in _STEPS)
    step = next(size for size in sizes if (high - low) / size <= _MOST_TICKS)
    return [round(number * step, 9) for number in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


def visible(text: str) -> str:
    """A text on one line, without characters that SVG forbids."""
    return "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Cn", "Zl", "Zp") else c for c in text)


def _paint(colour: str, what: str) -> str:
    # As an attribute, which the style of a page overrides by the class.
    return f'class="{colour}" color="{COLOURS[colour]}" {what}="currentColor"'
