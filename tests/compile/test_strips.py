"""Strips: a batch's instructions that are done part by part give what they give one after the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import micrograd
from micrograd.compile import tape as tapes, writer
from micrograd.compile.numpy_backend import NumpyKernel
from micrograd.compile.strips import strips
from micrograd.compile.vector import LANES, Loop, Map, Product, Rows

WIDE = 16


def layers(weights: Any, x: Any) -> Any:
    """Two layers and a softmax at each position."""
    first, second = weights[:24], weights[24:]
    total = 0.0
    for row in x:
        hidden = [micrograd.relu(sum(w * v for w, v in zip(ws, row, strict=True))) for ws in first]
        out = [sum(ws[j] * h for ws, h in zip(first, hidden, strict=True)) + row[j] for j in range(WIDE)]
        logits = [sum(w * v for w, v in zip(ws, out, strict=True)) for ws in second]
        total = total - micrograd.log(micrograd.softmax(logits)[2])
    return total


def neighbours(weights: Any, x: Any) -> Any:
    """Each position's layer reads what the one before it came to, and the last layer the position after it."""
    hidden = [[micrograd.tanh(sum(w * v for w, v in zip(ws, row, strict=True))) for ws in weights[:24]] for row in x]
    total = 0.0
    for before, here, after in zip(hidden, hidden[1:], hidden[2:], strict=False):
        mixed = [a * b + c for a, b, c in zip(before, here, after, strict=True)]
        for ws in weights[24:]:
            total = total + micrograd.tanh(sum(w * v for w, v in zip(ws, mixed, strict=False)))
    return total


def from_both_ends(weights: Any, x: Any) -> Any:
    """A recurrent layer without a bend, and a layer on what it is at a position and as far from the other end."""
    first, second = weights[:24], weights[:15]
    states: list[Any] = []
    for row in x:
        state = [sum(w * v for w, v in zip(ws, row, strict=True)) for ws in first]
        states.append([a + b for a, b in zip(state, states[-1], strict=True)] if states else state)
    hidden = [[micrograd.tanh(v) for v in state] for state in states]
    total = 0.0
    for here, there in zip(hidden, hidden[::-1], strict=True):
        both = [a + b for a, b in zip(here, there, strict=True)]
        for i, ws in enumerate(second):
            total = total + (i + 1.0) * micrograd.tanh(sum(w * v for w, v in zip(ws, both, strict=False)) * 0.3 + 0.1)
    return total


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("f", [layers, neighbours, from_both_ends])
@pytest.mark.parametrize("positions", [3, 7])
def test_layers_at_some_positions(f: Any, positions: int, dtype: str) -> None:
    rng = np.random.default_rng(positions)
    weights, x = (rng.normal(size=(31, WIDE)) * 0.3).astype(dtype), rng.normal(size=(5, positions, WIDE)).astype(dtype)
    program = micrograd.compile(f, batch=(None, 0), reduce="mean", backend="native", dtype=dtype)
    value, (by_weights, by_x) = program.value_and_grad(weights, x, wrt=(0, 1))
    found = [micrograd.value_and_grad(f, (0, 1))(weights.tolist(), rows.tolist()) for rows in x]
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    np.testing.assert_allclose(value, np.mean([v for v, _ in found]), rtol=tolerance)
    for got, want in ((by_weights, np.mean([g for _, (g, _) in found], axis=0)), (by_x, [g for _, (_, g) in found])):
        expected = np.asarray(want) / (1 if got is by_weights else len(x))
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())
    if f is layers:
        assert program.c_source.count(f"for (long r = 0; r < {positions}; r++)") >= 2  # forward and backward

    plain = micrograd.compile(f, batch=(None, 0), reduce="mean", backend="numpy")
    plain.value_and_grad(weights, x, wrt=(0, 1))
    kernel = plain._last.kernel
    inputs = [np.zeros(0), weights.astype(float), x.astype(float), np.array([0.2, 1.0])]
    parted = NumpyKernel(replace(kernel.rolled, batch=strips(kernel.rolled.batch, kernel.rolled.lanes)))
    for got, want in zip(parted.run(inputs, 5), kernel.run(inputs, 5), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


def product(start: int, out: int) -> Product:
    """A matrix that all examples share times four vectors of each."""
    vectors = LANES + start + np.arange(32).reshape(4, 8)
    return Product(np.arange(64).reshape(8, 8), vectors, (LANES + out + np.arange(32).reshape(4, 8)).T, 1, False, False)


def doubled(places: Any, out: Any) -> Map:
    return Map(tapes.dot(0, 0, 2, 0), [LANES + np.asarray(out)], (), [LANES + np.asarray(places)] * 2)


FIRST, SECOND, THIRD = (np.arange(start, start + 32) for start in (0, 32, 64))


@pytest.mark.parametrize(
    ("instruction", "joined"),
    [
        (doubled(SECOND, THIRD), True),  # each part reads its own
        (doubled(SECOND.reshape(4, 8)[::-1].ravel(), THIRD), False),  # the first part reads the last
        (doubled(np.roll(SECOND, 8), THIRD), False),
        (doubled(SECOND.reshape(4, 8)[[0, 0, 0, 0]].ravel(), THIRD), True),  # all read the first
        (doubled(THIRD, FIRST), True),  # each writes where its own product read
        (doubled(THIRD, FIRST.reshape(4, 8)[::-1].ravel()), False),  # the first part writes where the last product reads
        (doubled(THIRD, SECOND), True),
        (doubled(THIRD, SECOND.reshape(4, 8)[::-1].ravel()), False),  # both write there: the later one wins
        (doubled(SECOND[:28], THIRD[:28]), True),
        (doubled(SECOND[:30], THIRD[:30]), False),  # in no four parts
        (doubled(SECOND.reshape(4, 8).T.ravel(), THIRD), False),  # parts are not at equal distances
        (Rows(LANES + SECOND.reshape(4, 8), None, LANES + THIRD[:4], 1, False, False), True),
        (Rows(LANES + SECOND.reshape(4, 8), None, np.arange(64, 68), 1, True, True), False),  # sums over the examples
    ],
)
def test_what_is_joined_with_a_product(instruction: Any, joined: bool) -> None:
    found = strips([product(0, 32), instruction], 96)
    assert [type(i) for i in found] == ([Loop] if joined else [Product, type(instruction)])
    if joined:
        parts = [found[0].unrolled(turn) for turn in range(4)]
        assert np.array_equal(np.concatenate([part[0].c.T for part in parts]), product(0, 32).c.T)
        written = [part[1].c if isinstance(instruction, Rows) else part[1].outs[0] for part in parts]
        assert np.array_equal(
            np.concatenate(written), instruction.c if isinstance(instruction, Rows) else instruction.outs[0]
        )


def test_they_are_made_once_for_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program is written twice, and what is known of an instruction is kept by its identity."""
    made: list[Any] = []
    monkeypatch.setattr(writer, "strips", lambda *args: made.append(strips(*args)) or made[-1])
    program = micrograd.compile(layers, batch=(None, 0), reduce="sum", backend="native")
    program(np.zeros((31, WIDE)), np.zeros((2, 3, WIDE)))
    assert len(made) == 1


def test_products_alone_stay_as_they_are() -> None:
    assert [type(i) for i in strips([product(0, 32)], 96)] == [Product]
    assert [type(i) for i in strips([product(0, 32), product(32, 64)], 96)] == [Loop]
    across = product(0, 32)
    across.b = LANES + np.arange(32).reshape(8, 4).T  # number k of all vectors side by side
    assert [type(i) for i in strips([across, doubled(SECOND, THIRD)], 96)] == [Product, Map]
