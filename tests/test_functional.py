"""grad, jacobian, hessian and their products against PyTorch and mpmath, nested in every way, and their errors."""

from __future__ import annotations

import functools
import math
import random
import threading
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest
from conftest import oracle

import micrograd
from micrograd import (
    MLP,
    Module,
    Value,
    detect_anomaly,
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    ops,
    trees,
    value_and_grad,
    vjp,
)

Point = namedtuple("Point", "x y")


def close(actual: Any, expected: Any, rel: float = 1e-12) -> None:
    """Two trees of numbers have the same structure and agree."""
    found, structure = trees.flatten(actual)
    for a, e in zip(found, trees.match(structure, expected), strict=True):
        assert math.isclose(a, e, rel_tol=rel, abs_tol=rel), (actual, expected)


# ------------------------------------------------------------------------------------- every operation, against PyTorch


def theirs(name: str) -> Callable[[Any], Any]:
    """The operation of the table as PyTorch has it, on a tensor that holds all operands."""
    torch = oracle("torch")
    nn = torch.nn.functional
    binary = {name: getattr(torch, name) for name in ("add", "sub", "mul", "div", "pow", "hypot", "atan2")}
    binary |= {name: getattr(torch, name) for name in ("maximum", "minimum")}
    unary = {name: getattr(nn, name) for name in ("softplus", "leaky_relu", "elu", "gelu", "silu")}
    unary |= {"power": torch.square, "where": torch.clone, "take": torch.clone, "identity": torch.clone, "clip": torch.clone}
    many = {name: getattr(torch, name) for name in ("sum", "mean", "prod")}
    many |= {"dot": lambda x: x[-1] + x[:3] @ x[3:6], "logsumexp": lambda x: torch.logsumexp(x, 0)}
    many |= {"softmax": lambda x: torch.softmax(x, 0), "log_softmax": lambda x: torch.log_softmax(x, 0)}
    if name in binary:
        return lambda x: binary[name](x[0], x[1])
    if name in many:
        return many[name]
    return lambda x: unary.get(name, getattr(torch, name, None))(x[0])


def squashed(op: ops.Op, x: list[Any]) -> Any:
    """A function that is not linear in any operation, so that its second derivatives say something."""
    y = op(x) if op.arity is None else op(*x)
    return micrograd.sum([micrograd.tanh(0.2 * v) * x[0] for v in (y if op.vector else [y])])


@pytest.mark.parametrize("name", list(ops.TABLE))
def test_gradient_hessian_and_products_of_every_operation_agree_with_pytorch(name: str) -> None:
    torch = oracle("torch")
    op, rng = ops.TABLE[name], random.Random(name)
    x = [rng.uniform(max(low, -3.0), min(high, 3.0)) for low, high in op.domain]
    v = [rng.uniform(-1.0, 1.0) for _ in x]
    f = functools.partial(squashed, op)

    def g(t: Any) -> Any:
        return (torch.tanh(0.2 * theirs(name)(t)) * t[0]).sum()

    tx, tv = (torch.tensor(numbers, dtype=torch.float64) for numbers in (x, v))
    close(grad(f)(x), torch.func.grad(g)(tx).tolist())
    close(hessian(f)(x), torch.autograd.functional.hessian(g, tx).tolist(), rel=1e-11)
    close(hvp(f, (x,), (v,)), torch.autograd.functional.hvp(g, tx, tv)[1].tolist(), rel=1e-11)
    close(jvp(f, (x,), (v,))[1], torch.autograd.functional.jvp(g, tx, tv)[1].item())


def network(x: list[Any], m: Any) -> list[Any]:
    """A small function of two numbers with branches that meet again, in the mathematics of ``m``."""
    a = m.tanh(x[0] * x[1] + 0.5)
    b = m.exp(-x[0]) / (1.0 + x[1] ** 2) + a
    return [a * b, m.log(b * b + 1.0) - x[0], m.sqrt(a * a + x[1] ** 2)]


