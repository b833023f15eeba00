"""Every operation of the table against independent oracles; an operation added later is tested by being in the table."""

from __future__ import annotations

import builtins
import copy
import doctest
import math
import operator
import pickle
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product
from typing import Any

import mpmath
import pytest
from conftest import oracle
from mpmath import mp, mpf

import micrograd
from micrograd import Value, ops
from micrograd.ops import FLOATS, TABLE, VALUES, Op

# --------------------------------------------------------------------------------------------------- the oracle table


def _sigmoid(a: mpf) -> mpf:
    return 1 / (1 + mp.exp(-a))


def _normal(a: mpf) -> mpf:
    return mp.erfc(-a / mp.sqrt(2)) / 2


def _softmax(*a: mpf) -> list[mpf]:
    return [mp.exp(x) / mp.fsum(map(mp.exp, a)) for x in a]


#: The function that each operation computes, in mpmath; a vector operation gives a list.
EXACT: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "pow": lambda a, b: a**b,
    "power": lambda a, exponent=2.0: a ** mpf(exponent),
    "abs": lambda a: abs(a),
    "sqrt": mp.sqrt,
    "hypot": mp.hypot,
    "exp": mp.exp,
    "expm1": mp.expm1,
    "log": mp.log,
    "log1p": mp.log1p,
    "log2": lambda a: mp.log(a, 2),
    "log10": mp.log10,
    "sin": mp.sin,
    "cos": mp.cos,
    "tan": mp.tan,
    "asin": mp.asin,
    "acos": mp.acos,
    "atan": mp.atan,
    "atan2": mp.atan2,
    "sinh": mp.sinh,
    "cosh": mp.cosh,
    "tanh": mp.tanh,
    "asinh": mp.asinh,
    "acosh": mp.acosh,
    "atanh": mp.atanh,
    "erf": mp.erf,
    "erfc": mp.erfc,
    "sigmoid": _sigmoid,
    "softplus": lambda a: mp.log1p(mp.exp(a)),
    "relu": lambda a: max(a, mpf(0)),
    "leaky_relu": lambda a, slope=0.01: a if a > 0 else mpf(slope) * a,
    "elu": lambda a, alpha=1.0: a if a > 0 else mpf(alpha) * mp.expm1(a),
    "gelu": lambda a: a * _normal(a),
    "silu": lambda a: a * _sigmoid(a),
    "maximum": max,
    "minimum": min,
    "clip": lambda a, low=-math.inf, high=math.inf: min(max(a, mpf(low)), mpf(high)),
    "where": lambda a: a,
    "take": lambda a: a,
    "identity": lambda a: a,
    "sum": lambda *a: mp.fsum(a),
    "mean": lambda *a: mp.fsum(a) / len(a),
    "prod": lambda *a: mp.fprod(a),
    "dot": lambda *wxb: mp.fdot(wxb[: len(wxb) // 2], wxb[len(wxb) // 2 : -1]) + wxb[-1],
    "logsumexp": lambda *a: mp.log(mp.fsum(map(mp.exp, a))),
    "softmax": _softmax,
    "log_softmax": lambda *a: [mp.log(p) for p in _softmax(*a)],
}

#: Parameters to test besides the defaults, for each operation that has some.
PARAMETERS: dict[str, list[dict[str, float]]] = {
    "power": [{"exponent": e} for e in (-2.5, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 7.0)],
    "leaky_relu": [{"slope": 0.2}, {"slope": 0.0}],
    "elu": [{"alpha": 0.3}, {"alpha": 2.0}],
    "clip": [{"low": -1.0, "high": 2.0}, {"low": 0.0}, {"high": 0.0}],
}

#: Operations whose slope has a zero on the domain, or tends to zero at its end: there 1e-15 absolute holds instead of 8 ulp.
SLOPE_NEAR_ZERO = {"tanh", "erf", "erfc", "silu"}

#: Wider intervals, on which rounding the operand of an exponential costs accuracy: domain, ulp of value and of slopes.
WIDER = {
    "gelu": ([(-5.0, 9.0)], 40.0, 2000.0),
    "softmax": ([(-4.0, 4.0)] * 4, 7.0, 14.0),
    "log_softmax": ([(-9.0, 9.0)] * 4, 3.0, 14.0),
    "erf": ([(-6.0, 6.0)], 2.0, 40.0),
    "erfc": ([(-6.0, 6.0)], 4.0, 40.0),
    "pow": ([(1e-3, 100.0), (-9.0, 9.0)], 2.0, 60.0),
    "exp": ([(-700.0, 700.0)], 2.0, 8.0),
    "sinh": ([(-700.0, 700.0)], 2.0, 8.0),
    "sin": ([(-1e5, 1e5)], 2.0, 8.0),
    "atan2": ([(-9.0, 9.0), (-9.0, 9.0)], 2.0, 8.0),
    "hypot": ([(-9.0, 9.0), (-9.0, 9.0)], 2.0, 8.0),
}

CASES = [(name, {}) for name in TABLE] + [(name, p) for name, settings in PARAMETERS.items() for p in settings]
every_operation = pytest.mark.parametrize(
    ("name", "params"), CASES, ids=[name + "".join(f"-{k}={v}" for k, v in p.items()) for name, p in CASES]
)


def bound(name: str, params: dict[str, float]) -> Op:
    return TABLE[name].bind(**params) if params else TABLE[name]


def run(op: Op, xp: Any, args: Sequence[Any]) -> list[tuple[Any, tuple[Any, ...]]]:
    """Each output of the rule with its local derivatives."""
    value, derivatives = op.rule(xp, *args)
    return [(v, derivatives(i)) for i, v in enumerate(value)] if op.vector else [(value, derivatives)]


def exact(name: str, params: dict[str, float], output: int = 0) -> Callable[..., mpf]:
    def function(*args: mpf) -> mpf:
        result = EXACT[name](*args, **params)
        return result[output] if isinstance(result, list) else result

    return function


def partial(function: Callable[..., mpf], args: Sequence[float], *by: int) -> mpf:
    """The derivative of an mpmath function by the operands numbered ``by``, to far more than double precision."""
    at = tuple(map(mpf, args))
    if len(at) == 1:
        return mp.diff(function, at[0], len(by))
    return mp.diff(function, at, tuple(by.count(i) for i in range(len(at))))


def points(domain: Sequence[tuple[float, float]], count: int, seed: str) -> Iterator[list[float]]:
    """Seeded points of the domain: uniform ones, ones close to 0, and the corners."""
    rng = random.Random(seed)
    for _ in range(count):
        yield [rng.uniform(low, high) for low, high in domain]
    for _ in range(count // 4):
        small = [rng.choice((-1, 1)) * 10 ** rng.uniform(-18, 0) for _ in domain]
        yield [x if low <= x <= high else rng.uniform(low, high) for x, (low, high) in zip(small, domain, strict=True)]
    if len(domain) <= 2:
        yield from map(list, product(*domain))


def point_count(op: Op) -> int:
    return {1: 100, 2: 40}.get(len(op.domain), 12 if not op.vector else 4)


def ulps(actual: float, expected: mpf) -> float:
    return float(abs(mpf(actual) - expected) / math.ulp(float(expected)))


@pytest.fixture(autouse=True)
def fifty_digits() -> Iterator[None]:
    with mpmath.workdps(50):
        yield


# ------------------------------------------------------------------------------------------------- every table is full


def test_every_operation_has_an_exact_function_and_settings_for_its_parameters() -> None:
    assert EXACT.keys() == TABLE.keys()
    assert PARAMETERS.keys() == {name for name, op in TABLE.items() if op.params}


def test_every_operation_has_a_pytorch_function_or_a_reason_for_none() -> None:
    assert PYTORCH.keys() | NOT_IN_PYTORCH.keys() == TABLE.keys()
    assert not PYTORCH.keys() & NOT_IN_PYTORCH.keys()


def test_every_operation_has_one_interval_for_each_operand() -> None:
    for op in TABLE.values():
        assert op.arity is None or len(op.domain) == op.arity, op
        assert all(low < high for low, high in op.domain), op


@pytest.mark.parametrize("name", TABLE)
def test_every_operation_has_a_docstring_whose_examples_hold(name: str) -> None:
    test = doctest.DocTestParser().get_doctest(TABLE[name].__doc__ or "", dict(vars(ops)), name, None, 0)
    assert test.examples
    failures: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=failures.append)
    assert not failures, "".join(failures)


def test_every_smooth_function_of_one_or_two_numbers_is_a_method_too() -> None:
    operators = {"add", "sub", "mul", "div", "neg", "pow", "power"}
    for name, op in TABLE.items():
        if op.arity in (1, 2) and name not in operators | {"where", "take", "identity"}:
            for args in points(op.domain, 3, name):
                values = [Value(x) for x in args]
                method, function = getattr(values[0], name)(*values[1:]), op(*values)
                assert (method.data, method.local_derivatives) == (function.data, function.local_derivatives), name
                assert method.parents == tuple(values)
                assert method.operation == function.operation, name


def test_every_operation_but_the_operators_is_a_name_of_the_package() -> None:
    spelled_with_an_operator = {"add", "sub", "mul", "div", "neg", "power", "identity"}
    for name in TABLE.keys() - spelled_with_an_operator:
        assert callable(getattr(micrograd, name)), name
        assert (name in micrograd.__all__) == (not hasattr(builtins, name)), "import * must not hide sum and abs"


# -------------------------------------------------------------------------------------------------------- accuracy


@every_operation
def test_value_within_2_ulp_of_mpmath(name: str, params: dict[str, float]) -> None:
    op = bound(name, params)
    for args in points(op.domain, point_count(op), name):
        for i, (value, _) in enumerate(run(op, FLOATS, args)):
            expected = exact(name, params, i)(*map(mpf, args))
            assert ulps(value, expected) <= 2.0, (args, i, value, float(expected))


@every_operation
def test_local_derivatives_within_8_ulp_of_mpmath(name: str, params: dict[str, float]) -> None:
    op = bound(name, params)
    absolute = 1e-15 if name in SLOPE_NEAR_ZERO else 0.0
    for args in points(op.domain, point_count(op), name):
        for i, (_, derivatives) in enumerate(run(op, FLOATS, args)):
            assert len(derivatives) == len(args)
            for j, derivative in enumerate(derivatives):
                expected = partial(exact(name, params, i), args, j)
                close = ulps(derivative, expected) <= 8.0 or abs(derivative - expected) <= absolute
                assert close, (args, i, j, derivative, float(expected))


@pytest.mark.parametrize("name", WIDER)
def test_accuracy_on_a_wider_domain_loses_no_more_than_it_must(name: str) -> None:
    domain, value_ulps, slope_ulps = WIDER[name]
    for args in points(domain, 2 * point_count(TABLE[name]), name):
        for i, (value, derivatives) in enumerate(run(TABLE[name], FLOATS, args)):
            assert ulps(value, exact(name, {}, i)(*map(mpf, args))) <= value_ulps, args
            for j, derivative in enumerate(derivatives):
                assert ulps(derivative, partial(exact(name, {}, i), args, j)) <= slope_ulps, args


@every_operation
def test_local_derivatives_against_central_differences(name: str, params: dict[str, float]) -> None:
    op = bound(name, params)
    for args in points(op.domain, 10, name + "differences"):
        for j, x in enumerate(args):
            step = 6e-6 * max(1.0, abs(x)) if abs(x) > 1e-3 else 1e-7  # a cube root of the precision, and short of any kink
            step = min(step, abs(x) / 2) or step
            above = run(op, FLOATS, [*args[:j], x + step, *args[j + 1 :]])
            below = run(op, FLOATS, [*args[:j], x - step, *args[j + 1 :]])
            for i, (value, derivatives) in enumerate(run(op, FLOATS, args)):
                numeric = (above[i][0] - below[i][0]) / ((x + step) - (x - step))
                noise = 1e-15 * max(1.0, abs(value)) / step
                assert math.isclose(derivatives[j], numeric, rel_tol=1e-6, abs_tol=1e-6 + noise), (args, i, j)


@every_operation
def test_second_derivatives_by_differentiating_the_rule_run_over_values(name: str, params: dict[str, float]) -> None:
    op = bound(name, params)
    for args in islice(points(op.domain, 10, name + "second"), 10 if len(op.domain) < 3 else 2):
        values = [Value(x) for x in args]
        for i, (result, derivatives) in enumerate(run(op, VALUES, values)):
            assert float(result) == run(op, FLOATS, args)[i][0]
            for j, derivative in enumerate(derivatives):
                assert float(derivative) == run(op, FLOATS, args)[i][1][j], "the same rule gives the same bits"
                for v in values:
                    v.grad = 0.0
                if isinstance(derivative, Value):
                    derivative.backward()
                for k, v in enumerate(values):
                    expected = float(partial(exact(name, params, i), args, j, k))
                    assert math.isclose(v.grad, expected, rel_tol=1e-10, abs_tol=1e-13), (args, i, j, k)


# ---------------------------------------------------------------------------------------------------- the odd points


def in_torch(name: str) -> Callable[..., Any]:
    return lambda torch, *a: getattr(torch, name)(*a)


def in_torch_nn(name: str) -> Callable[..., Any]:
    return lambda torch, a: getattr(torch.nn.functional, name)(a)


def in_torch_along_a_vector(name: str) -> Callable[..., Any]:
    return lambda torch, *a: getattr(torch.stack(a), name)(0)


_SAME_NAME = """add sub mul div neg pow abs sqrt hypot exp expm1 log log1p log2 log10 sin cos tan asin acos atan atan2
    sinh cosh tanh asinh acosh atanh erf erfc sigmoid relu maximum minimum"""

#: The operation in PyTorch, of one tensor an operand.  ``torch`` is the module, which may be missing.
PYTORCH: dict[str, Callable[..., Any]] = {
    **{name: in_torch(name) for name in _SAME_NAME.split()},
    **{name: in_torch_nn(name) for name in ("leaky_relu", "elu", "gelu", "silu")},
    **{name: in_torch_along_a_vector(name) for name in ("sum", "mean", "prod", "logsumexp", "softmax", "log_softmax")},
    "power": lambda torch, a: a**2.0,
    "softplus": lambda torch, a: torch.logaddexp(a, torch.zeros_like(a)),  # softplus itself is linear beyond 20
    "clip": lambda torch, a: torch.clamp(a, -math.inf, math.inf),
    "identity": lambda torch, a: a.clone(),
}
NOT_IN_PYTORCH = {
    "where": "its node has the chosen side as the one operand; torch.where has both",
    "take": "its node has the chosen entry as the one operand",
    "dot": "torch.dot has no bias; products and sums are tested by add and mul",
}

SPECIAL = [0.0, 1.0, 2.0, 0.5, 2.5, 1000.0, 1e308, 5e-324, math.inf]
SPECIAL = [*SPECIAL, *[-x for x in SPECIAL], math.nan]

#: Where micrograd is not PyTorch: when, and why.
DEVIATIONS: dict[str, tuple[Callable[[Sequence[float]], bool], str]] = {
    "elu": (lambda a: any(map(math.isnan, a)), "the slope at nan is nan, not 1"),
    "clip": (lambda a: any(map(math.isnan, a)), "the slope at nan is 1, as nan passes through"),
    "maximum": (lambda a: any(map(math.isnan, a)), "nan shares the gradient as a tie does"),
    "minimum": (lambda a: any(map(math.isnan, a)), "nan shares the gradient as a tie does"),
    "prod": (
        lambda a: not all(x == 0.0 or 0.1 < abs(x) <= 1000.0 for x in a),
        "a slope is the product of the others; PyTorch divides the product by the operand, which overflows and underflows",
    ),
    "logsumexp": (
        lambda a: any(math.isnan(x) or x == math.inf or abs(x) >= 1000 for x in a),
        "PyTorch takes exp(a - logsumexp), which loses digits for large operands",
    ),
    "softmax": (lambda a: math.inf in a, "an infinite operand has no probabilities; which of them are nan differs"),
    "log_softmax": (lambda a: math.inf in a, "as for softmax"),
    "atan2": (lambda a: 0.0 < max(map(abs, a)) < sys.float_info.min, "PyTorch squares the operands, which underflows"),
    "acosh": (lambda a: a[0] == -1.0, "outside of the domain: the signs of the infinities differ"),
}


def agree(actual: float, expected: float) -> bool:
    """Both nan, or both the same infinity, or close."""
    if math.isnan(actual) or math.isnan(expected):
        return math.isnan(actual) and math.isnan(expected)
    return actual == expected or math.isclose(actual, expected, rel_tol=1e-12, abs_tol=1e-300)


@pytest.mark.parametrize("name", PYTORCH)
def test_special_points_agree_with_pytorch(name: str) -> None:
    torch = oracle("torch")
    op = bound(name, {})
    deviates = DEVIATIONS.get(name, (lambda args: False, ""))[0]
    for args in map(list, product(SPECIAL, repeat=op.arity or 2)):
        if deviates(args):
            continue
        for i, (value, derivatives) in enumerate(run(op, FLOATS, args)):
            tensors = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in args]
            result = PYTORCH[name](torch, *tensors)
            result = result[i] if op.vector else result
            gradients = torch.autograd.grad(result, tensors)
            assert agree(value, result.item()), (args, i, value, result.item())
            for derivative, gradient in zip(derivatives, gradients, strict=True):
                assert agree(derivative, gradient.item()), (args, i, derivatives, gradients)


