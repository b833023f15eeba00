"""The C dialect: how a rule's straight code is spelled, and the operands and results of each kind of instruction."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from micrograd.compile.emit import Code, Dialect, Term, ordered
from micrograd.compile.tape import KINDS

_C = {"+": "({} + {})", "-": "({} - {})", "*": "({} * {})", "neg": "(-{})", "div": "({} / {})", "where": "({} ? {} : {})",
      "&": "({} & {})", "|": "({} | {})", "maximum": "mg_larger({}, {})", "fms": "mg_fma({}, {}, -{})",
      "fnma": "mg_fma(-{}, {}, {})"}  # fmt: skip


def _spell(function: str, args: Sequence[str]) -> str:
    if function in _C:
        return _C[function].format(*args)
    if function in ("<", "<=", ">", ">="):
        return f"({args[0]} {function} {args[1]})"
    return f"mg_{function}({', '.join(args)})"


def number(x: float) -> str:
    if x != x:
        return "MG_NAN"
    if x in (float("inf"), -float("inf")):
        return "MG_INFINITY" if x > 0 else "(-MG_INFINITY)"
    return f"MG({x!r})"


_FUSED = ("fma", "fms", "fnma")
_NEGATED = {"neg": 0, "fms": 2, "fnma": 0}  # which argument of a function is negated


def _kept(function: str, args: Sequence[str]) -> str:
    text = _spell(function, args)
    return f"mg_kept({text})" if function in _FUSED else text


C = Dialect(_spell, number)
KEPT = Dialect(_kept, number)  # where fused sums may be negated: compilers would lose the sign of a zero


def spelling(results: Sequence[Any], given: Sequence[Term]) -> Dialect:
    """The dialect for code that makes these results and stores them."""
    for term in ordered(results, given):
        negated = term.args[_NEGATED[term.function]] if term.function in _NEGATED else None
        if isinstance(negated, Term) and negated.function in _FUSED:
            return KEPT
    return C


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
        return x, _fused(code, [value])
    op = KINDS[kind].op
    assert op is not None
    count = op.arity if op.arity is not None else partials[0]
    x = [code.operand(str(i)) for i in range(count)]
    value, derivatives = op.rule(code.xp, *x)
    return x, _fused(code, [value, *(derivatives[j] for j in partials)] if op.arity is not None else [value])


def _fused(code: Code, outputs: list[Any]) -> list[Any]:
    """The same numbers as processors make them best: ``a * b + c`` rounded once, small powers as products."""
    uses = Counter(a for term in ordered(outputs, ()) for a in term.args if isinstance(a, Term))
    uses.update(out for out in outputs if isinstance(out, Term))

    def single(x: Any) -> bool:
        return isinstance(x, Term) and x.function == "*" and uses[x] == 1

    @functools.cache
    def made(term: Term) -> Any:
        function, args = term.function, term.args
        if function in ("+", "-") and single(args[1]):
            return code.line("fma" if function == "+" else "fnma", *map(of, args[1].args), of(args[0]))
        if function in ("+", "-") and single(args[0]):
            return code.line("fma" if function == "+" else "fms", *map(of, args[0].args), of(args[1]))
        if function == "pow" and isinstance(args[1], float) and abs(args[1]) <= 4 and args[1] % 0.5 == 0.0:
            return _power(code, of(args[0]), args[1])
        return term if term.function.startswith("$") else code.line(function, *map(of, args))

    def of(x: Any) -> Any:
        return made(x) if isinstance(x, Term) else x

    return [of(out) for out in outputs]


def _power(code: Code, a: Any, exponent: float) -> Any:
    """A power with a small whole or half exponent, without a logarithm."""
    whole, half = divmod(abs(exponent), 1.0)
    factors = [code.line("abs", a) if half else a] * int(whole) + ([code.line("root", a)] if half else [])
    product: Any = functools.reduce(lambda x, y: code.line("*", x, y), factors) if factors else 1.0
    return product if exponent >= 0 else code.line("div", 1.0, product)