def test_jacobian_jvp_and_vjp_of_a_vector_function_agree_with_pytorch() -> None:
    torch = oracle("torch")
    x, v, u = [0.7, -1.2], [0.3, 2.0], [1.0, -0.5, 0.25]
    tx, tv, tu = (torch.tensor(numbers, dtype=torch.float64) for numbers in (x, v, u))

    def f(x: list[Any]) -> list[Any]:
        return network(x, micrograd)

    def g(t: Any) -> Any:
        return torch.stack(network(t, torch))

    close(jacobian(f)(x), torch.autograd.functional.jacobian(g, tx).tolist())
    value, tangent = jvp(f, (x,), (v,))
    close(value, g(tx).tolist())
    close(tangent, torch.autograd.functional.jvp(g, tx, tv)[1].tolist())
    value, pull = vjp(f, x)
    close(value, g(tx).tolist())
    close(pull(u)[0], torch.func.vjp(g, tx)[1](tu)[0].tolist())
    close(pull([0.0, 0.0, 0.0]), ([0.0, 0.0],))


def test_third_derivatives_agree_with_pytorch() -> None:
    torch = oracle("torch")
    f = lambda x: network(x, micrograd)[0]  # noqa: E731
    third = torch.func.jacrev(torch.func.jacrev(torch.func.grad(lambda t: network(t, torch)[0])))
    x = [0.7, -1.2]
    close(jacobian(hessian(f))(x), third(torch.tensor(x, dtype=torch.float64)).tolist(), rel=1e-11)


def test_the_hessian_of_a_small_mlp_agrees_with_pytorch() -> None:
    torch = oracle("torch")
    model = MLP(2, [3, 1], activation="tanh", seed=1)
    weights, x = [p.data for p in model.parameters()], [0.5, -1.0]
    _, structure = trees.flatten(model)

    def f(weights: list[Any]) -> Any:
        return (trees.unflatten(structure, weights)(x) - 0.3) ** 2

    def g(t: Any) -> Any:
        hidden, out = t[:9].reshape(3, 3), t[9:]
        h = torch.tanh(hidden[:, :2] @ torch.tensor(x, dtype=torch.float64) + hidden[:, 2])
        return (out[:3] @ h + out[3] - 0.3) ** 2

    t = torch.tensor(weights, dtype=torch.float64)
    close(grad(f)(weights), torch.func.grad(g)(t).tolist())
    close(hessian(f)(weights), torch.autograd.functional.hessian(g, t).tolist(), rel=1e-11)


# ---------------------------------------------------------------------------------------------------- higher orders


@pytest.mark.parametrize("x", [0.7, -1.3, 2.0])
@pytest.mark.parametrize(
    ("f", "derivatives"),
    [
        (lambda x: x**5, [lambda x: 5 * x**4, lambda x: 20 * x**3, lambda x: 60 * x**2, lambda x: 120 * x]),
        (micrograd.sin, [math.cos, lambda x: -math.sin(x), lambda x: -math.cos(x), math.sin]),
        (micrograd.exp, [math.exp] * 4),
    ],
)
def test_derivatives_up_to_the_fourth_are_those_of_the_textbook(f: Any, derivatives: Any, x: float) -> None:
    for expected in derivatives:
        f = grad(f)
        assert math.isclose(f(x), expected(x), rel_tol=1e-14)


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softplus", "silu", "gelu", "erf", "atan", "log", "sqrt"])
def test_derivatives_up_to_the_fourth_agree_with_mpmath(name: str) -> None:
    mp = oracle("mpmath")
    formulas = {
        "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
        "softplus": lambda x: mp.log(1 + mp.exp(x)),
        "silu": lambda x: x / (1 + mp.exp(-x)),
        "gelu": lambda x: x * mp.ncdf(x),
    }
    f = getattr(micrograd, name)
    with mp.workdps(60):
        for order in range(1, 5):
            f = grad(f)
            expected = float(mp.diff(formulas.get(name) or getattr(mp, name), mp.mpf(0.75), order))
            assert math.isclose(f(0.75), expected, rel_tol=1e-13)


