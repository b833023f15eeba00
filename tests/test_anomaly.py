"""Finding the operation that made a number non-finite."""

from __future__ import annotations

import math
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import run_fresh

import micrograd
from micrograd import Value, anomaly, detect_anomaly, engine, ops


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


def test_the_first_bad_gradient_in_the_order_of_the_pass_is_named() -> None:
    x = Value(0.0)
    with detect_anomaly(), pytest.raises(FloatingPointError, match=r"^backward through hypot\(0.0, 0.0\)"):
        x.sqrt().hypot(0.0).backward()  # both have a bad derivative, and the pass meets hypot first


def test_a_block_is_of_its_own_thread_and_blocks_may_end_in_any_order() -> None:
    run_fresh("""
import threading
from micrograd import Value, detect_anomaly, engine
opened, closed = threading.Barrier(2), threading.Barrier(2)
def other():
    with detect_anomaly():
        opened.wait()
        closed.wait()
thread = threading.Thread(target=other)
thread.start()
opened.wait()
Value(0.0).log()  # the block is another thread's
with detect_anomaly():
    closed.wait()
    thread.join()
    try:
        Value(0.0).log()
    except FloatingPointError:
        print("found")
assert engine._watch is None
""")


def test_a_loop_in_one_block_does_not_keep_its_graphs() -> None:
    w = Value(1.0)
    with detect_anomaly() as _:
        for _step in range(50):
            (w * 2.0).tanh().backward()
        (block,) = anomaly._blocks.values()
        assert len(block._lines) == 0


def test_a_folder_whose_name_starts_like_the_package_is_the_users(tmp_path: Path) -> None:
    program = tmp_path / "micrograd_lab.py"
    program.write_text("from micrograd import Value, detect_anomaly\nwith detect_anomaly():\n    Value(0.0).log()\n")
    package = Path(anomaly.__file__).parent
    assert not str(package.parent / "micrograd_lab.py").startswith(anomaly._PACKAGE)
    with pytest.raises(FloatingPointError, match=r"micrograd_lab.py:3$"):
        runpy.run_path(str(program))
