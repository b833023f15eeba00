"""Finding the operation that made a number non-finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import micrograd
from micrograd import Value, detect_anomaly, engine, ops


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda: Value(0.0).log(), "log(0.0) gave -inf"),
        (lambda: Value(-1.0).sqrt(), "sqrt(-1.0) gave nan"),
        (lambda: Value(1.0) / 0, "div(1.0, 0.0) gave inf"),
        (lambda: 1 / Value(0.0), "div(1.0, 0.0) gave inf"),
        (lambda: Value(1e308) * 10, "mul(1e+308, 10.0) gave inf"),
        (lambda: Value(1e308) + Value(1e308), "add(1e+308, 1e+308) gave inf"),
        (lambda: Value(-2.0) ** 0.5, "power(-2.0) gave nan"),
        (lambda: micrograd.exp(Value(1000.0)), "exp(1000.0) gave inf"),
        (lambda: ops.sum([Value(1e308), 1e308, 0.0]), "sum(1e+308, 1e+308, 0.0) gave inf"),
        (lambda: micrograd.dot([Value(1e200)], [1e200]), "dot(1e+200, 1e+200, 0.0) gave inf"),
        (lambda: ops.softmax([Value(math.inf), 0.0]), "softmax(inf, 0.0) gave nan"),
    ],
)
def test_the_first_value_that_is_not_finite_raises_with_operation_and_operands(
    compute: Callable[[], Any], message: str
) -> None:
    with pytest.raises(FloatingPointError) as error, detect_anomaly():
        compute()
    assert str(error.value).startswith(f"{message}, recorded at {__file__}:")


def test_the_line_of_the_user_is_named() -> None:
    def program(x: Value) -> Value:
        y = x + 1
        return y * x.log()

    with pytest.raises(FloatingPointError) as error, detect_anomaly():
        program(Value(0.0))
    line = program.__code__.co_firstlineno + 2
    assert str(error.value) == f"log(0.0) gave -inf, recorded at {__file__}:{line}"


def test_the_line_named_is_outside_of_the_package_for_modules_too() -> None:
    model = micrograd.MLP(1, [1])
    model.parameters()[0].data = math.inf
    with pytest.raises(FloatingPointError, match=rf"^dot\(inf, .*recorded at {__file__}:"), detect_anomaly():
        model([1.0])


def test_the_first_gradient_that_is_not_finite_raises_at_backward() -> None:
    x = Value(0.0)
    with pytest.raises(FloatingPointError) as error, detect_anomaly():
        (x.sqrt() * 3).backward()
    assert str(error.value).startswith(
        "backward through sqrt(0.0): gradient 3.0 times local derivative inf made the gradient of an operand inf, "
        f"recorded at {__file__}:"
    )


def test_a_product_of_zero_and_infinity_is_found_in_backward() -> None:
    x = Value(0.0)
    message = r"^backward through sqrt\(0\.0\): gradient 0\.0 times local derivative inf"
    with pytest.raises(FloatingPointError, match=message), detect_anomaly():
        (x.sqrt() * 0).backward()


def test_nodes_recorded_before_the_block_are_checked_but_their_lines_are_not_known() -> None:
    root = Value(0.0).sqrt() * 2
    with pytest.raises(FloatingPointError, match=r"recorded at a line before detect_anomaly began$"), detect_anomaly():
        root.backward()


def test_finite_graphs_pass_and_give_the_same_results() -> None:
    x, y = Value(2.0), Value(2.0)
    with detect_anomaly():
        (x.tanh() * x + ops.softmax([x, 1.0])[0]).backward()
    (y.tanh() * y + ops.softmax([y, 1.0])[0]).backward()
    assert x.grad == y.grad


def test_constants_and_inputs_that_are_not_finite_may_exist() -> None:
    with detect_anomaly():
        Value(math.inf)
        assert micrograd.where(True, Value(1.0), math.nan).data == 1.0


def test_outside_of_the_block_nothing_is_watched_even_after_an_error() -> None:
    with pytest.raises(FloatingPointError), detect_anomaly():
        Value(0.0).log()
    assert engine._watch is None
    assert Value(0.0).log().data == -math.inf


def test_blocks_nest_and_the_outer_one_goes_on_watching() -> None:
    outer, inner = detect_anomaly(), detect_anomaly()
    with outer:
        with inner:
            Value(1.0).log()
        with pytest.raises(FloatingPointError):
            Value(0.0).log()
    assert engine._watch is None


def test_the_block_keeps_no_nodes_alive_when_it_is_done() -> None:
    watch = detect_anomaly()
    with watch:
        Value(1.0).tanh()
        assert len(watch._lines) == 1
    assert not watch._lines
