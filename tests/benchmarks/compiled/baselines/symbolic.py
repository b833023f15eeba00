"""The irregular workloads as functions of one flat list of another library's symbols."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import data
import models
from contest import Entry, flat

from micrograd import trees


def problem(workload: str, size: int, functions: Mapping[str, Any]) -> tuple[Callable[[Any], Any], list[float]]:
    """The function of the differentiated numbers, and the point where it is asked for."""
    f = models.on(functions).IRREGULAR[workload]
    first, *rest = data.IRREGULAR[workload][1](size)
    structure = trees.flatten(first, "numbers")[1]
    return lambda symbols: f(trees.unflatten(structure, list(symbols)), *rest), flat(first)


def workloads(entry: Callable[[str, int], Entry]) -> dict[str, Callable[[int], Entry]]:
    """A contestant for each irregular workload."""

    def one(workload: str) -> Callable[[int], Entry]:
        return lambda size: entry(workload, size)

    return {workload: one(workload) for workload in models.IRREGULAR}
