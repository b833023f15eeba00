"""The C dialect: how a rule's straight code is spelled, and the operands and results of each kind of instruction."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

from micrograd.compile.emit import Code, Dialect, Term
from micrograd.compile.tape import KINDS

_C = {"+": "({} + {})", "-": "({} - {})", "*": "({} * {})", "neg": "(-{})", "div": "({} / {})", "where": "({} ? {} : {})",
      "&": "({} & {})", "|": "({} | {})", "maximum": "mg_larger({}, {})"}  # fmt: skip


def _spell(function: str, args: Sequence[str]) -> str:
    if function == "pow" and (exponent := re.fullmatch(r"MG\((-?[\d.e+-]+)\)", args[1])):
        power = _power(args[0], float(exponent[1]))
        if power is not None:
            return power
    if function in _C:
        return _C[function].format(*args)
    if function in ("<", "<=", ">", ">="):
        return f"({args[0]} {function} {args[1]})"
    return f"mg_{function}({', '.join(args)})"


def _power(a: str, exponent: float) -> str | None:
    """A power with a small whole or half exponent, without a logarithm."""
    size = abs(exponent)
    whole, half = divmod(size, 1.0)
    if size > 4 or half not in (0.0, 0.5):
        return None
    factors = [a if half == 0.0 else f"mg_abs({a})"] * int(whole) + [f"mg_root({a})"] * (half == 0.5)
    product = " * ".join(factors) or "MG(1.0)"
    return f"({product})" if exponent >= 0 else f"(MG(1.0) / ({product}))"


def number(x: float) -> str:
    if x != x:
        return "MG_NAN"
    if x in (float("inf"), -float("inf")):
        return "MG_INFINITY" if x > 0 else "(-MG_INFINITY)"
    return f"MG({x!r})"


C = Dialect(_spell, number)


def assignments(code: Sequence[tuple[str, str]]) -> list[str]:
    """Names and expressions as declarations; what compares is an integer."""
    return [f"const {'int' if _is_test(text) else 'real'} {name} = {text};" for name, text in code]


def _is_test(text: str) -> bool:
    return bool(re.match(r"\(.* (<|<=|>|>=|&|\|) ", text)) and "?" not in text


@functools.lru_cache(maxsize=4096)
def template(kind: int, partials: tuple[int, ...]) -> tuple[list[Term], list[Any]]:
    """The operands of a kind of instruction, and its value and local derivatives as code on them."""
    code, what = Code(), KINDS[kind].key[0]
    if what == "dot":
        plus, minus, single, negative, _ = KINDS[kind].shape
        x = [code.operand(str(i)) for i in range(2 * (plus + minus) + single + negative)]
        n = 2 * (plus + minus)
        value: Any = None
        terms = [(x[i] * x[i + 1], i < 2 * plus) for i in range(0, n, 2)]
        terms += [(x[i], i < n + single) for i in range(n, len(x))]
        for term, positive in sorted(terms, key=lambda t: not t[1]):
            value = (term if positive else -term) if value is None else (value + term if positive else value - term)
        return x, [value]
    op = KINDS[kind].op
    assert op is not None
    count = op.arity if op.arity is not None else partials[0]
    x = [code.operand(str(i)) for i in range(count)]
    value, derivatives = op.rule(code.xp, *x)
    return x, [value, *(derivatives[j] for j in partials)] if op.arity is not None else [value]
