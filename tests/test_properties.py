"""Random expression graphs: backward against PyTorch and against forward mode, which shares no code with it."""

from __future__ import annotations

import copy
import math
import pickle
import random
from collections.abc import Sequence
from typing import Any

import pytest
from conftest import oracle
from hypothesis import given, settings, strategies as st
from test_ops import PYTORCH

from micrograd import Value, ops, topological_order
from micrograd.ops import FLOATS, TABLE, Op

# Operands are brought into an operation's domain before it is applied, by a node of the graph: the middle of the interval
# plus half of its width times tanh.  So every graph is finite, and smooth but for the kinks of abs, relu, maximum and so on.


class Program:
    """A random straight-line program: each step is an operation, its parameters, and the earlier results it takes."""

    def __init__(self, inputs: Sequence[float], choices: Any, size: int) -> None:
        self.inputs = list(inputs)
        self.steps: list[tuple[Op, list[int]]] = []
        for count in range(len(inputs), len(inputs) + size):
            op = TABLE[choices.choice(NAMES)]
            if op.name in PARAMETERS:
                op = op.bind(**choices.choice(PARAMETERS[op.name]))
            arity = op.arity or choices.choice([1, 2, 5] if op.name == "dot" else [1, 2, 3])
            arity += arity % 2 == 0 and op.name == "dot"
            recent = max(0, count - 20) if choices.choice([True, False]) else 0
            self.steps.append((op, [choices.choice(range(recent, count)) for _ in range(arity)]))

    def __repr__(self) -> str:
        return f"Program(inputs={self.inputs}, steps={[(op.name, op.params, operands) for op, operands in self.steps]})"


NAMES = sorted(TABLE.keys() - {"where", "take"})
PARAMETERS = {
    "power": [{"exponent": e} for e in (-1.5, 0.0, 0.5, 2.0, 3.0)],
    "leaky_relu": [{"slope": 0.2}],
    "elu": [{"alpha": 0.7}],
    "clip": [{"low": -1.0, "high": 1.5}],
}


def middle_and_half(op: Op, i: int) -> tuple[float, float]:
    low, high = op.domain[min(i, len(op.domain) - 1)]
    low, high = max(low, -3.0), min(high, 3.0)
    return (low + high) / 2, (high - low) / 2


def record(program: Program) -> tuple[list[Value], list[Value]]:
    """The inputs of the program and all its results, as Values."""
    inputs = [Value(x) for x in program.inputs]
    results = list(inputs)
    for op, operands in program.steps:
        args = []
        for i, k in enumerate(operands):
            middle, half = middle_and_half(op, i)
            args.append(results[k].tanh() * half + middle)
        result = op(args) if op.arity is None else op(*args)
        results.append(result[-1] if op.vector else result)
    return inputs, results


def total(results: list[Any]) -> Any:
    """A root that depends on every result, so that no step is idle."""
    return sum(r * (1.0 / (1 + i % 7)) for i, r in enumerate(results))


def forward_mode(root: Value, by: Value) -> float:
    """The derivative of the root by one leaf: a tangent is pushed from each node's parents, rules run anew on floats."""
    tangents: dict[Value, float] = {}
    for node in topological_order(root):
        if not node.parents:
            tangents[node] = float(node is by)
            continue
        _, derivatives = node.operation.rule(FLOATS, *[p.data for p in node.parents])  # type: ignore[union-attr]
        tangents[node] = math.fsum(d * tangents[p] for d, p in zip(derivatives, node.parents, strict=True))
    return tangents[root]


def in_pytorch(program: Program, torch: Any) -> tuple[float, list[float]]:
    """The root and its gradient by PyTorch in float64."""
    inputs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in program.inputs]
    results = list(inputs)
    for op, operands in program.steps:
        args = []
        for i, k in enumerate(operands):
            middle, half = middle_and_half(op, i)
            args.append(torch.tanh(results[k]) * half + middle)
        results.append(apply_in_pytorch(op, args, torch))
    root = total(results)
    gradients = torch.autograd.grad(root, inputs, allow_unused=True)
    return root.item(), [0.0 if g is None else g.item() for g in gradients]


def apply_in_pytorch(op: Op, args: list[Any], torch: Any) -> Any:
    n = len(args) // 2
    special = {
        "power": lambda: args[0] ** op.params["exponent"],
        "leaky_relu": lambda: torch.nn.functional.leaky_relu(args[0], op.params["slope"]),
        "elu": lambda: torch.nn.functional.elu(args[0], op.params["alpha"]),
        "clip": lambda: torch.clamp(args[0], op.params["low"], op.params["high"]),
        "dot": lambda: sum((w * x for w, x in zip(args[:n], args[n:-1], strict=True)), args[-1]),
    }
    result = special[op.name]() if op.name in special else PYTORCH[op.name](torch, *args)
    return result[-1] if op.vector else result


def assert_close(actual: Sequence[float], expected: Sequence[float]) -> None:
    """Equal to 1e-9 of the largest, as sums over many paths cancel."""
    scale = max(1.0, *map(abs, expected))
    for a, e in zip(actual, expected, strict=True):
        assert abs(a - e) <= 1e-9 * scale, (a, e, scale)


def check(program: Program) -> tuple[list[Value], Value]:
    """Backward agrees with forward mode."""
    inputs, results = record(program)
    root = total(results)
    root.backward()
    assert_close([x.grad for x in inputs], [forward_mode(root, x) for x in inputs])
    return inputs, root


