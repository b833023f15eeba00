"""The closed formulas for the gradient of one neuron and of its loss (V3-V7), beside the numbers of the engine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from micrograd import engine, losses, ops
from micrograd.chain import names
from micrograd.chain.sweep import TOLERANCE, adjoints, difference, weighted_sum
from micrograd.engine import Value, topological_order
from micrograd.nn import Neuron
from micrograd.ops import FLOATS

Pair = tuple[float, float]  # a number, and the sum of the absolute values of the terms it was added up from


@dataclass(frozen=True)
class NeuronGradient:
    """The derivatives of ``output = max(0, z)`` with ``z = w.x + b``: ``dw`` and ``db`` by the closed formula (V5).

    ``engine_dw`` and ``engine_db`` are the engine's, equal to 1e-12; ``active`` says whether z > 0.
    """

    z: float
    output: float
    active: bool
    dw: list[float]
    db: float
    engine_dw: list[float]
    engine_db: float

    def __repr__(self) -> str:
        case = "> 0: active, so d/dw = x^T and d/db = 1" if self.active else "is not > 0: inactive, so d/dw = 0 and d/db = 0"
        head = f"neuron max(0, w.x + b) = {names.number(self.output)}\nz = w.x + b = {names.number(self.z)} {case}"
        return _beside(head, self.dw, self.db, self.engine_dw, self.engine_db)


@dataclass(frozen=True)
class LossGradient:
    """The derivatives of ``C = (1/N) sum (y_i - max(0, z_i))^2`` with ``z_i = w.x_i + b``: ``dw``, ``db`` by V7.

    ``mask`` tells which examples are active, z_i > 0; ``errors`` are e_i = z_i - y_i, which count where the mask is True.
    ``engine_dw`` and ``engine_db`` are the engine's, equal to 1e-12.
    """

    loss: float
    z: list[float]
    targets: list[float]
    mask: list[bool]
    errors: list[float]
    dw: list[float]
    db: float
    engine_dw: list[float]
    engine_db: float

    def __repr__(self) -> str:
        rows = [["i", "z = w.x + b", "active", "max(0, z)", "y", "e = z - y"]]
        for i, (z, y, active, e) in enumerate(zip(self.z, self.targets, self.mask, self.errors, strict=True)):
            shown = names.number(e) if active else "."
            rows.append(
                [str(i), names.number(z), "yes" if active else "no", names.number(max(0.0, z)), names.number(y), shown]
            )
        table = "\n".join("".join([cell.rjust(13) for cell in row]) for row in rows)
        n = len(self.mask)
        head = (
            f"C = (1/{n}) sum (y - max(0, w.x + b))^2 = {names.number(self.loss)}\n{table}\n"
            f"dC/dw = (2/{n}) sum e x^T and dC/db = (2/{n}) sum e over the {sum(self.mask)} active of {n} examples"
        )
        return _beside(head, self.dw, self.db, self.engine_dw, self.engine_db)


def neuron_gradient(w: Sequence[Any], x: Sequence[Any], b: Any = 0.0) -> NeuronGradient:
    """The gradient of one neuron ``max(0, w.x + b)`` by its weights and bias, by formula and by the engine (V2-V5).

    The numbers may be Values, whose data are used.  TypeError for anything else, ValueError for unequal lengths and for inf
    and nan, ArithmeticError should formula and engine differ by more than 1e-12 of the terms.

    z is added up as the engine does: in another order it may fall on the other side of the kink.

    >>> neuron_gradient([1.0, -2.0], [3.0, 1.0], 0.5)
    neuron max(0, w.x + b) = 1.5
    z = w.x + b = 1.5 > 0: active, so d/dw = x^T and d/db = 1
                formula       engine
      dw[0]           3            3
      dw[1]           1            1
      db              1            1
    """
    weights, inputs = _numbers("w", w), _numbers("x", x)
    (bias,) = _numbers("b", [b])
    w_nodes, b_node = [Value(weight) for weight in weights], Value(bias)
    node = engine.dot(w_nodes, inputs, b_node).relu()
    z = ops.dot.rule(FLOATS, *weights, *inputs, bias)[0]
    active = z > 0.0
    dw, db = ([(x_j, abs(x_j)) for x_j in inputs], (1.0, 1.0)) if active else ([(0.0, 0.0)] * len(inputs), (0.0, 0.0))
    engine_dw, engine_db = _compared(node, w_nodes, b_node, dw, db)
    return NeuronGradient(z, node.data, active, [g for g, _ in dw], db[0], engine_dw, engine_db)


def loss_gradient(neuron: Neuron, X: Sequence[Sequence[Any]], y: Sequence[Any]) -> LossGradient:  # noqa: N803
    """The gradient of the mean squared error of one ReLU neuron over N examples, by formula and by the engine (V6, V7).

    ``X`` has a row of numbers for each example, ``y`` a target.  The neuron is read, not changed.

    TypeError for anything but a Neuron and numbers, ValueError for a neuron that is no ReLU neuron, for unequal lengths and
    for inf and nan, ArithmeticError should formula and engine differ by more than 1e-12 of the terms, or not be finite.

    >>> neuron = Neuron(1)
    >>> neuron.load_state_dict({"w.0": 2.0, "b": 1.0})
    >>> found = loss_gradient(neuron, [[1.0], [-3.0]], [1.0, 1.0])
    >>> found.mask, found.errors, found.dw, found.db
    ([True, False], [2.0, -6.0], [2.0], 2.0)
    """
    if not isinstance(neuron, Neuron):
        raise TypeError(f"loss_gradient(neuron, X, y) takes a Neuron, got {type(neuron).__name__}")
    if not neuron.nonlin or neuron.activation is not ops.relu:
        raise ValueError(f"loss_gradient() has the formula of a ReLU neuron, max(0, w.x + b), this is a {neuron!r}")
    rows, targets = [_numbers(f"X[{i}]", row) for i, row in enumerate(X)], _numbers("y", y)
    node = losses.mse([neuron(row) for row in rows], targets)
    w, b = [weight.data for weight in neuron.w], neuron.b.data
    z = [ops.dot.rule(FLOATS, *w, *row, b)[0] for row in rows]
    mask = [z_i > 0.0 for z_i in z]
    errors = [z_i - y_i for z_i, y_i in zip(z, targets, strict=True)]
    active = [i for i, counts in enumerate(mask) if counts]
    scaled = [2.0 / len(rows) * errors[i] for i in active]
    dw = [weighted_sum(scaled, [rows[i][j] for i in active]) for j in range(len(w))]
    db = weighted_sum(scaled, [1.0] * len(active))
    engine_dw, engine_db = _compared(node, neuron.w, neuron.b, dw, db)
    return LossGradient(node.data, z, targets, mask, errors, [g for g, _ in dw], db[0], engine_dw, engine_db)


def _compared(node: Value, w: Sequence[Value], b: Value, dw: Sequence[Pair], db: Pair) -> tuple[list[float], float]:
    """The engine's derivatives by w and b, after a check that the formulas gave the same."""
    gradient = adjoints(topological_order(node))
    by_engine = [gradient[parameter] for parameter in (*w, b)]
    error = difference(by_engine, [*dw, db])
    if math.isnan(error):
        raise ArithmeticError(f"formula {[g for g, _ in (*dw, db)]} and engine {by_engine} cannot be checked: not finite")
    if error > TOLERANCE:
        raise ArithmeticError(f"formula {[g for g, _ in (*dw, db)]} and engine {by_engine} differ by {error:.2g}")
    return by_engine[:-1], by_engine[-1]


def _numbers(what: str, given: Sequence[Any]) -> list[float]:
    if isinstance(given, (str, bytes)) or not hasattr(given, "__iter__"):
        raise TypeError(f"{what} must be a list of numbers, got {type(given).__name__}")
    numbers = [ops.real(x.data if isinstance(x, Value) else x) for x in given]
    for x, number in zip(given, numbers, strict=True):
        if number is None:
            raise TypeError(f"{what} must be numbers, got {type(x).__name__}")
        if not math.isfinite(number):
            raise ValueError(f"{what} must be finite numbers, got {number}")
    return [number for number in numbers if number is not None]


def _beside(head: str, dw: list[float], db: float, engine_dw: list[float], engine_db: float) -> str:
    rows = [(f"dw[{j}]", *pair) for j, pair in enumerate(zip(dw, engine_dw, strict=True))]
    lines = [f"  {name:7}{names.number(a):>10} {names.number(e):>12}" for name, a, e in [*rows, ("db", db, engine_db)]]
    return "\n".join([head, f"  {'':7}{'formula':>10} {'engine':>12}", *lines])
