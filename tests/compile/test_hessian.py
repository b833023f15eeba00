"""Products with the Hessian: those of the eager engine, through tables and beside integers too."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest
from face import BACKENDS, close, recordings
from programs import Program

import micrograd
from micrograd import losses, trees

both_backends = pytest.mark.parametrize("backend", BACKENDS)


@both_backends
def test_the_hessian_times_a_vector_is_that_of_the_eager_engine(backend: str) -> None:
    def f(x: Any, y: Any) -> Any:
        return x[0] ** 3 * x[1] + (x[0] * y).exp() / (1 + x[1] ** 2)

    primals, tangents = ([0.5, -1.0], 0.25), ([1.0, -2.0], 3.0)
    found = micrograd.compile(f, backend=backend).hvp(primals, tangents)
    expected = micrograd.hvp(f, primals, tangents)
    assert isinstance(found, tuple)
    close(trees.flatten(found)[0], trees.flatten(expected)[0])
    single = micrograd.compile(lambda x: x[0] ** 2 * x[1], backend=backend).hvp(([2.0, 3.0],), ([1.0, 0.0],))
    close(single, [6.0, 4.0])


take, where = micrograd.take, micrograd.where
PICKS: list[tuple[Any, ...]] = [  # functions of a table, a number and two integers, and the integers
    (lambda t, x, i, j: take(t, i) ** 3 * x, 1, 0),
    (lambda t, x, i, j: take(t, i) ** 3 * x, -1, 0),
    (lambda t, x, i, j: take(t, i) * take(t, j) * x.exp(), 0, 2),
    (lambda t, x, i, j: take(t, i) * take(t, j) * x.exp(), 1, 1),
    (lambda t, x, i, j: take(t, i) * take(t[::-1], i) * take(t[:3], j) * take([x, x, t[0]], j), 2, -2),
    (lambda t, x, i, j: take([a * x * b for a, b in itertools.pairwise(t)], j) ** 2, 0, 1),
    (lambda t, x, i, j: take([take(t, i).tanh() * a for a in t], j) * take([x, 2.0, x * x, t[1]], i), 3, 2),
    (lambda t, x, i, j: micrograd.softmax([take(t, i), x, take(t, j)])[1], 0, 3),
    (lambda t, x, i, j: losses.cross_entropy([a * a * x for a in t], i), 2, 0),
    (lambda t, x, i, j: where(x > 0, take(t, i), take(t, j).log()) * take(t, i) * x, 0, 1),
    (lambda t, x, i, j: where(x < 0, take([a.sqrt() for a in t], i) ** 2, take(t, j) ** 2 * x), 1, 2),
    (lambda t, x, i, j: take([t, [a * x for a in t]], i)[0] ** 2 * t[1], 1, 0),
]


@both_backends
@pytest.mark.parametrize(("f", "i", "j"), PICKS)
def test_the_hessian_sees_through_what_an_integer_picks(f: Any, i: int, j: int, backend: str) -> None:
    primals, tangents = ([0.5, -1.25, 2.0, 0.75], 0.5), ([1.0, -2.0, 0.25, 3.0], -0.5)
    program = micrograd.compile(f, backend=backend)
    for a, b in ((i, j), (0, 0)):  # without a new trace
        *found, first, second = program.hvp((*primals, a, b), (*tangents, None, None))
        assert (first, second) == (None, None)
        expected = micrograd.hvp(lambda t, x, a=a, b=b: f(t, x, a, b), primals, tangents)
        close(trees.flatten(found)[0], trees.flatten(list(expected))[0])
    assert recordings(program) == 1

    def gradient(step: float) -> Any:
        moved = [p + step * d for p, d in zip(*(trees.flatten(part)[0] for part in (primals, tangents)), strict=True)]
        return np.array(trees.flatten(program.value_and_grad(moved[:4], moved[4], i, j, wrt=(0, 1))[1])[0])

    *found, _, _ = program.hvp((*primals, i, j), (*tangents, None, None))
    np.testing.assert_allclose(trees.flatten(found)[0], (gradient(1e-5) - gradient(-1e-5)) / 2e-5, rtol=1e-7, atol=1e-8)


@both_backends
def test_the_hessian_of_a_loss_with_integer_targets(backend: str) -> None:
    def loss(weights: Any, x: Any, y: Any) -> Any:
        logits = [[micrograd.tanh(micrograd.dot(w, row, 0.1)) for w in weights] for row in x]
        return losses.cross_entropy(logits, y)

    rng = np.random.default_rng(2)
    w, v, x = rng.normal(size=(3, 4)), rng.normal(size=(3, 4)), rng.normal(size=(5, 4))
    program = micrograd.compile(loss, backend=backend)
    for y in ([0, 1, 2, 1, 0], [2, 2, 2, 0, 1]):
        found = program.hvp((w, x, y), (v, None, None))
        assert found[1:] == (None, None)
        close(found[0], micrograd.hvp(lambda w, y=y: loss(w, x.tolist(), y), (w,), (v,)))
        assert program.value_and_grad(w, x, y)[0] == pytest.approx(loss(w.tolist(), x.tolist(), y), rel=1e-14)
    assert recordings(program) == 1


def test_an_integer_has_a_tangent_where_it_is_a_number() -> None:
    program = micrograd.compile(lambda x, k: x**3 * k, backend="numpy")
    assert program.hvp((2.0, 5), (1.0, 0)) == (60.0, 12.0)
    assert program.hvp((2.0, 5), (1.0, None)) == (60.0, None)
    assert program.hvp((2, 5), (None, 1.0)) == (None, 0.0)


def test_a_program_can_be_asked_for_gradients_after_a_hessian_product() -> None:
    program = micrograd.compile(lambda x, y: x[0] ** 3 * y, backend="numpy")
    assert program.hvp(([2.0], 5.0), ([1.0], 0.0)) == ([60.0], 12.0)
    assert program.value_and_grad([2.0], 5.0) == (40.0, [60.0])
    assert program.hvp(([2.0], 5.0), ([1.0], 1.0)) == ([72.0], 12.0)


def test_hvp_refuses_tangents_of_another_structure() -> None:
    program = micrograd.compile(lambda x: x[0] ** 3 + x[1], backend="numpy")
    with pytest.raises(TypeError, match="structure of the primals"):
        program.hvp(([1.0, 2.0],), ([1.0],))
    with pytest.raises(TypeError, match="needs the tangent of at least one argument"):
        program.hvp(([1.0, 2.0],), (None,))
    picks = micrograd.compile(lambda x, k: take(x, k) ** 2, backend="numpy")
    with pytest.raises(TypeError, match=r"no derivative is by an index, so .* give None as its tangent to hvp"):
        picks.hvp(([1.0, 2.0], 1), ([1.0, 0.0], 0))


@pytest.mark.parametrize("seed", range(60))
def test_the_hessian_of_a_random_program_is_that_of_the_eager_engine(seed: int) -> None:
    program = Program(random.Random(seed), size=6)
    count = len(program.kinds)
    (*primals,), (*tangents,) = program.example(), program.example()[:count]
    integers = primals[count:]
    found = micrograd.compile(program.function, backend="numpy").hvp(primals, [*tangents, *[None] * len(integers)])
    expected = micrograd.hvp(lambda *args: program.function(*args, *integers), tuple(primals[:count]), tuple(tangents))
    numbers = trees.flatten(found[:count] if integers else found)[0]
    exact = np.array(trees.flatten(expected)[0], float)
    np.testing.assert_allclose(numbers, exact, rtol=0, atol=1e-9 * (np.abs(exact).max() + 1e-6))


def test_a_chain_of_choices_is_differentiated_in_linear_time() -> None:
    def f(x: Any) -> Any:
        for _ in range(100):  # a walk over all paths through them would never end
            x = micrograd.where(x > 0.25, x.sin() * 0.9, x * 1.1 + 0.01)
        return x

    program = micrograd.compile(f, backend="numpy")
    close(program.value_and_grad(0.7), micrograd.value_and_grad(f)(0.7))
    close(program.hvp((0.7,), (1.0,)), micrograd.hvp(f, (0.7,), (1.0,)))


def test_hvp_without_tuples_says_what_to_write() -> None:
    program = micrograd.compile(lambda p: p[0] ** 2 * p[1])
    with pytest.raises(TypeError, match=r"hvp: too many positional arguments: write hvp\(\(x,\), \(v,\)\)"):
        program.hvp([1.0, 2.0], [1.0, 0.0])
