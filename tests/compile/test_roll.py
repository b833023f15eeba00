"""Rolling: sums of products that share a factor are matrix products, wherever their other factors lie."""

from __future__ import annotations

from typing import Any

import numpy as np

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
