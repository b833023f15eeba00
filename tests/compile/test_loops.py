"""Repetition over time: a loop unrolls when it is recorded, and its equal steps are rolled up again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from face import BACKENDS, close

import micrograd
from micrograd import Value
from micrograd.nn import MLP


def asian(steps: int) -> Callable[[Any, Any, Any], Any]:
    """An arithmetic Asian call on one path, from its normal draws."""

    def payoff(spot: Any, volatility: Any, draws: Any) -> Any:
        price, total = spot, 0.0
        for draw in draws[:steps]:
            price = price * ((0.05 - 0.5 * volatility**2) / steps + volatility * draw * steps**-0.5).exp()
            total = total + price
        return (total / steps - 100.0).relu()

    return payoff


def pendulum(steps: int) -> Callable[[Any, Any], Any]:
    """Runge-Kutta steps of fourth order, on a state of two numbers."""

    def slope(angle: Any, speed: Any, friction: Any) -> Any:
        return speed, -angle.sin() - friction * speed

    def end(state: Any, friction: Any) -> Any:
        angle, speed, h = *state, 0.05
        for _ in range(steps):
            a1, s1 = slope(angle, speed, friction)
            a2, s2 = slope(angle + 0.5 * h * a1, speed + 0.5 * h * s1, friction)
            a3, s3 = slope(angle + 0.5 * h * a2, speed + 0.5 * h * s2, friction)
            a4, s4 = slope(angle + h * a3, speed + h * s3, friction)
            angle = angle + h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
            speed = speed + h / 6 * (s1 + 2 * s2 + 2 * s3 + s4)
        return angle * angle + speed

    return end


def irregular(steps: int) -> Callable[[Any], Any]:
    """A chain in which no two neighbouring steps are equal."""
    rng = random.Random(0)
    kinds = [rng.choice(["sin", "cos", "tanh", "atan", "sigmoid", "softplus"]) for _ in range(steps)]

    def end(x: Any) -> Any:
        y = x
        for i, kind in enumerate(kinds):
            y = getattr(y, kind)() + x * (0.5 if i % 3 else -0.25)
        return y

    return end


both_backends = pytest.mark.parametrize("backend", BACKENDS)


@both_backends
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 252])
def test_a_simulation_of_one_path(backend: str, steps: int) -> None:
    args = (100.0, 0.2, np.random.default_rng(0).normal(size=252))
    value, gradients = micrograd.compile(asian(steps), backend=backend).value_and_grad(*args, wrt=(0, 1))
    expected, wanted = micrograd.value_and_grad(asian(steps), (0, 1))(*args)
    np.testing.assert_allclose([value, *gradients], [expected, *wanted], rtol=1e-11, atol=1e-12)


@both_backends
def test_a_simulation_of_many_paths(backend: str) -> None:
    draws = np.random.default_rng(1).normal(size=(21, 30))
    program = micrograd.compile(asian(30), batch=(None, None, 0), reduce="mean", backend=backend)
    value, gradients = program.value_and_grad(100.0, 0.2, draws, wrt=(0, 1))
    each = [micrograd.value_and_grad(asian(30), (0, 1))(100.0, 0.2, row) for row in draws]
    np.testing.assert_allclose([value, *gradients], np.mean([[v, *g] for v, g in each], axis=0), rtol=1e-11)


@both_backends
@pytest.mark.parametrize("steps", [1, 4, 60])
def test_an_ordinary_differential_equation(backend: str, steps: int) -> None:
    args = ([1.0, -0.5], 0.1)
    value, gradients = micrograd.compile(pendulum(steps), backend=backend).value_and_grad(*args, wrt=(0, 1))
    expected, wanted = micrograd.value_and_grad(pendulum(steps), (0, 1))(*args)
    np.testing.assert_allclose([value, *gradients[0], gradients[1]], [expected, *wanted[0], wanted[1]], rtol=1e-11)


@both_backends
@pytest.mark.parametrize("steps", [5, 400])
def test_an_irregular_chain(backend: str, steps: int) -> None:
    value, gradient = micrograd.compile(irregular(steps), backend=backend).value_and_grad(0.3)
    expected, wanted = micrograd.value_and_grad(irregular(steps))(0.3)
    np.testing.assert_allclose([value, gradient], [expected, wanted], rtol=1e-11)


def test_a_chain_longer_than_the_recursion_limit() -> None:
    def decay(x: Any) -> Any:
        for _ in range(5000):
            x = x * 0.999
        return x

    value, gradient = micrograd.compile(decay, backend="numpy").value_and_grad(2.0)
    np.testing.assert_allclose([value, gradient], [2 * 0.999**5000, 0.999**5000], rtol=1e-11)


@pytest.mark.parametrize(
    ("make", "args"),
    [
        (asian, (100.0, 0.2, np.zeros(252))),
        (pendulum, ([1.0, -0.5], 0.1)),
    ],
    ids=["asian", "pendulum"],
)
def test_a_long_simulation_is_no_more_code_than_a_short_one(make: Any, args: Any) -> None:
    lengths = []
    for steps in (25, 252):
        program = micrograd.compile(make(steps))
        program.value_and_grad(*args, wrt=(0, 1))
        lengths.append(len(program.c_source))
    assert lengths[1] <= 1.2 * lengths[0], lengths


@both_backends
def test_steps_that_each_have_parameters_of_their_own(backend: str) -> None:
    layers = [[Value(0.5 + 0.01 * i), Value(-0.1 * i)] for i in range(12)]

    def f(x: Any) -> Any:
        for w, b in layers:
            x = (w * x + b).tanh()
        return x

    program = micrograd.compile(f, backend=backend)
    value = program.backward(0.7)
    found = [p.grad for layer in layers for p in layer]
    for p in (p for layer in layers for p in layer):
        p.grad = 0.0
    root = f(Value(0.7))
    root.backward()
    close(value, root.data)
    np.testing.assert_allclose(found, [p.grad for layer in layers for p in layer], rtol=1e-12)


@both_backends
def test_a_recurrent_network_shares_its_weights_over_time(backend: str) -> None:
    rng = random.Random(0)
    u, w = ([[Value(rng.uniform(-1, 1)) for _ in range(n)] for _ in range(4)] for n in (3, 4))
    xs = np.random.default_rng(0).normal(size=(9, 3))

    def f(xs: Any) -> Any:
        h: list[Any] = [0.0] * 4
        for x in xs:
            h = [
                (sum(a * b for a, b in zip(p, x, strict=True)) + sum(a * b for a, b in zip(q, h, strict=True))).tanh()
                for p, q in zip(u, w, strict=True)
            ]
        return sum(v**2 for v in h)

    parameters = [p for row in u + w for p in row]
    value = micrograd.compile(f, backend=backend).backward(xs)
    found = [p.grad for p in parameters]
    for p in parameters:
        p.grad = 0.0
    root = f([[Value(x) for x in row] for row in xs])
    root.backward()
    close(value, root.data)
    np.testing.assert_allclose(found, [p.grad for p in parameters], rtol=1e-11, atol=1e-14)


def swapped(x: Any, steps: int) -> Any:
    """Two numbers that change places at each step."""
    a, b = x
    for _ in range(steps):
        a, b = b, a * 0.9 + micrograd.sin(b)
    return a * b


def of_two_turns(x: Any, steps: int) -> Any:
    """Each number is made of the last one and of the one before it."""
    a, b = x
    total = 0.0
    for _ in range(steps):
        a, b = b, micrograd.tanh(a + 0.5 * b)
        total = total + b * a
    return total


def of_five_turns(x: Any, steps: int) -> Any:
    past = [x[0] * (1.0 + 0.1 * k) for k in range(6)]
    for _ in range(steps):
        past.append(micrograd.cos(past[-1] - past[-5] * x[1]))
    return past[-1] + past[-3] * past[2]


def oscillator(x: Any, steps: int) -> Any:
    """The leapfrog method, whose halves of a step look alike."""
    q, p = x
    for _ in range(steps):
        p = p - 0.005 * (q + q * q * q)
        q = q + 0.01 * p
        p = p - 0.005 * (q + q * q * q)
    return 0.5 * p * p + q


@pytest.mark.parametrize("steps", [40, 41, 100])
@pytest.mark.parametrize("function", [swapped, of_two_turns, of_five_turns, oscillator])
def test_what_a_turn_leaves_to_later_ones_is_what_it_was(function: Any, steps: int) -> None:
    x = [0.7, -0.4]
    expected = micrograd.value_and_grad(lambda x: function(x, steps))(x)
    for backend in ("native", "numpy"):
        program = micrograd.compile(function, backend=backend)
        value, gradient = program.value_and_grad(x, steps)
        np.testing.assert_allclose([value, *gradient], [expected[0], *expected[1]], rtol=1e-11)
        np.testing.assert_allclose(program(x, steps), expected[0], rtol=1e-11)


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("steps", [3, 7, 30])
def test_what_a_loop_of_shared_numbers_leaves_to_the_examples(steps: int, backend: str) -> None:
    """The adjoints of a linear recurrence are the same for all examples: found before the batch, which reads one."""

    def f(w: Any, x: Any) -> Any:
        pull, state = micrograd.tanh(x[1]), micrograd.tanh(w[0] * x[0] + w[1])
        for _ in range(steps):
            state = 0.9 * state + 0.1 * micrograd.tanh(pull)
        return state

    w, x = [0.5, -1.5], np.random.default_rng(steps).normal(size=(19, 2))
    value, gradient = micrograd.compile(f, batch=(None, 0), reduce="mean", backend=backend).value_and_grad(w, x)
    found = [micrograd.value_and_grad(f)(w, row.tolist()) for row in x]
    np.testing.assert_allclose(value, np.mean([v for v, _ in found]), rtol=1e-12)
    np.testing.assert_allclose(gradient, np.mean([g for _, g in found], axis=0), rtol=1e-11)


@pytest.mark.parametrize("examples", [1, 7, 64, 150])
def test_sums_over_the_examples_of_numbers_and_of_products_are_read_where_they_lie(examples: int) -> None:
    model, inputs = MLP(2, [4, 1], seed=3), np.random.default_rng(examples).normal(size=(examples, 2))

    def loss(x: Any) -> Any:
        return micrograd.tanh(model(x)) ** 2

    found = []
    for backend in ("native", "numpy"):
        for p in model.parameters():
            p.grad = 0.0
        program = micrograd.compile(loss, batch=(0,), reduce="sum", backend=backend)
        found.append([program.backward(inputs), *(p.grad for p in model.parameters())])
        if backend == "native":
            assert "+= mg_sum(count, &v[" in program.c_source
            assert "+= mg_dot(count, &v[" in program.c_source
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)
