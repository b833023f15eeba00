"""A line chart as SVG: presentation attributes only, opaque background, so that it shows wherever an image does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

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

    def x(value: float) -> float:
        return round(LEFT + value / x_ticks[-1] * (right - LEFT), 2)

    def y(value: float) -> float:
        return round(bottom - value / y_ticks[-1] * (bottom - TOP), 2)

    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>', _text(LEFT, 24, title, size=16, anchor="start")]
    for tick in y_ticks:
        parts.append(f'<line x1="{LEFT}" y1="{y(tick)}" x2="{right}" y2="{y(tick)}" stroke="#dddddd"/>')
        parts.append(_text(LEFT - 8, y(tick) + 4, f"{tick:g}", anchor="end"))
    for tick in x_ticks:
        parts.append(f'<line x1="{x(tick)}" y1="{bottom}" x2="{x(tick)}" y2="{bottom + 5}" stroke="#444444"/>')
        parts.append(_text(x(tick), bottom + 20, f"{tick:g}"))
    parts.append(f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#444444"/>')
    parts.append(_text((LEFT + right) / 2, HEIGHT - 10, x_label))
    parts.append(_text(16, (TOP + bottom) / 2, y_label, turned=True))
    for i, (name, points) in enumerate(series.items()):
        colour, dashes = STROKES[i]
        stroke = f'fill="none" stroke="{colour}" stroke-width="2"{dashes}'
        places = " ".join(f"{x(n)},{y(value)}" for n, value in enumerate(points))
        parts.append(f'<polyline points="{places}" {stroke} stroke-linejoin="round"/>')
        legend = right - 120 * (len(series) - i)  # above the plot, where no curve can cross it
        parts.append(f'<path d="M{legend} 20h36" {stroke}/>')
        parts.append(_text(legend + 44, 24, name, anchor="start"))
    ends = "; ".join(f"{name} from {points[0]:.4g} to {points[-1]:.4g}" for name, points in series.items())
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    texts = f"<title>{escape(title)}</title>\n<desc>{escape(f'{y_label} by {x_label}: {ends}')}</desc>"
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">', texts, *parts, "</svg>", ""])


def ticks(top: float, whole: bool = False) -> list[float]:
    """Round numbers from 0 to top or just above it in three to seven steps of 1, 2 or 5 times a power of ten.

    >>> ticks(1.1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2]
    """
    power = 10.0 ** math.floor(math.log10(top / 5))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * 7 >= top)
    step = max(step, 1.0) if whole else step
    return [float(f"{i * step:.6g}") for i in range(math.ceil(top / step - 1e-9) + 1)]


def _text(x: float, y: float, text: str, size: int = 13, anchor: str = "middle", turned: bool = False) -> str:
    turn = f' transform="rotate(-90 {x} {y})"' if turned else ""
    return (
        f'<text x="{x}" y="{y}" font-family="sans-serif" font-size="{size}" fill="#222222" text-anchor="{anchor}"{turn}>'
        f"{escape(text)}</text>"
    )
