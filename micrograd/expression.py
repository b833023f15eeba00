"""Evaluating a typed expression such as ``tanh(w*x + b)`` on Values, through a whitelist of Python's syntax, never eval."""

from __future__ import annotations

import ast
import difflib
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import micrograd
from micrograd import ops
from micrograd.engine import Value
from micrograd.ops import Op

#: The functions that an expression may call, by name: the operations on a fixed number of operands.
FUNCTIONS: dict[str, Op] = {
    name: op
    for name, op in ops.TABLE.items()
    if name in vars(micrograd) and op.arity is not None and name not in ("where", "take")  # these two take no plain numbers
}

#: The numbers that have names, which a variable may take.
CONSTANTS = {"pi": math.pi, "e": math.e}

_BINARY = {
    ast.Add: (ops.add, operator.add),
    ast.Sub: (ops.sub, operator.sub),
    ast.Mult: (ops.mul, operator.mul),
    ast.Div: (ops.div, operator.truediv),
    ast.Pow: (ops.pow, operator.pow),
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_SIGNS = {
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.MatMult: "@",
    ast.BitXor: "^ (a power is written **)",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.Not: "not",
    ast.Invert: "~",
}
_WORDS = {
    ast.Attribute: "an attribute",
    ast.Subscript: "an index",
    ast.Compare: "a comparison",
    ast.BoolOp: "and/or",
    ast.IfExp: "if/else",
    ast.Lambda: "a lambda",
    ast.NamedExpr: "an assignment",
    ast.Tuple: "a tuple",
    ast.List: "a list",
    ast.ListComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
}


class ExpressionError(ValueError):
    """An expression that cannot be evaluated: the message gives the column, counted from 1, and what to write."""


def parse_variables(assignments: list[str]) -> dict[str, Value]:
    """Labelled Values from texts such as ``x=2``.  ExpressionError for a malformed or repeated one.

    >>> parse_variables(["x=2", "b=-1"])
    {'x': Value(data=2.0, grad=0.0, label='x'), 'b': Value(data=-1.0, grad=0.0, label='b')}
    """
    if len(assignments) > 1 and any(text.strip()[:1] == "=" or text.strip()[-1:] == "=" for text in assignments):
        together = re.sub(r"\s*=\s*", "=", " ".join(assignments))
        raise ExpressionError(f"a variable is written without blanks around =: write {together}")
    variables: dict[str, Value] = {}
    for text in assignments:
        name, equals, number = (part.strip() for part in text.partition("="))
        if not equals or not name.isidentifier():
            raise ExpressionError(f"expected a variable such as x=2, got {text!r}")
        if name in variables:
            raise ExpressionError(f"{name} is given twice: give each variable one value")
        try:
            variables[name] = Value(float(number), label=name)
        except ValueError:
            raise ExpressionError(f"{name}: expected a number after =, got {number!r}") from None
    return variables


def evaluate(text: str, variables: Mapping[str, Value]) -> Value:
    """The Value of an expression in the variables, with its graph.

    The expression may hold numbers, the variables, ``+ - * / **``, parentheses, calls of :data:`FUNCTIONS` and the
    :data:`CONSTANTS`, unless they are given as variables.  All its arithmetic is that of floats.  ExpressionError for
    anything else, and for a variable that is not used.

    >>> evaluate("2*x + 1", {"x": Value(3.0)})
    Value(data=7.0, grad=0.0)
    """
    evaluator = _Evaluator(text.replace("\n", " "), variables)
    try:
        result = evaluator.run()
    except (RecursionError, MemoryError):  # MemoryError is how Python's parser reports a full stack
        raise ExpressionError("the expression is nested too deeply: split it into smaller ones") from None
    unused = variables.keys() - evaluator.used
    if unused:
        names = ", ".join(sorted(unused))
        raise ExpressionError(f"the expression does not use {names}: leave out the value or use the name")
    if not isinstance(result, Value):
        raise ExpressionError("the expression has no variable: use a name such as x and give its value, x=2")
    return result


class _Evaluator:
    """One walk over the syntax tree.  Numbers stay floats until they meet a Value, so that x**2 is a fixed power."""

    def __init__(self, text: str, variables: Mapping[str, Value]) -> None:
        self.text, self.variables = text, variables
        self.used: set[str] = set()

    def run(self) -> Any:
        stripped = self.text.strip()
        if not stripped:
            raise ExpressionError('the expression is empty: write one such as "tanh(w*x+b)"')
        self.text = stripped  # Python takes leading blanks for an indentation
        try:
            tree = ast.parse(stripped, mode="eval")
        except SyntaxError as error:
            column = min(error.offset or 1, len(stripped) + 1)
            hint = _product_hint(stripped)
            raise ExpressionError(f"column {column} of {_short(stripped)}: {error.msg}{hint}") from None
        except ValueError as error:  # a null character, in old Pythons
            raise ExpressionError(str(error)) from None
        return self.value(tree.body)

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return self.number(number, node)
            case ast.Name(id=name):
                return self.variable(name, node)
            case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _UNARY:
                return _UNARY[type(sign)](self.value(operand))
            case ast.BinOp(op=sign, left=left, right=right) if type(sign) in _BINARY:
                on_floats, on_values = _BINARY[type(sign)]
                a, b = self.value(left), self.value(right)
                return on_values(a, b) if isinstance(a, Value) or isinstance(b, Value) else on_floats(a, b)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=keywords):
                return self.call(name, arguments, keywords, node)
        raise self.error(node, f"{_describe(node)} is not allowed: use numbers, names, + - * / **, ( ) and functions")

    def number(self, number: float, node: ast.expr) -> float:
        try:
            return float(number)
        except OverflowError:
            raise self.error(node, "the number is too large for a float") from None

    def variable(self, name: str, node: ast.expr) -> Value | float:
        if name in self.variables:
            self.used.add(name)
            return self.variables[name]
        if name in CONSTANTS:
            return CONSTANTS[name]
        if name in FUNCTIONS:
            raise self.error(node, f"{name} is a function: call it as {name}(...)")
        raise self.error(node, f"{name} has no value: add {name}=1 after the expression")

    def call(self, name: str, arguments: list[ast.expr], keywords: list[ast.keyword], node: ast.expr) -> Any:
        if name not in FUNCTIONS:
            known = name in vars(micrograd)  # no slip of the pen, but nothing for an expression
            near = [] if known else difflib.get_close_matches(name, FUNCTIONS, n=1, cutoff=0.7)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(FUNCTIONS))}"
            raise self.error(node, f"no function named {name}: {hint}")
        if keywords:
            raise self.error(node, f"{name}() takes its arguments by position, such as {name}(x)")
        values = [self.value(argument) for argument in arguments]
        try:
            return FUNCTIONS[name](*values)
        except TypeError as error:
            raise self.error(node, str(error)) from None

    def error(self, node: ast.expr, message: str) -> ExpressionError:
        column = len(self.text.encode()[: node.col_offset].decode()) + 1  # ast counts bytes from 0
        return ExpressionError(f"column {column} of {_short(self.text)}: {message}")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _product_hint(text: str) -> str:
    """What to write for 2w, which Python takes for a malformed number."""
    product = re.search(r"(?<![\w.])(\d+\.?\d*)([^\W\d]\w*)", text)
    return f": write {product[1]}*{product[2]} for a product" if product else ""


def _describe(node: ast.expr) -> str:
    match node:
        case ast.BinOp(op=sign) | ast.UnaryOp(op=sign):
            return _SIGNS[type(sign)]
        case ast.Constant(value=value):
            return f"the {type(value).__name__} {_short(str(value))}"
        case ast.Call():
            return "calling anything but a name"
    return _WORDS.get(type(node), f"a Python {type(node).__name__}")