@pytest.mark.parametrize(("name", "expected"), [("softplus", 0.25), ("silu", 0.5), ("gelu", math.sqrt(2 / math.pi))])
def test_second_derivatives_of_smooth_activations_at_zero(name: str, expected: float) -> None:
    assert math.isclose(grad(grad(getattr(micrograd, name)))(0.0), expected)


def test_third_derivative_of_the_sigmoid_at_zero() -> None:
    assert grad(grad(grad(micrograd.sigmoid)))(0.0) == -0.125


@pytest.mark.parametrize("x", [-2.0, 0.0])
def test_whole_powers_of_what_is_not_positive_have_all_derivatives(x: float) -> None:
    derivatives = [5 * x**4, 20 * x**3, 60 * x**2, 120 * x, 120.0, 0.0]
    f = lambda x: x**5  # noqa: E731
    for expected in derivatives:
        f = grad(f)
        assert f(x) == expected


# ---------------------------------------------------------------------------------------------------------- nesting


def test_an_argument_and_the_same_variable_outside_are_told_apart() -> None:
    assert grad(lambda x: x * grad(lambda y: x + y)(1.0))(1.0) == 1.0
    assert grad(lambda x: x * grad(lambda y: x + y)(x))(1.0) == 1.0
    assert grad(lambda x: grad(lambda y: x * y)(x))(3.0) == 1.0
    assert grad(lambda x: grad(lambda y: x * y * y)(x))(3.0) == 12.0
    assert jvp(lambda x: x * jvp(lambda y: x + y, (1.0,), (1.0,))[1], (1.0,), (1.0,)) == (1.0, 1.0)


D = grad
FORWARD: Any = lambda f: lambda x: jvp(f, (x,), (1.0,))[1]  # noqa: E731
PULLED: Any = lambda f: lambda x: vjp(f, x)[1](1.0)[0]  # noqa: E731
PRODUCT: Any = lambda f: lambda x: hvp(f, (x,), (1.0,))  # noqa: E731


@pytest.mark.parametrize("outer", [D, FORWARD, PULLED, jacobian])
@pytest.mark.parametrize("inner", [D, FORWARD, PULLED, jacobian])
def test_every_transformation_nests_in_every_other(inner: Any, outer: Any) -> None:
    x = 0.8
    assert math.isclose(outer(inner(micrograd.sin))(x), -math.sin(x), rel_tol=1e-15)
    assert math.isclose(outer(hessian(micrograd.sin))(x), -math.cos(x), rel_tol=1e-15)
    assert math.isclose(inner(PRODUCT(micrograd.sin))(x), -math.cos(x), rel_tol=1e-15)
    assert math.isclose(outer(outer(inner(inner(micrograd.sin))))(x), math.sin(x), rel_tol=1e-15)


def test_the_derivative_of_a_gradient_norm() -> None:
    def penalty(w: float, x: list[float]) -> Any:
        slopes = grad(lambda x: micrograd.tanh(w * x[0] * x[1]))(x)
        return slopes[0] ** 2 + slopes[1] ** 2

    def numeric(h: float) -> float:
        return (penalty(1.5 + h, [0.3, 0.4]) - penalty(1.5 - h, [0.3, 0.4])) / (2 * h)

    assert math.isclose(grad(penalty)(1.5, [0.3, 0.4]), numeric(1e-5), rel_tol=1e-8)


def test_values_in_give_values_out_through_which_backward_goes() -> None:
    x = Value(3.0)
    slope = grad(lambda y: y**3)(x)
    assert isinstance(slope, Value)
    assert slope.data == 27.0
    slope.backward()
    assert x.grad == 18.0


