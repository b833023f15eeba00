"""Rows, takes and scatters in C: what is found of their order in memory changes no number."""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
import pytest

import micrograd
from micrograd import Value, take
from micrograd.compile.vector import Rolled, Rows, shifted, with_views
from micrograd.compile.writer import Writer


def agree(f: Any, x: Any, *rest: Any, dtype: str = "float64") -> str:
    """Compare a native program with the engine by value and gradient, and give its C."""
    program = micrograd.compile(f, backend="native", dtype=dtype)
    value, gradient = program.value_and_grad(x.astype(dtype), *rest)
    leaves = [[Value(v) for v in row] for row in x.tolist()]
    out = f(leaves, *rest)
    out.backward()
    expected = np.array([[v.grad or 0.0 for v in row] for row in leaves])
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    np.testing.assert_allclose(value, out.data, rtol=tolerance)
    np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())
    return program.c_source


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", [2, 4, 5, 7, 8, 12])
@pytest.mark.parametrize("positions", [5, 6])
def test_short_rows_at_places_without_a_rule(size: int, positions: int, dtype: str) -> None:
    """The scores of attention: products of each row with those up to it, a few numbers of both at a time."""

    def f(x: Any) -> Any:
        total = 0.0
        rows = [[v + 0.5 for v in row] for row in x]
        for t in range(positions):
            for s in range(t + 1):
                for i in range(0, 3 * size, size):
                    score = sum(a * b for a, b in zip(rows[t][i : i + size], rows[s][i : i + size], strict=True))
                    total = total + micrograd.tanh(score) * (i + s + 1.0)
        return total

    source = agree(f, np.random.default_rng(size).normal(size=(positions, 3 * size)) * 0.3, dtype=dtype)
    assert ("mg_short(" in source) == (size >= 4)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("heads", [2, 4, 5])
def test_sums_of_several_lengths_with_neighbours_side_by_side(heads: int, dtype: str) -> None:
    """What attention mixes: weighted means over the rows up to each one, four rows of one length in one loop."""

    def f(x: Any) -> Any:
        rows, total = [[v * 2.0 for v in row] for row in x], 0.0
        for t in range(1, len(rows)):
            weights = [[micrograd.exp(rows[t][h] * rows[s][h]) for s in range(t + 1)] for h in range(heads)]
            sums = [sum(w) for w in weights]
            for h in range(heads):
                for j in range(4 * h, 4 * h + 4):
                    mixed = sum(weights[h][s] / sums[h] * rows[s][j] for s in range(t + 1))
                    total = total + (j + 1.0) * micrograd.tanh(mixed)
        return total

    source = agree(f, np.random.default_rng(3).normal(size=(9, 4 * heads)) * 0.3, dtype=dtype)
    assert "MG_FOUR(" in source
    assert ("s3 += w[" in source and "mg_q s3 = " in source) == (heads == 4)
    shared = re.search(r"\+ t\[(\d+) \+ 1 \* i\] \+ 1L \* k\] \* w\[\d+ \+ t\[\1 \+", source)
    assert shared or heads != 4  # factors at one distance from each other are looked up once


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", [3, 15, 16, 17, 27, 33])
def test_the_largest_of_rows_and_the_sign_of_zeros(size: int, dtype: str) -> None:
    def largest(row: Any) -> Any:
        return micrograd.detach(functools.reduce(micrograd.maximum, row))

    def f(x: Any) -> Any:
        rows = [[micrograd.tanh(v) for v in row] for row in x]
        return sum(micrograd.exp(v - largest(row)) * (i + 1.0) for row in rows for i, v in enumerate(row))

    draw = np.random.default_rng(size)
    assert ("mg_largest(" in agree(f, draw.normal(size=(9, size)), dtype=dtype)) == (size >= 16)
    zeros = np.where(draw.random((40, size)) < 0.3, np.where(draw.random((40, size)) < 0.5, 0.0, -0.0), -1.0)
    program = micrograd.compile(
        lambda x: [1.0 / largest([micrograd.tanh(v) for v in row]) for row in x], backend="native", dtype=dtype
    )
    expected = [(1.0 / largest([Value(v).tanh() for v in row])).data for row in zeros.tolist() if 0.0 in row]
    assert program(zeros[(zeros == 0.0).any(axis=1)]) == expected


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", [4, 5, 8, 9, 10, 12, 15, 16, 17, 24, 40])
def test_rows_that_all_have_the_same_factors(size: int, dtype: str) -> None:
    """The derivative by each weight has one term with the adjoint of the last sum, the same for all."""

    def f(a: Any) -> Any:
        *rows, w = a
        sums = [micrograd.sin(sum(p * q for p, q in zip(row, w, strict=True))) for row in rows]
        return sum(sums) + micrograd.sin(sum(0.5 * q for q in w))

    agree(f, np.random.default_rng(0).normal(size=(25, size)), dtype=dtype)


