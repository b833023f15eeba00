"""Rolling: sums of products that share a factor are matrix products, wherever their other factors lie."""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
import pytest

import micrograd
from micrograd.compile.vector import Product, Rows
from micrograd.compile.writer import Writer


def determinant(a: Any) -> Any:
    """By elimination without pivoting."""
    a = [list(row) for row in a]
    found = a[0][0]
    for k in range(len(a) - 1):
        for i in range(k + 1, len(a)):
            factor = a[i][k] / a[k][k]
            for j in range(k + 1, len(a)):
                a[i][j] = a[i][j] - factor * a[k][j]
        found = found * a[k + 1][k + 1]
    return found


def test_the_way_back_of_an_elimination_is_made_of_products() -> None:
    """A row of factors met columns from several levels, and stood in another order in each sum."""
    n = 24
    a = np.random.default_rng(0).normal(size=(n, n)) + 4.0 * np.eye(n)
    program = micrograd.compile(determinant, backend="numpy")
    value, gradient = program.value_and_grad(a)
    np.testing.assert_allclose(value, np.linalg.det(a), rtol=1e-10)
    np.testing.assert_allclose(gradient, np.linalg.det(a) * np.linalg.inv(a).T, rtol=1e-9, atol=1e-9 * abs(value))
    assert program._last is not None
    rolled = program._last.rolled
    instructions = [*rolled.before, *rolled.after]
    sums = [i.a.shape for i in instructions if isinstance(i, Rows) and i.b is not None]
    squares = [sum(i.b.size == k * k for i in instructions if isinstance(i, Product)) for k in range(9, n)]
    assert squares == [2] * (n - 9)
    # on the way there a row and a column meet the corner that they share: neighbours lie side by side
    wide = [(n - k - i, k) for k in range(8, n) for i in (0, 1) if n - k - i >= 8]
    assert [shape for shape in sums if shape[0] >= 8] == wide
    dots = [i for i in instructions if isinstance(i, Rows) and len(i.a) >= 8]
    assert all((np.diff(i.a, axis=0) == 1).all() or (np.diff(i.b, axis=0) == 1).all() for i in dots)


@pytest.mark.parametrize("n", [12, 24])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_elimination_finds_its_numbers_where_they_lie(n: int, dtype: str) -> None:
    """Derivatives lie where they are given out from, no large matrix is gathered; long programs compile in halves."""
    a = np.random.default_rng(0).normal(size=(n, n)) + 4.0 * np.eye(n)
    program = micrograd.compile(determinant, backend="native", dtype=dtype)
    value, gradient = program.value_and_grad(a)
    tolerance = 1e-9 if dtype == "float64" else 1e-3
    np.testing.assert_allclose(value, np.linalg.det(a), rtol=tolerance)
    expected = np.linalg.det(a) * np.linalg.inv(a).T
    np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=tolerance * abs(expected).max())
    writer = Writer(program._last.rolled, "double")
    assert writer.results_apart
    assert all(int(size) < 8 * n for size in re.findall(r"mg_gather\((\d+),", writer.text))
    assert (len(writer.units()) > 2) == (n == 24)


def test_terms_of_which_some_are_shared_and_some_each_example_has() -> None:
    """Nine terms, each from a place of its own: those that all examples share are not put into a row with the others."""

    def f(w: Any, x: Any) -> Any:
        shared, own = [w], [x]
        for i in range(9):
            own.append([micrograd.tanh(v * (0.5 + i)) for v in own[-1]])
            shared.append([u * u - 0.1 * i for u in shared[-1]])
        pairs = [(shared[i], shared[i + 1] if i % 2 else own[i + 1]) for i in range(9)]
        return sum((e + 1.0) * micrograd.tanh(sum(p[e] * q[e] for p, q in pairs)) for e in range(6))

    w, x = np.linspace(-1.0, 1.0, 6), np.random.default_rng(0).normal(size=(5, 6))
    for backend in ("numpy", "native"):
        program = micrograd.compile(f, batch=(None, 0), reduce="sum", backend=backend)
        found = program.value_and_grad(w, x)
        leaves = list(map(micrograd.Value, w.tolist()))
        total = sum(f(leaves, row) for row in x.tolist())
        total.backward()
        np.testing.assert_allclose(found[0], total.data, rtol=1e-12)
        np.testing.assert_allclose(found[1], [leaf.grad for leaf in leaves], rtol=1e-12, atol=1e-12)


