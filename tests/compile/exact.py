"""What a program computes eagerly, and how far from that a compiled program may be.

The oracle is the eager engine.  A compiled program may reorder sums, contract products and additions, and use another exp,
so results differ by roundoff, which cancellation and steep functions amplify.  By how much is measured: the recorded graph
is replayed with small random errors put into every operation (stochastic arithmetic), and the spread of the results counts.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from programs import Program

from micrograd import Value, topological_order, trees
from micrograd.ops import FLOATS, Numbers

Array = np.ndarray[Any, np.dtype[np.float64]]

EXACT = {"neg", "abs", "relu", "maximum", "minimum", "clip", "where", "take", "identity"}  # which round nothing
REPLAYS = 3


@dataclass(frozen=True)
class Precision:
    """A number type's tolerance, relative to a result, the relative error put into each operation of a replay, and what
    numbers lose where they are smaller than the least normal one."""

    tolerance: float
    error: float
    least: float


PRECISIONS = {"float64": Precision(1e-12, 1e-14, 1e-290), "float32": Precision(1e-4, 2e-6, 1e-37)}


@dataclass
class Expected:
    """Results and how far from each a compiled program may be."""

    numbers: Array
    slack: Array

    def __add__(self, other: Expected) -> Expected:
        return Expected(self.numbers + other.numbers, self.slack + other.slack)

    def __mul__(self, factor: float) -> Expected:
        return Expected(self.numbers * factor, self.slack * factor)

    @property
    def stable(self) -> bool:
        """Whether roundoff leaves something to compare: not so at a kink that is hit by chance, or in chaos."""
        return bool(np.all(np.isfinite(self.numbers)) and np.all(self.slack <= 1e-2 * (1e-3 + np.abs(self.numbers).max())))

    def check(self, actual: Any, what: object = "") -> None:
        """Fail unless these numbers, of the same count, are all within the slack."""
        found = np.asarray(actual, dtype=float).ravel()
        assert found.shape == self.numbers.shape, (what, found.shape, self.numbers.shape)
        wrong = ~(np.abs(found - self.numbers) <= self.slack)  # nan is wrong
        assert not wrong.any(), (what, found[wrong], self.numbers[wrong], self.slack[wrong])


def stack(parts: Sequence[Expected]) -> Expected:
    return Expected(np.concatenate([p.numbers for p in parts]), np.concatenate([p.slack for p in parts]))


# ------------------------------------------------------------------------------------------------------- evaluation


def value_and_gradients(program: Program, args: Sequence[Any], dtype: str = "float64") -> tuple[Expected, Expected]:
    """The one result of a program, and its derivatives by the numbers of its arguments and then by those captured."""
    inputs, call = _as_values(program, args, dtype)
    inputs = inputs + captured_parameters(program)
    root = program.function(*call)
    exact, noisy = _runs([root], dtype, lambda replay: [replay.data[root], *replay.gradients(root, inputs)])
    both = _expected(exact, noisy, dtype)
    return Expected(both.numbers[:1], both.slack[:1]), Expected(both.numbers[1:], both.slack[1:])


def values(program: Program, args: Sequence[Any], dtype: str = "float64") -> tuple[Expected, Any]:
    """The results of a program as numbers, and their structure."""
    _, call = _as_values(program, args, dtype)
    roots, structure = trees.flatten(program.function(*call))
    exact, noisy = _runs(roots, dtype, lambda replay: [replay.data[root] for root in roots])
    return _expected(exact, noisy, dtype), structure


def captured_parameters(program: Program) -> list[Value]:
    """The Values that a program closes over: weights, tables and the parameters of modules."""
    return [v for kept in program.captured.values() for v in trees.flatten(kept)[0]]


def floats(program: Program, args: Sequence[Any]) -> list[float]:
    """The numbers of the arguments that are not indices."""
    return trees.flatten([args[i] for i in program.differentiable])[0]


def _as_values(program: Program, args: Sequence[Any], dtype: str) -> tuple[list[Value], list[Any]]:
    inputs = []
    call = list(args)
    for i in program.differentiable:
        leaves, structure = trees.flatten(args[i])
        fresh = [Value(np.dtype(dtype).type(leaf)) for leaf in leaves]
        call[i] = trees.unflatten(structure, fresh)
        inputs += fresh
    return inputs, call


def _expected(exact: list[float], noisy: list[list[float]], dtype: str) -> Expected:
    numbers = np.array(exact)
    spread = np.abs(np.array(noisy) - numbers).max(axis=0)
    precision = PRECISIONS[dtype]
    return Expected(numbers, precision.tolerance * np.abs(numbers) + 10 * spread + precision.least)


def _runs(roots: list[Value], dtype: str, results: Any) -> tuple[list[float], list[list[float]]]:
    order = topological_order(*roots)
    rng = random.Random(0)
    exact = results(Replay(order, 0.0, rng))
    return exact, [results(Replay(order, PRECISIONS[dtype].error, rng)) for _ in range(REPLAYS)]


def _rounding(error: float, rng: random.Random) -> Any:
    """Floats whose functions err: a derivative such as tanh's, 1 - t * t, is computed of a value that was rounded."""

    def erring(function: Any) -> Any:
        return lambda *args: function(*args) * (1 + error * rng.uniform(-1, 1))

    functions = {name: f for name, f in vars(FLOATS).items() if name not in ("where", "detach", "maximum", "abs")}
    return Numbers(**(vars(FLOATS) | {name: erring(f) for name, f in functions.items()}))


class Replay:
    """A recorded graph computed again from its leaves, with a relative error put into each operation."""

    def __init__(self, order: list[Value], error: float, rng: random.Random) -> None:
        self.order, self.data, self.derivatives = order, dict[Value, float](), dict[Value, list[float]]()
        rounding = _rounding(error / 32, rng) if error else FLOATS  # about the last place
        for node in order:
            if not node.parents:
                self.data[node] = node.data
                continue
            operands = [self.data[p] for p in node.parents]
            op: Any = node.operation
            if op.name in EXACT:
                self.data[node], self.derivatives[node] = op.rule(FLOATS, *operands)
                continue
            value, derivatives = op.rule(rounding, *[x * (1 + error * rng.uniform(-1, 1)) for x in operands])
            self.data[node] = value * (1 + error * rng.uniform(-1, 1))
            self.derivatives[node] = [d * (1 + error * rng.uniform(-1, 1)) for d in derivatives]

    def gradients(self, root: Value, inputs: list[Value]) -> list[float]:
        """The derivatives of the root by the inputs."""
        adjoints = dict.fromkeys(self.order, 0.0)
        adjoints[root] = 1.0
        for node in reversed(self.order):
            for parent, derivative in zip(node.parents, self.derivatives.get(node, ()), strict=True):
                adjoints[parent] += adjoints[node] * derivative
        return [adjoints.get(x, 0.0) for x in inputs]
