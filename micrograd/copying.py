"""Copying and pickling graphs of any depth: a graph travels as one flat table, never by recursion.

Importing this module teaches :mod:`copy` and :mod:`pickle` about Values.  Nodes that are saved together stay one graph:
whatever part of it was pickled first carries its ancestors, and later parts refer to it.
"""

from __future__ import annotations

import copyreg
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from micrograd.engine import NO_PARENTS, Leaf, Value, _node, topological_order


class _Graph:
    """The ancestors of one node as a table of rows, each after its parents; alive while a pickler or a copier works."""

    def __init__(self, nodes: Sequence[Value]) -> None:
        self.nodes = nodes
        self.index = {id(node): i for i, node in enumerate(nodes)}

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, ([self._row(node) for node in self.nodes],)

    def _row(self, node: Value) -> Any:
        if node._left is NO_PARENTS or _LIVE.graphs.get(id(node)) is not self:
            return node  # a leaf, or a part of a graph that was saved before: it is saved as itself
        parents = tuple([self.index[id(parent)] for parent in node.parents])
        return node.operation, node.data, node.grad, node.label, node.has_grad, parents, node.local_derivatives


class _Live(threading.local):
    def __init__(self) -> None:
        self.graphs: weakref.WeakValueDictionary[int, _Graph] = weakref.WeakValueDictionary()


_LIVE = _Live()


def _reduce(node: Value) -> tuple[Any, ...]:
    """How pickle and deepcopy take a node apart: a leaf by its numbers, any other as a position in its graph."""
    if node._left is NO_PARENTS:
        return _leaf, (node.operation, node.data, node.grad, node.label, node.has_grad)
    graph = _LIVE.graphs.get(id(node))
    if graph is None:
        saved = _Saved()
        graph = _Graph(topological_order(node, stop=saved))
        for part in graph.nodes:
            if part._left is not NO_PARENTS and part not in saved:
                _LIVE.graphs[id(part)] = graph
    return _position, (graph, graph.index[id(node)])


class _Saved:
    """The nodes that a graph being saved holds already."""

    def __contains__(self, node: object) -> bool:
        return id(node) in _LIVE.graphs


def _leaf(kind: Leaf, data: float, grad: float, label: str, has_grad: bool) -> Value:
    return _restored(_node(kind, data, NO_PARENTS, ()), grad, label, has_grad)


def _rebuilt(rows: Sequence[Any]) -> _Graph:
    nodes: list[Value] = []
    for row in rows:
        if isinstance(row, Value):
            nodes.append(row)
        else:
            operation, data, grad, label, has_grad, parents, derivatives = row
            node = _node(operation, data, tuple([nodes[i] for i in parents]), derivatives)
            nodes.append(_restored(node, grad, label, has_grad))
    return _Graph(nodes)


def _position(graph: _Graph, index: int) -> Value:
    return graph.nodes[index]


def _restored(node: Value, grad: float, label: str, has_grad: bool) -> Value:
    node.grad, node.label, node._pass = grad, label, _EARLIER if has_grad else None
    return node


_EARLIER = object()  # stands for a backward pass of the graph that was copied

copyreg.pickle(Value, _reduce)
