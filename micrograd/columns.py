"""Columns: lists of floats as one number system, so that a rule runs over all of them at once, number by number.

The loops are those of ``map``: this costs half of what a call of the rule for each number does, and gives the same bits.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any

from micrograd.ops import FLOATS


class Column:
    """Some floats, or the truths of a comparison of some; with a single number each of them is computed.

    >>> (2.0 * Column([1.0, 2.0]) - Column([0.5, 0.25])).numbers
    [1.5, 3.75]
    """

    __slots__ = ("numbers",)

    def __init__(self, numbers: list[Any]) -> None:
        self.numbers = numbers


def numbers_of(x: Any, count: int) -> list[Any]:
    """The numbers of a column, or so many of a single one, in a list of their own."""
    return list(x.numbers) if x.__class__ is Column else [x] * count


def _each(x: Any) -> Iterable[Any]:
    return x.numbers if x.__class__ is Column else repeat(x)


def _over(function: Callable[..., Any]) -> Callable[..., Column]:
    """A function of numbers as one of columns and numbers."""
    return lambda *args: Column(list(map(function, *map(_each, args))))


def _reflected(function: Callable[..., Any]) -> Callable[..., Column]:
    return lambda column, other: Column(list(map(function, repeat(other), column.numbers)))


for _name in ("add", "sub", "mul"):
    setattr(Column, f"__{_name}__", _over(getattr(operator, _name)))
    setattr(Column, f"__r{_name}__", _reflected(getattr(operator, _name)))
for _name in ("lt", "le", "gt", "ge", "and", "or", "neg"):
    setattr(Column, f"__{_name}__", _over(getattr(operator, f"__{_name}__")))


class _Columns:
    """The functions of a rule over columns."""

    def __getattr__(self, name: str) -> Callable[..., Column]:
        total = getattr(FLOATS, name)
        plain = getattr(total, "__wrapped__", total)  # of Python's own, which raises where the other goes on

        def function(*args: Any, **params: Any) -> Column:
            try:
                return _over(functools.partial(plain, **params))(*args)
            except (ArithmeticError, ValueError):
                return _over(functools.partial(total, **params))(*args)

        return function


COLUMNS = _Columns()
