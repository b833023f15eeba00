"""micrograd.chain.formula and symbols: derivatives as text."""

from __future__ import annotations

import keyword
import math
import random
import sys
from collections.abc import Callable

import pytest
from conftest import oracle

from micrograd import Value, dot, log_softmax, maximum, mean, ops, relu, softmax, where
from micrograd.chain import derivative_text
from micrograd.chain.symbols import SYMBOLS, Symbol, chained, lift, name
from micrograd.ops import FLOATS


@pytest.fixture
def _unsimplified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sympy", None)


plain = pytest.mark.usefixtures("_unsimplified")


def values(**numbers: float) -> list[Value]:
    return [Value(x, label=label) for label, x in numbers.items()]


def lecture() -> Value:
    """L = (o - y)**2 of o = tanh(w1*x1 + w2*x2 + b)."""
    x1, x2, w1, w2, b, y = values(x1=2.0, x2=-1.0, w1=0.5, w2=0.3, b=0.1, y=3.0)
    o = (w1 * x1 + w2 * x2 + b).tanh()
    o.label = "o"
    L = (o - y) ** 2  # noqa: N806
    L.label = "L"
    return L


LECTURE = """\
dL/dw1 = 2*(o - y) * (1 - o**2) * x1
dL/dx1 = 2*(o - y) * (1 - o**2) * w1
dL/dw2 = 2*(o - y) * (1 - o**2) * x2
dL/dx2 = 2*(o - y) * (1 - o**2) * w2
dL/db = 2*(o - y) * (1 - o**2)
dL/dy = -2*(o - y)"""


@plain
def test_s1_the_lecture_in_symbols() -> None:
    assert derivative_text(lecture()) == LECTURE


def test_sympy_changes_a_formula_only_to_make_it_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    oracle("sympy")
    assert derivative_text(lecture()) == LECTURE
    x, y = values(x=2.0, y=3.0)
    z = (x + y) ** 2 * x
    z.label = "z"
    assert derivative_text(z, x) == "dz/dx = (x + y)*(3*x + y)"
    monkeypatch.setitem(sys.modules, "sympy", None)
    assert derivative_text(z, x) == "dz/dx = (x + y)**2 + 2*x * (x + y)"


@plain
@pytest.mark.parametrize(
    ("activation", "slope"),
    [
        ("tanh", "1 - g**2"),
        ("sigmoid", "g*(1 - g)"),
        ("exp", "g"),
        ("relu", "1"),
        ("softplus", "1/(1 + exp(-a))"),
        ("sqrt", "0.5/g"),
    ],
)
def test_s7_slopes_of_activation_functions_in_their_own_value(activation: str, slope: str) -> None:
    (a,) = values(a=0.7)
    g = ops.TABLE[activation](a)
    g.label = "g"
    assert derivative_text(g) == f"dg/da = {slope}"


@plain
def test_s7_a_saturated_sigmoid_keeps_its_digits() -> None:
    (a,) = values(a=35.0)
    g = a.sigmoid()
    g.label = "g"
    formula = derivative_text(g).partition(" = ")[2]
    assert eval(formula, {"exp": math.exp, "a": 35.0, "g": g.data}) == pytest.approx(math.exp(-35.0), rel=1e-14, abs=0.0)


@plain
def test_v4_conditions_follow_the_branch_that_was_recorded() -> None:
    (x,) = values(x=-2.0)
    (kink,) = values(x=0.0)
    for node, slope in [
        (relu(kink), "0"),
        (abs(kink), "0"),
        (maximum(kink, 0.0), "0.5"),
        (relu(x), "0"),
        (relu(-x), "-1"),
        (abs(x), "-1"),
        (maximum(x, -3.0), "1"),
        (x.leaky_relu(0.5), "0.5"),
        (where(x > 0, x * 5.0, x * 7.0), "7"),
        (x.clip(-1.0, 1.0), "0"),
    ]:
        node.label = "y"
        assert derivative_text(node) == f"dy/dx = {slope}"


@plain
def test_v3_the_affine_part_and_the_mean() -> None:
    w, x, b = values(w=2.0, x=3.0, b=4.0)
    z = dot([w, w], [x, 0.5], b)
    z.label = "z"
    assert derivative_text(z) == "dz/dw = x + 0.5\ndz/dx = w\ndz/db = 1"
    m = mean([w, x, w])
    m.label = "m"
    assert derivative_text(m, w).startswith("dm/dw = 0.6666666666666666")


