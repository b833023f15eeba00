"""The same graph in the languages of other tools, DOT for Graphviz and Mermaid for Markdown, and who renders DOT."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from collections.abc import Iterator

from micrograd.viz.graph import Box, Graph
from micrograd.viz.svg import clean, edge_text, head, look, notes, rows

DOT_SHAPES = {"input": "cds", "parameter": "box", "constant": "octagon", "operation": "box", "group": "box3d"}
MERMAID_SHAPES = {
    "input": (">", "]"),
    "parameter": ("([", "])"),
    "constant": ("{{", "}}"),
    "operation": ("[", "]"),
    "group": ("[[", "]]"),
}


def to_dot(graph: Graph) -> str:
    r"""The graph as DOT text.

    >>> from micrograd.viz.graph import Box, Edge
    >>> boxes = Box("a", "input", "x"), Box("b", "operation", symbol="+")
    >>> print(to_dot(Graph(boxes, (Edge("a", "b", 0, 1.0),), ("b",))))
    digraph {
      graph [rankdir=LR]
      node [fontname="Helvetica,Arial,sans-serif" fontsize=11]
      edge [fontname="Helvetica,Arial,sans-serif" fontsize=10]
      "a" [shape=cds label="x · input\ndata 0\ngrad —"]
      "b" [shape=box label="+\ndata 0\ngrad —" penwidth=2]
      "a" -> "b" [label="+1" color="#0072B2"]
    }
    """
    font = 'fontname="Helvetica,Arial,sans-serif"'
    lines = ["digraph {", "  graph [rankdir=LR]", f"  node [{font} fontsize=11]", f"  edge [{font} fontsize=10]"]
    if graph.captions:
        lines.insert(1, f"  label={quoted(' · '.join(graph.captions))}")
    for box in graph.boxes:
        style = " style=rounded" if box.kind == "parameter" else ""
        width = " penwidth=2" if box.id in graph.roots or box.focus else ""
        label = r"\n".join(quoted(line)[1:-1] for line in _lines(box))
        lines.append(f'  {quoted(box.id)} [shape={DOT_SHAPES[box.kind]} label="{label}"{style}{width}]')
    for edge in graph.edges:
        colour, dashed = look(edge)
        style = " style=dashed" if dashed else ""
        ends = f"{quoted(edge.source)} -> {quoted(edge.target)}"
        lines.append(f'  {ends} [label={quoted(edge_text(edge))} color="{colour}"{style}]')
    return "\n".join([*lines, "}"])


def to_mermaid(graph: Graph) -> str:
    """The graph as Mermaid text, which GitHub draws within a fence marked ``mermaid``."""
    lines = ["flowchart LR", *(f"  %% {clean(caption, 200)}" for caption in graph.captions)]
    names = {box.id: f"n{k}" for k, box in enumerate(graph.boxes)}
    for box in graph.boxes:
        before, after = MERMAID_SHAPES[box.kind]
        label = "<br/>".join(mermaid_text(line) for line in _lines(box))
        lines.append(f'  {names[box.id]}{before}"{label}"{after}')
    for k, edge in enumerate(graph.edges):
        colour, dashed = look(edge)
        arrow = "-.->" if dashed else "-->"
        text = mermaid_text(edge_text(edge))
        middle = f'|"{text}"|' if text else ""
        lines.append(f"  {names[edge.source]} {arrow}{middle} {names[edge.target]}")
        lines.append(f"  linkStyle {k} stroke:{colour}")
    return "\n".join([*lines, ""])


def _lines(box: Box) -> Iterator[str]:
    yield " · ".join(part for part in head(box) if part)
    for name, value in rows(box):
        yield f"{name} {value}"
    yield from notes(box)


def quoted(text: str) -> str:
    """Text as a DOT string that means just these characters."""
    text = clean(text, 400).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def record_text(text: str) -> str:
    r"""Text for a field of a record node, where braces, bars and angle brackets are syntax.

    >>> print(record_text("a|b"))
    a\|b
    """
    return "".join("\\" + c if c in '\\{}|<>"' else c for c in clean(text))


def mermaid_text(text: str) -> str:
    """Text for a Mermaid label: everything that is not plain goes in as a character code.

    >>> mermaid_text('a"b')
    'a#34;b'
    """
    return "".join(c if c.isalnum() or c in " .,+-*/=_()" else f"#{ord(c)};" for c in clean(text, 60))


# -------------------------------------------------------------------------------------------------------------- renderers


def renderers() -> list[str]:
    """The programs at hand that understand dot's command line: Graphviz itself, then the graphviz-pure wheel."""
    scripts = sysconfig.get_path("scripts")
    found = [shutil.which("dot"), shutil.which("graphviz-pure", path=scripts) or shutil.which("graphviz-pure")]
    return [program for program in found if program]


def render(source: str, form: str) -> bytes | None:
    """DOT text rendered to "svg", "png" or "pdf" by the first program that can, or None."""
    for program in renderers():
        done = subprocess.run([program, f"-T{form}"], input=source.encode(), capture_output=True, check=False)
        if done.returncode == 0 and done.stdout:
            return done.stdout
    return None
