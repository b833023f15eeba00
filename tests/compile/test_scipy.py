"""Programs as objectives and residuals of scipy.optimize: right derivatives, any structure, one line."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from conftest import oracle

import micrograd
from micrograd import MLP, Value

T = np.linspace(0.0, 2.0, 12)
D = 2.5 * np.exp(-1.3 * T) + 0.4


def rosen(x: Any) -> Any:
    return sum(100.0 * (b - a**2) ** 2 + (1.0 - a) ** 2 for a, b in itertools.pairwise(x))


def decay(p: Any, t: Any, d: Any) -> Any:
    return p["a"] * micrograd.exp(-p["rates"][0] * t) + p["rates"][1] - d


START = {"a": 1.0, "rates": [1.0, 0.0]}


def test_minimize_in_one_line_finds_the_minimum_with_fewer_calls_than_by_differences() -> None:
    optimize = oracle("scipy.optimize")
    program = micrograd.compile(rosen)
    found = optimize.minimize(*program.as_objective([1.3, 0.7, 0.8, 1.9]), jac=True)
    np.testing.assert_allclose(found.x, 1.0, atol=1e-5)
    blind = optimize.minimize(optimize.rosen, [1.3, 0.7, 0.8, 1.9])
    assert found.nfev * 3 < blind.nfev


def test_the_gradient_is_that_of_scipys_own_rosenbrock_function() -> None:
    optimize = oracle("scipy.optimize")
    fun, x0 = micrograd.compile(rosen).as_objective(np.array([-1.0, 2.0, 0.5]))
    for x in np.random.default_rng(0).normal(size=(5, 3)):
        value, gradient = fun(x)
        np.testing.assert_allclose(value, optimize.rosen(x), rtol=1e-13)
        np.testing.assert_allclose(gradient, optimize.rosen_der(x), rtol=1e-12, atol=1e-11)
    np.testing.assert_array_equal(x0, [-1.0, 2.0, 0.5])


def test_the_start_may_be_any_structure_and_the_result_becomes_one_again() -> None:
    fun, x0 = micrograd.compile(lambda p, s: s * (p["w"][0] * p["w"][1] + p["m"][0, 1] ** 2 + p["b"])).as_objective(
        {"w": [2.0, 3], "m": np.array([[1.0, 4.0]]), "b": 0.5}, 10.0
    )
    value, gradient = fun(x0)
    assert value == 225.0
    assert gradient.tolist() == [30.0, 20.0, 0.0, 80.0, 10.0]
    shaped = fun.unflatten(gradient)
    assert (shaped["w"], shaped["b"], shaped["m"].tolist()) == ([30.0, 20.0], 10.0, [[0.0, 80.0]])
    assert fun.flatten(shaped).tolist() == gradient.tolist()


def test_a_loss_over_a_batch_is_an_objective_and_reads_its_data_anew() -> None:
    x, y = np.arange(4.0), np.arange(4.0) * 2.0
    program = micrograd.compile(lambda w, a, b: (w * a - b) ** 2, batch=(None, 0, 0), reduce="mean")
    fun, w0 = program.as_objective(0.0, x, y)
    np.testing.assert_allclose(fun(w0)[0], (y**2).mean())
    y *= 2.0
    np.testing.assert_allclose(fun(w0)[0], (y**2).mean())
    assert fun.unflatten(w0) == 0.0


def test_a_modules_parameters_can_be_searched() -> None:
    optimize = oracle("scipy.optimize")
    model = MLP(1, [3, 1], seed=1)
    program = micrograd.compile(lambda m, x: sum((m([xi]) - xi * xi) ** 2 for xi in x))
    fun, x0 = program.as_objective(model, [-1.0, 0.0, 1.0])
    assert x0.tolist() == [p.data for p in model.parameters()]
    found = optimize.minimize(fun, x0, jac=True)
    assert found.fun < 1e-3 < fun(x0)[0]
    fitted = fun.unflatten(found.x)
    np.testing.assert_allclose([fitted([x]).data for x in (-1.0, 0.0, 1.0)], [1.0, 0.0, 1.0], atol=0.05)


def test_least_squares_in_one_line_over_a_batch() -> None:
    optimize = oracle("scipy.optimize")
    program = micrograd.compile(decay, batch=(None, 0, 0))
    fun, x0, jac = program.as_residuals(START, T, D)
    np.testing.assert_allclose(fun(x0), program(START, T, D), rtol=1e-14)
    expected = np.stack([np.exp(-T), -T * np.exp(-T), np.ones_like(T)], axis=1)
    np.testing.assert_allclose(jac(x0), expected, rtol=1e-13, atol=1e-14)
    found = optimize.least_squares(*program.as_residuals(START, T, D))
    fitted = fun.unflatten(found.x)
    np.testing.assert_allclose([fitted["a"], *fitted["rates"]], [2.5, 1.3, 0.4], rtol=1e-6)


def test_several_residuals_an_example_stand_together() -> None:
    program = micrograd.compile(lambda p, t: [p[0] * t, p[1] + t, 7.0 * p[0]], batch=(None, 0))
    fun, x0, jac = program.as_residuals([2.0, 5.0], T[:3])
    np.testing.assert_allclose(fun(x0).reshape(3, 3), np.stack([2.0 * T[:3], 5.0 + T[:3], np.full(3, 14.0)], axis=1))
    np.testing.assert_allclose(jac(x0), np.concatenate([[[t, 0.0], [0.0, 1.0], [7.0, 0.0]] for t in T[:3]]))


def test_residuals_without_a_batch_are_the_results_of_the_function() -> None:
    optimize = oracle("scipy.optimize")
    program = micrograd.compile(lambda x: {"a": 10.0 * (x[1] - x[0] ** 2), "b": [1.0 - x[0]]})
    fun, x0, jac = program.as_residuals(np.array([-1.2, 1.0]))
    np.testing.assert_allclose(fun(x0), [-4.4, 2.2])
    np.testing.assert_allclose(jac(x0), [[24.0, 10.0], [-1.0, 0.0]])
    np.testing.assert_allclose(optimize.least_squares(fun, x0, jac).x, [1.0, 1.0])
    np.testing.assert_allclose(optimize.least_squares(fun, x0, jac).x, optimize.least_squares(fun, x0).x, rtol=1e-6)


def test_captured_parameters_are_read_anew() -> None:
    shift = Value(1.0)
    fun, x0 = micrograd.compile(lambda x: (x - shift) ** 2).as_objective(0.0)
    assert fun(x0)[0] == 1.0
    shift.data = 3.0
    assert fun(x0)[0] == 9.0


def test_what_cannot_be_searched_is_an_error_that_says_what_to_write() -> None:
    with pytest.raises(ValueError, match=r"cannot be batched: compile with batch=\(None, 0\)"):
        micrograd.compile(lambda x, y: x * y, batch=0).as_objective(T, T)
    with pytest.raises(ValueError, match="needs one number: compile the program with reduce='sum'"):
        micrograd.compile(decay, batch=(None, 0, 0)).as_objective(START, T, D)
    with pytest.raises(ValueError, match="without reduce='sum'"):
        micrograd.compile(decay, batch=(None, 0, 0), reduce="sum").as_residuals(START, T, D)
    with pytest.raises(TypeError, match=r"gives 2 numbers, .*: use jacobian"):
        micrograd.compile(lambda x: [x, x]).as_objective(1.0)
    fun, _ = micrograd.compile(rosen).as_objective([1.0, 2.0])
    with pytest.raises(ValueError, match="array of 2 numbers, got one of shape"):
        fun.unflatten([1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match=r"must have the structure .* nothing at x\[1\]"):
        fun.flatten([1.0])