@pytest.mark.parametrize(
    "call",
    [
        lambda v: grad(lambda x, y: x * 2.0)(1.0, v),  # an argument that is not differentiated
        lambda v: grad(lambda x, y: x * 2.0)(1.0, y=v),
        lambda v: grad(lambda x, y: 1.0, 1)(1.0, [v])[0],
        lambda v: value_and_grad(lambda x: 1.0)(v)[0],
        lambda v: jacobian(lambda x: [x, 2.0])(v)[1],
        lambda v: jvp(lambda x: x, (1.0,), (v,))[1],
        lambda v: jvp(lambda x: 1.0, (v,), (1.0,))[0],
        lambda v: vjp(lambda x: x * 2.0, 1.0)[1](v)[0],
        lambda v: hvp(lambda x: x * 2.0, (v,), (1.0,)),
    ],
)
def test_a_value_among_the_arguments_makes_all_results_values(call: Any) -> None:
    assert isinstance(call(Value(1.0)), Value)


def test_numbers_in_give_floats_out_although_the_function_uses_values_of_its_own() -> None:
    w = Value(2.0)
    assert grad(lambda x: w * x)(3) == 2.0
    for number in (*value_and_grad(lambda x: w * x)(3), *jvp(lambda x: w * x, (3,), (1,)), hessian(lambda x: w * x * x)(3)):
        assert type(number) is float


def test_a_gradient_by_a_sum_is_a_value_too_when_nested() -> None:
    kinds = []

    def f(x: Value) -> Value:
        kinds.append(type(grad(lambda y: y + 1.0)(2.0)))
        return x

    grad(f)(1.0)
    assert kinds == [Value]


# ------------------------------------------------------------------------------------------------------- structures


@pytest.mark.parametrize(
    ("f", "args", "expected"),
    [
        (lambda x: x * x, (3,), 6.0),
        (lambda x: x[0] * x[1], ([3, 4.0],), [4.0, 3.0]),
        (lambda x: x[0] * x[1][0], ((3, (4.0,)),), (4.0, (3.0,))),
        (lambda p: p.x * p.y, (Point(3.0, 4.0),), Point(4.0, 3.0)),
        (lambda p: p["w"][0] * p["b"], ({"w": [3.0], "b": 4.0, "kind": None},), {"w": [4.0], "b": 3.0, "kind": None}),
        (lambda x: x[1] * 2, ([3.0, 4.0, 5.0],), [0.0, 2.0, 0.0]),
        (lambda x: 7.0, ([3.0],), [0.0]),
        (lambda x: Value(7.0) * 2, (3.0,), 0.0),
        (lambda x: x.detach() * x, (3.0,), 3.0),
        (lambda x, y: x * y, (3.0, 4.0), 4.0),
        (lambda x: x, (3.0,), 1.0),
    ],
)
def test_a_gradient_has_the_structure_of_its_argument(f: Any, args: Any, expected: Any) -> None:
    actual = grad(f)(*args)
    assert actual == expected
    assert type(actual) is type(expected)


@pytest.mark.parametrize(
    ("wrt", "expected"),
    [(0, 4.0), (1, [3.0]), (-1, [3.0]), ((0, 1), (4.0, [3.0])), ((1, 0), ([3.0], 4.0)), ((-2,), (4.0,)), ((), ())],
)
def test_wrt_chooses_the_arguments(wrt: Any, expected: Any) -> None:
    f = lambda x, y: x * y[0]  # noqa: E731
    assert grad(f, wrt)(3.0, [4.0]) == expected
    assert value_and_grad(f, wrt=wrt)(3.0, [4.0]) == (12.0, expected)
    assert jacobian(f, wrt)(3.0, [4.0]) == expected


def test_arguments_that_are_not_differentiated_may_be_anything() -> None:
    thing = object()
    assert grad(lambda x, a, b: x * 2.0 if a is thing else b)(1.0, thing, b={1, 2}) == 2.0


