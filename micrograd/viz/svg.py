"""The picture of a graph as SVG, in presentation attributes only, so that GitHub and mail programs show it."""

from __future__ import annotations

import re
import unicodedata

from micrograd.viz.graph import Box, Edge, Graph, number, signed
from micrograd.viz.layout import Item, Layout, Link, arrange

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
INK, SOFT, LINE, PAPER = "#1b1f24", "#57606a", "#6e7781", "#ffffff"
BLUE, VERMILLION = "#0072B2", "#D55E00"  # Okabe and Ito's colours, which colour-blind readers tell apart
FILL = {"input": "#eaf3fa", "parameter": "#fdf1e3", "constant": "#f2f2f2", "operation": "#ffffff", "group": "#f4f7f4"}
FAINT = 0.4  # opacity of what stands back behind lit paths
BADGES = 3  # numbers or runs of numbers of paths on an edge
SIZE, SMALL = 12, 11  # text, in pixels
MARGIN, PADDING, ROW = 20.0, 10.0, 17.0
LONGEST, WHOLE = 28, 10_000  # characters of a label, in its box and in the title of the box
ORDERED = frozenset({"-", "/", "**", "atan2"})  # operands of these must not change places


def clean(text: str, longest: int = LONGEST) -> str:
    """Text in one line, without control characters and other things that no file format may carry, and not too long.

    >>> clean("a\\x00b\\nc")
    'a�b c'
    """
    text = re.sub(r"\s+", " ", text).strip()
    text = "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Cn", "Co") else c for c in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def escape(text: str) -> str:
    """Text for XML, as content or within quotes."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#39;")):
        text = text.replace(character, entity)
    return text


def text_width(text: str, size: float = SIZE, bold: bool = False) -> float:
    """About how wide a text is in a common sans-serif face, in pixels: rather too wide than too narrow."""
    ems = sum(_advance(c) for c in text)
    return ems * size * (1.06 if bold else 1.0)


def _advance(c: str) -> float:
    if unicodedata.east_asian_width(c) in "WF":
        return 1.0
    if c in "iljI.,:;'|! ()[]ft":
        return 0.36
    if c in "mwMW@%…×→":
        return 0.95
    return 0.72 if c.isupper() else 0.63


# ------------------------------------------------------------------------------------------------------------ the writer


def write(graph: Graph) -> str:
    """The whole picture as one SVG document.  The same graph gives the same bytes."""
    layout = lay_out(graph)
    captions = _wrapped(_captions(graph), max(layout.width, 460.0))
    widest = max([layout.width, *(text_width(line, SMALL) for line in captions)])
    width, height = widest + 2 * MARGIN, layout.height + 2 * MARGIN + (len(captions) * 16 + 8 if captions else 0)
    names = {box.id: _name(box) for box in graph.boxes}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_n(width)}" height="{_n(height)}" '
        f'viewBox="0 0 {_n(width)} {_n(height)}" role="img" font-family="{FONT}" font-size="{SIZE}">',
        f"<title>{escape(title(graph))}</title>",
        f"<desc>{escape(_description(graph, names))}</desc>",
        f'<rect width="{_n(width)}" height="{_n(height)}" fill="{PAPER}"/>',
        f'<g transform="translate({_n(MARGIN)} {_n(MARGIN)})">',
    ]
    for edge, route in zip(graph.edges, layout.routes, strict=True):
        parts.append(_edge(edge, route, names))
    for box, place in zip(graph.boxes, layout.boxes, strict=True):
        parts.append(_box(box, place, box.id in graph.roots))
    for k, line in enumerate(captions):
        parts.append(_text(0, layout.height + 24 + 16 * k, line, fill=SOFT, size=SMALL))
    return "\n".join([*parts, "</g>", "</svg>", ""])


def lay_out(graph: Graph) -> Layout:
    """The places of the boxes and the routes of the edges of a graph, in pixels."""
    position = {box.id: k for k, box in enumerate(graph.boxes)}
    ports = [0] * len(graph.boxes)
    for edge in graph.edges:
        ports[position[edge.target]] += 1
    items = [
        Item(_width(box), max(_height(box), 15.0 * count + 10.0), box.symbol in ORDERED)
        for box, count in zip(graph.boxes, ports, strict=True)
    ]
    links = []
    for edge in graph.edges:
        label = edge_text(edge)
        room = (text_width(label, SMALL) + 18.0 if label else 12.0) + _badge_width(edge)
        links.append(Link(position[edge.source], position[edge.target], look(edge), room))
    return arrange(items, links)


def edge_text(edge: Edge) -> str:
    """What stands on an edge: its local derivative, or how many were rolled up into it."""
    if edge.count > 1:
        return f"× {edge.count:,}"
    return "" if edge.derivative is None else signed(edge.derivative)


def badge(edge: Edge) -> str:
    """The numbers of the lit paths on an edge, runs of them shortened, or how many there are.

    >>> badge(Edge("a", "b", paths=(1, 2, 3, 5)))
    '1–3, 5'
    """
    runs: list[list[int]] = []
    for path in edge.paths:
        if runs and runs[-1][-1] == path - 1:
            runs[-1].append(path)
        else:
            runs.append([path])
    names = [f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    return ", ".join(names) if len(names) <= BADGES else f"{len(edge.paths):,} paths"


def _badge_width(edge: Edge) -> float:
    return text_width(badge(edge), SMALL, bold=True) + 18.0 if edge.paths else 0.0


def rows(box: Box) -> list[tuple[str, str]]:
    """The numbers of a box, with their names."""
    data = f"{number(box.data[0])} … {number(box.data[1])}" if isinstance(box.data, tuple) else number(box.data)
    grad = f"{signed(box.grad[0])} … {signed(box.grad[1])}" if isinstance(box.grad, tuple) else ""
    if isinstance(box.grad, float):
        grad = signed(box.grad)
    return [("data", data), ("grad", grad or "—")]


def head(box: Box, longest: int = LONGEST) -> tuple[str, str]:
    """The first line of a box: its label, and its operation or what kind of leaf it is."""
    left, right = box.label, box.symbol if box.kind in ("operation", "group") else box.kind
    if box.kind == "group" and not left:
        left, right = right, ""
    if box.count > 1:
        right = f"{right} × {box.count:,}".strip()
    return clean(left, longest), clean(right, longest)


def notes(box: Box, longest: int = 44) -> list[str]:
    lines = [clean(line, longest) for line in box.notes]
    return [*lines, "in focus"] if box.focus else lines


def _width(box: Box) -> float:
    left, right = head(box)
    widths = [text_width(left, SIZE, bold=True) + text_width(right) + (14 if left and right else 0)]
    widths += [text_width(name, SMALL) + text_width(value) + 14 for name, value in rows(box)]
    widths += [text_width(line, SMALL) for line in notes(box)]
    slope = {"input": 10.0, "parameter": 8.0}.get(box.kind, 0.0)
    return max(76.0, float(max(widths) // 1 + 1) + 2 * PADDING + slope)


def _height(box: Box) -> float:
    return ROW * (1 + len(rows(box)) + len(notes(box))) + PADDING


# -------------------------------------------------------------------------------------------------------------- the parts


def _box(box: Box, place: tuple[float, float, float, float], is_root: bool) -> str:
    x, y, width, height = place
    stroke = f'fill="{FILL[box.kind]}" stroke="{INK if is_root or box.focus else LINE}"'
    stroke += f' stroke-width="{3 if box.focus else 2 if is_root else 1.2}"'
    parts = [f'<g class="{box.kind}"{_opacity(box)}>', f"<title>{escape(_tooltip(box))}</title>"]
    if box.count > 1:
        parts.append(_outline(box.kind, x + 4, y + 4, width, height, stroke))
    parts.append(_outline(box.kind, x, y, width, height, stroke))
    content = ROW * (1 + len(rows(box)) + len(notes(box)))
    left, right = x + PADDING, x + width - PADDING
    if box.kind == "input":
        right -= 10
    if box.kind == "parameter":
        left, right = left + 4, right - 4
    line = y + (height - content) / 2 + 12.5
    name, what = head(box)
    soft = box.kind in ("input", "parameter", "constant")
    if name:
        parts.append(_text(left, line, name, weight=600))
    if what and (name or soft):
        parts.append(_text(right, line, what, anchor="end", fill=SOFT if soft else INK, weight=400 if soft else 600))
    elif what:
        parts.append(_text((left + right) / 2, line, what, anchor="middle", weight=600))
    for note in notes(box):
        line += ROW
        parts.append(_text(left, line, note, fill=SOFT, size=SMALL))
    for key, value in rows(box):
        line += ROW
        parts += [_text(left, line, key, fill=SOFT, size=SMALL), _text(right, line, value, anchor="end")]
    return "".join([*parts, "</g>"])


def _outline(kind: str, x: float, y: float, width: float, height: float, stroke: str) -> str:
    """Inputs are arrow-shaped, parameters round, constants cut at the corners, results of operations rectangles."""
    if kind in ("input", "constant"):
        r, b, m, c = x + width, y + height, y + height / 2, 8.0
        corners = [(x, y), (r - 10, y), (r, m), (r - 10, b), (x, b)]
        if kind == "constant":
            corners = [(x + c, y), (r - c, y), (r, y + c), (r, b - c), (r - c, b), (x + c, b), (x, b - c), (x, y + c)]
        points = " ".join(f"{_n(px)},{_n(py)}" for px, py in corners)
        return f'<polygon points="{points}" stroke-linejoin="round" {stroke}/>'
    radius = min(height / 2, 22.0) if kind == "parameter" else 4.0
    return f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" rx="{_n(radius)}" {stroke}/>'


def _edge(edge: Edge, route: list[tuple[float, float]], names: dict[str, str]) -> str:
    colour, dash = look(edge)
    (x, y), rest = route[0], route[1:]
    path = [f"M{_n(x)} {_n(y)}"]
    for k, (to_x, to_y) in enumerate(rest):
        if k % 2 or y == to_y:
            path.append(f"L{_n(to_x)} {_n(to_y)}")
        else:
            middle = (x + to_x) / 2
            path.append(f"C{_n(middle)} {_n(y)} {_n(middle)} {_n(to_y)} {_n(to_x)} {_n(to_y)}")
        x, y = to_x, to_y
    dashes = ' stroke-dasharray="5 4"' if dash else ""
    text = edge_text(edge)
    what = f"operand {edge.index + 1}, local derivative {text}" if edge.derivative is not None else text
    width, size = (3.4, 10.0) if edge.paths else (1.6, 7.0)  # of the line, and of the arrow's head
    head = f"{_n(x)},{_n(y)} {_n(x - size)},{_n(y - size / 2)} {_n(x - size)},{_n(y + size / 2)}"
    if edge.paths:
        what += f", on path {badge(edge)}"
    parts = [
        f'<g class="edge"{_opacity(edge)}>',
        f"<title>{escape(f'{names[edge.source]} to {names[edge.target]}: {what}'.rstrip(': '))}</title>",
        f'<path d="{" ".join(path)}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}/>',
        f'<polygon points="{head}" fill="{colour}"/>',
    ]
    if text:
        parts.append(_text(x - 9, y - 4, text, anchor="end", size=SMALL, weight=600 if edge.paths else 400))
    if edge.paths:
        width = _badge_width(edge) - 6.0
        left = x - (text_width(text, SMALL) + 18.0 if text else 12.0) - width
        parts.append(f'<rect x="{_n(left)}" y="{_n(y - 7)}" width="{_n(width)}" height="14" rx="7" fill="{INK}"/>')
        parts.append(_text(left + width / 2, y + 4, badge(edge), anchor="middle", fill=PAPER, size=SMALL, weight=600))
    return "".join([*parts, "</g>"])


def _opacity(part: Box | Edge) -> str:
    return f' opacity="{FAINT}"' if part.faint else ""


def look(edge: Edge) -> tuple[str, bool]:
    """Colour and dashes by the sign of the local derivative; grey where there is none to show."""
    d = edge.derivative
    if d is None or d != d:
        return LINE, False
    return (BLUE, False) if d > 0 else (VERMILLION, False) if d < 0 else (LINE, True)


def _text(x: float, y: float, text: str, anchor: str = "", fill: str = INK, size: int = SIZE, weight: int = 400) -> str:
    extra = f' text-anchor="{anchor}"' if anchor else ""
    extra += f' font-size="{size}"' if size != SIZE else ""
    extra += f' font-weight="{weight}"' if weight != 400 else ""
    return f'<text x="{_n(x)}" y="{_n(y)}" fill="{fill}"{extra}>{escape(text)}</text>'


def _n(x: float) -> str:
    return f"{x:.1f}".removesuffix(".0")


# --------------------------------------------------------------------------------------------------------------- in words


def _name(box: Box) -> str:
    return clean(box.label) or clean(box.symbol) or box.kind


def _tooltip(box: Box) -> str:
    """All that the box says, with its lines whole where the box has room for their beginnings only."""
    words = [w for w in head(box, WHOLE) if w] + [f"{k} {v}" for k, v in rows(box)] + notes(box, WHOLE)
    return ", ".join(words)


def title(graph: Graph) -> str:
    """What the picture is of."""
    names = [_name(box) for box in graph.boxes if box.id in graph.roots]
    return "Computation graph of " + ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _description(graph: Graph, names: dict[str, str]) -> str:
    results = [box for box in graph.boxes if box.id in graph.roots][:5]
    what = [f"{names[b.id]} has {' and '.join(f'{k} {v}' for k, v in rows(b))}" for b in results]
    boxes = f"{len(graph.boxes):,} boxes and {len(graph.edges):,} edges, operands on the left, results on the right"
    return " ".join([*(f"{sentence}." for sentence in [boxes, *what]), *graph.captions])


def _captions(graph: Graph) -> list[str]:
    lines = list(graph.captions)
    if any(edge.derivative is not None for edge in graph.edges):
        lines.append("On an edge: the local derivative (blue +, vermillion -, dashed 0).")
    if any(edge.count > 1 for edge in graph.edges):
        lines.append("× N on an edge: it stands for N edges, one for each operand.")
    return lines


def _wrapped(lines: list[str], width: float) -> list[str]:
    wrapped = []
    for line in lines:
        wrapped.append("")
        for word in line.split():
            longer = f"{wrapped[-1]} {word}".strip()
            if wrapped[-1] and text_width(longer, SMALL) > width:
                wrapped.append(word)
            else:
                wrapped[-1] = longer
    return wrapped