def shared_chain(w: Any) -> list[Any]:
    """Twelve numbers that all examples share, each from a place of its own."""
    made = []
    for i in range(12):
        w = w * 0.5 + 1.0 / (i + 1.0)
        made.append(w)
    return made


def mixed_products(w: Any, x: Any) -> Any:
    y, z, u = micrograd.tanh(x[0]), micrograd.sin(x[1]), micrograd.exp(x[2])
    return [p * y + a * z + a * u for p, a in zip(shared_chain(w), x, strict=True)]


def mixed_rows(w: Any, x: Any) -> Any:
    t = [micrograd.tanh(v) for v in x]
    sums = [sum(x[(i * 5 + j * j) % 12] * t[(i * 7 + j**3) % 12] for j in range(10)) for i in range(12)]
    return [p * x[i] + s for i, (p, s) in enumerate(zip(shared_chain(w), sums, strict=True))]


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("function", [mixed_products, mixed_rows])
def test_sums_of_which_one_term_has_a_shared_factor(function: Any, backend: str) -> None:
    """Each member reads another region there, so that the terms are not taken apart by regions."""
    x = np.random.default_rng(0).normal(size=(3, 12))
    expected = [[v.data for v in function(0.3, list(map(micrograd.Value, row)))] for row in x.tolist()]
    found = micrograd.compile(function, backend=backend, batch=(None, 0))(0.3, x)
    np.testing.assert_allclose(np.array(found).T, expected, rtol=1e-12)


def softmax(scores: list[Any]) -> list[Any]:
    highest = micrograd.detach(functools.reduce(micrograd.maximum, scores))
    exps = [micrograd.exp(z - highest) for z in scores]
    return [e / sum(exps) for e in exps]


def attended(w: Any, u: Any, x: Any) -> Any:
    """Each position attends to those up to it; the first one to itself alone, which takes fewer steps."""
    total = 0.0
    for t in range(len(x)):
        weights = softmax([sum(a * b for a, b in zip(x[t], x[s], strict=True)) for s in range(t + 1)])
        mixed = [sum(weight * x[s][j] for s, weight in enumerate(weights)) for j in range(len(x[0]))]
        hidden = [sum(a * b for a, b in zip(row, mixed, strict=True)) for row in w]
        total -= micrograd.log(softmax([sum(a * b for a, b in zip(row, hidden, strict=True)) for row in u])[0])
    return total


@pytest.mark.parametrize("positions", [3, 8, 12])
def test_positions_of_attention_stay_together(positions: int) -> None:
    draw = np.random.default_rng(positions).normal
    w, u, x = draw(size=(6, 5)), draw(size=(7, 6)), draw(size=(positions, 5))
    program = micrograd.compile(attended, backend="numpy")
    program.value_and_grad(w, u, x, wrt=(0, 1))
    assert program._last is not None
    products = [(*i.a.shape, i.c.shape[1]) for i in program._last.rolled.before if isinstance(i, Product)]
    forward = [(6, 5, positions), (7, 6, positions)]
    assert sorted(products) == sorted([*forward, (6, 7, positions), (5, positions, 6), (6, positions, 7)]), products


def test_gradients_that_are_zero_are_copied_apart_from_numbers_of_elsewhere() -> None:
    """The rows of a table that a function does not read, beside its value: no places are looked up."""

    def f(table: Any) -> Any:
        return sum(v * v for row in table[:3] for v in row)

    program = micrograd.compile(f, backend="native")
    table = np.random.default_rng(3).normal(size=(8, 16))
    value, gradient = program.value_and_grad(table)
    np.testing.assert_allclose(value, (table[:3] ** 2).sum(), rtol=1e-14)
    np.testing.assert_allclose(gradient, np.where(np.arange(8)[:, None] < 3, 2.0 * table, 0.0), rtol=1e-14)
    assert "[t[" not in program.c_source.replace(" ", "")