class Drawn:
    """hypothesis as a source of choices, so that a failing program shrinks."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw

    def choice(self, options: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(options))


@st.composite
def programs(draw: st.DrawFn) -> Program:
    inputs = draw(st.lists(st.floats(-2, 2), min_size=1, max_size=4))
    return Program(inputs, Drawn(draw), draw(st.integers(1, 12)))


quick = settings(max_examples=100, deadline=None, derandomize=True, database=None)


@quick
@given(programs())
def test_backward_of_a_small_graph_agrees_with_forward_mode(program: Program) -> None:
    check(program)


@quick
@given(programs())
def test_backward_of_a_small_graph_agrees_with_pytorch(program: Program) -> None:
    inputs, root = check(program)
    value, gradients = in_pytorch(program, oracle("torch"))
    assert math.isclose(root.data, value, rel_tol=1e-9, abs_tol=1e-9)
    assert_close([x.grad for x in inputs], gradients)


@pytest.mark.parametrize(("seed", "size"), [(seed, 60) for seed in range(20)] + [(100, 500), (101, 500), (102, 2500)])
def test_backward_of_a_large_graph_agrees_with_pytorch_and_forward_mode(seed: int, size: int) -> None:
    rng = random.Random(seed)
    program = Program([rng.uniform(-2, 2) for _ in range(4)], rng, size)
    inputs, root = check(program)
    assert size < 2500 or len(topological_order(root)) > 10_000
    value, gradients = in_pytorch(program, oracle("torch"))
    assert math.isclose(root.data, value, rel_tol=1e-9)
    assert_close([x.grad for x in inputs], gradients)


def test_the_random_graphs_use_every_operation_shared_nodes_and_repeated_operands() -> None:
    used, repeated, shared = set(), 0, 0
    for seed in range(20):
        rng = random.Random(seed)
        program = Program([1.0, 2.0], rng, 60)
        used |= {op.name for op, _ in program.steps}
        repeated += sum(len(set(operands)) < len(operands) for _, operands in program.steps)
        operands = [k for _, ks in program.steps for k in ks]
        shared += len(operands) - len(set(operands))
    assert used == set(NAMES)
    assert repeated > 20
    assert shared > 100


@quick
@given(programs())
def test_a_second_backward_doubles_the_leaves_and_repeats_the_interior(program: Program) -> None:
    inputs, results = record(program)
    root = total(results)
    root.backward()
    once, interior = [x.grad for x in inputs], [v.grad for v in topological_order(root) if v.parents]
    root.backward()
    assert_close([x.grad for x in inputs], [2 * g for g in once])
    assert [v.grad for v in topological_order(root) if v.parents] == interior


@quick
@given(programs(), st.floats(-8, 8))
def test_backward_is_linear_in_its_seed(program: Program, seed: float) -> None:
    inputs, results = record(program)
    root = total(results)
    root.backward()
    expected = [seed * x.grad for x in inputs]
    for x in inputs:
        x.grad = 0.0
    root.backward(seed)
    assert_close([x.grad for x in inputs], expected)


@quick
@given(programs())
def test_forward_results_are_those_of_the_rules_on_floats(program: Program) -> None:
    _, results = record(program)
    for node in topological_order(*results):
        if node.parents:
            value, derivatives = node.operation.rule(FLOATS, *[p.data for p in node.parents])  # type: ignore[union-attr]
            assert (node.data, node.local_derivatives) == (value, tuple(derivatives))


@quick
@given(programs())
def test_copies_and_pickles_compute_the_same_gradients(program: Program) -> None:
    inputs, results = record(program)
    root = total(results)
    root.backward()
    for twin, leaves in (copy.deepcopy((root, inputs)), pickle.loads(pickle.dumps((root, inputs)))):
        for x in leaves:
            x.grad = 0.0
        twin.backward()
        assert [x.grad for x in leaves] == [x.grad for x in inputs]


@quick
@given(st.lists(st.floats(), min_size=1, max_size=6), st.sampled_from(sorted(TABLE)))
def test_no_operation_raises_for_any_numbers(numbers: list[float], name: str) -> None:
    op = TABLE[name]
    values = [Value(numbers[i % len(numbers)]) for i in range(op.arity or len(numbers))]
    result = op(values) if op.arity is None else op(*values)
    for node in result if op.vector else [result]:
        assert type(node.data) is float
        assert all(type(d) is float for d in node.local_derivatives)
        node.backward()


@quick
@given(st.floats(), st.floats())
def test_arithmetic_is_the_arithmetic_of_floats(a: float, b: float) -> None:
    for apply in (lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, lambda x, y: -x):
        expected = apply(a, b)
        for actual in (apply(Value(a), Value(b)), apply(Value(a), b), apply(a, Value(b))):
            number = float(actual)
            assert number == expected or (math.isnan(number) and math.isnan(expected))
            assert math.copysign(1, number) == math.copysign(1, expected) or math.isnan(expected)
    assert (Value(a) < Value(b), Value(a) <= b, a > Value(b), Value(a) >= Value(b)) == (a < b, a <= b, a > b, a >= b)


@quick
@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=8))
def test_softmax_sums_to_one_and_its_gradients_to_zero(numbers: list[float]) -> None:
    values = [Value(x) for x in numbers]
    outputs = ops.softmax(values)
    assert math.isclose(math.fsum(v.data for v in outputs), 1.0, rel_tol=1e-14)
    for output, log_output in zip(outputs, ops.log_softmax(values), strict=True):
        assert abs(math.fsum(output.local_derivatives)) <= 1e-15
        assert abs(math.fsum(log_output.local_derivatives)) <= 1e-14
        assert math.isclose(math.exp(log_output.data), output.data, rel_tol=1e-12, abs_tol=1e-300)
