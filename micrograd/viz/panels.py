"""The picture of a training run: loss, gradients, dead neurons, the decision boundary, and the spread of each layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

from micrograd.viz.chart import Axes, log_ticks, text, ticks, ticks_between

if TYPE_CHECKING:
    from micrograd.viz.run import Quantiles, Record, Run, Weights

WIDTH, MARGIN, GAP = 960, 24, 28
LEFT = 52  # room for the numbers of a vertical axis
TALL, FLAT = 150, 84  # heights of a line panel and of a ribbon
COLUMNS = 5  # layers that have ribbons: of more, the first and the last ones
CELLS = 44  # along each side of a decision boundary
STROKES = [  # Okabe and Ito's colours, each with dashes of its own
    ("#0072B2", ""),
    ("#D55E00", "7 4"),
    ("#009E73", "2 3"),
    ("#CC79A7", "9 3 2 3"),
    ("#56B4E9", "14 4"),
    ("#000000", "4 2"),
]
FILLS = ["#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]  # of the classes; shapes tell them apart too
MARKERS: list[list[tuple[float, float]]] = [  # corners around the middle; none for a circle
    [],
    [(-4, -4), (4, -4), (4, 4), (-4, 4)],
    [(0, -5), (5, 4), (-5, 4)],
    [(0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)],
    [(0, 5), (5, -4), (-5, -4)],
    [(-5, -2), (5, -2), (5, 2), (-5, 2)],
]
SHADES = 4  # of a class, by how sure the network is
BAND, HALF, MIDDLE = "#d6e6f2", "#8fbbdb", "#0072B2"

Part = tuple[list[str], float]  # elements, and the height that they take


def picture(run: Run) -> str:
    """The whole picture as one SVG document.  The same run gives the same bytes."""
    first, last = run.records[0], run.records[-1]
    title = f"Training: loss {first.loss:.4g} to {last.loss:.4g} in {last.step + 1:,} step{'s' * (last.step > 0)}"
    parts, y = [text(MARGIN, 30, title, size=18, anchor="start")], 48.0
    for section in (_curves, _boundaries, _spreads):
        elements, height = section(run, y)
        parts += elements
        y += height
    height = round(y + 4)
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(_description(run))}</desc>",
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def _description(run: Run) -> str:
    first, last = run.records[0], run.records[-1]
    sentences = [f"Loss from {first.loss:.4g} at step {first.step} to {last.loss:.4g} at step {last.step}."]
    for k, norm in enumerate(last.norms):
        sentences.append(f"{_name(run, k)}: gradient norm from {first.norms[k]:.4g} to {norm:.4g}.")
        if last.dead and last.dead[k] is not None:
            sentences.append(
                f"{last.dead[k]} of its {len(run.layers[k].neurons)} relu neurons are dead at the end{_looked(run)}."
            )
    return " ".join(sentences)


def _name(run: Run, k: int) -> str:
    return f"Layer {k + 1}" if run.layers else "All parameters"


# -------------------------------------------------------------------------------------------------- curves over the steps


def _curves(run: Run, top: float) -> Part:
    """Loss, gradient norms and dead neurons, side by side."""
    records, shown = run.records, _shown(len(run.groups), len(STROKES))
    steps = [record.step for record in records]
    relu = [k for k in shown if records[0].dead and records[0].dead[k] is not None]
    count = 3 if relu else 2
    width = (WIDTH - 2 * MARGIN - (count - 1) * GAP) / count

    def panel(
        column: int, title: str, lines: dict[int, list[float]], y_ticks: Sequence[float], log: bool = False
    ) -> list[str]:
        left = MARGIN + column * (width + GAP)
        parts = [text(left, top + 14, title, size=14, anchor="start")]
        axes = Axes(left + LEFT, top + 44, left + width, top + 44 + TALL, _step_ticks(steps), y_ticks, log)
        parts += axes.frame(11)
        for place, (k, numbers) in enumerate(lines.items()):
            colour, dashes = STROKES[shown.index(k)]
            stroke = f'fill="none" stroke="{colour}" stroke-width="2"' + (f' stroke-dasharray="{dashes}"' if dashes else "")
            parts += axes.line(zip(steps, numbers, strict=True), stroke)
            if len(lines) > 1 or lines.keys() == set(relu):
                x = left + LEFT + place * (width - LEFT) / max(len(lines), 3)
                parts += [
                    f'<path d="M{x:.1f} {top + 30}h22" {stroke}/>',
                    text(x + 27, top + 34, f"layer {k + 1}" if len(lines) < 5 else f"{k + 1}", 11, "start"),
                ]
        return [*parts, text(left + (LEFT + width) / 2, top + TALL + 78, "step", 11)]

    losses = [record.loss for record in records]
    norms = {k: [record.norms[k] for record in records] for k in shown}
    parts = panel(0, "Loss", {0: losses}, ticks_between(*_range([*losses, 0.0])))
    parts += panel(1, "Gradient norm" + " of each layer" * (len(shown) > 1), norms, _norm_ticks(norms.values()), log=True)
    if relu:
        dead = {k: [float(record.dead[k] or 0) for record in records] for k in relu}
        most = max(1.0, *(x for line in dead.values() for x in line))
        parts += panel(2, "Dead relu neurons" + (_looked(run) or f" of {_sizes(run, relu)}"), dead, ticks(most, whole=True))
    return parts, TALL + 44.0 + 56.0


def _looked(run: Run) -> str:
    """How many rows were looked at for dead neurons, if not all."""
    return f" on {len(run.looked_at)} rows looked at" * run.is_sampled


def _sizes(run: Run, relu: list[int]) -> str:
    return " and ".join(str(len(run.layers[k].neurons)) for k in relu) if len(relu) < 4 else "each layer"


def _shown(count: int, most: int) -> list[int]:
    """The layers that are drawn: all, or the first and the last ones."""
    return list(range(count)) if count <= most else [*range(most - most // 2), *range(count - most // 2, count)]


def _step_ticks(steps: Sequence[int]) -> list[float]:
    last = max(steps[-1], 1)
    return [tick for tick in ticks_between(0.0, float(last), 4) if tick < last * 0.93 and tick == tick // 1] + [float(last)]


def _norm_ticks(lines: Iterable[Sequence[float]]) -> list[float]:
    positive = [norm for line in lines for norm in line if 0.0 < norm < math.inf] or [1.0]
    high = max(positive)
    return log_ticks(max(min(positive), high * 1e-12, 1e-300), high)


def _range(numbers: Iterable[float]) -> tuple[float, float]:
    finite = [x for x in numbers if math.isfinite(x)] or [0.0]
    return min(finite), max(finite)


# ----------------------------------------------------------------------------------------------------- decision boundary


def _boundaries(run: Run, top: float) -> Part:
    """What the network said everywhere in the plane, at four moments of the run."""
    if not run.is_plane or not run.shots:
        return [], 0.0
    classes = _classes(run)
    single = len(run.layers[-1].neurons) == 1
    moments = run.moments(4)
    side = (WIDTH - 2 * MARGIN - 3 * GAP) / 4
    x_range, y_range = (_padded([row[axis] for row, _ in run.points]) for axis in (0, 1))
    what = "sign of the output" if single else "largest output"
    parts = [text(MARGIN, top + 14, f"Decision boundary: {what} over the plane of inputs", size=14, anchor="start")]
    x = float(MARGIN)
    legend = WIDTH - MARGIN - 52.0 * len(classes)
    for label, k in classes.items():
        parts += [_marker(k, legend + 8, top + 10), text(legend + 18, top + 14, f"{label:g}", 11, "start")]
        legend += 52.0
    for step, weights in moments:
        parts += _plane(run, weights, single, x_range, y_range, x, top + 44, side / CELLS)
        parts.append(text(x, top + 36, f"step {step:,}", 11, "start"))
        for row, label in run.points:
            px = x + (row[0] - x_range[0]) / (x_range[1] - x_range[0]) * side
            py = top + 44 + side - (row[1] - y_range[0]) / (y_range[1] - y_range[0]) * side
            parts.append(_marker(None if label is None else classes.get(label), px, py))
        x += side + GAP
    return parts, side + 44 + 30


def _classes(run: Run) -> dict[float, int]:
    """The labels, lowest first, and their classes; none where they are too many, or no classes of the outputs.

    Of one output the classes are its signs: two labels are the lower and the higher.  Of several they are its positions.
    """
    labels = sorted({label for _, label in run.points if label is not None})
    outputs = len(run.layers[-1].neurons)
    if outputs == 1:
        return (
            {label: k if len(labels) == 2 else int(label > 0.0) for k, label in enumerate(labels)} if len(labels) < 3 else {}
        )
    whole = all(label in range(min(outputs, len(FILLS))) for label in labels)
    return {label: int(label) for label in labels} if whole else {}


def _padded(numbers: Sequence[float]) -> tuple[float, float]:
    low, high = _range(numbers)
    pad = 0.08 * (high - low) or 1.0
    return low - pad, high + pad


def _plane(
    run: Run,
    weights: Weights,
    single: bool,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    left: float,
    top: float,
    cell: float,
) -> list[str]:
    """Coloured cells, darker where the network is surer, and a line between cells of different classes."""
    (x0, x1), (y0, y1) = x_range, y_range
    middles = [(i + 0.5) / CELLS for i in range(CELLS)]
    scores = [
        [_score(run.outputs(weights, [x0 + u * (x1 - x0), y1 - v * (y1 - y0)]), single) for u in middles] for v in middles
    ]
    finite = sorted(sure for row in scores for _, sure in row if math.isfinite(sure))
    full = finite[int(0.9 * (len(finite) - 1))] if finite else 0.0
    kinds = [[(k, _shade_number(sure, full)) for k, sure in row] for row in scores]
    areas: dict[tuple[int, int], list[str]] = {}
    for j, row in enumerate(kinds):
        i = 0
        for kind, run_of_cells in groupby(row):
            width = len(list(run_of_cells))
            areas.setdefault(kind, []).append(f"M{i} {j}h{width}v1h-{width}z")
            i += width
    parts = [f'<path d="{"".join(areas[kind])}" fill="{_shade(*kind)}"/>' for kind in sorted(areas)]
    border = "".join(_borders([[k for k, _ in row] for row in kinds]))
    parts.append(f'<path d="{border}" fill="none" stroke="#222222" stroke-width="0.4" stroke-linecap="square"/>')
    frame = f'<path d="M0 0H{CELLS}V{CELLS}H0z" fill="none" stroke="#444444" stroke-width="0.2"/>'
    place = f'transform="translate({left:.1f} {top:.1f}) scale({cell:.4f})" shape-rendering="crispEdges"'
    return [f"<g {place}>", *parts, frame, "</g>"]


def _shade_number(sure: float, full: float) -> int:
    return min(int(math.sqrt(min(sure / full, 1.0)) * SHADES), SHADES - 1) if full else 0


def _score(outputs: list[float], single: bool) -> tuple[int, float]:
    """The class that the network chooses, and how sure it is: how far from the border, or from the second."""
    if any(map(math.isnan, outputs)):
        return 0, 0.0
    if single:
        return int(outputs[0] > 0.0), abs(outputs[0])
    best, second = sorted(outputs)[-1:-3:-1]
    return outputs.index(best), best - second if best < math.inf else math.inf


def _shade(k: int, shade: int) -> str:
    """The colour of a class, the paler the less sure."""
    colour = FILLS[k % len(FILLS)]
    strength = 0.12 + 0.13 * shade
    rgb = [round(255 + (int(colour[i : i + 2], 16) - 255) * strength) for i in (1, 3, 5)]
    return "#" + "".join(f"{c:02x}" for c in rgb)


def _borders(kinds: list[list[int]]) -> Iterable[str]:
    for j, row in enumerate(kinds):
        for i, k in enumerate(row):
            if i and row[i - 1] != k:
                yield f"M{i} {j}v1"
            if j and kinds[j - 1][i] != k:
                yield f"M{i} {j}h1"


def _marker(k: int | None, x: float, y: float) -> str:
    """A point of a class: each class has a shape and a colour; a small grey point has none."""
    if k is None:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="#444444"/>'
    look = f'fill="{FILLS[k % len(FILLS)]}" stroke="#ffffff" stroke-width="1"'
    corners = MARKERS[k % len(MARKERS)]
    if not corners:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" {look}/>'
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" {look}/>'


# ---------------------------------------------------------------------------------------------------- spread of each layer


def _spreads(run: Run, top: float) -> Part:
    """For each layer, ribbons of weights, gradients and activations over the steps."""
    records = run.records
    shown = _shown(len(run.groups), COLUMNS)
    steps = [record.step for record in records]
    kinds: list[tuple[str, Callable[[Record], tuple[Quantiles, ...]]]] = [
        ("weights", lambda record: record.weights),
        ("gradients", lambda record: record.gradients),
    ]
    if records[0].activations:
        kinds.append(("activations", lambda record: record.activations))
    heading = "Spread over a sample: the middle line is the median, half lie in the dark band, nine in ten in the light one"
    parts = [text(MARGIN, top + 14, heading, size=14, anchor="start")]
    pitch = min((WIDTH - 2 * MARGIN - 20) / len(shown), 460.0)
    lefts = [round(MARGIN + 20 + LEFT + place * pitch, 1) for place in range(len(shown))]
    y = top + 46
    for place, (k, left) in enumerate(zip(shown, lefts, strict=True)):
        gap = f" (of {len(run.groups)})" if len(shown) < len(run.groups) and place == len(shown) - 1 else ""
        parts.append(text(left, y - 10, _name(run, k) + gap, 12, "start"))
    for row, (name, pick) in enumerate(kinds):
        numbers = [[pick(record)[k] for record in records] for k in shown]
        parts.append(text(MARGIN + 8, y + FLAT / 2, name, 12, turned=True))
        for left, layer in zip(lefts, numbers, strict=True):
            axes = Axes(left, y, left + pitch - LEFT, y + FLAT, [0.0, max(steps[-1], 1)], _spread_ticks(layer))
            parts += _ribbon(axes, steps, layer, labelled=row == len(kinds) - 1)
        y += FLAT + 20
    note = "Each panel has its own scale; what a few steps put beyond it is drawn at its end."
    return [*parts, text(MARGIN, y + 22, note, 11, "start")], y + 36 - top


def _spread_ticks(layer: Sequence[Quantiles]) -> list[float]:
    """An axis for a ribbon, but for the twentieth of the steps that are furthest out."""
    lows, highs = ([q[end] for q in layer if math.isfinite(q[end])] or [0.0] for end in (0, 4))
    lows.sort()
    highs.sort()
    return ticks_between(lows[(len(lows) - 1) // 20], highs[-1 - (len(highs) - 1) // 20], 3)


def _ribbon(axes: Axes, steps: Sequence[int], layer: Sequence[Quantiles], labelled: bool) -> list[str]:
    parts = []
    for fill, low, high in ((BAND, 0, 4), (HALF, 1, 3)):
        parts += axes.ribbon([(step, q[low], q[high]) for step, q in zip(steps, layer, strict=True)], fill)
    for tick in axes.y_ticks:
        stroke = "#999999" if tick == 0.0 else "#dddddd"
        parts.append(f'<path d="M{axes.left:.1f} {axes.y(tick)}H{axes.right:.1f}" stroke="{stroke}" stroke-width="0.7"/>')
        parts.append(text(round(axes.left - 6, 1), axes.y(tick) + 4, f"{tick:g}", 10, "end"))
    if labelled:
        last = f"step {steps[-1]:,}"
        parts += [text(axes.left, axes.bottom + 16, "0", 11, "start"), text(axes.right, axes.bottom + 16, last, 11, "end")]
    median = [(step, q[2]) for step, q in zip(steps, layer, strict=True)]
    return parts + axes.line(median, f'fill="none" stroke="{MIDDLE}" stroke-width="1.5"')


# ---------------------------------------------------------------------------------------------------------------- a page


def page(svg: str) -> str:
    """A page that holds a picture and follows the reader's theme around it."""
    title = svg.split("<title>", 1)[1].split("</title>", 1)[0]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 0; padding: 16px; background: #f6f8fa; }}
svg {{ display: block; margin: 0 auto; max-width: 100%; height: auto; border: 1px solid #d0d7de; border-radius: 8px; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #0d1117; }} svg {{ border-color: #30363d; }} }}
</style>
</head>
<body>
<main>
{svg}</main>
</body>
</html>
"""
