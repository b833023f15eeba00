"""The interpreter: small programs begin on it, and not a bit changes when they are compiled."""

from __future__ import annotations

import functools
import itertools
import operator
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import micrograd
from micrograd import Value, ops, trees
from micrograd.compile import interpreter, straight, toolchain

INF, NAN = float("inf"), float("nan")


@pytest.fixture(autouse=True)
def fresh(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that the tests here share, as the interpreter takes a while to compile."""
    monkeypatch.setenv("MICROGRAD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def numbers(result: Any) -> Any:
    return np.array(trees.flatten(result, "numbers")[0], float)


def bits(result: Any) -> bytes:
    """The numbers of a result bit by bit; those that are none are all alike."""
    found = numbers(result)
    found[np.isnan(found)] = NAN
    return found.tobytes()


def begun(fn: Callable[..., Any], *args: Any, dtype: str = "float64") -> tuple[Any, Any, Any]:
    """A program that runs on the interpreter, its kernel, and its value and gradients."""
    program = micrograd.compile(fn, backend="native", dtype=dtype)
    result = program.value_and_grad(*args, wrt=tuple(range(len(args))))
    kernel = program._last.kernel
    assert kernel.runs > 0
    assert program.stats.backend == "native"
    return program, kernel, result


def check(fn: Callable[..., Any], *args: Any, dtype: str = "float64") -> None:
    """The interpreter gives what NumPy gives, and the compiled program the same bits as the interpreter."""
    program, kernel, result = begun(fn, *args, dtype=dtype)
    wrt = tuple(range(len(args)))
    check_bits(program, *args)
    expected = micrograd.compile(fn, backend="numpy", dtype=dtype).value_and_grad(*args, wrt=wrt)
    tolerance = 1e-12 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(numbers(result), numbers(expected), rtol=tolerance, atol=tolerance)
    before = kernel.loaded
    kernel.compile()
    assert kernel.runs == 0
    assert kernel.loaded is not before
    assert bits(program.value_and_grad(*args, wrt=wrt)) == bits(result)


def check_bits(program: Any, *args: Any) -> None:
    """Value, Jacobian and, of one number, the product with the Hessian do not change by a bit."""
    scalar = isinstance(program(*args), float)
    for ask in (program, program.jacobian, *([lambda *args: program.hvp(args, args)] if scalar else [])):
        result = ask(*args)
        kernel = program._last.kernel
        kernel.compile()
        assert bits(ask(*args)) == bits(result)


def minors(m: Any) -> Any:
    if len(m) == 1:
        return m[0][0]
    return sum((-1.0) ** j * m[0][j] * minors([row[:j] + row[j + 1 :] for row in m[1:]]) for j in range(len(m)))


def elimination(m: Any) -> Any:
    m, product = [list(row) for row in m], 1.0
    for k, top in enumerate(m):
        product = product * top[k]
        for row in m[k + 1 :]:
            factor = row[k] / top[k]
            row[k:] = [a - factor * b for a, b in zip(row[k:], top[k:], strict=True)]
    return product


def matrix(n: int) -> list[list[float]]:
    return (np.random.default_rng(n).normal(size=(n, n)) + 2.0 * np.eye(n)).tolist()  # type: ignore[no-any-return]


PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "plus and minus": (lambda x, y: x + y - 3.0 - (2.0 - x) + x, (1.3, 0.7)),
    "products": (lambda x, y: x * y * x - 2.5 * y, (1.3, 0.7)),
    "quotients": (lambda x, y: x / y + 1.0 / x - y / 3.0, (1.3, 0.7)),
    "a negative": (lambda x: -x, (1.3,)),
    "an argument as it is": (lambda x: x, (1.3,)),
    "a constant": (lambda x: 2.0 + 0.0 * x, (1.3,)),
    "powers": (lambda x, y: x**2 + y**3 - x**-1 + x**4 * y**-2, (1.3, 0.7)),
    "roots": (lambda x, y: micrograd.sqrt(x) * micrograd.sqrt(y), (1.3, 0.7)),
    "the larger and the smaller": (lambda x, y: micrograd.maximum(x, y) * 2.0 + micrograd.minimum(x, y * y), (1.3, 0.7)),
    "minus zero": (lambda x, y: -(x * y + (y - 0.7) * -x), (0.0, 0.7)),
    "absolute": (lambda x, y: abs(x - 2.0) * abs(y), (1.3, 0.7)),
    "a choice": (lambda x, y: micrograd.where(x > y, x * 2.0, y) + micrograd.where(x <= y, 1.0, y * x), (1.3, 0.7)),
    "a dot": (lambda w, x: micrograd.dot(w, x, 0.25), ([0.1, 0.2, 0.3], [1.5, -2.0, 0.75])),
    "a long sum": (lambda xs: sum(x * x for x in xs), ([0.1 * i for i in range(20)],)),
    "a difference of sums": (lambda xs: sum(xs) - sum(x * y for x, y in itertools.pairwise(xs)), ([0.1, 0.7, 3.0],)),
    "a matrix and a vector": (
        lambda m, x: sum(sum(a * b for a, b in zip(row, x, strict=True)) ** 2 for row in m),
        (matrix(3), [0.3, -0.2, 0.9]),
    ),
    "minors": (minors, (matrix(5),)),
    "elimination": (elimination, (matrix(6),)),
    "minus one": (lambda x, y: (x * y - 0.7 * x) * -1.0 - x * (1.0 - x * y) * -1.0, (1.0, 0.7)),
    "relu": (lambda xs: sum(micrograd.relu(x - 0.5) * x for x in xs), ([0.1, 0.7, 3.0],)),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_not_a_bit_changes_when_a_program_is_compiled(name: str, dtype: str) -> None:
    function, args = PROGRAMS[name]
    check(function, *args, dtype=dtype)


FUNCTIONS = ["exp", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh",
             "tanh", "asinh", "acosh", "atanh", "erf", "erfc", "sigmoid", "softplus", "silu", "gelu", "sqrt"]  # fmt: skip
ODD = [0.0, -0.0, 1.0, -1.0, 0.5, INF, -INF, NAN, 5e-324, -1e-310, 1e300, 1e-40, 3e5, -710.0, 0.4142, 20.0]


def singly(function: Callable[[Any], Any], dtype: str) -> Any:
    return micrograd.compile(lambda x: function(x) * 2.0 - x, backend="native", dtype=dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str, dtype: str) -> None:
    """One by one in straight code, and side by side in the registers of a loop."""
    function = getattr(micrograd, name)
    some = np.concatenate([ODD, np.random.default_rng(7).normal(size=64) * 3.0]).tolist()
    single = micrograd.compile(function, backend="native", dtype=dtype)
    for x in some[:24]:
        check_bits(single, x)
    many = micrograd.compile(lambda xs: [function(x) * 2.0 - x for x in xs], backend="native", dtype=dtype)
    check_bits(many, some)
    assert bits(many(some)) == bits([program(x) for program in [singly(function, dtype)] for x in some])


@pytest.mark.parametrize("name", ["pow", "atan2", "hypot"])
def test_functions_of_two_numbers(name: str) -> None:
    function = operator.pow if name == "pow" else getattr(micrograd, name)
    xs = np.concatenate([ODD, np.random.default_rng(7).normal(size=24)]).tolist()
    check_bits(micrograd.compile(lambda xs: [function(x, y) for x, y in itertools.pairwise(xs)], backend="native"), xs)


def oscillator(state: Any, steps: int) -> Any:
    x, v, mu = state
    for _ in range(steps):
        half = v + 0.05 * (mu * (1.0 - x * x) * v - x)
        x, v = x + 0.1 * half, half + 0.05 * (mu * (1.0 - x * x) * half - x)
    return x


def residuals(model: Any, xs: Any) -> Any:
    return sum((model[0] * micrograd.exp(-model[1] * x) + model[2] - x * x) ** 2 for x in xs)


def softened(xs: Any, ys: Any) -> Any:
    """Sums of numbers that lie side by side, added to others, taken away from them, and negated."""
    shifted = [micrograd.exp(x) for x in xs]
    total = micrograd.log(sum(shifted)) * 3.0 - sum(x * x for x in xs) + sum(ys) * 0.5
    return total - functools.reduce(micrograd.maximum, shifted) / sum(x * y for x, y in zip(xs, ys, strict=True))


def scattered(xs: Any) -> Any:
    """Dots of numbers that do not lie side by side, one of them negative."""
    terms = [micrograd.tanh(x) for x in xs]
    some = [terms[i * i % len(xs)] for i in range(9, 40)]
    return sum(a * b for a, b in zip(some, terms, strict=False)) - sum(a * b for a, b in zip(some, some[3:], strict=False))


GROUPS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "a loop over time": (lambda state: oscillator(state, 40), ([0.5, 0.1, 1.5],)),
    "a long loop": (lambda state: oscillator(state, 90), ([0.5, 0.1, 1.5],)),
    "least squares": (residuals, ([1.2, 0.7, 0.1], np.linspace(0.0, 3.0, 70).tolist())),
    "sums": (softened, (np.linspace(-2.0, 1.0, 50).tolist(), np.linspace(1.0, 3.0, 50).tolist())),
    "few terms more than a register": (softened, (np.linspace(-2.0, 1.0, 17).tolist(), np.linspace(1.0, 3.0, 17).tolist())),
    "scattered": (scattered, (np.linspace(-2.0, 1.0, 61).tolist(),)),
    "softplus of a difference": (
        lambda xs: sum(micrograd.softplus(-(x * y + 0.3)) for x, y in itertools.pairwise(xs)),
        (np.linspace(-2.0, 1.0, 41).tolist(),),
    ),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", GROUPS)
def test_groups(name: str, dtype: str) -> None:
    """Programs that are loops over groups when they are compiled."""
    function, args = GROUPS[name]
    assert not straight.is_straight(begun(function, *args)[1].rolled)
    check(function, *args, dtype=dtype)


@pytest.mark.parametrize("name", GROUPS)
def test_groups_of_odd_numbers(name: str) -> None:
    function, args = GROUPS[name]
    rng = random.Random(name)
    for _ in range(3):
        drawn = [[rng.choice(ODD) if rng.random() < 0.5 else x for x in arg] for arg in args]
        check_bits(micrograd.compile(function, backend="native"), *drawn)


def drawn(seed: int) -> Callable[[Any], Any]:
    """A random function of arithmetic on what came before, in which numbers are used again."""
    rng = random.Random(seed)
    binary = [operator.add, operator.sub, operator.mul, lambda a, b: a / (2.0 + b * b), micrograd.maximum]
    unary = [operator.neg, abs, lambda a: a**2, lambda a: 1.5 * a, lambda a: micrograd.sqrt(1.0 + a * a), lambda a: 0.5 - a]
    size = rng.choice([5, 20, 60])
    plan = [(rng.choice(binary if rng.random() < 0.7 else unary), rng.random(), rng.random()) for _ in range(size)]
    ends = [rng.random() for _ in range(4)]

    def function(xs: Any) -> Any:
        made = list(xs)
        for step, one, other in plan:
            some = [made[int(one * len(made))], made[int(other * len(made))]]
            made.append(step(*some) if step in binary else step(some[0]))
            made[-1] = made[-1] / (1.0 + abs(made[-1]))  # so that numbers stay of one size
        return functools.reduce(operator.add, [made[int(e * len(made))] * (0.5 + e) for e in ends], made[-1])

    return function


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("seed", range(20))
def test_random_arithmetic(seed: int, dtype: str) -> None:
    check(drawn(seed), np.random.default_rng(seed).normal(size=5).tolist(), dtype=dtype)


@pytest.mark.parametrize("seed", range(12))
def test_random_arithmetic_on_odd_numbers(seed: int) -> None:
    rng = random.Random(seed)
    program, function = micrograd.compile(drawn(seed), backend="native"), drawn(seed)
    for _ in range(3):  # each in a program of its own, as the first is compiled then
        xs = [rng.choice([0.0, -0.0, 1.0, -1.0, INF, -INF, NAN, 5e-324, 1e300, 0.5]) for _ in range(5)]
        check_bits(micrograd.compile(function, backend="native"), xs)
        check_bits(program, xs)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_fused_sum_that_is_negated_keeps_the_sign_of_a_zero(dtype: str) -> None:
    def first(a: Any, b: Any, d: Any, y: Any, c: Any) -> Any:
        return 1.0 / (c - (a * b + d) * abs(y))

    def second(a: Any, b: Any, d: Any, y: Any, c: Any) -> Any:
        return 1.0 / (c * y - (a * b + d))

    for function, args in ((first, (1.0, 1.0, -1.0, 1.0, -0.0)), (second, (1.0, 1.0, -1.0, -1.0, 0.0))):
        program = micrograd.compile(function, backend="native", dtype=dtype)
        assert abs(program(*args)) == INF
        check_bits(program, *args)
        assert bits(program(*args)) == bits(micrograd.compile(function, backend="numpy", dtype=dtype)(*args))


@pytest.mark.parametrize("x", [0.0, -0.0, INF, -INF, NAN, 5e-324, 1.7e308, -1e-310])
def test_odd_numbers(x: float) -> None:
    def function(x: Any, y: Any) -> Any:
        return x * y + abs(x) - micrograd.maximum(x, y) / x + micrograd.where(x >= y, -x, y * y - x)

    for args in ((x, 2.0), (2.0, x), (x, x)):
        program, kernel, result = begun(function, *args)
        kernel.compile()
        assert bits(program.value_and_grad(*args, wrt=(0, 1))) == bits(result)


def test_outputs_that_do_not_lie_side_by_side() -> None:
    program = micrograd.compile(lambda xs: {"twice": [2.0 * x for x in xs], "first": [xs[0], xs[0]]}, backend="native")
    result = program([1.0, 2.0, 3.0])
    assert result == {"twice": [2.0, 4.0, 6.0], "first": [1.0, 1.0]}
    assert program._last.kernel.runs
    for ask in (program, program.jacobian):
        before = ask([1.0, 2.0, 3.0])
        program._last.kernel.compile()
        assert bits(ask([1.0, 2.0, 3.0])) == bits(before)


@pytest.mark.parametrize("worth", [0, 1])
def test_a_program_for_which_compiling_pays_at_once(worth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "WORTH", worth)
    program = micrograd.compile(lambda x, y: 3.0 * x - y * 7.0, backend="native")
    assert [program(2.0, 1.0) for _ in range(3)] == [-1.0, -1.0, -1.0]
    assert program._last.kernel.runs == 0


def test_a_program_is_compiled_when_that_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "WORTH", 60)
    program, kernel, result = begun(lambda x, y: x * y + x, 3.0, 4.0)
    loaded, calls = kernel.loaded, []
    load = toolchain.load
    monkeypatch.setattr(toolchain, "load", lambda *a, **k: calls.append(1) or load(*a, **k))
    compiler_calls = program.stats.compiler_calls
    runs = kernel.runs
    assert 1 < runs < 60
    for left in range(runs, 1, -1):
        assert (kernel.runs, kernel.loaded, calls) == (left, loaded, [])
        assert program.value_and_grad(3.0, 4.0, wrt=(0, 1)) == result
    assert program.value_and_grad(3.0, 4.0, wrt=(0, 1)) == result
    assert kernel.loaded is not loaded
    assert calls == [1]
    assert program.stats.compiler_calls == compiler_calls + (not kernel.loaded.cached)
    assert program.value_and_grad(5.0, 4.0, wrt=(0, 1)) == (25.0, (5.0, 5.0))
    assert calls == [1]


def test_what_is_run_often_is_compiled_at_once() -> None:
    x = np.array([1.0, 2.0])
    program = micrograd.compile(lambda x: x[0] * x[1] + x[1], backend="native")
    first = program.value_and_grad(x)
    kernel = program._last.kernel
    assert kernel.runs
    assert bits(program.bind(x)()) == bits(first)
    assert not kernel.runs

    w = Value(0.0)
    loss = micrograd.compile(lambda x, y: (w * x - y) ** 2, backend="native")
    loss.backward(1.0, 2.0)
    kernel = loss._last.kernel
    assert kernel.runs
    micrograd.fit(loss, [(1.0, 2.0), (2.0, 4.0)], micrograd.optim.SGD([w], lr=0.1), 3, 1, progress=False)
    assert not loss._last.kernel.runs


def test_where_the_compiler_has_gone_the_interpreter_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*sources: str, extra: tuple[str, ...] = ()) -> Any:
        raise toolchain.NoCompiler("gone")

    x = np.array([1.5, 2.0])
    program, kernel, result = begun(lambda x: x[0] * x[1] - x[0] / x[1], x)
    monkeypatch.setattr(toolchain, "load", gone)
    bound = program.bind(x, wrt=(0,))
    for _ in range(300):
        assert bits(bound()) == bits(result)
    assert bits(program.value_and_grad(x, wrt=(0,))) == bits(result)
    assert not kernel.runs


def test_where_the_compiler_has_gone_fit_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*sources: str, extra: tuple[str, ...] = ()) -> Any:
        raise toolchain.NoCompiler("gone")

    def trained() -> float:
        w = Value(0.0)
        loss = micrograd.compile(lambda x, y: (w * x - y) ** 2, backend="native")
        loss.backward(1.0, 2.0)
        assert loss._last.kernel.runs
        micrograd.fit(loss, [(1.0, 2.0), (2.0, 4.0)], micrograd.optim.SGD([w], lr=0.1), 3, 1, progress=False)
        return w.data

    expected = trained()
    load = toolchain.load
    monkeypatch.setattr(toolchain, "load", lambda *a, extra=(): (load if "MG_CASE" in a[0] else gone)(*a, extra=extra))
    assert trained() == expected


def test_a_program_that_is_asked_again_while_it_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the handler of a signal may do."""
    program = micrograd.compile(lambda x, y: x * y + x + 0.125 * y, backend="native")
    assert program(1.0, 2.0) == 3.25
    load, answers = toolchain.load, []

    def signalled(*sources: str, extra: tuple[str, ...] = ()) -> Any:
        monkeypatch.setattr(toolchain, "load", load)
        answers.append(program(100.0, 8.0))
        return load(*sources, extra=extra)

    monkeypatch.setattr(toolchain, "load", signalled)
    program._last.kernel.runs = 1
    assert program(1.0, 2.0) == 3.25
    assert answers == [901.0]


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Operations of the user's: one makes a fused sum that is zero at 1, one negates, one does both."""
    monkeypatch.setattr(ops, "TABLE", dict(ops.TABLE))

    @ops.op(domain=[(2.0, 3.0)])
    def less_one(xp: Any, a: Any) -> Any:
        return a * a - 1.0, (a + a,)

    @ops.op(domain=[(2.0, 3.0)])
    def flipped(xp: Any, a: Any) -> Any:
        return -a, (-1.0,)

    @ops.op(domain=[(2.0, 3.0)])
    def one_less(xp: Any, a: Any) -> Any:
        return -(a * a - 1.0), (-(a + a),)

    return less_one, flipped, one_less


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_negated_fused_sum_keeps_the_sign_of_a_zero_in_loops(operations: Any, dtype: str) -> None:
    """-(x * x - 1) is -0 at 1, but compilers would make it 1 - x * x."""
    less_one, flipped, one_less = operations

    def over_time(x: Any) -> Any:
        xs = [x]
        for _ in range(30):
            xs.append(flipped(less_one(micrograd.maximum(xs[-1], -5.0))))
        return xs[1:]

    xs = [1.0, *np.linspace(2.0, 3.0, 40).tolist()]
    grouped = micrograd.compile(lambda xs: [one_less(x) for x in xs], backend="native", dtype=dtype)
    timed = micrograd.compile(over_time, backend="native", dtype=dtype)
    for _ in range(2):
        assert (bits(grouped(xs)[0]), bits(timed(1.0))) == (bits(-0.0), bits([-0.0, 1.0] * 15))
        for program in (grouped, timed):
            program._last.kernel.compile()
    assert not any(straight.is_straight(program._last.kernel.rolled) for program in (grouped, timed))


def test_an_interrupted_compiler_is_called_again(monkeypatch: pytest.MonkeyPatch) -> None:
    program, kernel, result = begun(lambda x, y: x / y + x * 0.125, 3.0, 4.0)
    kernel.runs, load = 1, toolchain.load

    def interrupted(*sources: str, extra: tuple[str, ...] = ()) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(toolchain, "load", interrupted)
    with pytest.raises(KeyboardInterrupt):
        program.value_and_grad(3.0, 4.0, wrt=(0, 1))
    monkeypatch.setattr(toolchain, "load", load)
    before = kernel.loaded
    assert bits(program.value_and_grad(3.0, 4.0, wrt=(0, 1))) == bits(result)
    assert kernel.loaded is not before
    assert kernel.runs == 0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_results_are_where_they_belong_before_and_after(dtype: str) -> None:
    """The interpreter puts results elsewhere than the compiled program does: what was given out stays as it was."""
    program = micrograd.compile(lambda xs: [xs[0] * xs[1], xs[1] - xs[0]], backend="native", dtype=dtype)
    x = np.array([3.0, 5.0])
    early = [program.jacobian(x) for _ in range(12)]
    program._last.kernel.compile()
    late = [program.jacobian(x) for _ in range(12)]
    assert {bits(result) for result in (*early, *late)} == {bits([[5.0, 3.0], [-1.0, 1.0]])}


NOT = {
    "a matrix product": (
        lambda a, b: [[micrograd.dot(row, column) for column in zip(*b, strict=True)] for row in a],
        (matrix(9), matrix(9)),
        {},
    ),
    "a sum in steps of two": (lambda xs: sum(micrograd.exp(x) for x in xs) + sum(xs[1::2]), ([0.5] * 90,), {}),
    "a batch": (lambda x: x * x, (np.arange(3.0),), {"batch": 0}),
    "take": (lambda t, i: micrograd.take(t, i) * 2.0, ([1.0, 2.0], 1), {}),
    "many results": (lambda xs: [x * 2.0 for x in xs] * 10, ([0.5] * 700,), {}),
    "one of many": (lambda xs: xs[0] * 2.0, (np.zeros(10_000),), {}),
    "many": (lambda xs: sum(1.0 / (i + x) for i, x in enumerate(xs)), ([0.5] * 5000,), {}),
}


@pytest.mark.parametrize("name", NOT)
def test_what_is_not_interpreted(name: str) -> None:
    function, args, how = NOT[name]
    program = micrograd.compile(function, backend="native", **how)
    program(*args)
    assert program._last.kernel.runs == 0


@pytest.mark.parametrize("real", ["double", "float"])
def test_it_compiles_without_a_warning(real: str, tmp_path: Path) -> None:
    (tmp_path / "interpreter.c").write_text(interpreter.source(real))
    command = [*(toolchain.compiler() or ["cc"]), "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-c", "interpreter.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
