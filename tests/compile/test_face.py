"""The public face of the compiler: micrograd.compile and what a program offers."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from face import BACKENDS, close, recordings

import micrograd
from micrograd import Value, nn, trees

both_backends = pytest.mark.parametrize("backend", BACKENDS)


def loss(w: Any, x: Any, y: Any) -> Any:
    """The squared error of a neuron, for one example."""
    return ((w[0] * x[0] + w[1] * x[1]).tanh() - y) ** 2


W, X, Y = [0.5, -1.0], np.array([[1.0, 2.0], [-0.5, 0.25], [3.0, 1.0]]), np.array([1.0, -1.0, 0.5])
LOSSES = [float(loss([Value(w) for w in W], list(map(Value, x)), y)) for x, y in zip(X, Y, strict=True)]


# ----------------------------------------------------------------------------------------------------------- results


@both_backends
def test_numbers_in_a_float_out(backend: str) -> None:
    program = micrograd.compile(loss, backend=backend)
    result = program([0.5, -1.0], [1.0, 2.0], 1.0)
    assert isinstance(result, float)
    close(result, LOSSES[0])


@both_backends
def test_a_result_has_the_structure_that_the_function_gives(backend: str) -> None:
    @micrograd.compile(backend=backend)
    def program(x: Any) -> Any:
        return {"sum": x[0] + x[1], "all": [x[0] * 2, (x[1], [x[0].exp()])], "array": np.array([x[0], x[1]]) * 3.0}

    result = program([1.0, 2.0])
    assert list(result) == ["sum", "all", "array"]
    assert isinstance(result["all"], list)
    assert isinstance(result["all"][1], tuple)
    assert isinstance(result["array"], np.ndarray)
    close(result["sum"], 3.0)
    close(trees.flatten(result["all"])[0], [2.0, 2.0, math.e])
    close(result["array"], [3.0, 6.0])


@both_backends
def test_results_that_are_constants_or_arguments_themselves(backend: str) -> None:
    program = micrograd.compile(lambda x, y: [x, 2.5, y, x], backend=backend)
    close(program(1.0, -1.0), [1.0, 2.5, -1.0, 1.0])


@both_backends
def test_values_as_arguments_are_read(backend: str) -> None:
    program = micrograd.compile(loss, backend=backend)
    close(program([Value(0.5), Value(-1.0)], [1.0, 2.0], Value(1.0)), LOSSES[0])


@both_backends
def test_results_do_not_change_when_the_program_runs_again(backend: str) -> None:
    """A program owns its buffers, but what it hands out is the caller's."""
    program = micrograd.compile(lambda x: x * 2.0, batch=(0,), backend=backend)
    first = program(X[:, 0])
    program(X[:, 1])
    close(first, X[:, 0] * 2)


# ----------------------------------------------------------------------------------------------------------- batches


@both_backends
def test_gradients_do_not_change_when_the_program_runs_again(backend: str) -> None:
    program = micrograd.compile(lambda x: sum(v * v * v for v in x), backend=backend)
    points = [np.arange(20.0) + k for k in range(12)]
    held = [program.value_and_grad(x) for x in points]
    rows = [program.value_and_grad(x)[1][3:7] for x in points]  # parts of what is let go
    nested = [program.value_and_grad(x.tolist())[1] for x in points]
    for k, x in enumerate(points):
        close(held[k][1], 3.0 * x**2)
        close(rows[k], 3.0 * x[3:7] ** 2)
        close(nested[k], 3.0 * x**2)
    held[0][1][:] = 0.0  # they are the caller's
    close(program.value_and_grad(points[1])[1], held[1][1])


@both_backends
def test_a_batch_gives_one_result_an_example(backend: str) -> None:
    program = micrograd.compile(loss, batch=(None, 0, 0), backend=backend)
    result = program(W, X, Y)
    assert isinstance(result, np.ndarray)
    assert result.shape == (3,)
    close(result, LOSSES)


