"""gradcheck passes what is right, and catches a derivative that was planted wrong, at either order."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import pytest

import micrograd
from micrograd import MLP, Value, gradcheck, ops
from micrograd.check import GradcheckError


@pytest.mark.parametrize("name", list(ops.TABLE))
def test_every_operation_passes_at_both_orders(name: str) -> None:
    op, rng = ops.TABLE[name], random.Random(name)
    x = [rng.uniform(max(low, -5.0), min(high, 5.0)) for low, high in op.domain]
    assert gradcheck(lambda x: op(x) if op.arity is None else op(*x), (x,), order=2)


@pytest.mark.parametrize(
    ("f", "inputs"),
    [
        (lambda x: x.tanh(), 0.5),
        (lambda x: x[0] * x[1].exp(), [0.5, -1.0]),
        (lambda x, y: [x * y, {"sum": x + y}], (2.0, 3.0)),
        (lambda p: p["w"] * p["b"][0] ** 2, {"w": 2, "b": (3.0, None)}),
        (lambda x: x**2, Value(3.0)),
        (lambda name, x: getattr(x, name)(), ("tanh", 3.0)),
        (lambda x: micrograd.log(x), 1e-3),
        (lambda x: x * x, 1e8),
        (micrograd.log, 1e-5),
        (micrograd.log, 1e-6),
        (micrograd.log, 1e-8),
        (micrograd.log, 1e-100),
        (micrograd.sqrt, 1e-6),
        (micrograd.acos, 0.999999),
        (micrograd.acos, -0.999999),
        (lambda x: (x * 1e6).tanh(), 1e-6),
        (lambda x: (x * 1e6).tanh(), 0.0),
        (lambda x: micrograd.exp(-((1e6 * x) ** 2)), 1e-6),
        (lambda x: x + 5.0, 1e-20),
        (lambda x: x * 3.0, 5e-324),
        (micrograd.cos, 1e-9),
        (micrograd.cos, 0.0),
        (micrograd.sin, 1e8),
        (micrograd.relu, 1e-9),
        (lambda x, y: micrograd.log(x) + y.sqrt(), (1e-7, 1e7)),
        (lambda x: x * 1e-8 + 1e-3, 2.0),
        (lambda x: micrograd.sin(40 * x), 1.0),
        (lambda x: [5.0, x.detach()][:1], 1.0),
        (lambda model: (model([0.5, -1.0]) - 0.3) ** 2, MLP(2, [2, 1], activation="tanh", seed=1)),
    ],
)
def test_what_is_right_passes_at_both_orders(f: Any, inputs: Any) -> None:
    assert gradcheck(f, inputs, order=2) is True


def test_it_changes_no_grad_and_no_data() -> None:
    x, model = Value(2.0), MLP(1, [1])
    before = model.state_dict()
    gradcheck(lambda x, m: m([x]) ** 2, (x, model), order=2)
    assert (x.data, x.grad, model.state_dict()) == (2.0, 0.0, before)
    assert [p.grad for p in model.parameters()] == [0.0, 0.0]


# -------------------------------------------------------------------------------------------- planted wrong derivatives


@pytest.fixture
def planted() -> Iterator[None]:
    """Operations with a wrong rule, in the table for the time of one test."""

    @ops.op(symbol="wrong")
    def wrong_slope(xp: Any, a: Any) -> Any:
        return a * a, (2.5 * a,)

    @ops.op(symbol="wrong", domain=[(-2.0, 2.0)] * 2)
    def wrong_operand(xp: Any, a: Any, b: Any) -> Any:
        return a * b, (a, b)

    @ops.op(symbol="wrong")
    def wrong_curvature(xp: Any, a: Any) -> Any:
        return a * a, (xp.detach(2.0 * a),)  # the right number, but it forgets what it depends on

    yield
    for name in ("wrong_slope", "wrong_operand", "wrong_curvature"):
        del ops.TABLE[name]


@pytest.mark.usefixtures("planted")
def test_a_wrong_first_derivative_is_caught_with_expected_and_actual() -> None:
    with pytest.raises(GradcheckError) as caught:
        gradcheck(ops.TABLE["wrong_slope"], 3.0)
    message = str(caught.value)
    assert message.startswith("the derivative of result by inputs is wrong: expected 6.0")
    assert "by central differences, actual 7.5 by the rules, off by 1.5" in message
    assert isinstance(caught.value, AssertionError)


@pytest.mark.usefixtures("planted")
def test_the_worst_input_is_named_by_its_path() -> None:
    def f(x: Any, p: Any) -> Any:
        wrong = ops.TABLE["wrong_operand"]
        return {"right": x * p["w"], "wrong": [wrong(x, p["b"][0]) + 0.01 * wrong(x, p["w"])]}

    with pytest.raises(
        GradcheckError, match=r"^the derivative of result\['wrong'\]\[0\] by inputs\[1\]\['b'\]\[0\] is wrong"
    ):
        gradcheck(f, (1.0, {"w": 2.0, "b": [30.0]}))


@pytest.mark.usefixtures("planted")
def test_a_wrong_second_derivative_is_caught_at_order_two_only() -> None:
    f = ops.TABLE["wrong_curvature"]
    assert gradcheck(f, 3.0)
    with pytest.raises(GradcheckError, match=r"^the derivative of gradient\[0\] by inputs is wrong: .* actual 0\.0 by the"):
        gradcheck(f, 3.0, order=2)


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize("x", [1e-9, 1e-3, 0.1, -7.0, 1e4, 1e6])
def test_a_wrong_derivative_is_caught_at_every_magnitude(x: float) -> None:
    wrong = ops.TABLE["wrong_slope"]
    with pytest.raises(GradcheckError, match="is wrong: expected"):
        gradcheck(lambda v: wrong(v / x), x)
    with pytest.raises(GradcheckError, match="is wrong: expected"):
        gradcheck(lambda v: [(v / x).exp(), wrong(v / x) + 100.0], x)


@pytest.mark.usefixtures("planted")
def test_a_wrong_derivative_is_caught_near_the_edge_of_a_domain() -> None:
    wrong = ops.TABLE["wrong_slope"]
    for f, x in ((micrograd.log, 1e-6), (micrograd.sqrt, 1e-6), (micrograd.acos, 0.999999)):
        with pytest.raises(GradcheckError, match="is wrong: expected"):
            gradcheck(lambda v, f=f: wrong(f(v)), x)


@pytest.mark.usefixtures("planted")
def test_a_wrong_derivative_is_told_before_one_that_cannot_be_checked() -> None:
    with pytest.raises(GradcheckError, match=r"result\[1\] by inputs\[1\] is wrong"):
        gradcheck(lambda x, y: [x.sqrt(), ops.TABLE["wrong_slope"](y)], (0.0, 3.0))


@pytest.mark.usefixtures("planted")
def test_tolerances_can_be_wider() -> None:
    assert gradcheck(ops.TABLE["wrong_slope"], 3.0, rtol=0.3)
    assert gradcheck(ops.TABLE["wrong_slope"], 3.0, atol=2.0)


@pytest.mark.parametrize(
    ("f", "x"),
    [(micrograd.relu, 0.0), (lambda x: x * math.nan, 1.0), (micrograd.sqrt, 0.0), (lambda x: micrograd.log(-x), 1.0)],
)
def test_a_kink_or_a_nan_agrees_with_nothing(f: Any, x: float) -> None:
    with pytest.raises(GradcheckError):
        gradcheck(f, x)


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (micrograd.sqrt, 0.0),
        (micrograd.acos, 1.0),
        (lambda x: micrograd.log(-x), 1.0),
        (lambda x: x * math.inf, 1.0),
    ],
)
def test_differences_without_a_limit_accuse_no_rule(f: Any, x: float) -> None:
    message = r"the differences find no limit here \(near a kink or the edge of the domain\?\); the rules give "
    with pytest.raises(GradcheckError, match=rf"^the derivative of result by inputs cannot be checked: {message}"):
        gradcheck(f, x)


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gradcheck(micrograd.sin, 1.0, order=3), ValueError, "checks order 1 or 2, got order=3"),
        (lambda: gradcheck(lambda x: 1.0, []), ValueError, "at least one number in the inputs and one in the result"),
        (lambda: gradcheck(lambda x: [], 1.0), ValueError, "at least one number in the inputs and one in the result"),
        (lambda: gradcheck(lambda x: x, "a"), ValueError, "each a number, a Value, or a list, dict, array .* got str$"),
        (lambda: gradcheck(lambda x, y: x, [3.0, 2.0]), TypeError, r"missing .* 'y': .* a tuple, such as \(3\.0, 2\.0\)$"),
        (lambda: gradcheck(lambda x: x, (3.0, 2.0)), TypeError, "with 2 arguments: too many positional arguments$"),
        (lambda: gradcheck(lambda x: None, 1.0), TypeError, r"gradcheck\(\): the function gave None"),
        (lambda: gradcheck(micrograd.sin, {"x": 2j}), TypeError, r"inputs\['x'\]: expected a number, .* got complex"),
        (lambda: gradcheck(3.0, 1.0), TypeError, r"gradcheck\(\) takes a function, got float"),
    ],
)
def test_errors_say_what_was_expected(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