@every_operation
def test_special_points_never_raise_and_nan_is_never_lost(name: str, params: dict[str, float]) -> None:
    op = bound(name, params)
    count = op.arity or 2 + (name == "dot")
    for args in map(list, product(SPECIAL, repeat=count)):
        for value, derivatives in run(op, FLOATS, args):
            assert type(value) is float
            assert all(type(d) is float for d in derivatives)
            lost = (
                name in ("hypot", "pow") or params.get("exponent") == 0.0
            )  # hypot(inf, nan) = inf and 1**nan = 1 in IEEE 754
            assert not any(map(math.isnan, args)) or lost or math.isnan(value), args


#: Values and slopes decided in semantics.md, "Derivatives at the odd points" and the rows on arithmetic.
ODD_POINTS: list[tuple[str, dict[str, float], tuple[float, ...], float, tuple[float, ...]]] = [
    ("relu", {}, (0.0,), 0.0, (0.0,)),
    ("relu", {}, (-0.0,), 0.0, (0.0,)),
    ("abs", {}, (0.0,), 0.0, (0.0,)),
    ("abs", {}, (-0.0,), 0.0, (0.0,)),
    ("maximum", {}, (2.0, 2.0), 2.0, (0.5, 0.5)),
    ("minimum", {}, (2.0, 2.0), 2.0, (0.5, 0.5)),
    ("maximum", {}, (0.0, -0.0), 0.0, (0.5, 0.5)),
    ("power", {"exponent": 0.0}, (0.0,), 1.0, (0.0,)),
    ("power", {"exponent": 0.0}, (math.inf,), 1.0, (0.0,)),
    ("power", {"exponent": 0.0}, (-3.0,), 1.0, (0.0,)),
    ("pow", {}, (0.0, 0.0), 1.0, (0.0, 0.0)),
    ("pow", {}, (3.0, 0.0), 1.0, (0.0, math.log(3.0))),
    ("pow", {}, (0.0, 2.0), 0.0, (0.0, 0.0)),
    ("pow", {}, (0.0, 0.5), 0.0, (math.inf, 0.0)),
    ("pow", {}, (-2.0, 2.0), 4.0, (-4.0, math.nan)),
    ("pow", {}, (-2.0, 0.5), math.nan, (math.nan, math.nan)),
    ("power", {"exponent": 0.5}, (-2.0,), math.nan, (math.nan,)),
    ("power", {"exponent": 401.0}, (-10.0,), -math.inf, (math.inf,)),
    ("power", {"exponent": -3.0}, (-0.0,), -math.inf, (-math.inf,)),
    ("power", {"exponent": -2.0}, (0.0,), math.inf, (-math.inf,)),
    ("sqrt", {}, (0.0,), 0.0, (math.inf,)),
    ("sqrt", {}, (-1.0,), math.nan, (math.nan,)),
    ("log", {}, (0.0,), -math.inf, (math.inf,)),
    ("log", {}, (-1.0,), math.nan, (-1.0,)),
    ("exp", {}, (1000.0,), math.inf, (math.inf,)),
    ("div", {}, (1.0, 0.0), math.inf, (math.inf, -math.inf)),
    ("div", {}, (1.0, -0.0), -math.inf, (-math.inf, -math.inf)),
    ("div", {}, (-1.0, 0.0), -math.inf, (math.inf, math.inf)),
    ("div", {}, (0.0, 0.0), math.nan, (math.inf, math.nan)),
    ("atan2", {}, (0.0, 0.0), 0.0, (0.0, 0.0)),
    ("clip", {"low": -1.0, "high": 1.0}, (1.0,), 1.0, (1.0,)),
    ("clip", {"low": -1.0, "high": 1.0}, (-1.0,), -1.0, (1.0,)),
    ("clip", {"low": -1.0, "high": 1.0}, (1.5,), 1.0, (0.0,)),
    ("leaky_relu", {"slope": 0.1}, (0.0,), 0.0, (0.1,)),
    ("prod", {}, (0.0, 3.0, 0.0), 0.0, (0.0, 0.0, 0.0)),
    ("prod", {}, (0.0, 3.0, 5.0), 0.0, (15.0, 0.0, 0.0)),
]