def test_jacobian_and_hessian_nest_the_argument_in_the_result() -> None:
    f = lambda p: {"sum": p["a"] + p["b"][0], "product": [p["a"] * p["b"][0]]}  # noqa: E731
    assert jacobian(f)({"a": 2.0, "b": (3.0,)}) == {
        "sum": {"a": 1.0, "b": (1.0,)},
        "product": [{"a": 3.0, "b": (2.0,)}],
    }
    assert hessian(lambda x, y: x * x * y[0], wrt=(0, 1))(2.0, [3.0]) == ((6.0, [4.0]), [(4.0, [0.0])])


def test_products_keep_the_structure_of_every_argument() -> None:
    f = lambda x, p: x * p["w"] * p["w"]  # noqa: E731
    assert jvp(f, (2.0, {"w": 3.0}), (1.0, {"w": 10.0})) == (18.0, 129.0)
    assert vjp(f, 2.0, {"w": 3.0})[1](2.0) == (18.0, {"w": 24.0})
    assert hvp(f, (2.0, {"w": 3.0}), (1.0, {"w": 10.0})) == (60.0, {"w": 46.0})
    assert hvp(lambda x: x[0] * x[0], ([2.0],), ([1.0],)) == [2.0]
    assert jvp(lambda x: {"y": x, "c": 5, "name": "n"}, (2.0,), (3.0,)) == (
        {"y": 2.0, "c": 5.0, "name": "n"},
        {"y": 3.0, "c": 0.0, "name": "n"},
    )


def test_one_number_in_two_places_of_a_list_has_two_partial_derivatives() -> None:
    x = Value(2.0)
    assert [d.data for d in grad(lambda v: v[0] * 3.0 + v[1])([x, x])] == [3.0, 1.0]


def test_a_result_that_is_given_twice_counts_twice() -> None:
    assert vjp(lambda x: [x, x], 2.0)[1]([1.0, 10.0]) == (11.0,)

    def twice(x: Value) -> list[Value]:
        y = x * x
        return [y, y * 2.0, y]

    assert vjp(twice, 3.0)[1]([1.0, 10.0, 100.0]) == (6.0 * 121.0,)
    assert jacobian(twice)(3.0) == [6.0, 12.0, 6.0]


def test_arrays_in_give_arrays_out_of_the_result_shape_and_the_argument_shape() -> None:
    np = oracle("numpy")
    matrix = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    x = np.array([1, 2, 3])
    assert np.array_equal(grad(lambda x: np.dot(x, x))(x), [2.0, 4.0, 6.0])
    assert np.array_equal(jacobian(lambda x: matrix @ x)(x), matrix)
    assert np.array_equal(hessian(lambda x: x @ matrix.T @ matrix @ x)(x), 2 * matrix.T @ matrix)
    assert jacobian(lambda x: matrix.T @ x)(matrix[:, :2]).shape == (3, 2, 2, 2)
    value, tangent = jvp(lambda x: np.tanh(x), (x,), (np.ones(3),))
    assert value.dtype == tangent.dtype == float
    assert np.allclose(tangent, 1 - np.tanh(x) ** 2, rtol=1e-15)
    assert np.array_equal(hvp(lambda x: (x**3).sum(), (x,), (np.ones(3),)), 6.0 * x)
    assert grad(lambda x: x * x)(np.float64(3.0)) == 6.0


# ---------------------------------------------------------------------------------------------------------- modules


def loss(model: Any) -> Any:
    return (model([0.5, -1.0]) - 0.3) ** 2 + 0.1 * micrograd.sum([p * p for p in model.parameters()])


def test_the_gradient_by_a_module_is_a_module_of_derivatives() -> None:
    model = MLP(2, [3, 1], activation="tanh", seed=1)
    value, slopes = value_and_grad(loss)(model)
    assert type(slopes) is MLP
    assert [p.grad for p in model.parameters()] == [0.0] * 13
    expected = loss(model)
    expected.backward()
    assert type(value) is float
    assert value == expected.data
    assert list(slopes.state_dict()) == list(model.state_dict())
    close([d.data for d in slopes.parameters()], [p.grad for p in model.parameters()])


