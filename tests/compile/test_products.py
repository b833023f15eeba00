"""Matrix products in C: a layer over a few positions runs in kernels that are made for so many rows."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import micrograd
from micrograd import Value


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("positions", [2, 3, 5, 7, 8, 9, 12, 13])
def test_two_layers_over_some_positions(positions: int, dtype: str) -> None:
    def f(weights: Any, x: Any) -> Any:
        first, second = weights[:24], weights[24:]
        total = 0.0
        for row in x:
            hidden = [micrograd.tanh(sum(w * v for w, v in zip(ws, row, strict=True))) for ws in first]
            out = [sum(ws[j] * h for ws, h in zip(first, hidden, strict=True)) + row[j] for j in range(16)]
            for i, ws in enumerate(second):
                total = total + (i + 1.0) * micrograd.tanh(sum(w * v for w, v in zip(ws, out, strict=True)))
        return total

    rng = np.random.default_rng(positions)
    weights, x = rng.normal(size=(51, 16)) * 0.3, rng.normal(size=(positions, 16))
    program = micrograd.compile(f, backend="native", dtype=dtype)
    value, gradients = program.value_and_grad(weights.astype(dtype), x.astype(dtype), wrt=(0, 1))
    leaves = [[[Value(v) for v in row] for row in part.tolist()] for part in (weights, x)]
    expected = f(*leaves)
    expected.backward()
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    np.testing.assert_allclose(value, expected.data, rtol=tolerance)
    for got, part in zip(gradients, leaves, strict=True):
        want = np.array([[v.grad for v in row] for row in part])
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * np.abs(want).max())
    called = set(re.findall(r"mg_(turned|exact|few)_(\d+)\(\d", program.c_source))
    made = {kernel for kernel, rows in called if int(rows) == positions}
    assert made == ({"turned", "few"} if positions <= 12 else set()) | ({"exact"} if positions in (5, 7, 9) else set())
