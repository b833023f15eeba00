"""Compile a program, run it, and hold value and gradients against the eager engine."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import numpy as np
from exact import Expected, captured_parameters, stack, value_and_gradients, values
from programs import OPERATIONS, Program, stacked

import micrograd
from micrograd import trees
from micrograd.compile import straight


@dataclass(frozen=True)
class Case:
    """How a program is compiled; ``size`` examples at once, or None for one without a batch."""

    backend: str
    dtype: str = "float64"
    size: int | None = None
    reduce: str | None = None
    threads: int = 1


CASES = [
    Case("native"),
    Case("native", size=19, reduce="sum"),
    Case("native", size=3),
    Case("native", "float32", 19, "mean"),
    Case("native", size=19, reduce="mean", threads=2),
    Case("native", "float32"),
    Case("native", size=1, reduce="sum"),
]


class Bundle:
    """Several programs as one, which gives the sum of their results: one compilation tests them all."""

    def __init__(self, programs: Sequence[Program]) -> None:
        self.programs = programs
        counts = [len(p.names) for p in programs]
        self.starts = [sum(counts[:i]) for i in range(len(programs))]
        self.differentiable = tuple(s + i for s, p in zip(self.starts, programs, strict=True) for i in p.differentiable)
        self.captured = {(i, name): kept for i, p in enumerate(programs) for name, kept in p.captured.items()}

    def function(self, *args: Any) -> Any:
        return sum(p.function(*args[s : s + len(p.names)]) for s, p in zip(self.starts, self.programs, strict=True))

    def example(self) -> tuple[Any, ...]:
        return tuple(argument for p in self.programs for argument in p.example())

    def __repr__(self) -> str:
        return repr(self.programs)


def bundle(seed: int, count: int) -> Bundle:
    """A bundle of programs of a few sizes, drawn at random; each begins with the next operation of the table."""
    rng = random.Random(seed)
    firsts = [OPERATIONS[(seed * count + i) % len(OPERATIONS)] for i in range(count)]
    return Bundle([Program(rng, size=rng.choice([3, 6, 12]), first=first) for first in firsts])


def check_bundle(seed: int, count: int, case: Case) -> None:
    """Hold a bundle against the eager engine, on NumPy and natively; where it fails, shorten a program that does.

    Every other bundle of a case is compiled without straight code, as if it were too large for that.
    """
    drawn = bundle(seed, count)
    with mock.patch.object(straight, "MOST", 0 if seed // len(CASES) % 2 else straight.MOST):
        try:
            check_backends(drawn, case)
        except Exception:
            for program in drawn.programs:
                error = failure(program, case)
                if error is not None:
                    check_backends(shortened(program, case, type(error)), case)
            raise  # only together


def failure(program: Program, case: Case) -> Exception | None:
    try:
        check_backends(program, case)
    except Exception as error:
        return error
    return None


def shortened(program: Program, case: Case, error: type[Exception]) -> Program:
    """A failing program without the lines that its failure does not need."""
    for number in reversed(range(2, program.source.count("\n") - 2)):
        with contextlib.suppress(SyntaxError):
            shorter = program.without(number)
            if type(failure(shorter, case)) is error:
                program = shorter
    return program


def check_backends(program: Any, case: Case) -> None:
    """Value, gradients by the arguments and by what the program closes over: eager == numpy == the case's backend."""
    examples = [program.example() for _ in range(case.size or 1)]
    runs = [value_and_gradients(program, e, case.dtype) for e in examples]
    if not all(value.stable and gradient.stable for value, gradient in runs):
        return
    for backend in dict.fromkeys(["numpy", case.backend]):
        check_gradients(program, replace(case, backend=backend), examples, runs)


