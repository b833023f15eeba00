"""The chain rule as the sum over all paths (S1): how many there are, what they add up to, and which matter most."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from micrograd.chain import names
from micrograd.engine import Value, topological_order


class Edge(NamedTuple):
    """One step of a path: from a node to the parent at ``node.parents[position]``, with the local derivative by it."""

    node: Value
    position: int
    parent: Value
    derivative: float


class Path:
    """One way from the root down to the leaf: ``edges``, and the ``product`` of their local derivatives.

    >>> a, b = Value(2.0, label="a"), Value(-3.0, label="b")
    >>> e = a * b; e.label = "e"
    >>> L = e * -2.0; L.label = "L"
    >>> next(iter(paths(L, a)))
    dL/de * de/da = -2 * -3 = 6
    """

    def __init__(self, edges: tuple[Edge, ...], of: Paths) -> None:
        self.edges, self._of = edges, of

    @property
    def product(self) -> float:
        """The product of the local derivatives, from the root down: what this path adds to the derivative."""
        return math.prod([edge.derivative for edge in self.edges], start=1.0)

    def __repr__(self) -> str:
        called = self._of.names
        steps = [names.derivative(called[e.node], called[e.parent]) for e in self.edges]
        numbers = [names.number(e.derivative) for e in self.edges]
        if len(steps) < 2:
            return f"{self._of.derivative} = {names.number(self.product)}"
        return " = ".join([" * ".join(_shortened(parts)) for parts in (steps, numbers)] + [names.number(self.product)])

    def latex(self) -> str:
        r"""The same line for LaTeX's math mode.

        >>> x = Value(2.0, label="x")
        >>> y = -x; y.label = "y"
        >>> print(paths(y, x).largest(1)[0].latex())
        \frac{\partial y}{\partial x} = -1
        """
        called = self._of.names
        steps = [names.latex_derivative(called[e.node], called[e.parent]) for e in self.edges]
        numbers = [names.latex_number(e.derivative) for e in self.edges]
        product = names.latex_number(self.product)
        if len(steps) < 2:
            return f"{names.latex_derivative(called[self._of.root], called[self._of.leaf])} = {product}"
        factors = [f"({n})" if n.startswith("-") else n for n in numbers]
        return " = ".join([r" \cdot ".join(_shortened(parts)) for parts in (steps, factors)] + [product])


def _shortened(parts: list[str]) -> list[str]:
    return parts if len(parts) <= 20 else [*parts[:10], "...", *parts[-10:]]


class Paths:
    """All paths between two nodes of a graph, none of them built before it is asked for.

    Iteration gives :class:`Path` objects in order of decreasing ``abs(product)``.  The order is exact in logarithms, so
    it does not suffer where products overflow or underflow, and equal products come in the order of the operands.
    A path with an infinite or nan derivative comes first, as it spoils the sum; one with a zero derivative comes last.
    """

    def __init__(self, root: Value, leaf: Value) -> None:
        self.root, self.leaf = root, leaf
        self._between: dict[Value, None] = {leaf: None}  # the nodes that lie on a path, each after its parents
        for node in topological_order(root, stop={leaf}):
            if not self._between.keys().isdisjoint(node.parents):
                self._between[node] = None
        if root not in self._between:
            self._between = {}

    @cached_property
    def count(self) -> int:
        """The exact number of paths: each node hands the number of ways to reach it down to its parents."""
        ways = dict.fromkeys(self._between, 0)
        if self._between:
            ways[self.root] = 1
        for node in reversed(self._between):
            if node is self.leaf:
                return ways[node]
            n = ways.pop(node)  # frees a number that may have a million digits
            for parent in node.parents:
                if parent in self._between:
                    ways[parent] += n
        return 0

    @cached_property
    def total(self) -> float:
        """The sum of all products, which is the derivative of the root by the leaf (S1), in reverse mode.

        Each node hands its derivative, times the local one, down to its parents, as ``backward`` does: where a product
        overflows or underflows on the way, the total does so too.

        >>> c = Value(2.0)
        >>> paths(c * 1e200 * 1e200 * 0.0, c).total  # 0.0 * 1e200 * 1e200, from the root down
        0.0
        """
        adjoint = dict.fromkeys(self._between, 0.0)
        if self._between:
            adjoint[self.root] = 1.0
        for node in reversed(self._between):
            if node is self.leaf:
                return adjoint[node]
            gradient = adjoint[node]
            for parent, derivative in zip(node.parents, node.local_derivatives, strict=True):
                if parent in self._between:
                    adjoint[parent] += gradient * derivative
        return 0.0

    def largest(self, k: int) -> list[Path]:
        """The ``k`` paths of largest ``abs(product)``, or all where there are fewer.

        >>> x = Value(2.0, label="x")
        >>> y = 3.0 * x - 5.0 * x; y.label = "y"
        >>> [path.product for path in paths(y, x).largest(2)]
        [-5.0, 3.0]
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 0:
            raise TypeError(f"largest() takes a number of paths, 0 or more, got {k!r}")
        return list(itertools.islice(self, k))

    def __iter__(self) -> Iterator[Path]:
        """Best-first search.  A path costs what it loses at each node against the best way on, so that following the best
        way costs exactly nothing and the search walks straight to the leaf."""
        if not self._between:
            return
        serial = itertools.count(0, -1)  # of equal losses the latest first: the search stays narrow
        heap = [(_NO_LOSS, next(serial), self.root, _NO_EDGES)]
        while heap:
            loss, _, node, prefix = heapq.heappop(heap)
            while node is not self.leaf:
                best, *others = self._ways_on(node)
                for further, edge in reversed(others):
                    heapq.heappush(heap, (_plus(loss, further), next(serial), edge.parent, (edge, prefix)))
                prefix = (best[1], prefix)
                node = best[1].parent
            yield Path(_unlinked(prefix), self)

    def _ways_on(self, node: Value) -> list[tuple[_Loss, Edge]]:
        """The edges that lead from a node towards the leaf, each with its loss against the best of them, best first."""
        best, found = self._least[node], []
        for position, (parent, derivative) in enumerate(zip(node.parents, node.local_derivatives, strict=True)):
            if parent in self._between:
                loss = _minus(_plus(_loss(derivative), self._least[parent]), best)
                found.append((loss, Edge(node, position, parent, derivative)))
        return sorted(found, key=lambda way: way[0])

    @cached_property
    def _least(self) -> dict[Value, _Loss]:
        """The least loss of any path from each node to the leaf."""
        least = {self.leaf: _NO_LOSS}
        for node in itertools.islice(self._between, 1, None):
            edges = zip(node.parents, node.local_derivatives, strict=True)
            least[node] = min([_plus(_loss(d), least[parent]) for parent, d in edges if parent in self._between])
        return least

    @cached_property
    def names(self) -> dict[Value, str]:
        """The names of the nodes as the paths print them: labels, and v1, v2, ... in topological order."""
        return names.names_of(topological_order(*dict.fromkeys((self.root, self.leaf))))

    @property
    def derivative(self) -> str:
        """The derivative that the paths add up to, such as dL/da."""
        return names.derivative(self.names[self.root], self.names[self.leaf])

    def __repr__(self) -> str:
        paths = "1 path" if self.count == 1 else f"{self.count:,} paths" if self.count < 10**15 else "more than 10**15 paths"
        return f"{self.derivative} = {names.number(self.total)}, the sum over {paths}"


