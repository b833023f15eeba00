"""Names for the nodes of a graph, and numbers and names as text and as LaTeX."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence

from micrograd.engine import Value

_LATEX = str.maketrans(
    {
        "\\": r"\backslash ",
        "^": r"\hat{\ }",
        "~": r"\sim ",
        " ": r"\ ",
        "<": r"\lt ",
        ">": r"\gt ",
        **{c: f"\\{c}" for c in "{}$&#%_"},
    }
)


def names_of(order: Sequence[Value]) -> dict[Value, str]:
    """A name for each node, all different: its label, else v1, v2, ..., for a constant c1, c2, ..., in the order given.

    The second and third node of one label get ``_2`` and ``_3`` after it.

    >>> x = Value(2.0, label="x")
    >>> list(names_of([x, x * x, Value(3.0, label="x")]).values())
    ['x', 'v1', 'x_2']
    """
    labels = {node.label for node in order}
    series: dict[str, Iterator[str]] = {}
    names: dict[Value, str] = {}
    for node in order:
        stem = node.label or ("\0c" if node.kind == "constant" else "\0v")  # no label begins like this
        candidates = series.setdefault(stem, _series(stem))
        names[node] = next(name for name in candidates if name == node.label or name not in labels)
    return names


def _series(stem: str) -> Iterator[str]:
    if stem.startswith("\0"):
        return (f"{stem[1:]}{n}" for n in itertools.count(1))
    return itertools.chain([stem], (f"{stem}_{n}" for n in itertools.count(2)))


def derivative(node: str, by: str) -> str:
    """How the derivative of one name by another is written.

    >>> derivative("L", "w1"), derivative("L", "x1*w1")
    ('dL/dw1', 'dL/d(x1*w1)')
    """
    top, bottom = (name if name.isidentifier() else f"({name})" for name in (node, by))
    return f"d{top}/d{bottom}"


def latex_derivative(node: str, by: str) -> str:
    """The same as a fraction in LaTeX."""
    return rf"\frac{{\partial {latex_name(node)}}}{{\partial {latex_name(by)}}}"


def latex_name(name: str) -> str:
    r"""A name in LaTeX's math mode: a letter with digits gets an index, other text stands upright with its signs escaped.

    >>> print(latex_name("w12"), latex_name("loss_1"))
    w_{12} \mathrm{loss\_1}
    """
    match = re.fullmatch(r"([A-Za-z])_?([0-9]*)", name)
    if match is None:
        return rf"\mathrm{{{name.translate(_LATEX)}}}"
    letter, digits = match.groups()
    return f"{letter}_{{{digits}}}" if digits else letter


def number(x: float) -> str:
    """A number with six digits, as everything here prints it.

    >>> number(-2.0), number(1 / 3)
    ('-2', '0.333333')
    """
    return f"{x:.6g}"


def latex_number(x: float) -> str:
    r"""A number in LaTeX's math mode.

    >>> print(latex_number(1.5e-7))
    1.5 \times 10^{-7}
    """
    if not math.isfinite(x):
        return r"\mathrm{nan}" if x != x else (r"\infty" if x > 0.0 else r"-\infty")
    mantissa, _, exponent = number(x).partition("e")
    return rf"{mantissa} \times 10^{{{int(exponent)}}}" if exponent else mantissa