@pytest.mark.parametrize(("name", "params", "args", "value", "slopes"), ODD_POINTS)
def test_odd_points(
    name: str, params: dict[str, float], args: tuple[float, ...], value: float, slopes: tuple[float, ...]
) -> None:
    actual, derivatives = bound(name, params).rule(FLOATS, *args)
    assert agree(actual, value), actual
    assert all(map(agree, derivatives, slopes)), derivatives


STABLE = [
    "sigmoid",
    "tanh",
    "softplus",
    "relu",
    "leaky_relu",
    "elu",
    "gelu",
    "silu",
    "erf",
    "softmax",
    "log_softmax",
    "logsumexp",
]


@pytest.mark.parametrize("name", STABLE)
def test_values_and_first_and_second_gradients_are_finite_at_a_thousand(name: str) -> None:
    op = TABLE[name]
    for args in product([1000.0, -1000.0, 0.0], repeat=op.arity or 3):
        values = [Value(x) for x in args]
        for result, derivatives in run(op, VALUES, values):
            assert math.isfinite(float(result)), args
            for derivative in derivatives:
                assert math.isfinite(float(derivative)), args
                if isinstance(derivative, Value):
                    derivative.backward()
                assert all(math.isfinite(v.grad) for v in values), args


# ------------------------------------------------------------------------------------------- numbers on either side

