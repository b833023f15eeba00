"""Expressions typed at the shell: what they mean, and what is refused in which words."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given, strategies as st

from micrograd.engine import Value
from micrograd.expression import FUNCTIONS, ExpressionError, evaluate, parse_variables

X = {"x": 1.5}


def variables(**numbers):
    return {name: Value(number, label=name) for name, number in numbers.items()}


MEANINGS = [
    ("tanh(w*x+b)", {"w": 2.0, "x": 3.0, "b": -1.0}, math.tanh(5.0)),
    ("x", X, 1.5),
    ("  x ", X, 1.5),
    ("x\n+1", X, 2.5),
    ("-x**2", X, -2.25),
    ("+x - -x", X, 3.0),
    ("2**x", X, 2.0**1.5),
    ("x**x", X, 1.5**1.5),
    ("x**2**3", X, 1.5**8),
    ("1 - x/2*4", X, -2.0),
    ("(1 - x)/(2*4)", X, -0.0625),
    ("maximum(0, 1 - x)", X, 0.0),
    ("clip(x, -1, 1)", X, 1.0),
    ("leaky_relu(-x, 0.5)", X, -0.75),
    ("pow(x, 2) + abs(-x)", X, 3.75),
    ("λ*x_1", {"λ": 2.0, "x_1": 4.0}, 8.0),
    ("0x10*x + 1_000 + 1e-3 + .5", X, 1024.501),
    ("x*9**9**9", X, math.inf),
    ("sin(pi*x) + e**x", X, math.sin(math.pi * 1.5) + math.e**1.5),
    ("pi*e", {"pi": 2.0, "e": 3.0}, 6.0),
    ("x/0", X, math.inf),
    ("x*(2 - 3)**0.5 - log(0)", X, math.nan),
]


@pytest.mark.parametrize(("text", "numbers", "expected"), MEANINGS)
def test_an_expression_means_what_it_means_in_python(text, numbers, expected):
    assert evaluate(text, variables(**numbers)).data == pytest.approx(expected, rel=1e-15, nan_ok=True)


def test_gradients_flow_to_the_variables():
    given_ = variables(w=2.0, x=3.0, b=-1.0)
    evaluate("tanh(w*x+b)", given_).backward()
    slope = 1.0 / math.cosh(5.0) ** 2
    assert [v.grad for v in given_.values()] == pytest.approx([3.0 * slope, 2.0 * slope, slope], rel=1e-12)


def test_a_number_as_exponent_is_a_parameter_and_not_a_node():
    x = variables(x=3.0)
    assert evaluate("x**2", x).parents == (x["x"],)


def test_every_operation_of_fixed_arity_can_be_called():
    assert set(FUNCTIONS) >= {"exp", "log", "sqrt", "sin", "sigmoid", "relu", "gelu", "maximum", "atan2", "hypot"}
    for name, op in FUNCTIONS.items():
        names = ["a", "b"][: op.arity]
        middle = {n: (low + high) / 2 for n, (low, high) in zip(names, op.domain, strict=True)}
        got = evaluate(f"{name}({', '.join(names)})", variables(**middle))
        assert got.data == op(*middle.values())


REFUSED = [
    ("", "the expression is empty"),
    ("   ", "the expression is empty"),
    ("x+", "column "),
    ("x*(2", "column 3 of 'x*(2'"),
    ("2 x", "column "),
    ("x = 2", "column "),
    ("x$", "column 2 of 'x$'"),
    ("x\0", ""),
    ("y + x", "column 1 of 'y + x': y has no value: add y=1 after the expression"),
    ("é*x + zz", "column 1 of 'é*x + zz': é has no value"),
    ("x*'é' + zz", "column 3 of \"x*'é' + zz\": the str 'é' is not allowed"),
    ("x + sgimoid(x)", "column 5 of 'x + sgimoid(x)': no function named sgimoid: did you mean sigmoid?"),
    ("foo(x)", "column 1 of 'foo(x)': no function named foo: there are abs, acos, "),
    ("detach(x)", "column 1 of 'detach(x)': no function named detach: there are abs, acos, "),
    ("detahc(x)", "column 1 of 'detahc(x)': no function named detahc: there are abs, acos, "),
    ("2x", "column 1 of '2x': invalid decimal literal: write 2*x for a product"),
    ("x + 2.5x_1", "column 7 of 'x + 2.5x_1': invalid decimal literal: write 2.5*x_1 for a product"),
    ("x(2)", "column 1 of 'x(2)': no function named x"),
    ("where(x)", "column 1 of 'where(x)': no function named where"),
    ("__import__('os')", "column 1 of \"__import__('os')\": no function named __import__"),
    ("relu", "column 1 of 'relu': relu is a function: call it as relu(...)"),
    ("relu(x, 1)", "column 1 of 'relu(x, 1)': relu() takes 1 operand, got"),
    ("hypot(x)", "column 1 of 'hypot(x)': hypot() takes 2 operands, got"),
    ("clip(1, x, 2)", "column 1 of 'clip(1, x, 2)': clip(): low is a parameter and must be a number"),
    ("elu(x, alpha=2)", "column 1 of 'elu(x, alpha=2)': elu() takes its arguments by position"),
    ("sin(*x)", "column 5 of 'sin(*x)': "),
    ("sin(**x)", "column 1 of 'sin(**x)': sin() takes its arguments by position"),
    ("x.data", "column 1 of 'x.data': an attribute is not allowed: use numbers, names"),
    ("x[0]", "column 1 of 'x[0]': an index is not allowed"),
    ("x.tanh()", "column 1 of 'x.tanh()': calling anything but a name is not allowed"),
    ("(lambda: x)()", "column 1 of '(lambda: x)()': calling anything but a name"),
    ("lambda: x", "column 1 of 'lambda: x': a lambda is not allowed"),
    ("[x for x in [1]*9]", "column 1 of '[x for x in [1]*9]': a comprehension is not allowed"),
    ("sin(x for x in x)", "column "),
    ("x if x else 1", "column 1 of 'x if x else 1': if/else is not allowed"),
    ("x > 0", "column 1 of 'x > 0': a comparison is not allowed"),
    ("x and 1", "column 1 of 'x and 1': and/or is not allowed"),
    ("not x", "column 1 of 'not x': not is not allowed"),
    ("1 + x^2", "column 1 of '1 + x^2': ^ (a power is written **) is not allowed"),
    ("x//2", "column 1 of 'x//2': // is not allowed"),
    ("(x, 2)", "column 1 of '(x, 2)': a tuple is not allowed"),
    ("(x := 2)", "column "),
    ("f'{x}'", "column 1"),
    ("2j*x", "column 1 of '2j*x': the complex '2j' is not allowed"),
    ("True*x", "column 1 of 'True*x': the bool 'True' is not allowed"),
    ("x + " + "9" * 400, "column 5"),
    ("x*" + "9" * 5000, "column "),
    ("-" * 100_000 + "x", "the expression is nested too deeply"),
    ("+".join(["x"] * 100_000), "the expression is nested too deeply"),
    ("(" * 5000 + "x" + ")" * 5000, ""),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[text[:20] or "empty" for text, _ in REFUSED])
def test_all_else_is_refused_in_one_sentence_that_points_at_the_column(text, message):
    with pytest.raises(ExpressionError) as caught:
        evaluate(text, variables(**X))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_variable_that_is_not_used_and_an_expression_of_none_are_refused():
    with pytest.raises(ExpressionError, match="does not use b, c: leave out the value or use the name"):
        evaluate("x + 1", variables(x=1.0, c=2.0, b=3.0))
    with pytest.raises(ExpressionError, match="has no variable: use a name such as x"):
        evaluate("9**9**9", {})


def test_a_hundred_terms_are_not_deep():
    assert evaluate("+".join(["x"] * 100), variables(x=1.0)).data == 100.0


def test_variables_are_labelled_inputs():
    w, x = parse_variables(["w=2", " x = -1e3 "]).values()
    assert (w.data, w.label, w.kind, x.data, x.label) == (2.0, "w", "input", -1000.0, "x")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["x"], "expected a variable such as x=2, got 'x'"),
        (["=2"], "expected a variable such as x=2, got '=2'"),
        (["2=3"], "expected a variable such as x=2, got '2=3'"),
        (["a b=3"], "expected a variable such as x=2, got 'a b=3'"),
        (["x="], "x: expected a number after =, got ''"),
        (["x=two"], "x: expected a number after =, got 'two'"),
        (["x=1=2"], "x: expected a number after =, got '1=2'"),
        (["w", "=", "2"], "a variable is written without blanks around =: write w=2"),
        (["x=1", "w=", "2"], "a variable is written without blanks around =: write x=1 w=2"),
        (["w", "=2", "x=1"], "a variable is written without blanks around =: write w=2 x=1"),
        (["x=1", "x=1"], "x is given twice: give each variable one value"),
    ],
)
def test_a_malformed_or_repeated_variable_is_refused(texts, message):
    with pytest.raises(ExpressionError) as caught:
        parse_variables(texts)
    assert str(caught.value) == message


def trees(children):
    binary = st.tuples(st.sampled_from(["+", "-", "*", "/"]), children, children)
    call = st.tuples(st.sampled_from(["sin", "tanh", "exp", "atan"]), children)
    return (
        binary.map(lambda t: f"({t[1]} {t[0]} {t[2]})")
        | call.map(lambda t: f"{t[0]}({t[1]})")
        | children.map("(-{})".format)
    )


LEAVES = st.sampled_from(["a", "b"]) | st.floats(0.1, 9.0, allow_nan=False).map(repr)


@given(st.recursive(LEAVES, trees, max_leaves=12))
def test_random_expressions_give_the_bits_that_python_gives(text):
    text, numbers = f"a + b*{text}", {"a": 0.75, "b": -0.5}
    functions = {name: getattr(math, name) for name in ("sin", "tanh", "exp", "atan")}
    try:
        expected = eval(text, {**functions, **numbers})
    except (ZeroDivisionError, OverflowError, ValueError):  # where Python raises, IEEE 754 has a result
        assume(False)
    got = evaluate(text, variables(**numbers)).data
    assert got == expected or (math.isnan(got) and math.isnan(expected))
