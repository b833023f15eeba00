"""Formulas as a number system: each operation's one rule, run over symbols, gives its value and derivatives as text."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

from micrograd.ops import FLOATS, Numbers

_PRECEDENCE = {"+": 1, "-": 1, "*": 2, " * ": 2, "/": 2, "neg": 2, "**": 3}
_ASSOCIATIVE = {"+": ("+", "-"), "*": ("*", " * ", "/"), " * ": ("*", " * ", "/")}
_births = itertools.count()


class Symbol:
    """A formula: a name, a number, or ``head`` applied to other formulas.

    ``data`` is the number that it stands for in the recorded graph, by which comparisons are decided: a formula follows the
    branch that the record took.  ``size`` counts the operations in its text; ``birth`` is a serial number.

    >>> x = name("x", 3.0)
    >>> 2.0 * (x + 1.0) * -x
    -2*(x + 1)*x
    """

    __slots__ = ("head", "args", "data", "size", "birth")

    def __init__(self, head: str, args: tuple[Any, ...], data: float) -> None:
        self.head, self.args, self.data, self.birth = head, args, data, next(_births)
        inner = [arg.size for arg in args if isinstance(arg, Symbol)]
        self.size: int = min(1 + sum(inner), 10**9) if inner else 0  # shared parts count each time

    def rename(self, text: str) -> None:
        """Become a name: every formula that holds this one shows the name from now on."""
        self.head, self.args, self.size = "name", (text,), 0

    def is_number(self, value: float) -> bool:
        """Whether this is the number ``value`` and no formula."""
        return self.head == "number" and self.data == value

    def __add__(self, other: Any) -> Symbol:
        return _add(self, lift(other))

    def __radd__(self, other: Any) -> Symbol:
        return _add(lift(other), self)

    def __sub__(self, other: Any) -> Symbol:
        return _sub(self, lift(other))

    def __rsub__(self, other: Any) -> Symbol:
        return _sub(lift(other), self)

    def __mul__(self, other: Any) -> Symbol:
        return _mul(self, lift(other))

    def __rmul__(self, other: Any) -> Symbol:
        return _mul(lift(other), self)

    def __neg__(self) -> Symbol:
        return _neg(self)

    def __lt__(self, other: Any) -> bool:
        return self.data < lift(other).data

    def __le__(self, other: Any) -> bool:
        return self.data <= lift(other).data

    def __gt__(self, other: Any) -> bool:
        return self.data > lift(other).data

    def __ge__(self, other: Any) -> bool:
        return self.data >= lift(other).data

    def __repr__(self) -> str:
        return text(self)


def name(text: str, data: float) -> Symbol:
    """A formula that is one name."""
    return Symbol("name", (text,), data)


def lift(x: Any) -> Symbol:
    """A number as a formula; a formula as it is."""
    return x if isinstance(x, Symbol) else Symbol("number", (), float(x))


# ------------------------------------------------------------------------- arithmetic that drops what adds nothing


def _apply(head: str, function: Callable[..., float], *args: Symbol) -> Symbol:
    """``head`` of formulas; worked out where all of them are numbers."""
    data = function(*[arg.data for arg in args])
    return lift(data) if all(arg.head == "number" for arg in args) else Symbol(head, args, data)


def _add(a: Symbol, b: Symbol) -> Symbol:
    if a.is_number(0.0) or b.is_number(0.0):
        return b if a.is_number(0.0) else a
    if b.head == "neg":
        return _sub(a, b.args[0])
    if b.head == "number" and b.data < 0.0:
        return _sub(a, lift(-b.data))
    return _apply("+", operator.add, a, b)


def _sub(a: Symbol, b: Symbol) -> Symbol:
    if a is b:
        return lift(0.0)
    if a.is_number(0.0) or b.is_number(0.0):
        return a if b.is_number(0.0) else _neg(b)
    if b.head == "neg":
        return _add(a, b.args[0])
    if b.head == "number" and b.data < 0.0:
        return _add(a, lift(-b.data))
    return _apply("-", operator.sub, a, b)


def _mul(a: Symbol, b: Symbol, sign: str = "*") -> Symbol:
    if a.is_number(0.0) or b.is_number(0.0):
        return lift(0.0)
    if b.head == "number":  # a number goes first
        a, b = b, a
    if a.is_number(1.0):
        return b
    if a.is_number(-1.0):
        return _neg(b)
    if a.head == "neg":
        return _neg(_mul(a.args[0], b, sign))
    if b.head == "neg":
        return _neg(_mul(a, b.args[0], sign))
    if a.head == "number" and b.head == "*" and b.args[0].head == "number":
        return _mul(a * b.args[0], b.args[1])
    if b.head == "*" and b.args[0].head == "number":
        return _mul(_mul(b.args[0], a), b.args[1], sign)
    if a is b:
        return _pow(a, lift(2.0))
    return _apply(sign if a.head != "number" else "*", operator.mul, a, b)


def chained(outer: Symbol, local: Symbol) -> Symbol:
    """The product that the chain rule makes, written with spaces around its sign.

    >>> chained(name("o", 1.0) - 1.0, name("x", 2.0))
    (o - 1) * x
    """
    return _mul(outer, local, " * ") if outer is not local else _mul(outer, local)


def _div(a: Symbol, b: Symbol) -> Symbol:
    if b.is_number(1.0):
        return a
    if a.is_number(0.0) and b.head != "number":
        return a
    if a.head == "neg":
        return _neg(_div(a.args[0], b))
    return _apply("/", FLOATS.div, a, b)


def _pow(a: Symbol, b: Symbol) -> Symbol:
    if b.is_number(1.0):
        return a
    if b.is_number(0.0):
        return lift(1.0)
    return _apply("**", FLOATS.pow, a, b)


def _neg(a: Symbol) -> Symbol:
    if a.head == "neg":
        return a.args[0]  # type: ignore[no-any-return]
    if a.head == "-":
        return _sub(a.args[1], a.args[0])
    if a.head == "*" and a.args[0].head == "number":
        return _mul(-a.args[0], a.args[1])
    return _apply("neg", operator.neg, a)


def _function(name: str) -> Callable[..., Symbol]:
    function = getattr(FLOATS, name)
    return lambda *args: _apply(name, function, *map(lift, args))


#: Formulas as a number system: where a rule asks for a condition, the recorded data decide.
SYMBOLS = Numbers(
    **{name: _function(name) for name in vars(FLOATS)}
    | {
        "where": lambda condition, a, b: a if condition else b,
        "detach": lambda a: a,
        "maximum": lambda a, b: a if lift(a) > b else b,
        "abs": lambda a: a if lift(a) >= 0.0 else -a,
        "div": lambda a, b: _div(lift(a), lift(b)),
        "pow": lambda a, b: _pow(lift(a), lift(b)),
    }
)


# ----------------------------------------------------------------------------------------------------------- text


def postorder(formula: Symbol) -> list[Symbol]:
    """Every formula within a formula, each once and after its parts."""
    order: dict[Symbol, None] = {}
    stack = [formula]
    while stack:
        top = stack[-1]
        missing = [arg for arg in top.args if isinstance(arg, Symbol) and arg not in order]
        if missing:
            stack.extend(reversed(missing))
        else:
            order[stack.pop()] = None
    return list(order)


def text(formula: Symbol) -> str:
    """The formula in Python's syntax, with the parentheses it needs."""
    texts: dict[Symbol, str] = {}
    for part in postorder(formula):
        texts[part] = _text(part, [(_precedence(arg), texts[arg], arg.head) for arg in part.args if isinstance(arg, Symbol)])
    return texts[formula]


def _precedence(formula: Symbol) -> int:
    if formula.head == "number":
        return 2 if formula.data < 0.0 else 4
    return _PRECEDENCE.get(formula.head, 4)


def _text(formula: Symbol, args: list[tuple[int, str, str]]) -> str:
    head = formula.head
    if head == "name":
        return str(formula.args[0])
    if head == "number":
        return _number(formula.data)
    level = _PRECEDENCE.get(head)
    if level is None:
        return f"{head}({', '.join([text for _, text, _ in args])})"
    if head == "neg":
        return "-" + _grouped(args[0], args[0][0] < level)
    left, right = args
    loose = right[2] in _ASSOCIATIVE.get(head, ())
    sign = f" {head} " if level == 1 else head
    return (
        _grouped(left, left[0] < level or head == "**" == left[2]) + sign + _grouped(right, right[0] <= level and not loose)
    )


def _grouped(arg: tuple[int, str, str], grouped: bool) -> str:
    return f"({arg[1]})" if grouped else arg[1]


def _number(x: float) -> str:
    return f"{x:.0f}" if x == x // 1 and abs(x) < 1e15 else repr(x)