OPERATORS = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": operator.pow,
}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize(
    ("left", "right"), [(2.5, 3.5), (2, 3.5), (2.5, 3), (True, 2.5), (2.5, True), (7.0, 0.1), (0.3, -2.0)]
)
def test_operators_with_a_number_on_either_side(name: str, left: float, right: float) -> None:
    apply, expected = OPERATORS[name], OPERATORS[name](float(left), float(right))
    value, slopes = TABLE[name].rule(FLOATS, float(left), float(right))
    assert value == expected
    for a, b in [(Value(left), Value(right)), (Value(left), right), (left, Value(right))]:
        node = apply(a, b)
        assert type(node) is Value
        assert node.data == expected, "the bits of the float expression"
        node.backward()
        if isinstance(a, Value):
            assert math.isclose(a.grad, slopes[0], rel_tol=1e-15)
        if isinstance(b, Value):
            assert math.isclose(b.grad, slopes[1], rel_tol=1e-15)


@pytest.mark.parametrize("name", [name for name, op in TABLE.items() if op.arity == 2])
def test_functions_of_two_with_a_number_on_either_side(name: str) -> None:
    op = TABLE[name]
    for left, right in points(op.domain, 3, name):
        value, slopes = op.rule(FLOATS, left, right)
        a, b = Value(left), Value(right)
        results = [op(a, right), op(left, b), op(a, b)]
        assert [r.data for r in results] == [value] * 3
        assert op(left, right) == value
        assert type(op(left, right)) is float
        assert [r.local_derivatives for r in results] == [slopes] * 3
        assert [r.parents[0] is a for r in results] == [True, False, True]
        assert [r.parents[1] is b for r in results] == [False, True, True]
        assert results[0].parents[1].kind == results[1].parents[0].kind == "constant"


