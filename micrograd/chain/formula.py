"""The derivative of a recorded graph as a formula in the labels of its nodes."""

from __future__ import annotations

import functools
import importlib
import itertools
import keyword
import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

from micrograd.chain import names
from micrograd.chain.symbols import SYMBOLS, Symbol, chained, lift, name, postorder, text
from micrograd.engine import Value, topological_order
from micrograd.ops import FLOATS, Op

_LONGEST = 5000  # operations: a formula beyond that is for no reader
_FACTORED, _SIMPLIFIED = 60, 25  # operations: beyond that SymPy takes more than a moment
_FUNCTIONS = frozenset(vars(FLOATS))


def derivative_text(node: Value, wrt: Value | Iterable[Value] | None = None) -> str:
    """The derivative of a result as a formula, one line for each node of ``wrt``, by default for each labelled leaf.

    Labelled nodes appear by their label, a node without one as what it was computed from.  The formula comes from the rules
    of the operations (S1, S5, S7) and follows the branch that the record took: the derivative of a relu is 1 or 0.  Labels
    that are no names of Python's are written with ``_`` on a leaf, and count as absent on a result.  Where SymPy is
    installed (``pip install micrograd[symbolic]``) its simplification is taken if that is shorter and loses no digits.

    TypeError for anything but Values, ValueError where no leaf has a label or a formula gets longer than anyone can read.

    >>> x, w, y = Value(2.0, label="x"), Value(0.5, label="w"), Value(3.0, label="y")
    >>> o = (w * x).tanh(); o.label = "o"
    >>> L = (o - y) ** 2; L.label = "L"
    >>> print(derivative_text(L, w))
    dL/dw = 2*(o - y) * (1 - o**2) * x
    """
    if not isinstance(node, Value):
        raise TypeError(f"derivative_text(node, wrt): the node must be a Value, got {type(node).__name__}")
    order = topological_order(node)
    if wrt is None:
        by = [leaf for leaf in order if not leaf.parents and leaf.label and leaf.kind != "constant"]
    else:
        by = [wrt] if isinstance(wrt, Value) else list(wrt)
    for leaf in by:
        if not isinstance(leaf, Value):
            raise TypeError(f"derivative_text(node, wrt): wrt must be Values, got {type(leaf).__name__}")
    if not by:
        raise ValueError("derivative_text(): no leaf has a label: write x.label = 'x', or say which nodes with wrt=")
    known = set(order)
    called = _identifiers([*order, *(leaf for leaf in dict.fromkeys(by) if leaf not in known)])
    adjoints = _adjoints(order, _derivatives(order, called))
    lines = []
    for leaf in by:
        left = names.derivative(called[node], called[leaf])
        formula = adjoints.get(leaf, lift(0.0))
        if formula.size > _LONGEST:
            raise ValueError(f"the formula of {left} has more than {_LONGEST} operations: take a nearer node with wrt=")
        lines.append(f"{left} = {_shortest(formula)}")
    return "\n".join(lines)


def _identifiers(order: Sequence[Value]) -> dict[Value, str]:
    """A name for each node that is an identifier and no function's."""
    called, taken = names.names_of(order), {node.label for node in order}
    given: dict[Value, str] = {}
    for node, label in called.items():
        plain = re.sub(r"\W", "_", label)
        plain = plain if plain.isidentifier() else f"_{plain}"
        while (plain != label and plain in taken) or plain in _FUNCTIONS or keyword.iskeyword(plain):
            plain += "_"
        taken.add(plain)
        given[node] = plain
    return given


def _derivatives(order: Sequence[Value], called: dict[Value, str]) -> dict[Value, Sequence[Symbol]]:
    """The formulas of the local derivatives of each node, from its operation's rule."""
    formulas: dict[Value, Symbol] = {}
    derivatives: dict[Value, Sequence[Symbol]] = {}
    for node in order:
        if not node.parents:
            number = node.kind == "constant" and not node.label
            formulas[node] = lift(node.data) if number else name(called[node], node.data)
            continue
        if len(node.local_derivatives) != len(node.parents):
            tuple(node.local_derivatives)  # raises the error that explains a node built by hand
        mark = lift(0.0).birth
        value, rows = node.operation.rule(SYMBOLS, *[formulas[parent] for parent in node.parents])  # type: ignore[union-attr]
        derivatives[node] = [lift(row) for row in rows]
        value = lift(value)
        if node.label.isidentifier():
            if value.birth < mark or value.head == "number":  # an operand as it was, such as relu's: it keeps its own name
                value = name(called[node], node.data)
            value.rename(called[node])  # in the derivatives too: so the quotient's is -q/b
            derivatives[node] = _by_own_value(node, value) or derivatives[node]
        formulas[node] = value
    return derivatives


