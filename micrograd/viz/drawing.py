"""A drawing: a graph that shows itself in a notebook and saves itself to a file."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from micrograd.viz import dot, svg
from micrograd.viz.graph import Graph

if TYPE_CHECKING:
    from micrograd.viz.html import Stepper


class Drawing:
    """A picture of a computation graph, with the numbers of the moment when it was drawn.

    In a notebook it shows itself.  ``svg`` is the text of the picture, ``graph`` what is drawn, and ``save`` writes a file.

    >>> from micrograd import Value, draw
    >>> picture = draw(Value(2.0, label="x") * 3.0)
    >>> picture
    Drawing(3 boxes, 2 edges)
    >>> picture.svg[:4]
    '<svg'
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    @cached_property
    def svg(self) -> str:
        """The picture as SVG text: the same graph gives the same bytes."""
        return svg.write(self.graph)

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"Drawing({len(self.graph.boxes)} boxes, {len(self.graph.edges)} edges)"

    @property
    def dot(self) -> str:
        """The graph as DOT text."""
        return dot.to_dot(self.graph)

    @property
    def mermaid(self) -> str:
        """The graph as Mermaid text, for Markdown."""
        return dot.to_mermaid(self.graph)

    @property
    def html(self) -> str:
        """A page to look around in, which holds all it needs; it plays the steps where there is a box for each value."""
        from micrograd.viz.html import page

        return page(self.graph)

    def steps(self) -> Stepper:
        """A page that plays the forward pass value by value, the backward pass term by term, and the sum over paths (S1).

        The backward pass is played from the first result, by itself: no ``grad`` is read or written.  ValueError where the
        picture has no box for each value: draw it with ``level="value"`` and without ``depth`` and ``focus``.
        """
        from micrograd.viz.html import Stepper

        return Stepper(self.graph)

    def save(self, path: str | Path, *, animate: bool = False) -> Path:
        """Write the picture to a file, in the format that its suffix names, and return the path.

        With ``animate`` an .svg plays the steps, without a script.  ValueError for a suffix other than .svg, .dot, .html,
        .mmd, .png and .pdf, and for ``animate`` with another than .svg or a picture without a box for each value;
        RuntimeError where nothing is installed that makes .png or .pdf.
        """
        path = Path(path)
        if animate:
            return self._save_animated(path)
        writers: dict[str, Callable[[], str | bytes]] = {
            ".svg": lambda: self.svg,
            ".dot": lambda: self.dot,
            ".html": lambda: self.html,
            ".mmd": lambda: self.mermaid,
            ".png": lambda: self._rendered("png"),
            ".pdf": lambda: self._rendered("pdf"),
        }
        if path.suffix.lower() not in writers:
            raise ValueError(f"save() takes a path that ends in one of {', '.join(writers)}, got {path.name!r}")
        content = writers[path.suffix.lower()]()
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def _save_animated(self, path: Path) -> Path:
        from micrograd.viz.animate import animated

        if path.suffix.lower() != ".svg":
            raise ValueError(f"save(animate=True) writes an .svg, got {path.name!r}")
        path.write_text(animated(self.graph), encoding="utf-8")
        return path

    def _rendered(self, form: str) -> bytes:
        """The SVG through CairoSVG where that is installed, else the DOT text through Graphviz or graphviz-pure."""
        try:
            import cairosvg

            return bytes(getattr(cairosvg, f"svg2{form}")(bytestring=self.svg.encode()))
        except (ImportError, OSError):  # OSError: the wheel is there but the cairo library is not
            data = dot.render(self.dot, form)
        if data is None:
            raise RuntimeError(f"saving .{form} needs a program that draws it: pip install cairosvg")
        return data