@pytest.mark.parametrize("name", [name for name, op in TABLE.items() if op.arity is None])
def test_functions_of_many_mix_values_and_numbers_in_any_iterable(name: str) -> None:
    op = TABLE[name]
    args = next(points(op.domain, 1, name))
    mixed = [Value(x) if i % 2 else x for i, x in enumerate(args)]
    plain = op(args)
    for operands in (mixed, tuple(mixed), iter(mixed)):
        recorded = op(operands)
        if op.vector:
            assert [v.data for v in recorded] == plain
            assert [v.operation.params["index"] for v in recorded] == list(range(len(args)))
        else:
            assert recorded.data == plain
            assert [p.data for p in recorded.parents] == args


def test_a_constant_exponent_is_a_parameter_and_no_operand() -> None:
    x = Value(3.0)
    y = x**2
    assert y.parents == (x,)
    assert y._op == "**2"
    assert (x**-0.5)._op == "**-0.5"


def test_a_number_to_the_power_of_a_value_and_a_value_to_the_power_of_itself() -> None:
    x = Value(3.0)
    (2.0**x + x**x).backward()
    assert math.isclose(x.grad, 8.0 * math.log(2.0) + 27.0 * (math.log(3.0) + 1.0), rel_tol=1e-15)


def test_parameters_by_position_by_name_and_by_default() -> None:
    assert ops.leaky_relu(-2.0) == ops.leaky_relu(-2.0, 0.01) == ops.leaky_relu(-2.0, slope=0.01) == -0.02
    assert ops.clip(5.0, -1.0, 1.0) == ops.clip(5.0, -1.0, high=1.0) == ops.clip(5.0, high=1.0, low=-1.0) == 1.0
    x = Value(-2.0)
    assert x.leaky_relu(0.5).data == ops.leaky_relu(x, slope=0.5).data == -1.0
    assert x.clip(-1.0).data == ops.clip(x, -1.0).data == -1.0
    assert x.elu(2.0).data == ops.elu(x, 2.0).data == 2.0 * math.expm1(-2.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.tanh(), "tanh() takes 1 operand, got ()"),
        (lambda: ops.tanh(1.0, 2.0), "tanh() takes 1 operand, got (float, float)"),
        (lambda: ops.maximum(Value(1.0)), "maximum() takes 2 operands, got (Value)"),
        (lambda: ops.tanh(1.0, scale=2.0), "tanh() takes 1 operand, got (float, scale=2.0)"),
        (lambda: ops.tanh("1"), "tanh() takes Values and numbers, got str"),
        (lambda: ops.tanh(None), "tanh() takes Values and numbers, got NoneType"),
        (lambda: ops.tanh(1j), "tanh() takes Values and numbers, got complex"),
        (lambda: ops.maximum(Value(1.0), "1"), "maximum() takes Values and numbers, got str"),
        (lambda: ops.sum(1.0, 2.0), "sum() takes one iterable of numbers, got (float, float)"),
        (lambda: ops.sum(1.0), "sum() takes one iterable of Values and numbers, got float: write sum([a, b])"),
        (lambda: ops.mean("12"), "mean() takes one iterable of Values and numbers, got str: write mean([a, b])"),
        (lambda: ops.softmax([Value(1.0), None]), "softmax() takes Values and numbers, got NoneType"),
        (
            lambda: ops.clip(1.0, 2.0, 3.0, 4.0),
            "clip() takes 1 operand and then low, high, got (float, float, float, float)",
        ),
        (
            lambda: ops.clip(Value(1.0), Value(0.0)),
            "clip(): low is a parameter and must be a number, got Value: use maximum and minimum for bounds that are Values",
        ),
        (lambda: ops.clip(1.0, 2.0, low=3.0), "clip() takes 1 operand and then low, high, got (float, float, low=3.0)"),
        (lambda: ops.elu(1.0, "a"), "elu(): alpha is a parameter and must be a number, got str"),
    ],
)
def test_wrong_operands_raise_a_type_error_that_says_what_was_expected(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError) as error:
        call()
    assert str(error.value) == message


