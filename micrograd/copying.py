"""Copying and pickling graphs of any depth: a graph travels as one flat table, never by recursion.

Importing this module teaches :mod:`copy` and :mod:`pickle` about Values.  Nodes that are saved together stay one graph:
whatever part of it was pickled first carries its ancestors, and later parts refer to it.
"""

from __future__ import annotations

import copyreg
import threading
import weakref
from typing import Any

from micrograd.engine import NO_PARENTS, Leaf, Value, _node, topological_order


def _deepcopy(node: Value, memo: dict[int, Any]) -> Value:
    """How copy.deepcopy copies a node: together with its ancestors, each after its parents."""
    for old in topological_order(node, stop=_Known(memo)):
        if id(old) not in memo:
            parents = tuple([memo[id(parent)] for parent in old.parents])
            twin = _node(old.operation, old.data, parents, old.local_derivatives)
            memo[id(old)] = _restored(twin, old.grad, old.label, old.has_grad)
    copied: Value = memo[id(node)]
    return copied


class _Known:
    """The nodes whose ids are in a dict, as a container of nodes."""

    def __init__(self, ids: dict[int, Any]) -> None:
        self.ids = ids

    def __contains__(self, node: object) -> bool:
        return id(node) in self.ids


class _Graph:
    """The ancestors of one node, each after its parents; alive, and found by its nodes, while a pickler works.

    Leaves and nodes that an earlier graph holds are saved as themselves, so that graphs may share them; they come first.
    The others are saved as one list for each of their attributes.
    """

    def __init__(self, root: Value) -> None:
        live = _LIVE.graphs
        order = topological_order(root, stop=_Known(live) if live else ())
        self.shared = [node for node in order if node._left is NO_PARENTS or id(node) in live]
        self.own = [node for node in order if node._left is not NO_PARENTS and id(node) not in live]
        self.index = {id(node): i for i, node in enumerate(self.shared + self.own)}
        own_ids = list(map(id, self.own))
        live.update(dict.fromkeys(own_ids, weakref.ref(self, lambda _: [live.pop(i) for i in own_ids])))

    def __reduce__(self) -> tuple[Any, ...]:
        index = self.index
        columns = (
            [node.operation for node in self.own],
            [node.data for node in self.own],
            [tuple([index[id(parent)] for parent in node.parents]) for node in self.own],
            [node.local_derivatives for node in self.own],
            [node.grad for node in self.own],
            [node.label for node in self.own],
            [node.has_grad for node in self.own],
        )
        return _rebuilt, (self.shared, *columns)


class _Live(threading.local):
    """The graphs that this thread is pickling, by the ids of their own nodes."""

    def __init__(self) -> None:
        self.graphs: dict[int, weakref.ref[_Graph]] = {}


_LIVE = _Live()


def _reduce(node: Value) -> tuple[Any, ...]:
    """How pickle takes a node apart: a leaf by its numbers, any other as a position in its graph."""
    if node._left is NO_PARENTS:
        return _leaf, (node.operation, node.data, node.grad, node.label, node.has_grad)
    live = _LIVE.graphs.get(id(node))
    graph = (live and live()) or _Graph(node)
    return _position, (graph, graph.index[id(node)])


def _leaf(kind: Leaf, data: float, grad: float, label: str, has_grad: bool) -> Value:
    return _restored(_node(kind, data, NO_PARENTS, ()), grad, label, has_grad)


def _rebuilt(shared: list[Value], *columns: list[Any]) -> list[Value]:
    nodes = list(shared)
    for operation, data, parents, derivatives, *state in zip(*columns, strict=True):
        node = _node(operation, data, tuple([nodes[i] for i in parents]), derivatives)
        nodes.append(_restored(node, *state))
    return nodes


def _position(nodes: list[Value], index: int) -> Value:
    return nodes[index]


def _restored(node: Value, grad: float, label: str, has_grad: bool) -> Value:
    node.grad, node.label, node._pass = grad, label, _EARLIER if has_grad else None
    return node


_EARLIER = object()  # stands for a backward pass of the graph that was copied

copyreg.pickle(Value, _reduce)
Value.__deepcopy__ = _deepcopy  # type: ignore[attr-defined]