def test_products_with_modules_take_and_give_modules() -> None:
    model, direction = MLP(2, [3, 1], activation="tanh", seed=1), MLP(2, [3, 1], seed=2)
    slopes = [d.data for d in grad(loss)(model).parameters()]
    tangent = [p.data for p in direction.parameters()]
    along = sum(a * b for a, b in zip(slopes, tangent, strict=True))
    assert math.isclose(jvp(loss, (model,), (direction,))[1], along, rel_tol=1e-13)
    assert [d.data for d in vjp(loss, model)[1](1.0)[0].parameters()] == slopes

    def shifted(step: float) -> list[float]:
        data = [p.data + step * t for p, t in zip(model.parameters(), tangent, strict=True)]
        moved = trees.unflatten(trees.flatten(model)[1], data)
        return [d.data for d in grad(loss)(moved).parameters()]

    product = [d.data for d in hvp(loss, (model,), (direction,)).parameters()]
    numeric = [(a - b) / 2e-5 for a, b in zip(shifted(1e-5), shifted(-1e-5), strict=True)]
    close(product, numeric, rel=1e-8)


class Tied(Module):
    def __init__(self) -> None:
        self.first = Value(2.0)
        self.second = self.first


def test_tied_weights_have_one_derivative_the_sum() -> None:
    slopes = grad(lambda m: m.first * 3.0 + m.second)(Tied())
    assert slopes.first is slopes.second
    assert [d.data for d in slopes.parameters()] == [4.0]


def test_one_module_as_two_arguments_has_two_gradients() -> None:
    model = Tied()
    first, second = grad(lambda a, b: a.first * b.first * b.first, wrt=(0, 1))(model, model)
    assert (first.first.data, second.first.data) == (4.0, 8.0)


# ------------------------------------------------------------------------------------------------------ odd numbers


def test_a_nan_stays_a_nan() -> None:
    assert math.isnan(grad(lambda x: x * math.nan)(1.0))
    assert math.isnan(grad(lambda x: 0.0 * micrograd.sqrt(x))(0.0))
    assert math.isnan(grad(grad(lambda x: 0.0 * x**1.5))(0.0))
    assert math.isnan(jvp(lambda x: x * math.nan, (1.0,), (1.0,))[1])
    assert math.isnan(grad(lambda x: x * 2.0)(math.nan)) is False


@pytest.mark.parametrize("order", [grad, hessian, lambda f: grad(grad(grad(f)))])
def test_a_nan_on_the_side_that_was_not_chosen_does_not_leak(order: Any) -> None:
    safe = lambda x: micrograd.where(x > 0, micrograd.log(x), x**3)  # noqa: E731
    assert order(safe)(-1.0) == order(lambda x: x**3)(-1.0)


def test_take_sends_derivatives_to_the_entry_that_was_taken() -> None:
    f = lambda table: micrograd.take(table, 1) ** 2  # noqa: E731
    assert grad(f)([2.0, 3.0]) == [0.0, 6.0]
    assert hessian(f)([2.0, 3.0]) == [[0.0, 0.0], [0.0, 2.0]]


def test_detach_stops_every_order() -> None:
    assert grad(grad(lambda x: x * x * micrograd.detach(x)))(3.0) == 6.0


def test_cross_entropy_is_softmax_minus_onehot_and_its_hessian_too() -> None:
    a = [0.3, -1.0, 2.0]
    p = micrograd.softmax(a)
    f = lambda a: -micrograd.log_softmax(a)[1]  # noqa: E731
    close(grad(f)(a), [p[0], p[1] - 1.0, p[2]])
    close(hessian(f)(a), [[p[i] * ((i == j) - p[j]) for j in range(3)] for i in range(3)])
    close(jacobian(micrograd.softmax)(a), [[p[i] * ((i == j) - p[j]) for j in range(3)] for i in range(3)])


