"""A page that plays a graph step by step: one HTML document that holds all it needs and asks the network for nothing."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from micrograd.chain import names
from micrograd.viz import svg
from micrograd.viz.graph import Graph, number, signed
from micrograd.viz.steps import LeafPaths, Plan, Step, is_whole, written

PHASES = ("leaves", "forward", "seed", "backward")
COLOURS = {
    svg.INK: "var(--ink)",
    svg.SOFT: "var(--soft)",
    svg.LINE: "var(--wire)",
    svg.PAPER: "var(--paper)",
    svg.BLUE: "var(--plus)",
    svg.VERMILLION: "var(--minus)",
}
LOOKS = ("fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "font-size", "font-weight", "text-anchor")
PLACES = ("x", "y", "width", "height", "points", "d")
ARROWS = """<defs>
<marker id="arrow" refX="7" refY="3.5" markerWidth="7" markerHeight="7" markerUnits="userSpaceOnUse" orient="auto">
<path d="M0 0L7 3.5L0 7z" fill="context-stroke"/></marker>
<marker id="lit-arrow" refX="11" refY="6" markerWidth="13" markerHeight="12" markerUnits="userSpaceOnUse" orient="auto">
<path d="M0 0L13 6L0 12z" fill="context-stroke"/></marker>
</defs>"""
FRAME_HEIGHT = 640  # pixels in a notebook


class Stepper:
    """The steps of a graph as a page: ``html`` is its text, ``save`` writes it, and in a notebook it shows itself.

    >>> from micrograd import Value, draw
    >>> page = draw(Value(2.0, label="x") * 3.0).steps()
    >>> page
    Stepper(5 steps)
    >>> page.html[:15]
    '<!DOCTYPE html>'
    """

    def __init__(self, graph: Graph) -> None:
        self.plan = Plan(graph)

    @property
    def steps(self) -> list[Step]:
        """What the page says, step by step."""
        return self.plan.steps

    @cached_property
    def html(self) -> str:
        """The page."""
        return _written(self.plan.graph, self.plan)

    @cached_property
    def svg(self) -> str:
        """The picture with all its numbers, for where pages cannot be shown."""
        return svg.write(self.plan.graph)

    def save(self, path: str | Path) -> Path:
        """Write the page to a file and return the path.  ValueError for a suffix other than .html."""
        path = Path(path)
        if path.suffix.lower() != ".html":
            raise ValueError(f"a page of steps is saved as .html, got {path.name!r}: draw(result).save() makes pictures")
        path.write_text(self.html, encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        """The page in a frame of its own that may run scripts and nothing else."""
        title = svg.escape(svg.title(self.plan.graph))
        look = f'width="100%" height="{FRAME_HEIGHT}" style="border: 0; width: 100%; height: {FRAME_HEIGHT}px"'
        page = self.html.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&#39;")  # the many " need no escape in '
        return f"""<iframe title="{title}" sandbox="allow-scripts" {look} srcdoc='{page}'></iframe>"""

    def _ipython_display_(self) -> None:
        """Two outputs: the picture, which every viewer of notebooks shows, and then the page, which some drop."""
        try:
            from IPython.display import display
        except ImportError:
            print(repr(self))
            return
        display({"image/svg+xml": self.svg, "text/plain": repr(self)}, raw=True)  # type: ignore[no-untyped-call]
        display({"text/html": self._repr_html_(), "text/plain": repr(self)}, raw=True)  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:
        return f"Stepper({len(self.steps)} steps)"


def page(graph: Graph) -> str:
    """A page for any picture: with its steps where it has a box for each value, else only to look around in."""
    return Stepper(graph).html if is_whole(graph) else _written(graph, None)


def _written(graph: Graph, plan: Plan | None) -> str:
    picture, style, captions = _picture(graph, plan.roomy if plan else graph)
    data = _data(plan) if plan else _numbers(graph)
    return Template(_asset("html")).substitute(
        title=svg.escape(svg.title(graph)),
        style=_asset("css") + style,
        picture=picture,
        caption=svg.escape(" ".join(captions)),
        data=_json(data),
        script=_asset("js"),
    )


@cache
def _asset(kind: str) -> str:
    return files("micrograd.viz").joinpath(f"stepper.{kind}").read_text(encoding="utf-8").strip()


# ------------------------------------------------------------------------------------------------------------ the picture


def _picture(graph: Graph, roomy: Graph) -> tuple[str, str, list[str]]:
    """The static picture as a part of the page, its style rules, and its captions."""
    root = ET.fromstring(svg.write(roomy).replace(' xmlns="http://www.w3.org/2000/svg"', "", 1))
    for name in ("title", "desc", "rect"):
        root.remove(root.findall(name)[0])
    root.attrib.pop("font-family")
    root.set("role", "group")
    root.set("aria-label", svg.title(graph))
    middle = root[0]
    captions = [text.text or "" for text in middle.findall("text")]
    groups = list(middle)
    wires = ET.Element("g", {"aria-hidden": "true"})
    wires.extend([group for group in groups if group.get("class") == "edge"])
    boxes = [group for group in groups if group.get("class") not in ("edge", None)]
    for group, box in zip(boxes, graph.boxes, strict=True):
        group.set("class", "box")
        texts = group.findall("text")
        texts[-3].text, texts[-1].text = (value for _, value in svg.rows(box))
    for wire in wires:  # the style gives each wire the same arrow head
        wire.remove(wire.findall("polygon")[0])
    root.insert(0, ET.fromstring(ARROWS))
    for group in (*wires, *boxes):  # the script describes the boxes, as their numbers change
        group.remove(group.findall("title")[0])
    _shorten(middle)
    middle[:] = [wires, *boxes]
    style = _as_classes(root)
    return ET.tostring(root, encoding="unicode").replace(" />", "/>"), style, captions


def _shorten(picture: ET.Element) -> None:
    """Places in whole pixels; and the straight stretches of wires are level, which is shorter to write."""
    for element in picture.iter():
        for name in PLACES:
            if name in element.attrib:
                element.set(name, re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]) + 0.01:.0f}", element.attrib[name]))
        if element.tag == "path":
            element.set("d", re.sub(r" ?L(\S+) \S+", r"H\1", element.attrib["d"]).replace(" C", "C"))


def _as_classes(root: ET.Element) -> str:
    """Presentation attributes become classes, which are shorter and can change with the theme; their rules.

    A box or an edge has one class for all its parts, as most of them look alike.
    """
    fills = {colour: f"var(--{kind})" for kind, colour in svg.FILL.items() if kind != "operation"}
    classes: dict[str, str] = {}

    def taken(element: ET.Element) -> str:
        looks = {name: element.attrib.pop(name) for name in LOOKS if name in element.attrib}
        if "font-size" in looks:
            looks["font-size"] += "px"
        return ";".join(f"{name}:{(COLOURS | fills).get(value, value)}" for name, value in looks.items())

    def look(element: ET.Element) -> None:
        rules = {"": taken(element)}
        if element.get("class") in ("box", "edge"):
            rules |= {f" :nth-child({n})": taken(part) for n, part in enumerate(element, 1)}
        else:
            for part in element:
                look(part)
        written = "".join(f"\n.NAME{part} {{ {rule} }}" for part, rule in rules.items() if rule)
        if written:
            name = classes.setdefault(written, f"s{len(classes)}")
            element.set("class", f"{element.get('class', '')} {name}".strip())

    look(root)
    return "".join(rules.replace(".NAME", f".{name}") for rules, name in classes.items())


# --------------------------------------------------------------------------------------------------------------- the data


def _data(plan: Plan) -> dict[str, Any]:
    """What the script plays: numbers come as text, so that it need not know how they are written.

    What the script can put together is left out: names of derivatives, the line of a term of the backward pass, and exact
    numbers where they are the last ones of a box.
    """
    boxes = []
    for i, box in enumerate(plan.graph.boxes):
        given = "" if plan.operands[i] else number(plan.data[i])
        name, gradient = plan.names[i], plan.gradients[i]
        d_name = names.derivative("x", name).removeprefix("dx/")
        boxes.append([name, svg.head(box)[1], repr(plan.data[i]), repr(gradient), given, d_name, written(gradient)])
    edges = [[s, t, written(d)] for (s, t), d in zip(plan.ends, plan.derivatives, strict=True)]
    notes = {note: k for k, note in enumerate(dict.fromkeys([s.note for s in plan.steps]))}
    steps = [_step_data(plan, step, notes) for step in plan.steps]
    paths = [_path_data(plan, leaf) for leaf in plan.paths]
    return {"boxes": boxes, "edges": edges, "steps": steps, "notes": [*notes], "root": plan.root, "paths": paths}


def _step_data(plan: Plan, step: Step, notes: Mapping[str, int]) -> list[Any]:
    final = (plan.data if step.phase in ("leaves", "forward") else plan.gradients)[step.box]
    exact = "" if repr(step.value) == repr(final) else repr(step.value)
    phase, note = PHASES.index(step.phase), notes[step.note]
    if step.phase == "backward":
        return [phase, step.edges[0], step.cell, exact, step.parts[-1].removeprefix(" = "), note]
    return [phase, step.box, step.cell, exact, step.text, note, step.edges]


def _path_data(plan: Plan, leaf: LeafPaths) -> dict[str, Any]:
    count = f"{leaf.count:,}" if leaf.count < 10**15 else "more than 10**15"
    shown = [[s.edges, written(s.product), written(s.total), signed(s.total)] for s in leaf.shown]
    return {"box": leaf.box, "count": count, "all": len(shown) == leaf.count, "total": written(leaf.total), "shown": shown}


def _numbers(graph: Graph) -> dict[str, Any]:
    """The data of a page without steps."""
    boxes = []
    for box in graph.boxes:
        (_, data), (_, grad) = svg.rows(box)
        name, what = svg.head(box)
        boxes.append([name, what, data, "" if box.grad is None else grad, data])
    return {"boxes": boxes, "edges": [], "steps": [], "paths": []}


def _json(data: Mapping[str, Any]) -> str:
    """JSON that may stand within a script element: no label can end it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
