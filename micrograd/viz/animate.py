"""The steps of a graph as an SVG that plays by itself, with SMIL and no script: it moves inside an image, too.

The first frame has all numbers, so that a viewer without animation, a thumbnail or a printer shows the whole picture.
"""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET

from micrograd.viz import svg
from micrograd.viz.graph import Graph
from micrograd.viz.steps import Plan, Step

OPENING, CLOSING = 2.0, 4.0  # seconds in which the whole picture stands still before and after
PACE, LONGEST = 1.2, 90.0  # seconds for a step, and for all of them where they are many
LIT = "#b35900"
LINE = 30.0  # pixels for the line of text below the picture

ET.register_namespace("", "http://www.w3.org/2000/svg")
_SVG = "{http://www.w3.org/2000/svg}"


def animated(graph: Graph) -> str:
    """The picture as SVG text that plays its steps over and over.  ValueError where it has no box for each value.

    >>> from micrograd import Value, draw
    >>> "<animate " in animated(draw(-Value(2.0)).graph)
    True
    """
    return _Film(Plan(graph)).text


class _Film:
    """The picture of a plan with a timetable on its parts."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.of_box: dict[int, list[int]] = {}  # the steps that change a box, and those that use an edge
        self.of_edge: dict[int, list[int]] = {}
        for k, step in enumerate(plan.steps):
            if step.phase != "leaves":
                self.of_box.setdefault(step.box, []).append(k)
            for e in step.edges:
                self.of_edge.setdefault(e, []).append(k)
        self.pace = min(PACE, LONGEST / len(plan.steps))
        self.seconds = OPENING + self.pace * len(plan.steps) + CLOSING
        self.root = ET.fromstring(svg.write(plan.roomy))
        self.middle = self.root.findall(f"{_SVG}g")[0]
        groups = self.middle.findall(f"{_SVG}g")
        self.wires = [group for group in groups if group.get("class") == "edge"]
        self.boxes = [group for group in groups if group.get("class") != "edge"]
        for i in range(len(self.boxes)):
            self._numbers(i)
            self._outline(i)
        for e in range(len(self.wires)):
            self._wire(e)
        self._line()

    @property
    def text(self) -> str:
        return ET.tostring(self.root, encoding="unicode") + "\n"

    def _numbers(self, i: int) -> None:
        """The data of a box appear when they are computed; its gradient is one text for each sum on the way."""
        box = self.boxes[i]
        texts = box.findall(f"{_SVG}text")
        data, grad = texts[-3], texts[-1]
        title = box.findall(f"{_SVG}title")[0]
        (_, data.text), (_, grad.text) = svg.rows(self.plan.graph.boxes[i])
        title.text = ", ".join([*filter(None, svg.head(self.plan.graph.boxes[i])), f"data {data.text}", f"grad {grad.text}"])
        changes = [(k, self.plan.steps[k]) for k in self.of_box.get(i, ())]
        for k, step in changes:
            if step.phase == "forward":
                self._shown(data, k, None)
        sums = [(k, step) for k, step in changes if step.phase != "forward"]
        for (k, step), (end, _) in itertools.pairwise(sums):
            partial = ET.SubElement(box, grad.tag, {**grad.attrib, "visibility": "hidden"})
            partial.text = step.cell
            self._shown(partial, k, end, opening=False)
        if sums:
            self._shown(grad, sums[-1][0], None)

    def _outline(self, i: int) -> None:
        """A box whose number changes has a thick border."""
        shape = next(part for part in self.boxes[i] if part.tag in (f"{_SVG}rect", f"{_SVG}polygon"))
        changes = self.of_box.get(i, [])
        self._lit(shape, "stroke", shape.get("stroke", ""), LIT, changes)
        self._lit(shape, "stroke-width", shape.get("stroke-width", ""), "3.5", changes)

    def _wire(self, e: int) -> None:
        """A wire is thick while it carries a value or a gradient."""
        path = self.wires[e].findall(f"{_SVG}path")[0]
        changes = self.of_edge.get(e, [])
        self._lit(path, "stroke", path.get("stroke", ""), LIT, changes)
        self._lit(path, "stroke-width", path.get("stroke-width", ""), "4", changes)
        for label in self.wires[e].findall(f"{_SVG}text"):
            backward = [k for k in changes if self.plan.steps[k].phase == "backward"]
            self._lit(label, "font-weight", "400", "700", backward)
            self._lit(label, "fill", label.get("fill", ""), LIT, backward)

    def _line(self) -> None:
        """What happens, in words, on a line of its own below the picture."""
        box = [float(x) for x in self.root.get("viewBox", "").split()]
        lines = [_words(step) for step in self.plan.steps]
        widest = max([svg.text_width(line, 14) for line in lines]) + 2 * svg.MARGIN
        width, height = max(box[2], widest), box[3] + LINE
        size = {"width": f"{width:.0f}", "height": f"{height:.0f}"}
        self.root.attrib.update({**size, "viewBox": f"0 0 {width:.0f} {height:.0f}"})
        self.root.findall(f"{_SVG}rect")[0].attrib.update(size)
        for k, line in enumerate(lines):
            place = {"x": f"{svg.MARGIN:.0f}", "y": f"{height - 18:.0f}", "font-size": "14", "fill": svg.INK}
            text = ET.SubElement(self.root, f"{_SVG}text", {**place, "visibility": "hidden"})
            text.text = line
            self._shown(text, k, k + 1, opening=False)

    def _shown(self, element: ET.Element, start: int, end: int | None, opening: bool = True) -> None:
        """An element that is seen from one step to another, and if it is part of the opening picture, there too."""
        times = [(self._time(start), "visible")]
        times = [(0.0, "visible"), (self._time(0), "hidden"), *times] if opening else [(0.0, "hidden"), *times]
        if end is not None:
            times.append((self._time(end), "hidden"))
        self._animate(element, "visibility", times)

    def _lit(self, element: ET.Element, name: str, usual: str, lit: str, steps: list[int]) -> None:
        """An attribute that has another value during some steps."""
        times = [(0.0, usual)]
        for k in steps:
            if times[-1][0] == self._time(k):
                times.pop()
            times += [(self._time(k), lit), (self._time(k + 1), usual)]
        if steps:
            self._animate(element, name, times)

    def _animate(self, element: ET.Element, name: str, times: list[tuple[float, str]]) -> None:
        looks = {"attributeName": name, "calcMode": "discrete", "dur": f"{self.seconds:.2f}s", "repeatCount": "indefinite"}
        looks["keyTimes"] = ";".join(f"{t / self.seconds:.6f}" if t else "0" for t, _ in times)
        ET.SubElement(element, f"{_SVG}animate", {**looks, "values": ";".join(value for _, value in times)})

    def _time(self, step: int) -> float:
        return OPENING + self.pace * step


def _words(step: Step) -> str:
    return f"{step.text}   ({step.note})" if step.note.startswith("Term") else step.text