@plain
def test_s2_softmax_cross_entropy_in_symbols() -> None:
    a, b = values(a=1.0, b=2.0)
    loss = -log_softmax([a, b])[0]
    loss.label = "L"
    for line, expected in zip(derivative_text(loss).splitlines(), softmax([1.0, 2.0]), strict=True):
        got = eval(line.partition(" = ")[2], {"exp": math.exp, "a": 1.0, "b": 2.0})
        assert got == pytest.approx(expected - ("/da" in line), rel=1e-14)


@plain
def test_labelled_nodes_are_named_and_others_expanded() -> None:
    x, y = values(x=2.0, y=3.0)
    q = x * y
    z = q.sin()
    z.label = "z"
    assert derivative_text(z, x) == "dz/dx = cos(x*y) * y"
    q.label = "q"
    assert derivative_text(z, x) == "dz/dx = cos(q) * y"
    assert derivative_text(z, [q, y]) == "dz/dq = cos(q)\ndz/dy = cos(q) * x"
    q.label = "x*y"  # a text that is no name
    assert derivative_text(z, x) == "dz/dx = cos(x*y) * y"


@plain
def test_a_labelled_relu_leaves_its_operand_its_own_name() -> None:
    (x,) = values(x=2.0)
    r = relu(x)
    r.label = "r"
    z = r * x.exp()
    z.label = "z"
    assert derivative_text(z, x) == "dz/dx = r * exp(x) + exp(x)"


def test_sympy_brings_in_no_function_and_loses_no_digits() -> None:
    oracle("sympy")
    for number in (2.0, 800.0):  # exp(a)/(exp(a) + 1)**2 is shorter, but overflows
        (a,) = values(a=number)
        formula = derivative_text(a.sigmoid()).partition(" = ")[2]
        assert "cosh" not in formula
        (expected,) = a.sigmoid().local_derivatives
        assert eval(formula, {"exp": math.exp, "a": number}) == pytest.approx(expected, rel=1e-12, abs=0.0)


@plain
@pytest.mark.parametrize("label", ["learning rate", "lambda", "exp", "2x", "a.b", "x'", "α"])
def test_labels_become_names_of_python(label: str) -> None:
    x = Value(2.0, label=label)
    node = x * x * 3.0
    node.label = "y"
    formula = derivative_text(node).partition(" = ")[2]
    (found,) = set(compile(formula, "", "eval").co_names)
    assert found.isidentifier()
    assert not keyword.iskeyword(found)
    assert found not in vars(FLOATS)
    assert eval(formula, {found: 2.0}) == 12.0


@plain
def test_one_label_on_two_nodes_gives_two_names() -> None:
    a, b = Value(2.0, label="w"), Value(3.0, label="w")
    node = a * b
    node.label = "y"
    assert derivative_text(node) == "dy/dw = w_2\ndy/dw_2 = w"
    c, d = Value(2.0, label="a b"), Value(3.0, label="a_b")
    assert derivative_text(c * d, c) == "dv1/da_b_ = a_b"


@plain
def test_constants_are_numbers_and_get_no_line() -> None:
    (x,) = values(x=2.0)
    node = (3.0 * x + 0.1) * 1e20
    node.label = "y"
    assert derivative_text(node) == "dy/dx = 3e+20"


@plain
def test_a_leaf_that_is_not_reached_has_derivative_zero_and_a_node_itself_one() -> None:
    x, y = values(x=2.0, y=3.0)
    node = x * x
    node.label = "n"
    assert derivative_text(node, y) == "dn/dy = 0"
    assert derivative_text(node, node) == "dn/dn = 1"
    assert derivative_text(x) == "dx/dx = 1"


@plain
def test_a_formula_too_long_to_read_is_refused() -> None:
    (x,) = values(x=1.0)
    node = x
    for _ in range(60):
        node = node * node
    with pytest.raises(ValueError, match="more than 5000 operations"):
        derivative_text(node)


