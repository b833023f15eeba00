"""How equations are spelled: operations and their derivatives as one writes them, and the turns of a loop in one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

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


def is_name(text: str) -> bool:
    """Whether a text is no more than a name, perhaps with a place."""
    return bool(re.fullmatch(r"[^\s()\[\],]*[^\W\d][^\s()\[\],]*(\[[-\d:]+\])?", text))


def in_all_turns(texts: Sequence[str], first: int, turn: int | None = None) -> str:
    """What is written at three turns of a loop, ``first`` and the next, as one text for all turns ``t``, or for one.

    >>> lines = "t2 = x[3] * t2[0]", "t2 = x[5] * t2[1]", "t2 = x[7] * t2[2]"
    >>> in_all_turns(lines, 1), in_all_turns(lines, 1, turn=0)
    ('t2 = x[2*t+1] * t2[t-1]', 't2 = x[1] * t2[-1]')
    """
    found = [_TOKENS.findall(text) for text in texts]
    if len({len(tokens) for tokens in found}) > 1:
        return texts[0]
    return "".join(a if a == b == c else _moving(a, b, c, first, turn) for a, b, c in zip(*found, strict=True))


_TOKENS = re.compile(r"(?<=[\[:])\d+(?=[\]:])|[A-Za-z_]\w*|\d+(?:\.\d+)?(?:e[+-]?\d+)?|.")


def _moving(a: str, b: str, c: str, first: int, turn: int | None) -> str:
    """A number that is another one at each turn: a place as a formula, anything else as a list."""
    if a.isdigit() and b.isdigit() and c.isdigit() and int(c) - int(b) == int(b) - int(a):
        step = int(b) - int(a)
        start = int(a) - step * first
        return _linear(start, step) if turn is None else str(start + step * turn)
    return f"[{a}, {b}, ...][t-{first}]"


def _linear(start: int, step: int) -> str:
    """``t+2``, ``249-t``, ``3*t``: start + step * t."""
    times = "t" if abs(step) == 1 else f"{abs(step)}*t"
    if step < 0:
        return f"{start}-{times}"
    return f"{times}+{start}" if start > 0 else times if start == 0 else f"{times}{start}"