def _by_own_value(node: Value, g: Symbol) -> list[Symbol]:
    """The slope of a function of one operand as a formula in its value (S7): 1 - g**2 for tanh, g*(1 - g) for sigmoid.

    Empty where there is no such formula with coefficients -1, 0 and 1, and where its rounding would lose digits.
    """
    coefficients = _quadratic(node.operation) if isinstance(node.operation, Op) and node.operation.arity == 1 else None
    if coefficients is None:
        return []
    c0, c1, c2 = coefficients
    slope = g * (c1 + c2 * g) if c0 == 0.0 else c0 + c1 * g + c2 * (g * g)
    return [slope] if math.isclose(slope.data, node.local_derivatives[0], rel_tol=1e-12) else []


@functools.lru_cache(maxsize=1000)
def _quadratic(op: Op) -> tuple[float, float, float] | None:
    """The numbers c for which the slope of an operation is c0 + c1*g + c2*g**2, g being its value; found by trying."""
    low, high = op.domain[0]
    points = [max(low, -2.0) + t * (min(high, 2.0) - max(low, -2.0)) for t in (0.05, 0.2, 0.35, 0.55, 0.7, 0.95)]
    found = [op.rule(FLOATS, point) for point in points]
    for c0, c1, c2 in itertools.product((0.0, 1.0, -1.0), repeat=3):
        if all(math.isclose(c0 + c1 * g + c2 * g * g, slope, rel_tol=1e-9) for g, (slope,) in found):
            return c0, c1, c2
    return None


def _adjoints(order: Sequence[Value], derivatives: dict[Value, Sequence[Symbol]]) -> dict[Value, Symbol]:
    """The derivative of the last node by each, by the chain rule on formulas (S1)."""
    adjoints = {order[-1]: lift(1.0)}
    for node in reversed(order):
        for parent, local in zip(node.parents, derivatives.get(node, ()), strict=True):
            adjoints[parent] = adjoints.get(parent, lift(0.0)) + chained(adjoints[node], local)
    return adjoints


# ---------------------------------------------------------------------------------------------------------- SymPy


def _shortest(formula: Symbol) -> str:
    return min([text(formula), *_simplified(formula)], key=lambda line: len(line.replace(" ", "")))


def _simplified(formula: Symbol) -> list[str]:
    """What SymPy makes of a formula, as far as it brings in no other functions and gives the same number."""
    if not 0 < formula.size <= _FACTORED:
        return []
    try:
        sympy = importlib.import_module("sympy")
    except ImportError:
        return []
    parts = postorder(formula)
    if not all(math.isfinite(part.data) for part in parts):
        return []
    expression = _expression(parts, sympy)
    data = {part.args[0]: part.data for part in parts if part.head == "name"}
    candidates = [sympy.factor_terms(expression), sympy.factor(expression)]
    if formula.size <= _SIMPLIFIED:
        candidates.append(sympy.simplify(expression))
    known = _functions_in(expression, sympy)
    return [
        sympy.sstr(candidate, full_prec=False)
        for candidate in candidates
        if _functions_in(candidate, sympy) <= known and _same(candidate, data, formula.data)
    ]


def _functions_in(expression: Any, sympy: Any) -> set[str]:
    return {function.func.__name__ for function in expression.atoms(sympy.Function)}


def _expression(parts: Sequence[Symbol], sympy: Any) -> Any:
    """The last of the formulas as an expression of SymPy's; each comes after its parts."""
    made: dict[Symbol, Any] = {}
    for part in parts:
        if part.head == "name":
            made[part] = sympy.Symbol(part.args[0])
        elif part.head == "number":
            exact = Fraction(part.data)
            made[part] = sympy.Rational(part.data) if exact.denominator <= 64 else sympy.Float(part.data)
        else:
            function = _OPERATORS.get(part.head) or getattr(sympy, part.head, None) or sympy.Function(part.head)
            made[part] = function(*[made[arg] for arg in part.args])
    return made[parts[-1]]


_OPERATORS: dict[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    " * ": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
    "neg": operator.neg,
}


def _same(expression: Any, data: dict[str, float], expected: float) -> bool:
    """Whether an expression of SymPy's gives a number in float arithmetic: a rewriting may cancel or overflow."""
    try:
        return math.isclose(_value(expression, data), expected, rel_tol=1e-12)
    except AttributeError:  # a function or a constant that is none of the table's
        return False


def _value(expression: Any, data: dict[str, float]) -> float:
    if expression.is_Symbol:
        return data[expression.name]
    if expression.is_Number:
        return float(expression)
    args = [_value(arg, data) for arg in expression.args]
    if expression.is_Add:
        return sum(args)
    if expression.is_Mul:
        return math.prod(args)
    return float(getattr(FLOATS, "pow" if expression.is_Pow else expression.func.__name__)(*args))
