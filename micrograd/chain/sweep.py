"""Derivatives of a recorded result by every node under it, read off the graph without writing into any ``grad``."""

from __future__ import annotations

import math
import sys
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
    """The largest difference between numbers and (number, scale) pairs, each over its own scale; 0 where all are the same.

    It is inf where a scale is 0 and the numbers differ, and nan where anything is not finite, which compares with nothing.

    >>> difference([1e9, 2.0], [(1e9, 1e9), (3.0, 4.0)])
    0.25
    """
    triples = [(g, e, scale) for g, (e, scale) in zip(got, expected, strict=True)]
    if not all(math.isfinite(x) for triple in triples for x in triple):
        return math.nan
    return max((_relative(abs(g - e), scale) for g, e, scale in triples), default=0.0)


def _relative(gap: float, scale: float) -> float:
    """The part of the scale that a gap is; a scale below the normal range of floats, where digits are lost, counts as it."""
    if not gap:
        return 0.0
    return gap / max(scale, sys.float_info.min) if scale else math.inf