@both_backends
@pytest.mark.parametrize(("reduce", "expected"), [("sum", sum(LOSSES)), ("mean", sum(LOSSES) / 3)])
def test_a_batch_is_reduced_to_one_number(backend: str, reduce: str, expected: float) -> None:
    program = micrograd.compile(loss, batch=(None, 0, 0), reduce=reduce, backend=backend)
    result = program(W, X, Y)
    assert isinstance(result, float)
    close(result, expected)


@both_backends
@pytest.mark.parametrize(("reduce", "weight"), [("sum", 1.0), ("mean", 1 / 3)])
def test_a_shared_argument_sums_its_gradient_over_the_batch(backend: str, reduce: str, weight: float) -> None:
    program = micrograd.compile(loss, batch=(None, 0, 0), reduce=reduce, backend=backend)
    value, (dw, dx) = program.value_and_grad(W, X, Y, wrt=(0, 1))
    each = [micrograd.value_and_grad(loss, (0, 1))(W, list(x), y) for x, y in zip(X, Y, strict=True)]
    close(value, weight * sum(v for v, _ in each))
    assert isinstance(dw, list)
    close(dw, weight * sum(np.array(g[0]) for _, g in each))
    assert dx.shape == X.shape
    close(dx, weight * np.array([g[1] for _, g in each]))


@both_backends
@pytest.mark.parametrize(("reduce", "expected"), [(None, 3.0), ("sum", 3.0), ("mean", 1.0)])
def test_a_shared_number_counts_once_an_example_where_its_derivative_is_a_constant(
    backend: str, reduce: str | None, expected: float
) -> None:
    b = Value(0.5)
    program = micrograd.compile(lambda w, x: w + x + b, batch=(None, 0), reduce=reduce, backend=backend)
    close(program.value_and_grad(1.0, Y)[1], expected)
    program.backward(1.0, Y)
    close(b.grad, expected)


@both_backends
def test_an_array_for_each_example_is_an_array_with_a_leading_axis(backend: str) -> None:
    program = micrograd.compile(lambda x: {"a": np.array([x[0], x[1], x[0] * x[1]]), "b": 1.0}, batch=(0,), backend=backend)
    result = program(X)
    assert result["a"].shape == (3, 3)
    close(result["a"], np.column_stack([X, X[:, 0] * X[:, 1]]))
    close(result["b"], [1.0, 1.0, 1.0])


@both_backends
def test_a_batch_of_structures_has_its_leading_axis_in_every_array(backend: str) -> None:
    program = micrograd.compile(lambda d: [d["a"] * d["b"][0], d["b"][1]], batch=(0,), backend=backend)
    result = program({"a": Y, "b": X})
    close(result[0], Y * X[:, 0])
    close(result[1], X[:, 1])


@both_backends
def test_the_size_of_the_batch_may_change_from_call_to_call(backend: str) -> None:
    program = micrograd.compile(loss, batch=(None, 0, 0), reduce="sum", backend=backend)
    for size in (3, 1, 100, 2, 33):
        x, y = np.resize(X, (size, 2)), np.resize(Y, size)
        close(program(W, x, y), sum(LOSSES[i % 3] for i in range(size)))
    assert recordings(program) == 1


@both_backends
def test_arrays_of_any_layout_and_number_type_are_read(backend: str) -> None:
    program = micrograd.compile(loss, batch=(None, 0, 0), backend=backend)
    wide = np.zeros((3, 4))
    wide[:, ::2] = X
    for x in (np.asfortranarray(X), wide[:, ::2], X.astype(np.float32), X.tolist(), np.repeat(X, 2, 0)[::2]):
        close(program(W, x, Y), LOSSES)


def test_batches_of_unequal_size_are_refused() -> None:
    program = micrograd.compile(loss, batch=(None, 0, 0), backend="numpy")
    with pytest.raises(ValueError, match=r"3.*2|2.*3"):
        program(W, X, Y[:2])


@both_backends
def test_a_batch_of_none_sums_to_zero(backend: str) -> None:
    program = micrograd.compile(loss, batch=(None, 0, 0), reduce="sum", backend=backend)
    try:
        assert program(W, X[:0], Y[:0]) == 0.0
    except ValueError as refusal:
        assert "empty" in str(refusal) or "at least one" in str(refusal)  # noqa: PT017 (either is a clear answer)