# ------------------------------------------------------------------------------------------- what is left untouched


def test_no_transformation_touches_a_grad() -> None:
    w = Value(2.0)
    (w * 5.0).backward()
    x = Value(3.0)
    nodes = []

    def f(x: Value) -> Value:
        y = w * x * x
        nodes.append(y)
        return y

    for call in (grad(f), jacobian(f), hessian(f), value_and_grad(f), grad(grad(f))):
        call(3.0)
        call(x)
    jvp(f, (x,), (1.0,))
    vjp(f, x)[1](1.0)
    hvp(f, (x,), (1.0,))
    assert (w.grad, x.grad) == (5.0, 0.0)
    assert not x.has_grad
    assert not any(node.has_grad for node in nodes)


def test_backward_within_a_function_does_not_disturb_its_gradient() -> None:
    def f(x: Value) -> Value:
        y = x**3
        y.backward()
        return y

    assert grad(f)(2.0) == 12.0


def test_an_error_in_the_function_leaves_nothing_behind() -> None:
    def f(x: Value) -> Value:
        raise RuntimeError("from f")

    with pytest.raises(RuntimeError, match="from f"):
        grad(f)(1.0)
    assert type(grad(lambda x: x * x)(1.0)) is float


def test_threads_differentiate_on_their_own() -> None:
    kinds = []

    def f(x: Value) -> Value:
        thread = threading.Thread(target=lambda: kinds.append(type(grad(lambda y: y * y)(1.0))))
        thread.start()
        thread.join()
        return x

    grad(f)(1.0)
    assert kinds == [float]


def test_a_chain_of_5000_operations_has_first_and_second_derivatives() -> None:
    def f(x: Value) -> Value:
        y = x
        for _ in range(5_000):
            y = y * 1.00001
        return y * x

    assert math.isclose(grad(f)(2.0), 2 * 2.0 * 1.00001**5_000, rel_tol=1e-9)
    assert math.isclose(hvp(f, (2.0,), (1.0,)), 2 * 1.00001**5_000, rel_tol=1e-9)