def paths(root: Value, leaf: Value) -> Paths:
    """All paths from a result down to something it was computed from; the sum of their products is the derivative (S1).

    ``count`` and ``total`` take one walk over the nodes between, however many paths there are.  Where the root does not
    depend on the leaf there are 0 paths and the total is 0.0; a node has one path to itself, of no edges.  TypeError for
    anything but two Values.

    >>> a = Value(3.0, label="a")
    >>> L = a * a + a; L.label = "L"
    >>> found = paths(L, a)
    >>> found
    dL/da = 7, the sum over 3 paths
    >>> for path in found:
    ...     print(path)
    dL/dv1 * dv1/da = 1 * 3 = 3
    dL/dv1 * dv1/da = 1 * 3 = 3
    dL/da = 1
    """
    for what, node in (("root", root), ("leaf", leaf)):
        if not isinstance(node, Value):
            raise TypeError(f"paths(root, leaf): the {what} must be a Value, got {type(node).__name__}")
    return Paths(root, leaf)


# A loss orders paths: first by the infinite and nan derivatives on them, the more the better, then by the zeros, the fewer
# the better, then by minus the logarithm of the product of the others.  Losses add up along a path component by component,
# which sums with an infinity in them would not.
_Loss = tuple[int, int, float]
_Cells = tuple[()] | tuple[Edge, "_Cells"]  # the edges so far, last first; prefixes share their cells
_NO_LOSS: _Loss = (0, 0, 0.0)
_NO_EDGES: _Cells = ()


def _loss(derivative: float) -> _Loss:
    size = abs(derivative)
    if not size < math.inf:
        return -1, 0, 0.0
    return (0, 0, -math.log(size)) if size else (0, 1, 0.0)


def _plus(a: _Loss, b: _Loss) -> _Loss:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def _minus(a: _Loss, b: _Loss) -> _Loss:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def _unlinked(prefix: _Cells) -> tuple[Edge, ...]:
    edges = []
    while prefix:
        edge, prefix = prefix
        edges.append(edge)
    return tuple(reversed(edges))
