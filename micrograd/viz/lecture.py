"""draw_dot as lectures know it: a graphviz.Digraph of record nodes, which shows itself even without Graphviz."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import graphviz

from micrograd.engine import Value
from micrograd.viz import svg
from micrograd.viz.collapse import build
from micrograd.viz.dot import record_text, render
from micrograd.viz.graph import Graph, Scene, operation_symbol

WAIT = 2000  # statements that dot lays out in about a second; its time grows with their square


class LectureGraph(graphviz.Digraph):  # type: ignore[misc]
    """A Digraph whose ``pipe``, display and ``render`` fall back: dot on PATH, the graphviz-pure wheel, our own SVG."""

    picture: Graph | None = None  # what our own SVG shows

    def pipe(self, format: str | None = None, *args: Any, encoding: str | None = None, **options: Any) -> Any:
        """The picture in a format, as bytes, or as text where an encoding is given."""
        form = format or self.format
        try:
            data = super().pipe(form, *args, **options)
        except (graphviz.ExecutableNotFound, graphviz.CalledProcessError):
            data = self._fallback(form)
        return data.decode(encoding) if encoding else data

    def _repr_image_svg_xml(self) -> str:
        """What a notebook shows: our own picture, which collapses, where dot would keep the reader waiting."""
        if len(self.body) > WAIT and self.picture is not None:
            return svg.write(self.picture)
        return str(super()._repr_image_svg_xml())

    def _fallback(self, form: str) -> bytes:
        data = render(self.source, form)
        if data is None and form == "svg" and self.picture is not None:
            data = svg.write(self.picture).encode()
        if data is None:
            raise RuntimeError(f"no program here renders {form}: install Graphviz (graphviz.org), or use format='svg'")
        return data

    def render(self, filename: Any = None, directory: Any = None, view: bool = False, **options: Any) -> str:
        """Save the DOT source and the picture beside it, and give the picture's path."""
        try:
            return str(super().render(filename, directory=directory, view=view, **options))
        except (graphviz.ExecutableNotFound, graphviz.CalledProcessError):
            form = options.get("format") or self.format
            path = Path(f"{self.save(filename, directory=directory)}.{form}")
            path.write_bytes(self._fallback(form))
            return str(path)


def digraph(roots: Sequence[Value], form: str, rankdir: str) -> LectureGraph:
    """Record nodes for values, and a node for each operation between the operands and the result."""
    dot = LectureGraph(format=form, graph_attr={"rankdir": rankdir})
    dot.picture = build(roots)
    scene = Scene(roots)
    for i, node in enumerate(scene.nodes):
        label = record_text(str(node.label))
        dot.node(f"v{i}", label=f"{{ {label} | data {node.data:.4f} | grad {node.grad:.4f} }}", shape="record")
        if scene.parents[i]:
            dot.node(f"v{i}op", label=graphviz.escape(operation_symbol(node)))
            dot.edge(f"v{i}op", f"v{i}")
        for parent in scene.parents[i]:
            dot.edge(f"v{parent}", f"v{i}op")
    if len(dot.body) > WAIT:
        instead = f"Drawn by draw(), as dot would take long over {len(scene.nodes):,} records: .source has them all."
        dot.picture = dot.picture.captioned(instead)
    return dot