def test_higher_derivatives_work_while_anomalies_are_looked_for() -> None:
    with micrograd.detect_anomaly():
        assert grad(grad(grad(lambda x: x**4)))(-3.0) == -72.0


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: grad(3.0), TypeError, r"grad\(\) takes a function, got float: write grad\(f\)\(x\)"),
        (lambda: hessian(3.0), TypeError, r"hessian\(\) takes a function, got float"),
        (lambda: jacobian(3.0), TypeError, r"jacobian\(\) takes a function, got float"),
        (lambda: grad(abs, "x"), TypeError, r"wrt must be the position of an argument or a tuple .* got 'x'"),
        (lambda: grad(abs, [0]), TypeError, r"got \[0\]"),
        (lambda: jacobian(abs, True), TypeError, r"jacobian\(\): wrt must be .* got True"),
        (lambda: grad(abs, 1)(2.0), ValueError, r"wrt=1 names a positional argument that is not there: .* called with 1"),
        (lambda: grad(abs, (0, -2))(2.0), ValueError, r"wrt=\(0, -2\) names"),
        (lambda: grad(lambda x: [x, x])(1.0), TypeError, r"gives one number, got list: use jacobian\(\)"),
        (lambda: value_and_grad(lambda x: (x,))(1.0), TypeError, r"value_and_grad\(\) needs .* got tuple"),
        (lambda: hessian(lambda x: [x])(1.0), TypeError, r"hessian\(\) needs a function that gives one number, got list"),
        (lambda: hvp(lambda x: [x], (1.0,), (1.0,)), TypeError, r"hvp\(\) needs a function that gives one number"),
        (lambda: grad(lambda x: "text")(1.0), TypeError, r"gives one number, got str"),
        (lambda: grad(lambda x: None)(1.0), TypeError, r"grad\(\): the function gave None: does it lack a return"),
        (lambda: jacobian(lambda x: None)(1.0), TypeError, r"jacobian\(\): the function gave None"),
        (lambda: jacobian(lambda x: [x, 2j])(1.0), TypeError, r"result\[1\]: expected a number, .* got complex"),
        (lambda: grad(abs)("3"), TypeError, r"grad\(\): argument 0 is a str, which has no derivative"),
        (lambda: grad(abs, wrt=-1)(None), TypeError, r"argument 0 is a NoneType"),
        (lambda: grad(abs)({"w": [1.0, 2j]}), TypeError, r"arguments\[0\]\['w'\]\[1\]: expected a number"),
        (lambda: jvp(abs, 1.0, 1.0), TypeError, r"jvp\(\): primals must be a tuple .* got float: write \(x,\)"),
        (lambda: jvp(abs, (1.0,), [1.0]), TypeError, r"jvp\(\): tangents must be a tuple"),
        (lambda: hvp(abs, [1.0], (1.0,)), TypeError, r"hvp\(\): primals must be a tuple"),
        (lambda: hvp(abs, (1.0,), 1.0), TypeError, r"hvp\(\): tangents must be a tuple"),
        (lambda: jvp(abs, (1.0,), ()), TypeError, r"tangents must have the structure .* nothing at tangents\[0\]"),
        (lambda: jvp(abs, ([1.0],), ([1.0, 2.0],)), TypeError, r"something unexpected at tangents\[0\]\[1\]"),
        (lambda: jvp(abs, (1.0,), ("1",)), TypeError, r"tangents\[0\]: expected a number, .* got str"),
        (lambda: vjp(abs, 1.0)[1]([1.0]), TypeError, r"cotangent must have the structure of what it belongs to"),
        (lambda: vjp(3.0, 1.0), TypeError, r"vjp\(\) takes a function, got float"),
        (lambda: jvp(3.0, (1.0,), (1.0,)), TypeError, r"jvp\(\) takes a function, got float"),
        (lambda: hvp(3.0, (1.0,), (1.0,)), TypeError, r"hvp\(\) takes a function, got float"),
    ],
)
def test_errors_say_what_was_expected(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("transformation", [grad, hessian])
@pytest.mark.parametrize("parents", [1, 2])
def test_a_node_built_by_hand_with_an_unknown_operation_is_refused(transformation: Any, parents: int) -> None:
    with pytest.raises(ValueError, match="node built by hand"):
        transformation(lambda x: Value(4.0, [x] * parents, "mine"))(2.0)


@pytest.mark.parametrize(
    "f", [math.sin, lambda x: float(x) ** 2, lambda x: x * math.sin(x)], ids=["sin", "float", "product"]
)
def test_a_function_that_drops_the_history_is_refused_rather_than_given_a_wrong_derivative(f: Any) -> None:
    for transformed in (grad(f), jacobian(f), lambda x: jvp(f, (x,), (1.0,))):
        with pytest.raises(TypeError, match=r"float\(v\) drops the history .* write micrograd.sin\(v\) for math.sin\(v\)"):
            transformed(2.0)
    assert math.sin(Value(2.0)) == math.sin(2.0)


def test_a_rule_that_drops_the_history_is_refused_in_the_second_derivative() -> None:
    def by_math(xp: Any, a: Any) -> Any:
        return (math.sin(a), (math.cos(a),))

    sine = ops.op()(by_math)
    try:
        assert grad(sine)(2.0) == math.cos(2.0)
        with pytest.raises(TypeError, match=r"xp.sin\(a\) in the rule of an operation"):
            grad(grad(sine))(2.0)
    finally:
        del ops.TABLE["by_math"]


def test_anomalies_are_detected_in_the_gradient_of_a_function() -> None:
    assert grad(lambda x: x.sqrt())(0.0) == math.inf
    with detect_anomaly(), pytest.raises(FloatingPointError, match=r"backward through sqrt\(0.0\): .* local derivative inf"):
        grad(lambda x: x.sqrt())(0.0)