@pytest.mark.parametrize("name", ["mean", "dot", "logsumexp", "softmax", "log_softmax"])
def test_many_operands_must_be_at_least_one(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}\(\) of no numbers: expected at least one, got an empty iterable$"):
        TABLE[name]([])


def test_the_sum_and_the_product_of_nothing() -> None:
    assert ops.sum([]) == 0.0
    assert ops.prod([]) == 1.0


# --------------------------------------------------------------------------------- an operation from outside the package


@pytest.fixture
def softsign() -> Iterator[Op]:
    """An operation that a user adds in one stanza."""

    @ops.op(symbol="softsign", domain=[(-4.0, 4.0)])
    def softsign(xp: Any, a: Any) -> Any:
        """``a / (1 + |a|)``."""
        scale = 1.0 + xp.abs(a)
        return xp.div(a, scale), (xp.div(1.0, scale * scale),)

    yield softsign
    del TABLE["softsign"]


def test_an_operation_from_outside_works_eagerly_and_on_floats(softsign: Op) -> None:
    x = Value(3.0)
    y = softsign(x)
    y.backward()
    assert (y.data, x.grad, y._op) == (0.75, 1 / 16, "softsign")
    assert softsign(3.0) == 0.75


def test_an_operation_from_outside_is_differentiated_twice(softsign: Op) -> None:
    x = Value(3.0)
    softsign.rule(VALUES, x)[1][0].backward()
    assert math.isclose(x.grad, -2 / 4**3, rel_tol=1e-15)
    assert math.isclose(micrograd.grad(micrograd.grad(softsign))(3.0), -2 / 4**3, rel_tol=1e-15)


