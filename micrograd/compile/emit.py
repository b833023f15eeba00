"""Straight code from a rule: the rule is run once on names, and each step is a line.

This is the recorder that the rule table's number systems name: ``Code`` collects lines such as ``t2 = exp(t1)``, each
expression once, and a dialect spells them in C or in NumPy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

from micrograd.ops import FLOATS, Numbers, Op

PRIMITIVES = tuple(name for name in vars(FLOATS) if name not in ("detach",))


class Term:
    """A line of code, or an operand: what a rule computes with."""

    __slots__ = ("args", "code", "function", "index")

    def __init__(self, code: Code, function: str, args: tuple[Any, ...], index: int) -> None:
        self.code, self.function, self.args, self.index = code, function, args, index

    def __add__(self, other: Any) -> Any:
        return self.code.line("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return self.code.line("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return self.code.line("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return self.code.line("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return self.code.line("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return self.code.line("*", other, self)

    def __neg__(self) -> Any:
        return self.code.line("neg", self)

    def __bool__(self) -> bool:
        if self.function in ("<", "<=", ">", ">=", "&", "|"):
            raise TypeError("a rule runs once for all numbers and cannot ask with if, and, or: write xp.where(a > b, x, y)")
        return True

    def __lt__(self, other: Any) -> Any:
        return self.code.line("<", self, other)

    def __le__(self, other: Any) -> Any:
        return self.code.line("<=", self, other)

    def __gt__(self, other: Any) -> Any:
        return self.code.line(">", self, other)

    def __ge__(self, other: Any) -> Any:
        return self.code.line(">=", self, other)

    def __and__(self, other: Any) -> Any:
        return self.code.line("&", self, other)

    def __or__(self, other: Any) -> Any:
        return self.code.line("|", self, other)


class Code:
    """The lines of a piece of straight code, in order, each expression once."""

    def __init__(self) -> None:
        self.lines: list[Term] = []
        self._memo: dict[tuple[Any, ...], Term] = {}
        self.xp = Numbers(
            detach=lambda a: a,
            **{name: functools.partial(self.line, name) for name in PRIMITIVES},
        )

    def line(self, function: str, *args: Any) -> Term:
        """The term of this expression; args are terms and floats."""
        key = (function, *(a if isinstance(a, Term) else (float(a), str(float(a))) for a in args))
        term = self._memo.get(key)
        if term is None:
            term = self._memo[key] = Term(
                self, function, tuple(a if isinstance(a, Term) else float(a) for a in args), len(self.lines)
            )
            self.lines.append(term)
        return term

    def operand(self, name: str) -> Term:
        """A term that is given under a name."""
        return self.line(f"${name}")


@dataclass(frozen=True)
class ValueForm:
    """The local derivative is the value itself, as exp's is."""


@dataclass(frozen=True)
class OperandForm:
    """The local derivative is an operand."""

    index: int


@dataclass(frozen=True)
class ConstantForm:
    """The local derivative is a number."""

    number: float


@functools.lru_cache(maxsize=4096)
def derivative_forms(op: Op) -> tuple[object, ...]:
    """For each operand of an operation, what its local derivative is: known already, or ``None`` for code of its own."""
    code = Code()
    operands = [code.operand(str(i)) for i in range(op.arity or 0)]
    value, derivatives = op.rule(code.xp, *operands)
    return tuple(_form(d, value, operands) for d in derivatives)


def _form(derivative: Any, value: Any, operands: list[Term]) -> object:
    if not isinstance(derivative, Term):
        return ConstantForm(float(derivative))
    if derivative is value:
        return ValueForm()
    return OperandForm(operands.index(derivative)) if derivative in operands else None


# ---------------------------------------------------------------------------------------------------------- dialects


@dataclass(frozen=True)
class Dialect:
    """How a language spells a function of some arguments, and a number."""

    spell: Callable[[str, Sequence[str]], str]
    number: Callable[[float], str]


def ordered(outputs: Sequence[Any], given: Container[Term]) -> list[Term]:
    """The terms that some terms are made of, each after its arguments, but for those that are given."""
    needed: set[Term] = set()
    stack = [out for out in outputs if isinstance(out, Term)]
    while stack:
        term = stack.pop()
        if term not in needed and term not in given:
            needed.add(term)
            stack += [a for a in term.args if isinstance(a, Term)]
    return sorted(needed, key=lambda t: t.index)


def write(
    outputs: Sequence[Any], names: dict[Term, str], dialect: Dialect, fresh: Callable[[], str]
) -> tuple[list[tuple[str, str]], list[str]]:
    """Assignments (name, expression) that compute some terms, and the expression of each of them.

    ``names`` holds the operands' names; ``fresh`` gives new ones.
    """

    def text(x: Any) -> str:
        return names[x] if isinstance(x, Term) else dialect.number(x)

    lines = []
    for term in ordered(outputs, names):
        expression = dialect.spell(term.function, [text(a) for a in term.args])
        names[term] = fresh()
        lines.append((names[term], expression))
    return lines, [text(out) for out in outputs]