# ------------------------------------------------------------------------------------------- number types, threads


@both_backends
def test_numbers_beyond_single_precision_are_infinite_without_a_warning(backend: str) -> None:
    program = micrograd.compile(lambda x: x[0] * 1e300 - x[1], backend=backend, dtype="float32")
    assert program([1.0, 2.0]) == math.inf
    assert program([0.0, 1e300]) != program([1.0, 2.0])  # inf - inf and 0 * inf are nan


@both_backends
def test_single_precision(backend: str) -> None:
    program = micrograd.compile(loss, batch=(None, 0, 0), dtype="float32", backend=backend)
    result = program(W, X, Y)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, LOSSES, rtol=1e-5)
    _, gradient = micrograd.compile(loss, batch=(None, 0, 0), reduce="sum", dtype="float32", backend=backend).value_and_grad(
        np.array(W, dtype=np.float32), X, Y
    )
    assert gradient.dtype == np.float32


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1001])
def test_two_threads_give_the_bits_of_one(size: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(size, 2)), rng.normal(size=size)
    one, two = (
        micrograd.compile(loss, batch=(None, 0, 0), reduce="mean", backend="native", threads=threads) for threads in (1, 2)
    )
    assert one.value_and_grad(W, x, y, wrt=(0, 1, 2))[0] == two.value_and_grad(W, x, y, wrt=(0, 1, 2))[0]
    for a, b in zip(*(p.value_and_grad(W, x, y, wrt=(0, 1, 2))[1] for p in (one, two)), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"backend": "fortran"}, "native"),
        ({"dtype": "float16"}, "float32"),
        ({"reduce": "max", "batch": (None, 0, 0)}, "mean"),
        ({"reduce": "sum"}, "batch"),
        ({"threads": 0}, "threads"),
        ({"batch": (1, 0, 0)}, "batch"),
        ({"batch": "all"}, "batch"),
    ],
)
def test_a_wrong_option_is_told_at_once(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises((TypeError, ValueError), match=named):
        micrograd.compile(loss, **wrong)


def test_a_batch_must_have_one_entry_an_argument() -> None:
    with pytest.raises((TypeError, ValueError), match="batch"):
        micrograd.compile(loss, batch=(None, 0))(W, X, Y)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(TypeError, match="function"):
        micrograd.compile(3.0)


# --------------------------------------------------------------------------------------------------------- gradients


@both_backends
def test_value_and_grad_by_one_argument_has_its_structure(backend: str) -> None:
    program = micrograd.compile(lambda p, x: p["w"][0] * x + p["w"][1] * x**2 + p["b"], backend=backend)
    value, gradient = program.value_and_grad({"w": [1.0, 2.0], "b": 3.0}, 0.5)
    close(value, 4.0)
    assert list(gradient) == ["w", "b"]
    close(gradient["w"], [0.5, 0.25])
    close(gradient["b"], 1.0)


@both_backends
def test_value_and_grad_by_several_arguments_is_a_tuple(backend: str) -> None:
    program = micrograd.compile(loss, backend=backend)
    args = (W, (1.0, 2.0), 1.0)
    value, gradients = program.value_and_grad(*args, wrt=(2, 0, 1))
    expected = micrograd.value_and_grad(loss, (2, 0, 1))(*args)
    assert isinstance(gradients, tuple)
    close(value, expected[0])
    for found, wanted in zip(gradients, expected[1], strict=True):
        assert type(found) is type(wanted)
        close(found, wanted)
    close(program.value_and_grad(*args, wrt=-1)[1], expected[1][0])


@both_backends
def test_the_gradient_by_an_array_is_an_array(backend: str) -> None:
    program = micrograd.compile(lambda a, x: sum((a @ x) ** 2), backend=backend)
    a, x = np.arange(6.0).reshape(2, 3), np.array([1.0, -1.0, 0.5])
    value, (da, dx) = program.value_and_grad(a, x, wrt=(0, 1))
    close(value, float(np.sum((a @ x) ** 2)))
    close(da, 2 * np.outer(a @ x, x))
    close(dx, 2 * a.T @ (a @ x))


@both_backends
def test_the_gradient_by_a_module_is_a_module(backend: str) -> None:
    model = nn.MLP(2, [3, 1], activation="tanh", seed=1)
    value, gradient = micrograd.compile(lambda m, x: m(x) ** 2, backend=backend).value_and_grad(model, [1.0, -0.5])
    expected_value, expected = micrograd.value_and_grad(lambda m, x: m(x) ** 2)(model, [1.0, -0.5])
    close(value, expected_value)
    assert isinstance(gradient, nn.MLP)
    close([p.data for p in gradient.parameters()], [p.data for p in expected.parameters()])
    assert all(p.grad == 0.0 for p in model.parameters())


@both_backends
def test_what_the_function_does_not_use_has_gradient_zero(backend: str) -> None:
    program = micrograd.compile(lambda x, y: x[0] * 2.0, backend=backend)
    assert program.value_and_grad([1.0, 5.0], 3.0, wrt=(0, 1)) == (2.0, ([2.0, 0.0], 0.0))
    assert micrograd.compile(lambda x: 3.0, backend=backend).value_and_grad(1.0) == (3.0, 0.0)


@both_backends
def test_an_argument_given_twice_is_two_arguments(backend: str) -> None:
    x = [2.0, 3.0]
    program = micrograd.compile(lambda a, b: a[0] * b[1], backend=backend)
    assert program.value_and_grad(x, x, wrt=(0, 1)) == (6.0, ([3.0, 0.0], [0.0, 2.0]))


def test_value_and_grad_of_several_numbers_names_jacobian() -> None:
    with pytest.raises(TypeError, match="jacobian"):
        micrograd.compile(lambda x: [x, x], backend="numpy").value_and_grad(1.0)


@pytest.mark.parametrize("wrt", ["0", 2, (0, 5), 1.0])
def test_a_wrong_wrt_is_named(wrt: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="wrt"):
        micrograd.compile(lambda x: x * x, backend="numpy").value_and_grad(1.0, wrt=wrt)


def test_a_number_of_arguments_that_the_function_does_not_take_is_refused() -> None:
    with pytest.raises(TypeError, match=r"argument"):
        micrograd.compile(loss, backend="numpy")(W)


# ----------------------------------------------------------------------------------------------------- Jacobians


def residuals(p: Any, t: float) -> Any:
    return [p["a"] * t + p["b"], micrograd.sin(p["a"] * p["b"]), p["a"] ** 2]


@both_backends
def test_the_jacobian_is_that_of_the_eager_engine(backend: str) -> None:
    p = {"a": 1.5, "b": -0.25}
    program = micrograd.compile(residuals, backend=backend)
    for wrt in (0, 1, (0, 1)):
        found, expected = program.jacobian(p, 2.0, wrt=wrt), micrograd.jacobian(residuals, wrt)(p, 2.0)
        assert type(found) is type(expected)
        close(trees.flatten(found)[0], trees.flatten(expected)[0])
        trees.match(trees.flatten(expected)[1], found)


@both_backends
def test_the_jacobian_of_arrays_has_the_shape_of_result_and_argument(backend: str) -> None:
    a = np.arange(6.0).reshape(2, 3)
    found = micrograd.compile(lambda x: a @ x, backend=backend).jacobian(np.array([1.0, -1.0, 0.5]))
    assert found.shape == (2, 3)
    close(found, a)


@both_backends
def test_a_batch_of_jacobians_is_an_array_of_them(backend: str) -> None:
    program = micrograd.compile(lambda x: np.array([x[0] * x[1], x[0] + x[1], x[0] ** 2]), batch=(0,), backend=backend)
    found = program.jacobian(X)
    assert found.shape == (3, 3, 2)
    close(found, [[[b, a], [1.0, 1.0], [2 * a, 0.0]] for a, b in X])


# ---------------------------------------------------------------------------------------------------------- backward


def moons(count: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(count, 2)), rng.choice([-1.0, 1.0], size=count)


@both_backends
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_backward_adds_into_the_parameters_as_eager_code_does(backend: str, activation: str) -> None:
    model, twin = (nn.MLP(2, [4, 3, 1], activation=activation, seed=2) for _ in range(2))
    x, y = moons(9)
    program = micrograd.compile(lambda x, y: (1 - y * model(x)).relu(), batch=(0, 0), reduce="mean", backend=backend)
    eager = sum((1 - t * twin(row)).relu() for row, t in zip(x, y, strict=True)) * (1 / 9)
    for _ in range(2):  # a second pass doubles
        close(program.backward(x, y), eager.data)
        eager.backward()
        close([p.grad for p in model.parameters()], [p.grad for p in twin.parameters()])
    model.zero_grad()
    assert all(p.grad == 0.0 for p in model.parameters())
    program.backward(x, y)
    close([2 * p.grad for p in model.parameters()], [p.grad for p in twin.parameters()])


@both_backends
def test_a_training_loop_changes_by_one_line(backend: str) -> None:
    x, y = moons(20)

    def train(step: Any, model: Any) -> list[float]:
        losses = []
        for _ in range(5):
            model.zero_grad()
            losses.append(step())
            for p in model.parameters():
                p.data -= 0.1 * p.grad
        return losses

    model, twin = (nn.MLP(2, [4, 1], activation="tanh", seed=3) for _ in range(2))
    program = micrograd.compile(lambda x, y: (model(x) - y) ** 2, batch=(0, 0), reduce="sum", backend=backend)

    def eagerly() -> float:
        total = sum((twin(row) - t) ** 2 for row, t in zip(x, y, strict=True))
        total.backward()
        return float(total)

    np.testing.assert_allclose(train(lambda: program.backward(x, y), model), train(eagerly, twin), rtol=1e-10)
    assert recordings(program) == 1


@both_backends
def test_a_captured_result_passes_its_gradient_to_its_own_leaves(backend: str) -> None:
    a, b = Value(2.0), Value(3.0)
    c = a * b + a
    program = micrograd.compile(lambda x: c * x + a, backend=backend)
    close(program.backward(5.0), 42.0)
    assert (a.grad, b.grad) == (21.0, 10.0)
    program.backward(5.0)
    assert (a.grad, b.grad) == (42.0, 20.0)
    assert c.data == 8.0


@both_backends
def test_a_value_that_is_captured_twice_or_in_containers_is_one_parameter(backend: str) -> None:
    w = Value(3.0)
    kept = {"w": [w, Value(1.0)], "again": w}
    program = micrograd.compile(lambda x: kept["w"][0] * x + kept["again"] * kept["w"][1], backend=backend)
    close(program.backward(2.0), 9.0)
    assert w.grad == 3.0


@both_backends
def test_value_and_grad_leaves_captured_gradients_alone(backend: str) -> None:
    w = Value(3.0)
    w.grad = 7.0
    program = micrograd.compile(lambda x: w * x, backend=backend)
    assert program.value_and_grad(2.0) == (6.0, 3.0)
    assert program(2.0) == 6.0
    assert w.grad == 7.0


# ------------------------------------------------------------------------------------------- decorator, recordings


def test_the_decorator_keeps_the_name_and_the_documentation() -> None:
    @micrograd.compile
    def area(r: Any) -> Any:
        """The area of a circle."""
        return math.pi * r**2

    assert (area.__name__, area.__doc__) == ("area", "The area of a circle.")
    close(area(2.0), 4 * math.pi)


def test_the_function_is_recorded_on_the_first_call_and_not_before() -> None:
    calls = []

    @micrograd.compile(backend="numpy")
    def program(x: Any) -> Any:
        calls.append(x)
        return x * 2

    assert (calls, recordings(program)) == ([], 0)
    program(1.0)
    program(2.0)
    assert (len(calls), recordings(program)) == (1, 1)


def test_only_a_new_structure_or_a_new_static_value_is_recorded_again() -> None:
    @micrograd.compile(backend="numpy")
    def program(x: Any, times: int = 2, kind: str = "tanh", signed: bool = True) -> Any:
        y = sum(getattr(v, kind)() for v in x)
        for _ in range(times):
            y = y * 1.5 if signed else y.abs() * 1.5
        return y

    def expected(x: list[float], times: int, kind: str, signed: bool) -> float:
        total = sum(getattr(math, kind)(v) for v in x)
        return (total if signed else abs(total)) * 1.5**times

    calls: list[tuple[tuple[Any, ...], int]] = [
        (([0.5, -2.0], 2, "tanh", True), 1),
        (([0.1, 7.0], 2, "tanh", True), 1),  # floats are data
        (([0.1, 7.0], 3, "tanh", True), 2),
        (([0.1, 7.0], 3, "sinh", True), 3),
        (([0.1, -7.0], 3, "sinh", False), 4),
        (([0.1, -7.0, 1.0], 3, "sinh", False), 5),
        (([0.5, -2.0], 2, "tanh", True), 5),  # known from before
        (([0.25, -2.0], 3, "tanh", True), 5),
    ]
    for arguments, count in calls:
        close(program(*arguments), expected(*arguments))
        assert recordings(program) == count, arguments


def test_a_list_and_a_tuple_are_different_structures() -> None:
    program = micrograd.compile(lambda x: len(x) * x[0] if isinstance(x, list) else x[0], backend="numpy")
    assert (program([3.0, 1.0]), program((3.0, 1.0))) == (6.0, 3.0)


def test_keyword_arguments_are_arguments() -> None:
    program = micrograd.compile(lambda x, scale: x * scale, backend="numpy")
    try:
        assert program(2.0, scale=3.0) == 6.0
    except TypeError as refusal:
        assert "scale" in str(refusal) or "position" in str(refusal)  # noqa: PT017 (either is a clear answer)


@both_backends
def test_stats_say_what_was_done(backend: str) -> None:
    program = micrograd.compile(loss, backend=backend)
    program.value_and_grad(W, [1.0, 2.0], 1.0)
    text = str(program.stats)
    for word in ("recordings", "nodes", "instructions", "bytes", "seconds", backend):
        assert word in text, (word, text)


# -------------------------------------------------------------------------------------------------- indices, branches


@both_backends
def test_an_index_is_data_where_it_goes_through_take(backend: str) -> None:
    program = micrograd.compile(lambda table, k: micrograd.take(table, k) ** 2, backend=backend)
    table = [1.0, -2.0, 3.0]
    for k in (0, 2, 1, -1, np.int64(2)):
        value, gradient = program.value_and_grad(table, k)
        close(value, table[k] ** 2)
        close(gradient, [2 * t if i == k % 3 else 0.0 for i, t in enumerate(table)])
    assert recordings(program) == 1


@both_backends
def test_a_row_of_a_table_and_an_index_for_each_example(backend: str) -> None:
    rng = random.Random(0)
    table = [[Value(rng.uniform(-1, 1)) for _ in range(4)] for _ in range(5)]

    def f(x: Any, k: Any) -> Any:
        return sum(t * v for t, v in zip(micrograd.take(table, k), x, strict=True)).tanh()

    x, k = np.random.default_rng(0).normal(size=(7, 4)), np.array([0, 4, 4, -1, 2, 0, 3])
    program = micrograd.compile(f, batch=(0, 0), reduce="sum", backend=backend)
    value = program.backward(x, k)
    found = [p.grad for row in table for p in row]
    for p in (p for row in table for p in row):
        p.grad = 0.0
    total = sum(f(row, int(i)) for row, i in zip(x, k, strict=True))
    total.backward()
    close(value, total.data)
    close(found, [p.grad for row in table for p in row])


@both_backends
@pytest.mark.parametrize("k", [3, -4, 1_000_000])
def test_an_index_outside_its_table_is_an_error(backend: str, k: int) -> None:
    program = micrograd.compile(lambda table, k: micrograd.take(table, k), backend=backend)
    program([1.0, 2.0, 3.0], 0)
    with pytest.raises(IndexError, match=str(k)):
        program([1.0, 2.0, 3.0], k)
    batched = micrograd.compile(lambda table, k: micrograd.take(table, k), batch=(None, 0), backend=backend)
    with pytest.raises(IndexError, match=str(k)):
        batched([1.0, 2.0, 3.0], np.array([0, 1, k, 2]))
    close(batched([1.0, 2.0, 3.0], np.array([0, 1, -1, 2])), [1.0, 2.0, 3.0, 3.0])


@both_backends
def test_where_decides_anew_in_every_run(backend: str) -> None:
    program = micrograd.compile(lambda x: micrograd.where(x > 1.0, x**2, x.exp()), backend=backend)
    for x in (0.0, 2.0, -1.0, 1.0, math.inf, math.nan):
        close(program(x), x**2 if x > 1.0 else math.exp(x))
    assert recordings(program) == 1


@both_backends
@pytest.mark.parametrize("compare", ["<", "<=", ">", ">="])
def test_where_decides_each_example_and_ties_as_python_does(backend: str, compare: str) -> None:
    f = eval(f"lambda x, y: micrograd.where(x {compare} y, 2.0 * x, y / 4.0)", {"micrograd": micrograd})
    x = np.array([1.0, 2.0, 3.0, -0.0, math.nan, 1.0, 2.0, 3.0, 0.0])
    y = np.array([2.0, 2.0, 2.0, 0.0, 1.0, math.inf, -math.inf, math.nan, 1e-300])
    program = micrograd.compile(f, batch=(0, 0), backend=backend)
    close(program(x, y), [float(f(Value(a), Value(b))) for a, b in zip(x, y, strict=True)])


@both_backends
def test_a_nan_of_the_side_not_chosen_does_not_leak(backend: str) -> None:
    f = lambda x: micrograd.where(x > 0.0, x.log(), x * 2.0) + micrograd.where(x < 0.0, (-x) ** 0.5, x / x)  # noqa: E731
    program = micrograd.compile(f, batch=(0,), reduce="sum", backend=backend)
    x = np.array([-4.0, 3.0, -1.0, 0.5])
    value, gradient = program.value_and_grad(x)
    expected = [micrograd.value_and_grad(f)(v) for v in x]
    close(value, sum(v for v, _ in expected))
    np.testing.assert_allclose(gradient, [g for _, g in expected], rtol=1e-12, atol=1e-15)


@both_backends
def test_the_odd_points_have_the_derivatives_of_the_eager_engine(backend: str) -> None:
    f = lambda x, y: [  # noqa: E731
        x.relu(), x.abs(), x.maximum(y), x.minimum(y), x**0, x**2, x.sqrt(), x.clip(0.0, 1.0), x**y, x / y, x.sigmoid(),
        x.log(), x.softplus(), micrograd.logsumexp([x, y]), *micrograd.softmax([x, y]), x.hypot(y),
        x.atan2(y), x.gelu(), x.elu(),
    ]  # fmt: skip
    program = micrograd.compile(f, backend=backend)
    for x in (0.0, -0.0, 1.0, -1.0, 1000.0, -1000.0):
        for y in (0.0, 1.0, x):
            close(program(x, y), [float(r) for r in f(Value(x), Value(y))], (x, y))
            found, expected = program.jacobian(x, y, wrt=(0, 1)), micrograd.jacobian(f, (0, 1))(x, y)
            close(trees.flatten(found)[0], trees.flatten(expected)[0], (x, y))


# ------------------------------------------------------------------------------------------------------------ sources


def test_a_program_prints_its_equations_and_its_sources() -> None:
    w = [[Value(0.5, label="W"), Value(1.0, label="W")], [Value(-1.0, label="W"), Value(2.0, label="W")]]
    program = micrograd.compile(lambda x: sum(sum(a * b for a, b in zip(row, x, strict=True)).tanh() for row in w))
    program.backward([1.0, 2.0])
    equations = str(program)
    assert "tanh" in equations
    assert "W" in equations
    assert "x" in equations
    assert equations.index("forward") < equations.index("backward")
    compile(program.source, "source", "exec")  # Python
    assert "np." in program.source
    assert program.c_source.lstrip().startswith(("/*", "//"))  # a comment that says how to call it
    assert "#include" in program.c_source


def test_what_has_not_been_recorded_yet_still_prints() -> None:
    program = micrograd.compile(loss)
    assert "loss" in str(program) + repr(program)


def test_the_trace_variable_prints_every_stage(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MICROGRAD_TRACE", "1")
    micrograd.compile(loss, backend="numpy").value_and_grad(W, [1.0, 2.0], 1.0)
    captured = capfd.readouterr()
    printed = captured.out + captured.err
    for stage in ("trace", "simplify", "adjoint", "roll", "schedule"):
        assert stage in printed, printed[:300]


@both_backends
def test_integers_of_a_batch_may_be_numbers(backend: str) -> None:
    program = micrograd.compile(lambda x: x * 2.0, batch=0, backend=backend)
    np.testing.assert_array_equal(program([1, 2, 3]), [2.0, 4.0, 6.0])
    np.testing.assert_array_equal(program(np.array([4, 5])), [8.0, 10.0])
    assert program.stats.recordings == 1


@both_backends
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_a_condition_of_each_example_over_what_they_share(backend: str, reduce: str) -> None:
    def f(s: Any, x: Any) -> Any:
        return micrograd.where(x > 0, (s[0] * s[1]).tanh(), micrograd.where(x < -2, s[1].log(), 0.0) * x)

    x, s = np.array([1.0, -1.0, 2.0, -3.0]), [0.5, 1.25]
    value, found = micrograd.compile(f, batch=(None, 0), reduce=reduce, backend=backend).value_and_grad(s, x)
    eager = [micrograd.value_and_grad(f)(s, float(xi)) for xi in x]
    share = 1.0 if reduce == "sum" else 0.25
    np.testing.assert_allclose(value, share * sum(v for v, _ in eager), rtol=1e-12)
    np.testing.assert_allclose(found, share * np.sum([g for _, g in eager], axis=0), rtol=1e-12)


@both_backends
def test_a_result_that_all_examples_share_counts_once_for_each(backend: str) -> None:
    value, gradient = micrograd.compile(lambda x, s: s * s, batch=(0, None), backend=backend).value_and_grad(
        np.ones((7, 3)), 1.5, wrt=1
    )
    np.testing.assert_array_equal(value, np.full(7, 2.25))
    assert gradient == 21.0


def test_derivatives_within_a_compiled_function_are_refused() -> None:
    with pytest.raises(TypeError, match="within a compiled function"):
        micrograd.compile(lambda x: micrograd.grad(lambda y: y**3)(x), backend="numpy")(2.0)


@both_backends
def test_a_column_of_truths_is_a_column_of_numbers(backend: str) -> None:
    program = micrograd.compile(lambda x, y: x * y, batch=(0, 0), reduce="sum", backend=backend)
    assert program(np.array([1.0, 2.0, 4.0]), np.array([True, False, True])) == 5.0


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: micrograd.dot([x], [y], micrograd.maximum(x, y)),
        lambda x, y: micrograd.dot([micrograd.maximum(x, y)], [y], micrograd.minimum(x, 2.0 * y)),
        lambda x, y: micrograd.dot([x], [y], -micrograd.maximum(x, y)),
        lambda x, y: micrograd.dot([x, x], [y, y], micrograd.maximum(micrograd.maximum(x, y), x * y)),
        lambda x, y: micrograd.mean([micrograd.maximum(x, y), x, y]),
        lambda x, y: micrograd.mean([micrograd.maximum(x, y), micrograd.maximum(2.0 * x, y)]) * x,
        lambda x, y: micrograd.sum([micrograd.maximum(x, y), x]) - micrograd.maximum(x, y * y),
    ],
)
def test_a_maximum_in_a_sum_is_no_sum(function: Any) -> None:
    program = micrograd.compile(function, backend="numpy")
    for args in ((0.3, -0.7), (-0.7, 0.3), (0.5, 0.5)):
        value, gradients = program.value_and_grad(*args, wrt=(0, 1))
        leaves = [Value(x) for x in args]
        expected = function(*leaves)
        expected.backward()
        close(value, expected.data)
        close(gradients, [v.grad for v in leaves])
