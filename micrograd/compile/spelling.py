"""How equations are spelled: operations and their derivatives as one writes them, and the turns of a loop in one line."""

from __future__ import annotations

import re
from collections.abc import Callable

from micrograd.ops import Op

_INFIX = {"div": "/", "pow": "**", "less": "<", "less_equal": "<=", "and": "&", "or": "|"}

_DERIVATIVES: dict[tuple[str, int], Callable[[list[str], str], str]] = {
    ("relu", 0): lambda x, y: f"step({x[0]})",
    ("tanh", 0): lambda x, y: f"(1 - {y}**2)" if y else f"tanh'({x[0]})",
    ("sigmoid", 0): lambda x, y: f"{y} * (1 - {y})" if y else f"sigmoid'({x[0]})",
    ("softplus", 0): lambda x, y: f"sigmoid({x[0]})",
    ("log", 0): lambda x, y: f"(1 / {x[0]})",
    ("log1p", 0): lambda x, y: f"(1 / (1 + {x[0]}))",
    ("sqrt", 0): lambda x, y: f"(1 / (2 * {y}))" if y else f"sqrt'({x[0]})",
    ("sin", 0): lambda x, y: f"cos({x[0]})",
    ("sinh", 0): lambda x, y: f"cosh({x[0]})",
    ("cosh", 0): lambda x, y: f"sinh({x[0]})",
    ("tan", 0): lambda x, y: f"(1 + {y}**2)" if y else f"tan'({x[0]})",
    ("abs", 0): lambda x, y: f"sign({x[0]})",
    ("expm1", 0): lambda x, y: f"exp({x[0]})",
    ("div", 0): lambda x, y: f"(1 / {x[1]})",
    ("div", 1): lambda x, y: f"(-{y} / {x[1]})" if y else f"(-{x[0]} / {x[1]}**2)",
}


def applied(op: Op, operands: list[str]) -> str:
    if op.name in _INFIX and len(operands) == 2:
        return f"{operands[0]} {_INFIX[op.name]} {operands[1]}"
    if op.name == "power":
        return f"{operands[0]}**{op.params['exponent']:g}"
    if op.name == "not":
        return f"~{operands[0]}"
    name = {"select": "where", "largest": "max"}.get(op.name, op.name)
    return f"{name}({', '.join([*operands, *(f'{key}={value:g}' for key, value in op.params.items())])})"


def slope_text(op: Op, j: int, operands: list[str], value: str) -> str:
    """The local derivative by operand j as one writes it, or the operation with a prime."""
    if op.name == "power":
        exponent = op.params["exponent"]
        return f"{exponent:g} * {operands[0]}**{exponent - 1:g}"
    write = _DERIVATIVES.get((op.name, j))
    if write is not None:
        return write(operands, value)
    return f"{op.name}'{j if len(operands) > 1 else ''}({', '.join(operands)})"


def bare(text: str) -> str:
    """Without the parentheses around all of it."""
    inner = text[1:-1]
    return inner if text[:1] == "(" and text[-1:] == ")" and not set("()") & set(inner) else text


def in_all_turns(one: str, two: str, three: str) -> str:
    """One line of a loop for all turns ``t``, from those of the turns 1, 2 and 3.

    >>> in_all_turns("t2 = x[3] * t2", "t2 = x[5] * t2", "t2 = x[7] * t2")
    't2 = x[2*t+1] * t2'
    """
    found = [_TOKENS.findall(text) for text in (one, two, three)]
    if len({len(tokens) for tokens in found}) > 1:
        return one
    return "".join(a if a == b == c else _moving_token(a, b, c) for a, b, c in zip(*found, strict=True))


_TOKENS = re.compile(r"(?<=[\[:])\d+(?=[\]:])|[A-Za-z_]\w*|\d+(?:\.\d+)?(?:e[+-]?\d+)?|.")


def _moving_token(a: str, b: str, c: str) -> str:
    """A number that is another one at each turn: a place as a formula, anything else as a list."""
    if a.isdigit() and b.isdigit() and c.isdigit() and int(c) - int(b) == int(b) - int(a):
        step = int(b) - int(a)
        return _linear(int(a) - step, step)
    return f"[{a}, {b}, ...][t-1]"


def _linear(start: int, step: int) -> str:
    """``t+2``, ``249-t``, ``3*t``: start + step * t."""
    times = "t" if abs(step) == 1 else f"{abs(step)}*t"
    if step < 0:
        return f"{start}-{times}"
    return f"{times}+{start}" if start > 0 else times if start == 0 else f"{times}{start}"
