"""What a function may not do while it is recorded: each is an error that names the user's line and what to write instead."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import micrograd
from micrograd import Value

FORBIDDEN: list[tuple[Callable[[Any, Any], Any], str]] = [
    (lambda x, y: x if x > y else y, "where|maximum"),
    (lambda x, y: x if x <= 0.5 else y, "where|maximum"),
    (lambda x, y: x if 0.5 < x else y, "where|maximum"),  # noqa: SIM300
    (lambda x, y: x if 0.0 < x < y else y, "where"),
    (lambda x, y: x if x > 0.5 and y > 0.5 else y, "where"),
    (lambda x, y: x if not x < y else y, "where"),
    (lambda x, y: x if x else y, "where"),
    (lambda x, y: x or y, "where"),
    (lambda x, y: x if x == 2.0 else y, "where"),
    (lambda x, y: x if x != 2 else y, "where"),
    (lambda x, y: x if y in (1.0, 2.0) else y, "where"),
    (lambda x, y: max(x, y), "maximum"),
    (lambda x, y: min(x, 1.0), "minimum"),
    (lambda x, y: sorted([x, y])[0], "where|maximum"),
    (lambda x, y: max([x, y, 0.5]), "maximum"),
    (lambda x, y: np.maximum(x, y), "micrograd.maximum"),
    (lambda x, y: np.max(np.array([x, y])), "micrograd.maximum"),
    (lambda x, y: np.array([x, y]).min(), "micrograd.maximum"),
    (lambda x, y: np.sort(np.array([x, y]))[0], "micrograd.maximum"),
    (lambda x, y: np.clip(np.array([x, y]), 0.0, 1.0)[0], "clip"),
    (lambda x, y: np.where(np.array([x, y]) > 0.0, x, y)[0], "micrograd.where"),
    (lambda x, y: x * bool(y), "where"),
    (lambda x, y: x * (x > y), "where"),
    (lambda x, y: x * float(x > y), "where"),
    (lambda x, y: x * y.data, "detach"),
    (lambda x, y: x * float(y), "detach"),
    (lambda x, y: x * int(y), "take|detach"),
    (lambda x, y: x * round(y), "detach"),
    (lambda x, y: x * round(y, 2), "detach"),
    (lambda x, y: x * math.sin(y), "micrograd.sin"),
    (lambda x, y: x * math.exp(y), "micrograd"),
    (lambda x, y: x * math.floor(y), "detach"),
    (lambda x, y: [x, y, x][y], "take"),
    (lambda x, y: sum(x for _ in range(int(y))), "take|int"),
    (lambda x, y: x * len(f"{y:.3f}"), "detach|return"),
    (lambda x, y: x * np.array([y], dtype=float)[0], "micrograd|detach"),
    (lambda x, y: (x * y).backward(), "value_and_grad|program.backward"),
    (lambda x, y: x * y.grad, "value_and_grad"),
]


def this_line(function: Any) -> str:
    return f"{Path(__file__).name}.*{function.__code__.co_firstlineno}"


@pytest.mark.parametrize(("function", "instead"), FORBIDDEN, ids=[f"line {f.__code__.co_firstlineno}" for f, _ in FORBIDDEN])
def test_what_would_freeze_a_number_names_the_line_and_what_to_write(function: Any, instead: str) -> None:
    with pytest.raises(TypeError, match=this_line(function)) as caught:
        micrograd.compile(function, backend="numpy")(2.0, 1.0)
    assert any(word in str(caught.value) for word in instead.split("|")), str(caught.value)


@pytest.mark.parametrize("call", ["value_and_grad", "jacobian", "backward"])
def test_every_way_to_run_a_program_refuses_it(call: str) -> None:
    function = lambda x, y: x if x > y else y  # noqa: E731
    with pytest.raises(TypeError, match=this_line(function)):
        getattr(micrograd.compile(function, backend="numpy"), call)(2.0, 1.0)


def test_the_line_is_that_of_the_inner_function_which_did_it() -> None:
    def inner(x: Any) -> Any:
        y = x * 2.0
        return y if y > 1.0 else x

    with pytest.raises(TypeError, match=f"{Path(__file__).name}.*{inner.__code__.co_firstlineno + 2}"):
        micrograd.compile(lambda x: inner(x) + 1.0, backend="numpy")(2.0)


def test_the_line_is_the_users_where_a_module_of_the_library_did_it() -> None:
    model = micrograd.MLP(1, [2, 1], activation=lambda v: v if v > 0 else v * 0.1)
    with pytest.raises(TypeError, match=Path(__file__).name):
        micrograd.compile(lambda x: model([x]), backend="numpy")(2.0)


def test_a_refused_recording_leaves_nothing_behind() -> None:
    w = Value(3.0)
    wrong = micrograd.compile(lambda x, flag: w * x if flag or x > 0 else x, backend="numpy")
    with pytest.raises(TypeError):
        wrong(2.0, False)
    assert wrong(2.0, True) == 6.0
    assert (w * 2.0).data == 6.0


def test_equality_of_values_stays_identity() -> None:
    program = micrograd.compile(lambda x, y: [float(x == y), float(x == x), float(x in [y, x]), x + y])
    assert program(2.0, 2.0) == [0.0, 1.0, 1.0, 4.0]
    assert micrograd.compile(lambda x, y: x * len({x, y, x}))(2.0, 2.0) == 4.0


def test_what_is_written_instead_works() -> None:
    @micrograd.compile(backend="numpy")
    def program(x: Any, y: Any) -> Any:
        larger = micrograd.where(x > y, x, y)
        both = micrograd.where((x > 0.5) & (y > 0.5), 1.0, 0.0)
        either = micrograd.where((x > 5.0) | ~(y > 5.0), 1.0, 0.0)
        return [larger, x.maximum(y), both, either, x * micrograd.detach(y), micrograd.sin(x), +x, abs(x), f"{x}" and y]

    assert program(2.0, 1.0) == [2.0, 2.0, 1.0, 1.0, 2.0, math.sin(2.0), 2.0, 2.0, 1.0]


def test_plain_numbers_branch_as_they_like() -> None:
    scale = 3.0
    program = micrograd.compile(lambda x: x * scale if scale > 2.0 and max(scale, 1.0) == 3.0 else x, backend="numpy")
    assert program(2.0) == 6.0


def test_a_captured_value_is_traced_too() -> None:
    """Its number is read anew in every run, so a branch on it would be frozen as well."""
    w = Value(3.0)
    function = lambda x: x * w if w > 2.0 else x  # noqa: E731
    program = micrograd.compile(function, backend="numpy")
    try:
        assert program(2.0) == 6.0
    except TypeError:
        return
    w.data = 1.0
    assert program(2.0) == 2.0  # recorded again, or an error, but never stale


def test_a_traced_value_kept_outside_the_function_is_refused() -> None:
    kept: list[Any] = []
    micrograd.compile(lambda x: kept.append(x) or x * 2.0, backend="numpy")(1.0)
    with pytest.raises(TypeError, match=r"traced|recording"):
        kept[0] + Value(1.0) > 2.0 or float(kept[0])
    with pytest.raises(TypeError, match=r"outside|another recording"):
        micrograd.compile(lambda x: x * kept[0], backend="numpy")(1.0)


def test_a_function_that_gives_none_is_told_so() -> None:
    def forgetful(x: Any) -> None:
        x * 2.0

    with pytest.raises(TypeError, match="return"):
        micrograd.compile(forgetful, backend="numpy")(1.0)


def test_a_result_that_is_no_number_is_named() -> None:
    with pytest.raises(TypeError, match="object"):
        micrograd.compile(lambda x: [x, object()], backend="numpy")(1.0)


def test_the_users_own_errors_come_through_untouched() -> None:
    def careful(x: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        micrograd.compile(careful, backend="numpy")(1.0)


def test_a_script_names_its_own_file(tmp_path: Path) -> None:
    script = tmp_path / "model.py"
    script.write_text(
        "import micrograd\n\n\ndef f(x):\n    if x > 0:\n        return x\n    return -x\n\n\nmicrograd.compile(f)(1.0)\n"
    )
    root = str(Path(micrograd.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, str(script)], env={"PYTHONPATH": root, "PATH": ""}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert re.search(r"model\.py\D*5\b", last), last
    assert "where" in last


def test_integers_of_a_batch_that_pick_and_are_numbers_too_are_to_be_passed_twice() -> None:
    table, picks = [1.0, 2.0], np.array([0, 1, 1])
    with pytest.raises(TypeError, match=r"test_while_traced\.py.*pass them twice, as ints to pick with and as floats"):
        micrograd.compile(lambda t, i: micrograd.take(t, i) * i, batch=(None, 0), backend="numpy")(table, picks)
    program = micrograd.compile(lambda t, i, n: micrograd.take(t, i) * n, batch=(None, 0, 0), backend="numpy")
    assert program(table, picks, picks.astype(float)).tolist() == [0.0, 2.0, 2.0]


def test_an_operation_of_the_users_that_asks_with_if_is_told_what_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule is run on names when a program is made: its ``if`` took one branch for all numbers."""
    from micrograd import ops

    monkeypatch.setattr(ops, "TABLE", dict(ops.TABLE))

    @ops.op(domain=[(-2.0, 2.0)])
    def leaky(xp: Any, a: Any) -> Any:
        return (a, (1.0,)) if a > 0.0 else (0.1 * a, (0.1,))

    @ops.op(domain=[(-2.0, 2.0)])
    def mended(xp: Any, a: Any) -> Any:
        return xp.where(a > 0.0, a, 0.1 * a), (xp.where(a > 0.0, 1.0, 0.1),)

    assert leaky(Value(-1.0)).data == -0.1
    for backend in ("native", "numpy"):
        with pytest.raises(TypeError, match=r"cannot ask with if, and, or: write xp.where\(a > b, x, y\)"):
            micrograd.compile(lambda x: 2.0 * leaky(x), backend=backend)(-1.0)
        assert micrograd.compile(lambda x: 2.0 * mended(x), backend=backend).value_and_grad(-1.0) == (-0.2, 0.2)
