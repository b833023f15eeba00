"""Axes and line charts as SVG: presentation attributes only, opaque background, so that it shows wherever an image does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import TypeVar

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 400, 64, 20, 48, 52
STROKES = [("#0072B2", ""), ("#D55E00", ' stroke-dasharray="7 4"')]  # Okabe-Ito blue and vermillion; dashes for print


def line_chart(title: str, x_label: str, y_label: str, series: Mapping[str, Sequence[float]]) -> str:
    """An SVG of one or two named series of finite numbers, drawn at x = 0, 1, 2, ... over a vertical axis that includes 0.

    >>> line_chart("loss", "epoch", "loss", {"training": [1.0, 0.5]}).startswith("<svg")
    True
    """
    x_ticks = ticks(max(len(points) for points in series.values()) - 1 or 1, whole=True)
    y_ticks = ticks(max(max(points) for points in series.values()) or 1.0)
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    axes = Axes(LEFT, TOP, right, bottom, x_ticks, y_ticks)
    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>', text(LEFT, 24, title, size=16, anchor="start")]
    parts += axes.frame()
    parts.append(text((LEFT + right) / 2, HEIGHT - 10, x_label))
    parts.append(text(16, (TOP + bottom) / 2, y_label, turned=True))
    for i, (name, points) in enumerate(series.items()):
        colour, dashes = STROKES[i]
        stroke = f'fill="none" stroke="{colour}" stroke-width="2"{dashes}'
        parts += axes.line(enumerate(points), stroke)
        legend = right - 120 * (len(series) - i)  # above the plot, where no curve can cross it
        parts.append(f'<path d="M{legend} 20h36" {stroke}/>')
        parts.append(text(legend + 44, 24, name, anchor="start"))
    ends = "; ".join(f"{name} from {points[0]:.4g} to {points[-1]:.4g}" for name, points in series.items())
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    texts = f"<title>{escape(title)}</title>\n<desc>{escape(f'{y_label} by {x_label}: {ends}')}</desc>"
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">', texts, *parts, "</svg>", ""])


@dataclass(frozen=True)
class Axes:
    """Two axes with their ticks, from the first to the last, within a rectangle given in pixels.

    With ``log`` heights go by logarithms.  Points that are not finite are left out; those beyond an end are drawn at it.

    >>> Axes(0, 0, 100, 50, [0.0, 1.0], [1e-3, 1e-2, 1e-1], log=True).y(0.01)
    25.0
    """

    left: float
    top: float
    right: float
    bottom: float
    x_ticks: Sequence[float]
    y_ticks: Sequence[float]
    log: bool = False

    def x(self, value: float) -> float:
        return round(self.left + _share(value, self.x_ticks) * (self.right - self.left), 2)

    def y(self, value: float) -> float:
        if self.log:
            share = _share(math.log10(max(value, self.y_ticks[0])), [math.log10(tick) for tick in self.y_ticks])
        else:
            share = _share(value, self.y_ticks)
        return round(self.bottom - share * (self.bottom - self.top), 2)

    def frame(self, size: int = 13) -> list[str]:
        """The axes with their numbers, and a grey line at each height."""
        parts = []
        for tick in self.y_ticks:
            y = self.y(tick)
            parts.append(f'<line x1="{self.left}" y1="{y}" x2="{self.right}" y2="{y}" stroke="#dddddd"/>')
            parts.append(text(self.left - 8, y + 4, f"{tick:g}", size, anchor="end"))
        for tick in self.x_ticks:
            x = self.x(tick)
            parts.append(f'<line x1="{x}" y1="{self.bottom}" x2="{x}" y2="{self.bottom + 5}" stroke="#444444"/>')
            parts.append(text(x, self.bottom + size + 7, f"{tick:g}", size))
        return [*parts, f'<path d="M{self.left} {self.top}V{self.bottom}H{self.right}" fill="none" stroke="#444444"/>']

    def line(self, points: Iterable[tuple[float, float]], stroke: str) -> list[str]:
        """A line through points, one more after each gap; a point by itself is a short dash."""
        parts = []
        for run in _runs(points):
            places = [f"{self.x(x)},{self.y(y)}" for x, y in run]
            if len(run) == 1:
                places = [f"{self.x(run[0][0]) + side},{self.y(run[0][1])}" for side in (-3.0, 3.0)]
            parts.append(f'<polyline points="{" ".join(places)}" {stroke} stroke-linejoin="round"/>')
        return parts

    def ribbon(self, points: Iterable[tuple[float, float, float]], fill: str) -> list[str]:
        """The area between two lines: points are (x, low, high)."""
        parts = []
        for run in _runs(points):
            lower = [f"{self.x(x)},{self.y(low)}" for x, low, _ in run]
            upper = [f"{self.x(x)},{self.y(high)}" for x, _, high in reversed(run)]
            parts.append(f'<polygon points="{" ".join(lower + upper)}" fill="{fill}"/>')
        return parts


def _share(value: float, ends: Sequence[float]) -> float:
    """How far from the first to the last of the ends a value lies, from 0 to 1."""
    return min(max((value - ends[0]) / (ends[-1] - ends[0]), 0.0), 1.0)


_Point = TypeVar("_Point", bound=tuple[float, ...])


def _runs(points: Iterable[_Point]) -> list[list[_Point]]:
    """The stretches of points whose numbers are all finite."""
    grouped = groupby(points, key=lambda point: all(map(math.isfinite, point)))
    return [list(run) for finite, run in grouped if finite]


def ticks(top: float, whole: bool = False) -> list[float]:
    """Round numbers from 0 to top or just above it in three to seven steps of 1, 2 or 5 times a power of ten.

    >>> ticks(1.1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2]
    """
    power = 10.0 ** math.floor(math.log10(top / 5))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * 7 >= top)
    step = max(step, 1.0) if whole else step
    return [float(f"{i * step:.6g}") for i in range(math.ceil(top / step - 1e-9) + 1)]


def ticks_between(low: float, high: float, most: int = 4) -> list[float]:
    """Round numbers from ``low`` or just below it to ``high`` or just above it, in about ``most`` steps.

    >>> ticks_between(-0.3, 1.1)
    [-0.5, 0.0, 0.5, 1.0, 1.5]
    """
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if power * factor * most >= span)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.6g}") for i in range(first, max(last, first + 1) + 1)]


def log_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Powers of ten from ``low``, which is positive, or just below to ``high`` or just above, in at most ``most`` steps.

    >>> log_ticks(0.02, 3.0)
    [0.01, 0.1, 1.0, 10.0]
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step = max(1, math.ceil((last - first) / most))
    return [float(f"1e{first + k * step}") for k in range(max(1, math.ceil((last - first) / step)) + 1)]


def text(x: float, y: float, content: str, size: int = 13, anchor: str = "middle", turned: bool = False) -> str:
    turn = f' transform="rotate(-90 {x} {y})"' if turned else ""
    return (
        f'<text x="{x}" y="{y}" font-family="sans-serif" font-size="{size}" fill="#222222" text-anchor="{anchor}"{turn}>'
        f"{escape(content)}</text>"
    )