def test_an_operation_from_outside_is_used_by_the_rule_of_another(softsign: Op) -> None:
    @ops.op(symbol="twice", domain=[(-4.0, 4.0)])
    def twice_softsign(xp: Any, a: Any) -> Any:
        total = xp.sum(xp.softsign(a), xp.softsign(a))
        return total, (xp.power(1.0 + xp.abs(a), exponent=-2.0) * 2.0,)

    try:
        x = Value(3.0)
        twice_softsign(x).backward()
        assert (twice_softsign(3.0), x.grad) == (1.5, 1 / 8)
        assert twice_softsign.rule(VALUES, x)[0].data == 1.5
    finally:
        del TABLE["twice_softsign"]


def test_an_operation_from_outside_is_drawn(softsign: Op) -> None:
    assert "softsign" in micrograd.draw(softsign(Value(3.0)))._repr_svg_()


def test_an_operation_from_outside_is_copied_and_pickled(softsign: Op) -> None:
    y = softsign(Value(3.0))
    for twin in (copy.deepcopy(y), pickle.loads(pickle.dumps(y))):
        twin.backward()
        assert (twin.data, twin.parents[0].grad, twin.operation) == (0.75, 1 / 16, softsign)


def test_a_graph_with_an_operation_that_is_not_defined_says_so_when_loaded(softsign: Op) -> None:
    saved = pickle.dumps(softsign(Value(3.0)))
    del TABLE["softsign"]
    try:
        with pytest.raises(LookupError, match=r"no operation named 'softsign': define it with micrograd\.ops\.op"):
            pickle.loads(saved)
    finally:
        TABLE["softsign"] = softsign