@plain
def test_a_long_chain_needs_no_recursion() -> None:
    (x,) = values(x=1.0)
    node = x
    for _ in range(3_000):
        node = node.sin()
    with pytest.raises(ValueError, match="operations"):
        derivative_text(node)
    chain = x
    for _ in range(3_000):
        chain = 1.0 + chain
    chain.label = "y"
    assert derivative_text(chain) == "dy/dx = 1"


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="the node must be a Value, got float"):
        derivative_text(1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="wrt must be Values, got str"):
        derivative_text(Value(1.0), ["x"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="no leaf has a label"):
        derivative_text(Value(1.0) * 2.0)
    x = Value(1.0, label="x")
    with pytest.raises(ValueError, match="built by hand"):
        derivative_text(Value(2.0, (x, x), "mystery"))


def test_an_operation_from_outside_needs_nothing_more() -> None:
    @ops.op(symbol="cube", domain=[(-2.0, 2.0)])
    def cube(xp, a):  # type: ignore[no-untyped-def]
        return a * a * a, (3.0 * a * a,)

    try:
        x = Value(2.0, label="x")
        node = cube(x)
        node.label = "y"
        assert eval(derivative_text(node).partition(" = ")[2], {"x": 2.0}) == 12.0
    finally:
        del ops.TABLE["cube"]


ONE_OUTPUT = [op for op in ops.TABLE.values() if not op.vector]


@pytest.mark.parametrize("op", ONE_OUTPUT, ids=lambda op: op.name)
@pytest.mark.parametrize("simplified", [False, True])
def test_the_formula_of_every_operation_gives_its_derivatives(
    op: ops.Op, simplified: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not simplified:
        monkeypatch.setitem(sys.modules, "sympy", None)
    rng = random.Random(op.name)
    data = [rng.uniform(max(low, -3.0), min(high, 3.0)) for low, high in op.domain]
    operands = [Value(x, label=f"x{i}") for i, x in enumerate(data)]
    node = op(operands) if op.arity is None else op(*operands)
    for label in ("", "y"):
        node.label = label
        for operand, expected in zip(operands, node.local_derivatives, strict=True):
            formula = derivative_text(node, operand).partition(" = ")[2]
            names = {**vars(FLOATS), **{o.label: o.data for o in operands}, "y": node.data}
            assert eval(formula, names) == pytest.approx(expected, rel=1e-12), formula


# -------------------------------------------------------------------------------------------------------- symbols


def test_text_has_the_parentheses_it_needs() -> None:
    rng = random.Random(1)
    data = {"a": 1.7, "b": 0.6, "c": 2.3}
    atoms = [name(text, x) for text, x in data.items()] + [lift(x) for x in (2.0, -3.0, 0.5, 1.0)]
    makers: list[Callable[[Symbol, Symbol], Symbol]] = [
        lambda p, q: p + q,
        lambda p, q: p - q,
        lambda p, q: p * q,
        lambda p, q: -p,
        SYMBOLS.div,
        lambda p, q: SYMBOLS.pow(p, 2.0),
        lambda p, q: SYMBOLS.pow(SYMBOLS.exp(p * 0.01), q),
        chained,
    ]
    for _ in range(2000):
        formula = rng.choice(atoms)
        for _ in range(6):
            other = rng.choice(atoms)
            formula = rng.choice(makers)(*rng.sample([formula, other], 2))
        if math.isfinite(formula.data) and abs(formula.data) < 1e100:
            got = eval(repr(formula), {"exp": math.exp, "inf": math.inf, "nan": math.nan, **data})
            assert got == pytest.approx(formula.data, rel=1e-9, abs=1e-9), repr(formula)


def test_what_adds_nothing_is_dropped() -> None:
    x, y = name("x", 2.0), name("y", 3.0)
    for formula, text in [
        (x + 0.0, "x"), (0.0 + x, "x"), (x - 0.0, "x"), (0.0 - x, "-x"), (x * 1.0, "x"), (1.0 * x, "x"), (x * 0.0, "0"),
        (x * -1.0, "-x"), (0.0 - -x, "x"), (x - x, "0"), (x * x, "x**2"), (x + -y, "x - y"), (x - -y, "x + y"),
        (x + -2.0, "x - 2"), (-(x - y), "y - x"), (2.0 * (3.0 * x), "6*x"), (x * 2.0, "2*x"), (-(2.0 * x), "-2*x"),
        (SYMBOLS.div(x, 1.0), "x"), (SYMBOLS.div(-x, y), "-x/y"), (SYMBOLS.pow(x, 1.0), "x"), (SYMBOLS.pow(x, 0.0), "1"),
        (lift(2.0) + 3.0, "5"), (SYMBOLS.exp(0.0), "1"), (SYMBOLS.div(x, x * y), "x/(x*y)"), (x - (y - 1.0), "x - (y - 1)"),
        (SYMBOLS.pow(SYMBOLS.pow(x, 2.0), y), "(x**2)**y"), (SYMBOLS.pow(x, -y), "x**(-y)"),
        (SYMBOLS.pow(x, -2.0), "x**(-2)"), (lift(0.1) * x, "0.1*x"),
    ]:  # fmt: skip
        assert repr(formula) == text
