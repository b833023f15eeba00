"""Paths of the chain rule lit in a picture: their edges thick, everything else faint, their products below it (S1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from micrograd.chain import Path, names
from micrograd.chain.paths import Edge as Step
from micrograd.viz.graph import Graph

LISTED = 10  # paths written out below the picture


def lit(graph: Graph, paths: Path | Iterable[Path]) -> Graph:
    """A graph with a box for each value, and some paths in it lit.

    TypeError for anything but Paths; ValueError for none and for a path that is not in the picture.

    >>> from micrograd import Value, draw
    >>> from micrograd.chain import paths
    >>> x = Value(3.0, label="x")
    >>> y = x * x + x; y.label = "y"
    >>> draw(y, paths=paths(y, x).largest(2)).graph.captions
    ('Path 1: dy/dv1 * dv1/dx = 1 * 3 = 3.', 'Path 2: dy/dv1 * dv1/dx = 1 * 3 = 3.', 'Together: 6.')
    """
    chosen = _chosen(paths)
    ways = _Ways(graph)
    numbers: dict[tuple[str, int], list[int]] = {}
    on = set()
    for n, path in enumerate(chosen, start=1):
        for step in path.edges:
            for place in ways.of(step):
                numbers.setdefault(place, []).append(n)
    edges = []
    for edge in graph.edges:
        taken = tuple(numbers.get((edge.target, edge.index), ()))
        edges.append(replace(edge, paths=taken, faint=not taken))
        if taken:
            on |= {edge.source, edge.target}
    boxes = [replace(box, faint=box.id not in on) for box in graph.boxes]
    return replace(graph, boxes=tuple(boxes), edges=tuple(edges)).captioned(*_captions(chosen))


def _chosen(paths: Path | Iterable[Path]) -> list[Path]:
    advice = "take them from micrograd.chain.paths(root, leaf).largest(3)"
    if isinstance(paths, Path):
        paths = [paths]
    if not isinstance(paths, (list, tuple)):  # all paths of a graph could be 2**60
        raise TypeError(f"draw(): paths is a Path or a list of Paths, got {type(paths).__name__}: {advice}")
    wrong = next((path for path in paths if not isinstance(path, Path)), None)
    if wrong is not None:
        raise TypeError(f"draw(): paths takes Paths, got a list with {type(wrong).__name__} in it: {advice}")
    if not any(path.edges for path in paths):
        raise ValueError(f"draw(): paths has no edge to light: {advice}, with a root that was computed from the leaf")
    return list(paths)


class _Ways:
    """Which edges of a picture a step of a path takes: one, or two where a weighted sum is drawn as products and a sum."""

    def __init__(self, graph: Graph) -> None:
        self.box = {box.value: box.id for box in graph.boxes if box.value is not None}
        self.ids = {box.id for box in graph.boxes}

    def of(self, step: Step) -> list[tuple[str, int]]:
        """The edges, each by its target and its position there."""
        if step.node not in self.box or step.parent not in self.box:
            raise ValueError(
                "draw(): a path runs through a value that is not in the picture: take paths of the result that is drawn, "
                "and raise max_nodes where the picture is cut"
            )
        target, k, n = self.box[step.node], step.position, len(step.node.parents) // 2
        if f"{target}.0" not in self.ids:
            return [(target, k)]
        if k == 2 * n:  # what is added to the products
            return [(target, n)]
        return [(f"{target}.{k % n}", k // n), (target, k % n)]


def _captions(paths: Sequence[Path]) -> list[str]:
    if len(paths) == 1:
        return [f"Lit: {paths[0]!r}."]
    lines = [f"Path {n}: {path!r}." for n, path in enumerate(paths[:LISTED], start=1)]
    if len(paths) > LISTED:
        lines.append(f"… and {len(paths) - LISTED:,} paths more.")
    ends = {(path.edges[0].node, path.edges[-1].parent) for path in paths if path.edges}
    if len(ends) == 1:
        lines.append(f"Together: {names.number(sum(path.product for path in paths))}.")
    return lines