def check_gradients(program: Any, case: Case, examples: list[Any], runs: list[tuple[Expected, Expected]]) -> None:
    compiled = compile_program(program, case)
    args = arguments(program, case, examples)
    split = sum(len(trees.flatten(examples[0][i])[0]) for i in program.differentiable)
    weight = 1 / len(examples) if case.reduce == "mean" else 1.0
    expected_value = stack([value for value, _ in runs]) if case.size and not case.reduce else _total(runs, 0) * weight

    value, gradients = compiled.value_and_grad(*args, wrt=program.differentiable)
    if getattr(compiled._last.kernel, "runs", 0):  # the interpreter and the compiled program give the same bits
        compiled._last.kernel.compile()
        again = compiled.value_and_grad(*args, wrt=program.differentiable)
        np.testing.assert_array_equal(trees.flatten(again)[0], trees.flatten((value, gradients))[0], str((case, program)))
    expected_value.check(value, (case, "value", program))
    per_example = [Expected(g.numbers[:split], g.slack[:split]) * weight for _, g in runs]
    _arranged(program, case, examples, per_example).check(trees.flatten(gradients)[0], (case, "gradient", program))

    parameters = captured_parameters(program)
    if not parameters:
        return
    for parameter in parameters:
        parameter.grad = 0.0
    expected_value.check(compiled.backward(*args), (case, "value of backward", program))
    total = _total(runs, 1) * weight
    found = [parameter.grad for parameter in parameters]
    Expected(total.numbers[split:], total.slack[split:]).check(found, (case, "captured", program))


def check_values(program: Any, case: Case) -> None:
    """Results in nested structures."""
    examples = [program.example() for _ in range(case.size or 1)]
    runs = [values(program, e, case.dtype) for e in examples]
    if not all(expected.stable for expected, _ in runs):
        return
    found = compile_program(program, case)(*arguments(program, case, examples))
    numbers, slack = (
        [trees.unflatten(structure, getattr(expected, part).tolist()) for expected, structure in runs]
        for part in ("numbers", "slack")
    )
    together = (lambda parts: stacked_results(parts)) if case.size else (lambda parts: parts[0])
    flat = [np.array(trees.flatten(together(parts))[0]) for parts in (numbers, slack)]
    Expected(*flat).check(trees.flatten(found)[0], (case, "values", program))
    if not case.size:
        trees.match(runs[0][1], found)


def compile_program(program: Any, case: Case) -> Any:
    batch = {"batch": (0,) * len(program.example()), "reduce": case.reduce} if case.size else {}
    return micrograd.compile(program.function, backend=case.backend, dtype=case.dtype, threads=case.threads, **batch)


def arguments(program: Any, case: Case, examples: list[Any]) -> list[Any]:
    return [stacked(list(column)) for column in zip(*examples, strict=True)] if case.size else list(examples[0])


def stacked_results(results: list[Any]) -> Any:
    """One structure of arrays with a leading axis from one structure of numbers an example."""
    first = results[0]
    if isinstance(first, dict):
        return {key: stacked_results([r[key] for r in results]) for key in first}
    if isinstance(first, (list, tuple)):
        return type(first)(stacked_results([r[i] for r in results]) for i in range(len(first)))
    return np.array(results)


def _total(runs: list[tuple[Expected, Expected]], part: int) -> Expected:
    total = runs[0][part]
    for run in runs[1:]:
        total = total + run[part]
    return total


def _arranged(program: Any, case: Case, examples: list[Any], gradients: list[Expected]) -> Expected:
    """Gradients of the examples in the order in which the compiled program's arguments hold them."""
    if not case.size:
        return gradients[0]
    structures = [trees.flatten([e[i] for i in program.differentiable])[1] for e in examples]
    parts = []
    for part in ("numbers", "slack"):
        per_example = [trees.unflatten(s, getattr(g, part).tolist()) for s, g in zip(structures, gradients, strict=True)]
        parts.append(np.array(trees.flatten([stacked(list(column)) for column in zip(*per_example, strict=True)])[0]))
    return Expected(*parts)
