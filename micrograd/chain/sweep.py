"""Derivatives of a recorded result by every node under it, read off the graph without writing into any ``grad``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from micrograd.engine import Value

#: What is proved here is checked with floats, to this part of the sum of the absolute values of the terms added.
TOLERANCE = 1e-12


def adjoints(order: Sequence[Value]) -> dict[Value, float]:
    """The derivative of the last node of a topological order by each node in it: one reverse sweep (S1).

    >>> x = Value(3.0)
    >>> adjoints([x, x * x])[x]
    6.0
    """
    adjoint = dict.fromkeys(order, 0.0)
    adjoint[order[-1]] = 1.0
    for node in reversed(order):
        if node.parents:
            gradient = adjoint[node]
            for parent, derivative in zip(node.parents, node.local_derivatives, strict=True):
                adjoint[parent] += gradient * derivative
    return adjoint


def weighted_sum(weights: Iterable[float], numbers: Iterable[float]) -> tuple[float, float]:
    """The sum of the products, and of their absolute values, against which its rounding is measured."""
    terms = [w * x for w, x in zip(weights, numbers, strict=True)]
    return sum(terms), sum(map(abs, terms))


def difference(got: Sequence[float], expected: Sequence[tuple[float, float]]) -> float:
    """The largest difference between numbers and (number, scale) pairs, over the largest scale; 0 where all are the same.

    >>> difference([1.0, 2.0], [(1.0, 1.0), (2.0, 4.0)])
    0.0
    """
    pairs = list(zip(got, expected, strict=True))
    gaps = [abs(g - e) for g, (e, _) in pairs if not (g == e or (g != g and e != e))]
    if not gaps:
        return 0.0
    scale = max(s for _, (_, s) in pairs)
    worst = math.nan if any(gap != gap for gap in gaps) else max(gaps)
    return worst / scale if scale else math.inf