@pytest.mark.parametrize("tokens", [[2], [0, 3, 3, -1], [-4, 1, 1, 1, 0]], ids=repr)
def test_rows_of_a_table_that_are_picked_once_or_more(tokens: list[int]) -> None:
    def f(table: Any, tokens: Any) -> Any:
        return sum(
            (i + 1.0) * micrograd.exp(v * (j + 1.0)) for i, t in enumerate(tokens) for j, v in enumerate(take(table, t))
        )

    agree(f, np.random.default_rng(5).normal(size=(4, 6)) * 0.3, tokens)


def test_numbers_picked_by_indexes_from_several_arguments() -> None:
    def f(table: Any, a: Any, b: Any) -> Any:
        return sum((i + 1.0) * take(row, t) ** 2 for i, (row, t) in enumerate(zip(table, [*a, *b], strict=True)))

    agree(f, np.random.default_rng(7).normal(size=(5, 6)), [0, -1], [3, 3, 5])


@pytest.mark.parametrize("reduce", ["sum", "mean", None])
def test_each_example_picks_rows_of_a_shared_table(reduce: Any) -> None:
    def f(table: Any, tokens: Any) -> Any:
        return sum(
            (i + 1.0) * micrograd.exp(v * (j + 1.0)) for i, t in enumerate(tokens) for j, v in enumerate(take(table, t))
        )

    draw = np.random.default_rng(11)
    table, tokens = draw.normal(size=(4, 6)) * 0.3, draw.integers(-4, 4, size=(37, 3))
    program = micrograd.compile(f, batch=(None, 0), reduce=reduce, backend="native")
    value, gradient = program.value_and_grad(table, tokens)
    one = micrograd.compile(f, backend="numpy")
    values, gradients = zip(*(one.value_and_grad(table, row) for row in tokens.tolist()), strict=True)
    scale = 1 / 37 if reduce == "mean" else 1.0
    np.testing.assert_allclose(value, np.array(values) if reduce is None else scale * np.sum(values), rtol=1e-12)
    np.testing.assert_allclose(gradient, scale * np.sum(gradients, axis=0), rtol=1e-12)


def test_short_rows_of_the_steps_of_a_loop() -> None:
    draw = np.random.default_rng(13)
    first, second = draw.integers(0, 37, size=(2, 40)).tolist()

    def f(x: Any) -> Any:
        weights, h = x
        for _ in range(12):
            h = [
                micrograd.tanh(sum(h[a + k] * weights[b + k] for k in range(4))) for a, b in zip(first, second, strict=True)
            ]
        return sum((i + 1.0) * v for i, v in enumerate(h))

    assert "mg_short(33, " in agree(f, draw.normal(size=(2, 40)))  # so many pairs differ


