"""Streams: long instructions that are run a step at a time give what they give one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import micrograd
from micrograd import MLP
from micrograd.compile.schedule import schedule
from micrograd.compile.streams import Stream

STEPS = 40


def walk(weights: Any, x: Any) -> Any:
    """A state that each step moves with weights of its own: shared numbers that change from step to step."""
    state, total = x[0], 0.0
    for i in range(STEPS):
        state = (state * weights[i] + x[i]).tanh()
        total = total + state * weights[STEPS - 1 - i]
    return total


def backwards(weights: Any, x: Any) -> Any:
    """The same from the last step to the first."""
    return walk(weights[::-1], x[::-1])


def wide(weights: Any, x: Any) -> Any:
    """A layer of forty neurons with a bias each, and a sum of them."""
    return sum((w * x[0] + v * x[1] + w * v).tanh() * v for w, v in zip(weights, weights[::-1], strict=True))


def ahead(weights: Any, x: Any) -> Any:
    """Each step reads its number, the one two steps later, and the last."""
    state = x[STEPS - 1] * weights[0]
    for i in range(STEPS - 2):
        state = (state * weights[i] + x[i] * x[i + 2]).tanh() + x[STEPS - 1]
    return state


def late(weights: Any, x: Any) -> Any:
    """The steps begin when another pass over the same numbers is over."""
    state = sum(a * a for a in x)
    for i in range(STEPS):
        state = (state * weights[i] + x[i]).tanh()
    return state


@pytest.mark.parametrize("examples", [1, 7, 64, 200])
@pytest.mark.parametrize("f", [walk, backwards, wide, ahead, late])
def test_values_and_gradients_are_those_of_the_eager_engine(f: Any, examples: int) -> None:
    random = np.random.default_rng(examples)
    weights, x = random.normal(size=STEPS), random.normal(size=(examples, STEPS))
    program = micrograd.compile(f, batch=(None, 0), reduce="sum", backend="native")
    value, (by_weights, by_x) = program.value_and_grad(weights, x, wrt=(0, 1))
    found = [micrograd.value_and_grad(f, (0, 1))(weights.tolist(), row.tolist()) for row in x]
    np.testing.assert_allclose(value, sum(v for v, _ in found), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(by_weights, np.sum([g[0] for _, g in found], axis=0), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(by_x, [g[1] for _, g in found], rtol=1e-10, atol=1e-12)


def test_a_simulation_is_run_as_streams_in_no_more_memory() -> None:
    program = micrograd.compile(walk, batch=(None, 0), reduce="sum", backend="numpy")
    program.value_and_grad(np.ones(STEPS), np.ones((3, STEPS)))
    assert program._last is not None
    scheduled = schedule(program._last.rolled)
    assert any(isinstance(i, Stream) for i in scheduled.batch)
    assert scheduled.lanes <= program._last.rolled.lanes


def growth(market: Any, z: Any) -> Any:
    """A price that each step multiplies, and its mean: what the way back has at its last step comes from the first price."""
    price, total = market[0], 0.0
    for i in range(STEPS):
        price = price * (market[1] * z[i] + market[2]).exp()
        total = total + price
    return (total / STEPS - 0.5).relu()


@pytest.mark.parametrize("examples", [1, 9, 70])
def test_the_way_back_is_one_stream_and_so_are_its_sums(examples: int) -> None:
    random = np.random.default_rng(examples)
    market, z = np.array([2.0, 0.1, 0.01]), random.normal(size=(examples, STEPS))
    program = micrograd.compile(growth, batch=(None, 0), reduce="mean", backend="native")
    value, gradient = program.value_and_grad(market, z)
    found = [micrograd.value_and_grad(growth)(market.tolist(), row.tolist()) for row in z]
    np.testing.assert_allclose(value, np.mean([v for v, _ in found]), rtol=1e-12)
    np.testing.assert_allclose(gradient, np.mean([g for _, g in found], axis=0), rtol=1e-11)
    assert program._last is not None
    assert sum(isinstance(i, Stream) for i in schedule(program._last.rolled).batch) == 2  # forward and back


@pytest.mark.parametrize(
    ("f", "inside"),
    [
        (growth, True),
        (lambda market, z: growth(market, z[::-1]), False),
        (lambda market, z: growth([market[0] * z[5], market[1], market[2]], z), False),
        (lambda market, z: growth(market, [a * z[7] for a in z]), False),
    ],
    ids=["steps", "backwards", "one before", "one at each step"],
)
def test_inputs_are_laid_side_by_side_as_the_steps_come_to_them(f: Any, inside: bool) -> None:
    market, z = np.array([2.0, 0.1, 0.01]), np.random.default_rng(0).normal(size=(21, STEPS))
    program = micrograd.compile(f, batch=(None, 0), reduce="mean", backend="native")
    value, gradient = program.value_and_grad(market, z)
    found = [micrograd.value_and_grad(f)(market.tolist(), row.tolist()) for row in z]
    np.testing.assert_allclose(value, np.mean([v for v, _ in found]), rtol=1e-12)
    np.testing.assert_allclose(gradient, np.mean([g for _, g in found], axis=0), rtol=1e-11)
    assert ("if (g % 8 == 0 && g < 40) mg_pack(in[2]" in program.c_source) == inside
    assert ("    mg_pack(in[2], 40, 0, 40, first" in program.c_source) != inside


@pytest.mark.parametrize("width", [15, 16, 17, 40])
def test_wide_layers_over_a_batch(width: int) -> None:
    model = MLP(3, [width, width, 1], activation="tanh", seed=1)
    x = np.random.default_rng(0).normal(size=(9, 3))
    program = micrograd.compile(lambda row: model(row) * model(row), batch=0, reduce="mean", backend="native")
    value = program.backward(x)
    found = [p.grad for p in model.parameters()]
    model.zero_grad()
    loss = sum(model(row) * model(row) for row in x.tolist()) / len(x)
    loss.backward()
    np.testing.assert_allclose(value, loss.data, rtol=1e-12)
    np.testing.assert_allclose(found, [p.grad for p in model.parameters()], rtol=1e-10, atol=1e-13)
