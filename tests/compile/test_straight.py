"""Straight code: small programs that are written out number by number."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from face import close

import micrograd
from micrograd import Value
from micrograd.compile import straight


def minors(m: Any) -> Any:
    if len(m) == 1:
        return m[0][0]
    return sum((-1.0) ** j * m[0][j] * minors([row[:j] + row[j + 1 :] for row in m[1:]]) for j in range(len(m)))


def matrix(n: int) -> list[list[float]]:
    return (np.random.default_rng(n).normal(size=(n, n)) + 2.0 * np.eye(n)).tolist()  # type: ignore[no-any-return]


def body(source: str) -> str:
    """The functions of a C file that are its program's own."""
    return source[source.index("static void before_0") : source.index("void mg_before")]


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_minors_are_written_out_and_agree_with_numpy(n: int) -> None:
    program = micrograd.compile(minors, backend="native")
    m = matrix(n)
    value, gradient = program.value_and_grad(m)
    close(value, np.linalg.det(m))
    close(np.array(gradient), np.linalg.det(m) * np.linalg.inv(m).T)
    own = body(program.c_source)
    assert "for (" not in own
    assert "t[" not in own


def test_numbers_that_another_function_reads_go_through_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = micrograd.compile(minors, backend="native").value_and_grad(matrix(5))
    monkeypatch.setattr(straight, "FUNCTION", 7)
    program = micrograd.compile(minors, backend="native")
    value, gradient = program.value_and_grad(matrix(5))
    close(value, expected[0])
    close(np.array(gradient), np.array(expected[1]))
    parts = body(program.c_source).split("static void ")[1:]
    assert len(parts) > 10
    written = set(re.findall(r"^(w\[\d+\]) =", body(program.c_source), re.MULTILINE))
    read = set(re.findall(r"= (w\[\d+\]);", body(program.c_source)))
    assert read <= written
    assert written - read <= {f"w[{address}]" for address in program._last.kernel.rolled.outputs.tolist()}


def test_picks_stay_among_what_is_written_out() -> None:
    table = [Value(x) for x in (0.5, -1.0, 2.0)]

    def f(x: Any, k: Any) -> Any:
        start = (x[0] * x[1]).tanh()
        return (start - x[1]) * micrograd.take(table, k) * micrograd.take([start, x[0], start * 2.0], k) + start.exp() / x[1]

    x = [0.3, -0.7]
    for k in (0, 2):
        eager = [Value(number) for number in x]
        loss = f(eager, k)
        for leaf in table:
            leaf.grad = 0.0
        loss.backward()
        program = micrograd.compile(f, backend="native")
        value, gradient = program.value_and_grad(x, k)
        close(value, loss.data)
        close(gradient, [v.grad for v in eager])
        expected = [leaf.grad for leaf in table]
        for leaf in table:
            leaf.grad = 0.0
        program.backward(x, k)
        close([leaf.grad for leaf in table], expected)
    own = body(program.c_source)
    assert "long pick" in own
    assert re.search(r"const real x\d+ = mg_exp\(x\d+\);", own)


def test_a_simulation_stays_a_loop() -> None:
    def f(x: Any) -> Any:
        y = x
        for i in range(20):
            y = y + 0.01 * (x - y * y) * (i + 1.0)
        return y

    program = micrograd.compile(f, backend="native")
    close(program.value_and_grad(0.5), micrograd.value_and_grad(f)(0.5))
    assert "for (long r = 0; " in body(program.c_source)


def test_groups_of_many_members_stay_loops() -> None:
    x = np.linspace(-1.0, 1.0, 200)
    program = micrograd.compile(lambda x: sum((v * v).tanh() for v in x), backend="native")
    value, gradient = program.value_and_grad(x)
    close(value, np.tanh(x * x).sum())
    close(gradient, (1 - np.tanh(x * x) ** 2) * 2 * x)
    assert "for (" in body(program.c_source)


def test_functions_that_compilers_put_in_line_count_as_many_operations() -> None:
    x = np.linspace(-1.0, 1.0, 20)
    program = micrograd.compile(lambda x: sum((v + 0.5).exp() for v in x), backend="native")
    close(program(x), np.exp(x + 0.5).sum())
    assert "for (" in body(program.c_source)


def test_what_is_too_large_stays_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(straight, "MOST", 50)
    program = micrograd.compile(minors, backend="native")
    value, _ = program.value_and_grad(matrix(5))
    close(value, np.linalg.det(matrix(5)))
    assert "for (" in body(program.c_source)


def test_the_largest_of_many_is_a_line_for_each() -> None:
    def f(x: Any) -> Any:
        a, b = x[0], x[1]
        for i in range(12):
            a, b = b * x[(3 * i) % 7] + a.sin(), a - b / (1.0 + x[i % 5] * x[i % 5])
        return micrograd.ops.logsumexp(list(x)) + a * b

    x = np.random.default_rng(0).normal(size=60)
    program = micrograd.compile(f, backend="native")
    value, gradient = program.value_and_grad(x)
    expected = micrograd.value_and_grad(f)(x.tolist())
    close(value, expected[0])
    close(gradient, expected[1])
    assert len(re.findall(r"^const real x\d+ = mg_larger\(x\d+, x\d+\);$", body(program.c_source), re.MULTILINE)) == 59
