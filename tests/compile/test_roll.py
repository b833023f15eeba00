"""Rolling: sums of products that share a factor are matrix products, wherever their other factors lie."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import micrograd
from micrograd.compile.vector import Product, Rows


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
    assert not [shape for shape in sums if shape[0] == shape[1] > 8]
    assert sum(isinstance(i, Product) and i.a.shape[1] > 8 for i in instructions) >= 2 * (n - 9)


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
