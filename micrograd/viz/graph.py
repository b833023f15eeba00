"""What to draw: boxes and edges made from Values, a box for each value.

This room knows nothing of coordinates or file formats.  A :class:`Graph` is a snapshot: numbers are copied when it is made.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from micrograd.engine import Value, topological_order

Numbers = float | tuple[float, float]  # one number, or the lowest and the highest of several


@dataclass(frozen=True)
class Box:
    """One box: a value of the graph, or several that were collapsed.

    ``kind`` is "input", "parameter", "constant", "operation" or "group".  ``data`` and ``grad`` are the lowest and the
    highest number where a box stands for several results; ``grad`` is None before the first backward pass.  ``notes`` are
    further lines of text, ``count`` is how many equal things were rolled up into it, ``size`` how many values it stands
    for, ``value`` the Value where it is one.  A ``faint`` box stands back behind the paths that are lit.
    """

    id: str
    kind: str
    label: str = ""
    symbol: str = ""
    data: Numbers = 0.0
    grad: Numbers | None = None
    notes: tuple[str, ...] = ()
    count: int = 1
    size: int = 1
    focus: bool = False
    faint: bool = False
    value: Value | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Edge:
    """One operand: from box ``source`` to box ``target``, with its position among the operands and its local derivative.

    ``count`` operands were rolled up into this edge; where they are several, ``derivative`` is None.  ``paths`` are the
    numbers of the lit paths that take this edge; an edge on none of them is ``faint``.
    """

    source: str
    target: str
    index: int = 0
    derivative: float | None = None
    count: int = 1
    paths: tuple[int, ...] = ()
    faint: bool = False


@dataclass(frozen=True)
class Graph:
    """Boxes, each after its operands, and edges in the order of the operands.

    ``roots`` are the ids of the results, ``captions`` say what was collapsed or left out.
    """

    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    roots: tuple[str, ...]
    captions: tuple[str, ...] = ()

    def captioned(self, *captions: str) -> Graph:
        """The same graph with more to say below it."""
        return replace(self, captions=(*self.captions, *captions))


def number(x: float) -> str:
    """A number in four significant digits, as pictures print it.

    >>> number(-0.70710678), number(1.0), number(1e-9)
    ('-0.7071', '1', '1e-09')
    """
    return f"{x + 0.0:.4g}"


def signed(x: float) -> str:
    """The same with its sign printed, so that the sign can be read without colour.

    >>> signed(0.5), signed(-2.0), signed(0.0)
    ('+0.5', '-2', '0')
    """
    return ("+" if x > 0.0 else "") + number(x)


class Scene:
    """The part of a graph that is to be drawn, in lists indexed by position: faster than attributes, and in a fixed order.

    ``parents[i]`` are the positions of node i's drawn operands, ``derivatives[i]`` the local derivatives, ``uses[i]``
    is the number of edges out of i plus one if i is a root, and ``missing[i]`` the number of operands left out.
    """

    def __init__(
        self,
        roots: Sequence[Value],
        depth: int | None = None,
        focus: Value | None = None,
        nearest: int | None = None,
    ) -> None:
        self.captions: tuple[str, ...] = ()
        self.focus = focus
        kept = None if nearest is None else _nearest(roots, nearest)
        everything = topological_order(*roots) if kept is None else _ordered(roots, kept)
        self.nodes = everything
        if focus is not None:
            if focus not in set(everything):
                raise ValueError("draw(): the node in focus is not in the graph of the result")
            self.nodes = _neighbourhood(everything, focus, 2 if depth is None else depth)
        elif depth is not None:
            near = _within(roots, depth)
            self.nodes = [node for node in everything if node in near]
        if len(self.nodes) < len(everything):
            around = "around the node in focus" if focus is not None else f"within {depth} operations of the result"
            self.captions = (f"{len(self.nodes):,} of {len(everything):,} values are drawn, those {around}.",)
        elif kept is not None:
            self.captions = (f"Only the {len(kept):,} values nearest to the result are looked at: draw() takes in all.",)
        position = {node: i for i, node in enumerate(self.nodes)}
        self.roots = [position[root] for root in dict.fromkeys(roots) if root in position]
        self.parents: list[tuple[int, ...]] = []
        self.derivatives: list[Sequence[float]] = []
        self.uses = [0] * len(self.nodes)
        self.missing = [0] * len(self.nodes)
        for i, node in enumerate(self.nodes):
            operands, derivatives = node.parents, node.local_derivatives
            if len(derivatives) != len(operands):  # a node built by hand with an unknown operation
                derivatives = (math.nan,) * len(operands)
            if self.captions:
                drawn = [k for k, p in enumerate(operands) if p in position]
                self.missing[i] = len(operands) - len(drawn)
                operands, derivatives = tuple([operands[k] for k in drawn]), tuple([derivatives[k] for k in drawn])
            parents = tuple([position[p] for p in operands])
            self.parents.append(parents)
            self.derivatives.append(derivatives)
            for p in parents:
                self.uses[p] += 1
        for root in self.roots:
            self.uses[root] += 1

    def note(self, i: int) -> tuple[str, ...]:
        """The line that says how many operands of node i are left out."""
        return missing_note(self.missing[i])


def missing_note(count: int) -> tuple[str, ...]:
    return (f"… {count:,} operand{'s' * (count != 1)} not drawn",) if count else ()


def _nearest(roots: Sequence[Value], limit: int) -> set[Value] | None:
    """The ``limit`` nodes nearest to the roots, or None where there are no more: a walk that stops there."""
    kept, queue = set(roots), deque(roots)
    while queue:
        for p in queue.popleft().parents:
            if p not in kept:
                if len(kept) >= limit:
                    return kept
                kept.add(p)
                queue.append(p)
    return None


def _ordered(roots: Sequence[Value], kept: set[Value]) -> list[Value]:
    """The nodes kept, each after its operands, without a look at the others."""
    order: list[Value] = []
    seen: set[Value] = set()
    stack = [(root, False) for root in reversed(roots)]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [(p, False) for p in reversed(node.parents) if p in kept]
    return order


def _within(roots: Sequence[Value], depth: int) -> set[Value]:
    """The nodes at most ``depth`` edges from a root."""
    kept = set(roots)
    frontier = list(roots)
    for _ in range(depth):
        frontier = [p for node in frontier for p in node.parents if p not in kept and not kept.add(p)]  # type: ignore[func-returns-value]
    return kept


def _neighbourhood(everything: list[Value], focus: Value, depth: int) -> list[Value]:
    """The nodes at most ``depth`` edges from the focus, operands and users alike, each after its operands."""
    users: dict[Value, list[Value]] = {node: [] for node in everything}
    for node in everything:
        for parent in node.parents:
            users[parent].append(node)
    kept = _within([focus], depth)
    frontier, above = [focus], {focus}
    for _ in range(depth):
        frontier = [u for node in frontier for u in users[node] if u not in above and not above.add(u)]  # type: ignore[func-returns-value]
    kept |= above
    return [node for node in everything if node in kept]


# ------------------------------------------------------------------------------------------------- a box for each value


def value_graph(scene: Scene, expand: bool) -> Graph:
    """Every value as a box of its own; with ``expand`` a dot product as its products and their sum."""
    boxes: list[Box] = []
    edges: list[Edge] = []
    for i in range(len(scene.nodes)):
        if expand and _is_whole_dot(scene, i):
            _expanded_dot(scene, i, boxes, edges)
        else:
            boxes.append(value_box(scene, i))
            edges += [
                Edge(f"v{p}", f"v{i}", k, d)
                for k, (p, d) in enumerate(zip(scene.parents[i], scene.derivatives[i], strict=True))
            ]
    dots = sum(map(is_dot, scene.nodes))
    captions = scene.captions
    if dots and not expand:
        captions += (f"{dots:,} weighted sum{'s are' if dots > 1 else ' is'} folded: dot is its products and their sum.",)
    return Graph(tuple(boxes), tuple(edges), tuple(f"v{i}" for i in scene.roots), captions)


def value_box(scene: Scene, i: int, symbol: str | None = None) -> Box:
    """The box of one value."""
    node = scene.nodes[i]
    return Box(
        id=f"v{i}",
        kind=node.kind,
        label=str(node.label),
        symbol=operation_symbol(node) if symbol is None else symbol,
        data=node.data,
        grad=node.grad if node.has_grad else None,
        notes=scene.note(i),
        focus=node is scene.focus,
        value=node,
    )


def operation_symbol(node: Value) -> str:
    """What stands on the box of an operation; an output of a vector operation carries its index."""
    index = getattr(node.operation, "params", {}).get("index")
    return node._op if index is None else f"{node._op}[{index}]"


def is_dot(node: Value) -> bool:
    return getattr(node.operation, "name", "") == "dot"


def expanded_size(scene: Scene) -> int:
    """The number of boxes that the scene has with every dot product expanded."""
    return len(scene.nodes) + sum(len(p) // 2 for p, node in zip(scene.parents, scene.nodes, strict=True) if is_dot(node))


def _is_whole_dot(scene: Scene, i: int) -> bool:
    return not scene.missing[i] and len(scene.parents[i]) > 1 and is_dot(scene.nodes[i])


def _expanded_dot(scene: Scene, i: int, boxes: list[Box], edges: list[Edge]) -> None:
    """The products of a dot node and their sum.  A product's gradient is the node's, as a sum passes its gradient on."""
    operands, derivatives = scene.parents[i], scene.derivatives[i]
    n = len(operands) // 2
    total = value_box(scene, i, symbol="+")
    for k in range(n):
        w, x, product = operands[k], operands[n + k], f"v{i}.{k}"
        data = scene.nodes[w].data * scene.nodes[x].data
        boxes.append(Box(product, "operation", symbol="*", data=data, grad=total.grad, size=0))  # no value of its own
        edges += [Edge(f"v{w}", product, 0, derivatives[k]), Edge(f"v{x}", product, 1, derivatives[n + k])]
        edges.append(Edge(product, total.id, k, 1.0))
    edges.append(Edge(f"v{operands[-1]}", total.id, n, derivatives[-1]))
    boxes.append(total)


# ------------------------------------------------------------------------------------------------------- cutting by depth


def cut(graph: Graph, limit: int) -> Graph:
    """At most ``limit`` boxes, those nearest to the roots, with a caption and a note on each box that lost operands."""
    if len(graph.boxes) <= limit:
        return graph
    operands: dict[str, list[str]] = {box.id: [] for box in graph.boxes}
    for edge in graph.edges:
        operands[edge.target].append(edge.source)
    used = {edge.source for edge in graph.edges}
    starts = graph.roots or [box.id for box in graph.boxes if box.id not in used]
    kept = set(_nearest_first(starts, operands, limit))
    lost = Counter[str]()
    for edge in graph.edges:
        lost[edge.target] += edge.count * (edge.source not in kept)
    boxes = [replace(box, notes=box.notes + missing_note(lost[box.id])) for box in graph.boxes if box.id in kept]
    edges = [edge for edge in graph.edges if edge.source in kept and edge.target in kept]
    drawn, whole = (sum(box.size for box in some) for some in (boxes, graph.boxes))
    caption = f"Cut by depth to what is nearest to the result, {drawn:,} of {whole:,} values: raise max_nodes to see more."
    return Graph(tuple(boxes), tuple(edges), tuple(r for r in graph.roots if r in kept), (*graph.captions, caption))


def _nearest_first(roots: Sequence[str], operands: dict[str, list[str]], limit: int) -> Iterator[str]:
    """Ids by distance from the roots, the first ``limit`` of them."""
    queue, seen = deque(roots), set(roots)
    while queue and limit:
        box = queue.popleft()
        yield box
        limit -= 1
        for source in operands[box]:
            if source not in seen:
                seen.add(source)
                queue.append(source)
