"""What happens in a graph, step by step: each value of the forward pass, each term of the backward pass, each path.

Pure data, made from the numbers of a picture, so that nothing here reads or writes the ``grad`` of a Value.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from micrograd.chain import names
from micrograd.chain.paths import Paths
from micrograd.viz.graph import Box, Graph, number, signed
from micrograd.viz.svg import clean, text_width

INFIX = frozenset({"+", "-", "*", "/", "**"})
OPERANDS = 6  # names in one line
PATHS = 20  # paths that a leaf has played, if they are not too long:
PATH_EDGES = 4_000  # edges on all paths of all leaves
LEAVES = 100  # leaves that have their paths played


@dataclass(frozen=True)
class Step:
    """One step of a pass.

    ``phase`` is "leaves", "forward", "seed" or "backward", ``box`` the position of the box that changes, ``edges`` are those
    that matter.  ``parts`` are the line to read: every second one, the local derivative by name and as a number, is lit.
    ``note`` is what it adds up to, ``value`` the number that the box has after the step.
    """

    phase: str
    box: int
    edges: tuple[int, ...]
    parts: tuple[str, ...]
    note: str
    value: float

    @property
    def text(self) -> str:
        """The line to read."""
        return "".join(self.parts)

    @property
    def cell(self) -> str:
        """The number as it stands in the box."""
        return number(self.value) if self.phase in ("leaves", "forward") else signed(self.value)


@dataclass(frozen=True)
class PathStep:
    """One path: its edges from the result down, the product of their derivatives, and the sum of the products so far."""

    edges: tuple[int, ...]
    product: float
    total: float


@dataclass(frozen=True)
class LeafPaths:
    """The paths from the result to one leaf, largest product first: how many there are, those shown, and what all give."""

    box: int
    count: int
    shown: tuple[PathStep, ...]
    total: float


def written(x: float) -> str:
    """A number as the steps print it, in six digits: boxes have four."""
    return names.number(x + 0.0)  # -0 is 0


def is_whole(graph: Graph) -> bool:
    """Whether a picture has a box for each value and leaves none out, so that its numbers can be followed."""
    if not graph.roots:  # a neighbourhood without its result
        return False
    for box in graph.boxes:
        if box.kind == "group" or box.count > 1 or box.notes or not isinstance(box.data, float):
            return False
    return all(edge.count == 1 and edge.derivative is not None for edge in graph.edges)


class Plan:
    """The steps of a whole graph, with the backward pass from its first result.

    ``graph`` is the graph with a name on each box and the gradients of this pass, which are what ``backward()`` would give
    if every ``grad`` were 0 before.  ValueError for a picture that has no box for each value.

    >>> from micrograd import Value, draw
    >>> a, b = Value(2.0, label="a"), Value(-3.0, label="b")
    >>> c = a * b; c.label = "c"
    >>> for step in Plan(draw(c).graph).steps:
    ...     print(step.text)
    a = 2, b = -3
    c = a * b = 2 * -3 = -6
    dc/dc = 1
    dc/da += dc/dc * dc/da = 1 * -3 = -3
    dc/db += dc/dc * dc/db = 1 * 2 = 2
    """

    def __init__(self, graph: Graph) -> None:
        if not is_whole(graph):
            raise ValueError(
                "steps() plays a picture that has a box for each value: draw(result, level='value') with no depth or focus"
            )
        position = {box.id: i for i, box in enumerate(graph.boxes)}
        self.root = position[graph.roots[0]]
        self.names = _names(graph.boxes)
        self.ends = [(position[edge.source], position[edge.target]) for edge in graph.edges]
        self.derivatives = [0.0 if edge.derivative is None else edge.derivative for edge in graph.edges]
        self.operands: list[list[int]] = [[] for _ in graph.boxes]  # the edges into each box, in the order of the operands
        for e in sorted(range(len(graph.edges)), key=lambda e: graph.edges[e].index):
            self.operands[self.ends[e][1]].append(e)
        self.data = [box.data if isinstance(box.data, float) else 0.0 for box in graph.boxes]
        self._boxes = graph.boxes
        self.backward = self._backward()
        self.gradients = self._gradients()
        named = [
            replace(box, label=name, grad=grad)
            for box, name, grad in zip(graph.boxes, self.names, self.gradients, strict=True)
        ]
        self.graph = replace(graph, boxes=tuple(named))
        if len(graph.roots) > 1:
            start = f"The backward pass is that of {self.names[self.root]}, the first of {len(graph.roots):,} results."
            self.graph = self.graph.captioned(start)

    @cached_property
    def steps(self) -> list[Step]:
        """The forward pass, a step for all leaves and one for each operation, then the backward pass."""
        return [*self._forward(), *self.backward]

    @cached_property
    def roomy(self) -> Graph:
        """The graph with the widest number that each box gets to show while its gradient grows: for the layout."""
        widest = list(self.gradients)
        for step in self.backward:
            if text_width(step.cell) > text_width(signed(widest[step.box])):
                widest[step.box] = step.value
        boxes = [replace(box, grad=grad) for box, grad in zip(self.graph.boxes, widest, strict=True)]
        return replace(self.graph, boxes=tuple(boxes))

    def derivative(self, edge: int) -> str:
        """The name of the local derivative on an edge, such as dc/da."""
        source, target = self.ends[edge]
        return names.derivative(self.names[target], self.names[source])

    def _forward(self) -> list[Step]:
        leaves = [i for i, edges in enumerate(self.operands) if not edges]
        given = [f"{self.names[i]} = {written(self.data[i])}" for i in leaves[:OPERANDS]]
        more = [f"and {len(leaves) - OPERANDS:,} more"] if len(leaves) > OPERANDS else []
        note = "The leaves are given: everything else is computed from them."
        steps = [Step("leaves", leaves[0], (), (", ".join(given + more),), note, self.data[leaves[0]])]
        for i, edges in enumerate(self.operands):
            if edges:
                text = f"{self.names[i]} = {self._formula(i)}"
                steps.append(Step("forward", i, tuple(edges), (text,), "", self.data[i]))
        return steps

    def _formula(self, i: int) -> str:
        """An operation on names, the same on numbers, and what it gives."""
        sources = [self.ends[e][0] for e in self.operands[i]]
        symbol = clean(self._boxes[i].symbol)
        with_names = _applied(symbol, [self.names[s] for s in sources])
        with_numbers = _applied(symbol, [written(self.data[s]) for s in sources])
        return f"{with_names} = {with_numbers} = {written(self.data[i])}"

    def _backward(self) -> list[Step]:
        """The engine's own order: a node passes its gradient on once the terms from all its users have arrived."""
        arriving = self._arriving()
        pending = {i: len(edges) for i, edges in arriving.items()}
        terms: dict[int, list[float]] = {i: [] for i in pending}
        gradient = dict.fromkeys(pending, 0.0)
        gradient[self.root] = 1.0
        of = self.names[self.root]
        steps = [Step("seed", self.root, (), (f"{names.derivative(of, of)} = 1",), "The backward pass starts here.", 1.0)]
        stack = [self.root]
        while stack:
            i = stack.pop()
            for e in self.operands[i]:
                source, local = self.ends[e][0], self.derivatives[e]
                term = gradient[i] * local
                gradient[source] += term
                terms[source].append(term)
                pending[source] -= 1
                if not pending[source] and self.operands[source]:
                    stack.append(source)
                upper, lower = names.derivative(of, self.names[i]), names.derivative(of, self.names[source])
                numbers = (f" = {written(gradient[i])} * ", written(local), f" = {written(term)}")
                parts = (f"{lower} += {upper} * ", self.derivative(e), *numbers)
                note = self._sum(source, terms[source], len(arriving[source]), gradient[source])
                steps.append(Step("backward", source, (e,), parts, note, gradient[source]))
        return steps

    def _arriving(self) -> dict[int, list[int]]:
        """For each box that the root depends on, the edges over which gradients arrive."""
        arriving: dict[int, list[int]] = {self.root: []}
        stack = [self.root]
        while stack:
            for e in self.operands[stack.pop()]:
                source = self.ends[e][0]
                if source not in arriving:
                    arriving[source] = []
                    stack.append(source)
                arriving[source].append(e)
        return arriving

    def _sum(self, i: int, terms: Sequence[float], expected: int, total: float) -> str:
        """The terms that have arrived at a box, and what comes next."""
        name = names.derivative(self.names[self.root], self.names[i])
        lines = []
        if expected > 1:
            shown = [written(t) for t in terms[-OPERANDS:]]
            if len(terms) > OPERANDS:
                shown.insert(0, written(sum(terms[:-OPERANDS])))
            result = f" = {written(total)}" if len(terms) > 1 else ""
            lines.append(f"Term {len(terms)} of {expected}: {name} = {_added(shown)}{result}.")
        if len(terms) == expected:
            lines.append("Complete, so it is passed on." if self.operands[i] else "Complete.")
        return " ".join(lines)

    def _gradients(self) -> list[float]:
        gradients = [0.0] * len(self.operands)
        for step in self.backward:
            gradients[step.box] = step.value
        return gradients

    @cached_property
    def paths(self) -> list[LeafPaths]:
        """The sum over paths for each leaf: inputs and parameters, and constants where there is nothing else."""
        nodes = self._nodes()
        leaves = [i for i, edges in enumerate(self.operands) if not edges]
        leaves = [i for i in leaves if self._boxes[i].kind != "constant"] or leaves
        found = [self._leaf_paths(nodes, i, PATH_EDGES // len(leaves[:LEAVES])) for i in leaves[:LEAVES]]
        return [leaf for leaf in found if leaf.count]

    def _leaf_paths(self, nodes: list[_Node], i: int, room: int) -> LeafPaths:
        """The paths to one leaf, as many as there is room for, but at least one."""
        every = Paths(nodes[self.root], nodes[i])  # type: ignore[arg-type]  # these nodes have all that paths look at
        shown: list[PathStep] = []
        total = 0.0
        for path in itertools.islice(every, PATHS):
            edges = tuple([self.operands[edge.node.box][edge.position] for edge in path.edges])  # type: ignore[attr-defined]
            room -= len(edges)
            if room < 0 and shown:
                break
            total += path.product
            shown.append(PathStep(edges, path.product, total))
        return LeafPaths(i, every.count, tuple(shown), every.total)

    def _nodes(self) -> list[_Node]:
        nodes: list[_Node] = []
        for i, edges in enumerate(self.operands):
            parents = tuple([nodes[self.ends[e][0]] for e in edges])
            nodes.append(_Node(i, parents, tuple([self.derivatives[e] for e in edges])))
        return nodes


@dataclass(frozen=True, eq=False, repr=False)
class _Node:
    """What paths are found in: the structure of a Value without its history."""

    box: int
    parents: tuple[_Node, ...]
    local_derivatives: tuple[float, ...]


def _names(boxes: Sequence[Box]) -> list[str]:
    cleaned: Any = [replace(box, label=clean(box.label)) for box in boxes]  # names need only a label and a kind
    return list(names.names_of(cleaned).values())


def _applied(symbol: str, operands: list[str]) -> str:
    """An operation as it is written: a + b, a**2, -a, tanh(a)."""
    if len(operands) > OPERANDS:
        operands = [*operands[: OPERANDS - 1], "…", operands[-1]]
    if symbol == "neg":
        return f"-({operands[0]})" if operands[0].startswith("-") else f"-{operands[0]}"
    if symbol.startswith("**") and len(operands) == 1:
        return f"({operands[0]}){symbol}" if operands[0].startswith("-") else f"{operands[0]}{symbol}"
    if symbol in INFIX:
        return f" {symbol} ".join(operands)
    return f"{symbol}({', '.join(operands)})"


def _added(terms: list[str]) -> str:
    """Numbers joined by plus and minus."""
    return terms[0] + "".join(f" - {t[1:]}" if t.startswith("-") else f" + {t}" for t in terms[1:])
