"""Random graphs on which the functions of micrograd.chain are held against each other."""

from __future__ import annotations

import random
from collections.abc import Callable

import micrograd
from micrograd import Value

UNARY: list[Callable[[Value], Value]] = [
    lambda a: a.tanh(),
    lambda a: a.sigmoid(),
    lambda a: a.sin(),
    lambda a: (0.3 * a).exp(),
    lambda a: a.relu(),
    lambda a: (a * a + 1.5).log(),
    lambda a: (a * a + 0.5).sqrt(),
    lambda a: a**2,
    lambda a: a.softplus(),
    lambda a: a.gelu(),
    lambda a: -a,
    lambda a: abs(a),
    lambda a: a.leaky_relu(),
    lambda a: a.erf(),
]
BINARY: list[Callable[[Value, Value], Value]] = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / (b * b + 1.0),
    lambda a, b: (a * a + 1.0) ** (0.5 * b.tanh()),
    micrograd.maximum,
    lambda a, b: micrograd.dot([a, b], [b, 0.5], a),
    lambda a, b: micrograd.softmax([a, b, 0.0])[1],
    lambda a, b: micrograd.logsumexp([a, b]),
    lambda a, b: micrograd.mean([a, b, a]),
]


def random_graph(seed: int, size: int = 8, labelled: float = 0.4) -> tuple[list[list[Value]], Value]:
    """Levels of nodes, each computed from the one before it alone, and a result; the first level is the leaves."""
    rng = random.Random(seed)
    levels = [[Value(rng.uniform(-1.5, 1.5), label=f"x{i}") for i in range(3)]]
    for k in range(size // 3):
        level: list[Value] = []
        for i in range(3):
            a, b = rng.choices(levels[-1], k=2)
            node = rng.choice(UNARY)(a) if rng.random() < 0.5 else rng.choice(BINARY)(a, b)
            node = node + rng.choice(levels[-1]) if rng.random() < 0.5 else node
            if rng.random() < labelled and not node.label:
                node.label = f"h{k}_{i}"
            level.append(node)
        levels.append(level)
    result = levels[-1][0] * levels[-1][1] + levels[-1][2]
    result.label = "L"
    return levels, result


def gradients(root: Value, leaves: list[Value]) -> list[float]:
    """The engine's derivatives, with the gradients of the leaves set back to zero."""
    for leaf in leaves:
        leaf.grad = 0.0
    root.backward()
    found = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = 0.0
    return found