def test_short_rows_move_with_the_turns_of_a_loop() -> None:
    draw = np.random.default_rng(17)
    starts = np.sort(draw.integers(0, 400, size=40))
    step = Rows(
        *(starts[:, None] + np.arange(4), starts[::-1, None] + 500 + np.arange(4)), np.arange(1000, 1040), 1, False, False
    )
    moved = with_views(step, [shifted(view, 40, 3) for view in (step.c, step.a, step.b)])
    rolled = Rolled()
    rolled.shared, rolled.outputs = 2000, np.arange(1000, 1001)
    writer = Writer(rolled, "double")
    writer.phase, writer.later = [], []
    assert writer.rows(moved).count("40L * r") == 3


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("width", [3, 15, 16, 17, 27, 300])
def test_rows_that_each_example_picks_add_up_their_gradients(width: int, dtype: str) -> None:
    def f(table: Any, at: Any) -> Any:
        rows = [take(table, at[k]) for k in range(3)]
        return sum(
            (k + 1.0) * micrograd.tanh(sum((j + 1.0) * v * v for j, v in enumerate(row))) for k, row in enumerate(rows)
        )

    rng = np.random.default_rng(width)
    table, at = (rng.normal(size=(5, width)) / width).astype(dtype), rng.integers(-5, 5, (37, 3))
    program = micrograd.compile(f, batch=(None, 0), reduce="sum", backend="native", dtype=dtype)
    value, gradient = program.value_and_grad(table, at)
    found = [micrograd.value_and_grad(f)(table.tolist(), row.tolist()) for row in at]
    tolerance = 1e-12 if dtype == "float64" else 2e-4
    np.testing.assert_allclose(value, sum(v for v, _ in found), rtol=tolerance)
    np.testing.assert_allclose(gradient, sum(np.array(g) for _, g in found), rtol=tolerance, atol=tolerance)
    assert ("mg_transpose(" in program.c_source.split("static void batch_0")[1]) == (16 <= width <= 256)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", [3, 4, 8])
def test_dots_of_each_example_whose_neighbours_share_a_factor(size: int, dtype: str) -> None:
    def f(x: Any) -> Any:
        total = 0.0
        for t in range(1, 5):
            weights = [x[t][0] * x[s][1] for s in range(t + 1)]
            for j in range(size):
                total = total + (j + 1.0) * micrograd.tanh(sum(w * x[s][j] for s, w in enumerate(weights)))
        return total

    x = (np.random.default_rng(size).normal(size=(21, 5, size)) * 0.5).astype(dtype)
    program = micrograd.compile(f, batch=0, reduce="sum", backend="native", dtype=dtype)
    value, gradient = program.value_and_grad(x)
    found = [micrograd.value_and_grad(f)(rows.tolist()) for rows in x]
    tolerance = 1e-12 if dtype == "float64" else 2e-4
    np.testing.assert_allclose(value, sum(v for v, _ in found), rtol=tolerance)
    np.testing.assert_allclose(gradient, [g for _, g in found], rtol=tolerance, atol=tolerance)
    assert ("mg_beside(" in program.c_source) == (size % 4 == 0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("batched", [False, True])
def test_the_largest_of_rows_of_several_lengths_are_one_instruction(heads: int, batched: bool, dtype: str) -> None:
    """What a softmax over the positions up to each one subtracts."""

    def f(x: Any) -> Any:
        total = 0.0
        for t in range(2, 9):
            for h in range(heads):
                total = total + (t + h) * micrograd.log(micrograd.softmax([x[s][h] * x[t][h] for s in range(t + 1)])[0])
        return total

    x = (np.random.default_rng(heads).normal(size=(5, 9, heads)) * 1.5).astype(dtype)
    how: dict[str, Any] = {"batch": 0, "reduce": "sum"} if batched else {}
    program = micrograd.compile(f, backend="native", dtype=dtype, **how)
    value, gradient = program.value_and_grad(x if batched else x[0])
    found = [micrograd.value_and_grad(f)(rows.tolist()) for rows in (x if batched else x[:1])]
    tolerance = 1e-12 if dtype == "float64" else 2e-4
    np.testing.assert_allclose(value, sum(v for v, _ in found), rtol=tolerance)
    np.testing.assert_allclose(
        gradient, np.squeeze([g for _, g in found]).reshape(gradient.shape), rtol=tolerance, atol=tolerance
    )
    rolled = program._last.kernel.rolled
    (largest,) = (i for _, phase in rolled.phases() for i in phase if isinstance(i, Rows) and i.largest)
    assert largest.lengths.tolist() == np.repeat(np.arange(3, 10), heads).tolist()
    plain = micrograd.compile(f, backend="numpy", **how)
    np.testing.assert_allclose(
        plain(x if batched else x[0]), sum(v for v, _ in found), rtol=1e-12 if dtype == "float64" else 2e-5
    )
