"""The NumPy program of a vector program computes what the eager engine does."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from exact import Expected, captured_parameters, value_and_gradients
from programs import Program
from stages import Recorded

import micrograd
from micrograd import Value, nn, ops
from micrograd.compile.numpy_backend import NumpyKernel, source
from micrograd.compile.vector import LANES


def run(recorded: Recorded, examples: list[Any], batched: bool = False, dtype: str = "float64", chunk: int = 1024) -> Any:
    """All outputs for each example: (examples, outputs)."""
    kernel = NumpyKernel(recorded.rolled, dtype)
    kernel.chunk = chunk
    shared, lanes = kernel.run(recorded.inputs(examples, batched), len(examples))
    assert shared.dtype == lanes.dtype == np.dtype(dtype)
    own = np.asarray(recorded.rolled.outputs) >= LANES
    full = np.empty((len(examples), len(own)))
    full[:, own], full[:, ~own] = lanes, shared
    return full


def eager(fn: Callable[..., Any], args: list[list[float]]) -> list[float]:
    """The value of fn on lists of numbers, and its gradients by them."""
    values = [[Value(x) for x in arg] for arg in args]
    result = fn(*values)
    result.backward()
    return [result.data, *(v.grad for arg in values for v in arg)]


def check(fn: Callable[..., Any], *args: list[float]) -> None:
    """One example, and a batch of three in chunks of two."""
    found = run(Recorded(fn, args), [args])
    np.testing.assert_allclose(found[0], eager(fn, list(args)), rtol=1e-13, atol=1e-15)
    examples = [[[x + 0.125 * k for x in arg] for arg in args] for k in range(3)]
    found = run(Recorded(fn, args, batched=True), examples, batched=True, chunk=2)
    expected = [eager(fn, e) for e in examples]
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("seed", range(60))
def test_random_programs_agree_with_the_eager_engine(seed: int, batched: bool, dtype: str) -> None:
    program = Program(random.Random(seed), size=3 + seed % 4 * 5)
    examples = [program.example() for _ in range(5 if batched else 1)]
    runs = [value_and_gradients(program, e, dtype) for e in examples]
    if not all(value.stable and gradient.stable for value, gradient in runs):
        return
    recorded = Recorded(program.function, examples[0], batched)
    found = run(recorded, examples, batched, dtype, chunk=2 if seed % 2 else 1024)
    count = found.shape[1] - 1 - len(recorded.captured)
    for numbers, (value, gradient) in zip(found, runs, strict=True):
        value.check(numbers[0], ("value", program))
        own = Expected(gradient.numbers[:count], gradient.slack[:count])
        own.check(numbers[1 : 1 + count], ("gradient", program))
    places = {id(v): k for k, v in enumerate(recorded.captured, start=1 + count)}
    total = runs[0][1]
    for _, gradient in runs[1:]:
        total = total + gradient
    captured = [found[0, places[id(v)]] if id(v) in places else 0.0 for v in captured_parameters(program)]
    Expected(total.numbers[count:], total.slack[count:]).check(captured, ("captured", program))


EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0, math.inf, -math.inf, math.nan, 1e308, 5e-324, 800.0, -800.0]


@pytest.mark.parametrize("name", sorted(n for n, op in ops.TABLE.items() if op.arity == 1))
def test_operations_follow_ieee_754_at_the_edges(name: str) -> None:
    op = ops.TABLE[name]
    recorded = Recorded(lambda x: op(x[0]), [[0.5]], batched=True)
    found = run(recorded, [[[x]] for x in EDGES], batched=True)
    for x, (value, slope) in zip(EDGES, found, strict=True):
        expected, (derivative, *_) = op.rule(ops.FLOATS, x)
        np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-300, err_msg=f"{name}({x})")
        np.testing.assert_allclose(slope, derivative, rtol=1e-12, atol=1e-300, err_msg=f"{name}'({x})")


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow", "maximum", "minimum", "hypot", "atan2"])
def test_operations_of_two_follow_ieee_754_at_the_edges(name: str) -> None:
    op = ops.TABLE[name]
    pairs = [(a, b) for a in EDGES for b in EDGES]
    found = run(Recorded(lambda x: op(x[0], x[1]), [[0.5, 0.5]], batched=True), [[list(p)] for p in pairs], batched=True)
    for (a, b), (value, *_) in zip(pairs, found, strict=True):
        expected = op.rule(ops.FLOATS, a, b)[0]
        np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-300, err_msg=f"{name}({a}, {b})")


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("exponent", [0.5, 1.5, 2.0, 3.0, -1.0, -0.5])
def test_a_fixed_power_follows_ieee_754_at_the_edges(exponent: float, batched: bool) -> None:
    for x in EDGES:
        found = run(Recorded(lambda x: x[0] ** exponent, [[0.5]], batched), [[[x]]], batched)
        value, slopes = ops.power.rule(ops.FLOATS, x, exponent=exponent)
        expected = np.array([value, *slopes])
        np.testing.assert_allclose(found[0], expected, rtol=1e-12, atol=1e-300, err_msg=f"{x}")
        numbers = ~np.isnan(expected)
        assert (np.signbit(found[0]) == np.signbit(expected))[numbers].all(), x


def test_numbers_beyond_single_precision_are_infinite_without_a_warning() -> None:
    for batched in (False, True):
        recorded = Recorded(lambda x: x[0] * 1e300 - x[1], [[1.0, 1.0]], batched)
        assert run(recorded, [[[1.0, -1e300]]], batched, "float32")[0, 0] == math.inf


def test_its_bytes_are_those_of_its_numbers_integers_and_tables() -> None:
    order = random.Random(0).sample(range(40), 40)

    def fn(x: list[Any], i: Any) -> Any:
        return [micrograd.take(x, i) * x[a].tanh() for a in order]

    program = micrograd.compile(fn, backend="numpy")
    program([0.5] * 40, 3)
    (recording,) = next(iter(program._recordings.values()))
    (routine,) = recording.routines.values()
    tables = sum(table.nbytes for table in routine.kernel.tables)
    assert tables > 0
    assert program.stats.bytes == 8 * (routine.kernel.rolled.shared + 1) + tables


def test_no_warning_escapes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = run(Recorded(lambda x: (x[0] / x[1]).log() + (1000.0 * x[2]).exp(), [[1.0, 1.0, 1.0]]), [[[-1.0, 0.0, 1.0]]])
    assert math.isnan(found[0, 0])


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("index", [0, 2, -1, -3])
def test_an_index_counts_from_the_end_if_negative(index: int, batched: bool) -> None:
    table = [[Value(10.0 * i + j) for j in range(2)] for i in range(3)]

    def f(x: Any, k: Any) -> Any:
        row = micrograd.take(table, k)
        return row[0] * x[0] + row[1] * x[0] + micrograd.take([x[0], 5.0, x[1]], k)

    examples = [([0.5, 0.25], index), ([1.5, 0.75], 1)] if batched else [([0.5, 0.25], index)]
    recorded = Recorded(f, examples[0], batched)
    found = run(recorded, examples, batched)
    gradients = np.zeros((3, 2))
    for (x, k), numbers in zip(examples, found, strict=True):
        picked = [x[0], 5.0, x[1]]
        row = [table[k][0].data, table[k][1].data]
        assert numbers[0] == row[0] * x[0] + row[1] * x[0] + picked[k]
        expected = [row[0] + row[1] + (k % 3 == 0), float(k % 3 == 2)]
        np.testing.assert_array_equal(numbers[1:3], expected)
        gradients[k] += x[0]
    flat = {id(v): g for row, gs in zip(table, gradients, strict=True) for v, g in zip(row, gs, strict=True)}
    np.testing.assert_array_equal(found[0, 3:], [flat[id(v)] for v in recorded.captured])


def test_an_index_outside_of_its_table_is_an_error() -> None:
    recorded = Recorded(lambda x, k: micrograd.take(x, k), [[1.0, 2.0], 0])
    with pytest.raises(IndexError):
        run(recorded, [([1.0, 2.0], 2)])


def test_products_sums_and_maxima() -> None:
    a = [[0.5 * i - 0.25 * j for j in range(4)] for i in range(5)]

    def affine(x: Any) -> Any:
        z = [sum(p * q for p, q in zip(row, x, strict=True)) for row in a]
        return micrograd.sum(v * v for v in z) - micrograd.logsumexp(z)

    check(affine, [0.5, -1.0, 0.25, 2.0])
    check(lambda x, y: sum(p * q for p, q in zip(x, y, strict=True)), [1.0, 2.0, 3.0], [4.0, 5.0, 6.5])
    check(lambda x: micrograd.sum([p * q for p in x for q in x[::-1]]), [1.0, 2.0, 3.0])
    check(lambda x: max([1, 2]) * micrograd.mean(x) - x[0] * x[1] - x[2], [1.0, 2.0, 3.0])


def test_a_product_of_two_matrices_of_each_example() -> None:
    def f(x: Any, y: Any) -> Any:
        a, b = [x[:3], x[3:]], [y[:3], y[3:]]
        c = [[sum(p * q for p, q in zip(r, s, strict=True)) for s in b] for r in a]
        return c[0][0].tanh() + c[0][1] * c[1][0] + c[1][1].sin()

    check(f, [0.5, -1.0, 0.25, 2.0, 1.0, -0.5], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def test_sums_over_the_batch_do_not_depend_on_what_ran_before_and_cover_every_chunk() -> None:
    model = nn.MLP(3, [4, 2], activation="tanh", seed=1)
    rng = random.Random(0)
    examples = [[[rng.uniform(-1, 1) for _ in range(3)]] for _ in range(7)]
    recorded = Recorded(lambda x: micrograd.sum(z * z for z in model(x)), examples[0], batched=True)
    whole = run(recorded, examples, batched=True)
    for chunk in (1, 2, 3, 7):
        np.testing.assert_allclose(run(recorded, examples, batched=True, chunk=chunk), whole, rtol=1e-13, atol=1e-16)
    model.zero_grad()
    for (x,) in examples:
        micrograd.sum(z * z for z in model(x)).backward()
    grads = [v.grad for v in recorded.captured]
    np.testing.assert_allclose(whole[0, 4:], grads, rtol=1e-12, atol=1e-15)


def test_a_batch_of_no_examples() -> None:
    model = nn.MLP(2, [3, 1], activation="tanh", seed=1)
    recorded = Recorded(lambda x: model(x), [[0.5, 0.5]], batched=True)
    sizes = [(s.size, s.batched) for s, _ in recorded.rolled.spaces]
    inputs = [np.zeros((0, n)) if batched else np.zeros(n) for n, batched in sizes]
    shared, lanes = NumpyKernel(recorded.rolled).run(inputs, 0)
    assert lanes.shape == (0, 3)
    assert (shared == 0.0).all()


def test_the_program_is_one_call_for_each_vector_instruction() -> None:
    layers = [[[Value(random.Random(i + j).uniform(-1, 1)) for j in range(40)] for i in range(40)] for _ in range(2)]

    def f(x: Any) -> Any:
        for w in layers:
            x = [sum(p * q for p, q in zip(row, x, strict=True)).tanh() for row in w]
        return micrograd.sum(x)

    recorded = Recorded(f, [[0.01 * i for i in range(40)]])
    text = source(recorded.rolled)
    assert text == NumpyKernel(recorded.rolled).source
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert sum(" @ " in line or "np.outer(" in line for line in lines) == 2 + 4
    assert len(lines) < 60
    compile(text, "program", "exec")