def test_a_name_of_micrograds_own_is_taken_and_a_users_own_operation_is_replaced(softsign: Op) -> None:
    def tanh(xp: Any, a: Any) -> Any:
        return a, (1.0,)

    with pytest.raises(ValueError, match="an operation named 'tanh' is part of micrograd: choose another name"):
        ops.op()(tanh)
    again = ops.op(symbol="other")(softsign.rule)  # a notebook cell that runs twice
    assert ops.TABLE["softsign"] is again is not softsign


def wrong_rules() -> list[tuple[Callable[..., Any], bool, str]]:
    def bare(xp: Any, a: Any) -> Any:
        return a * a

    def comma(xp: Any, a: Any) -> Any:
        return a * a, 2 * a

    def one_short(xp: Any, a: Any, b: Any) -> Any:
        return a * b, (b,)

    def rows(xp: Any, *a: Any) -> Any:
        return a, ((1.0,),)

    return [
        (bare, False, r"the rule of bare must return its value and a tuple of 1 local derivative: return value, \(deriv"),
        (comma, False, r"the rule of comma must return .* got \(.*\)"),
        (one_short, False, r"the rule of one_short must return its value and a tuple of 2 local derivatives"),
        (rows, True, r"the rule of rows must return a tuple of values and a function that gives the row"),
    ]


@pytest.mark.parametrize(("rule", "vector", "message"), wrong_rules(), ids=lambda x: getattr(x, "__name__", ""))
def test_a_rule_of_the_wrong_shape_is_refused_where_it_is_written(
    rule: Callable[..., Any], vector: bool, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        ops.op(vector=vector)(rule)
    assert rule.__name__ not in ops.TABLE


def test_the_decorator_without_parentheses_says_so() -> None:
    def lonely(xp: Any, a: Any) -> Any:
        return a, (1.0,)

    with pytest.raises(TypeError, match=r'write @op\(\) or @op\(symbol="..."\) above lonely, with parentheses'):
        ops.op(lonely)  # type: ignore[arg-type]


def test_a_parameter_without_a_default_is_refused() -> None:
    def scaled(xp: Any, a: Any, *, by: float) -> Any:
        return by * a, (by,)

    with pytest.raises(ValueError, match="operation scaled: its parameters by need default values"):
        ops.op()(scaled)


def test_parameters_become_floats() -> None:
    for result in (micrograd.clip(micrograd.Value(3.0), 1, 2).data, micrograd.clip(3, 1, 2)):
        assert (result, type(result)) == (2.0, float)


def test_an_unknown_name_in_a_rule_is_an_attribute_error() -> None:
    for xp in (FLOATS, VALUES):
        with pytest.raises(AttributeError, match="no operation named 'nonsense' in the table"):
            xp.nonsense  # noqa: B018


def test_zero_to_an_infinite_power_never_raises() -> None:
    assert (FLOATS.pow(0.0, -math.inf), FLOATS.pow(-0.0, -math.inf), FLOATS.pow(-0.0, -3.0)) == (
        math.inf,
        math.inf,
        -math.inf,
    )


def test_the_mixed_second_derivative_of_a_power_at_exponent_zero_is_one_over_the_base() -> None:
    found = micrograd.hessian(lambda v: v[0] ** v[1])([2.0, 0.0])
    assert found[0][1] == found[1][0] == 0.5
    assert found[1][1] == pytest.approx(math.log(2.0) ** 2, rel=1e-15)


def test_a_plain_exponent_is_a_parameter_in_the_function_too() -> None:
    base = Value(-2.0)
    with micrograd.detect_anomaly():
        micrograd.pow(base, 3).backward()
        (base ** Value(3.0).detach()).backward()
    assert base.grad == 24.0
    assert micrograd.pow(2.0, 3.0) == 8.0


def test_parameters_of_any_real_type_are_accepted_and_zeros_are_one_number() -> None:
    numpy = oracle("numpy")
    assert micrograd.clip(-1.0, numpy.float32(0)) == 0.0
    assert Value(-1.0).elu(numpy.int64(2)).data == 2 * math.expm1(-1.0)
    assert micrograd.leaky_relu(-3.0, 10**400) == -math.inf
    assert math.copysign(1.0, micrograd.clip(-1.0, low=-0.0)) == math.copysign(1.0, micrograd.clip(-1.0, low=0.0)) == 1.0


def test_a_rule_that_is_no_plain_function_is_refused() -> None:
    with pytest.raises(TypeError, match=r"the rule of an operation is a plain function, got .* write it with def"):
        Op("callable", "callable", type("Rule", (), {"__call__": lambda self, xp, a: (a, (1.0,))})(), ())


def test_the_text_of_an_operation_starts_at_the_margin() -> None:
    assert all(not line.startswith("    ") for line in (ops.tanh.__doc__ or "").splitlines())
