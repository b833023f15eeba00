"""gradcheck: derivatives by the rules, held against derivatives by finite differences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from micrograd import trees
from micrograd.engine import Value
from micrograd.functional import Run, jacobian

STEPS = [4.0**-k for k in range(2, 12)]  # from 0.06 down to 2e-7, for an input of magnitude one


class GradcheckError(AssertionError):
    """A derivative by the rules differs from the one by finite differences."""


def gradcheck(f: Callable[..., Any], inputs: Any, *, order: int = 1, rtol: float = 1e-7, atol: float = 1e-9) -> bool:
    """Compare the derivatives of ``f(*inputs)`` with central differences; True when all agree.

    ``inputs`` is the tuple of arguments; a single argument may stand alone.  Arguments and result may be lists, dicts,
    modules, whatever :mod:`micrograd.functional` takes.  ``order=2`` checks the second derivatives too.  Two derivatives
    agree within ``atol + rtol * abs(expected)``; a nan agrees with nothing.  ``f`` is called twenty times an input.

    Raises GradcheckError, an AssertionError, with the worst derivative, expected and actual.  Do not check at a kink,
    such as ``relu`` at 0, where differences have no limit.  The call is that of PyTorch's ``torch.autograd.gradcheck``.

    >>> gradcheck(lambda x, p: (x * p["w"]).tanh(), (0.5, {"w": 2.0}), order=2)
    True
    """
    if order not in (1, 2):
        raise ValueError(f"gradcheck() checks order 1 or 2, got order={order!r}")
    numbers, structure = trees.flatten(inputs, "inputs")
    point = [float(number) for number in numbers]

    def arguments(leaves: Sequence[Any]) -> tuple[Any, ...]:
        tree = trees.unflatten(structure, leaves)
        return tree if type(inputs) is tuple else (tree,)

    wrt = tuple([i for i, argument in enumerate(arguments(point)) if not trees.stands_still(argument)])

    def compare(function: Callable[..., Any], leaf: Callable[[float], Any], name: str) -> None:
        run = Run("gradcheck", function, arguments(point), {}, wrt)
        if not run.inputs or not run.outputs:
            raise ValueError("gradcheck() needs at least one number in the inputs and one in the result")

        def evaluate(xs: list[float]) -> list[float]:
            result = function(*arguments([leaf(x) for x in xs]))
            return [float(number) for number in trees.flatten(result, name)[0]]

        expected = [_differences(evaluate, point, j) for j in range(len(point))]
        actual = [run.pull([(output, 1.0)]) for output in run.outputs]
        outputs = trees.paths(run.result_structure, name)
        _report_worst(expected, actual, outputs, trees.paths(structure, "inputs"), rtol, atol)

    compare(f, Value, "result")  # on Values, as f may call their methods
    if order == 2:
        compare(jacobian(f, wrt), float, "gradient")
    return True


def _differences(evaluate: Callable[[list[float]], list[float]], point: list[float], j: int) -> list[float]:
    """The derivative of each output by input j.

    Each step gives a central difference, each pair of neighbouring steps an extrapolation to step zero (Richardson's).  Too
    large a step errs by truncation, too small a one by rounding: the best is where two extrapolations agree most.
    """
    slopes = []
    for step in STEPS:
        h = step * max(1.0, abs(point[j]))
        right, left = point[j] + h, point[j] - h
        above, below = (evaluate([*point[:j], x, *point[j + 1 :]]) for x in (right, left))
        slopes.append([(a - b) / (right - left) for a, b in zip(above, below, strict=True)])
    return [_limit(slope) for slope in zip(*slopes, strict=True)]


def _limit(slopes: Sequence[float]) -> float:
    refined = [(16.0 * fine - coarse) / 15.0 for coarse, fine in itertools.pairwise(slopes)]
    settled = [(abs(b - a), b) for a, b in itertools.pairwise(refined) if math.isfinite(b - a)]
    return min(settled)[1] if settled else math.nan


def _report_worst(
    expected: list[list[float]], actual: list[list[float]], outputs: list[str], inputs: list[str], rtol: float, atol: float
) -> None:
    worst, message = 1.0, ""
    for i, output in enumerate(outputs):
        for j, x in enumerate(inputs):
            numeric, analytic = expected[j][i], actual[i][j]
            excess = abs(analytic - numeric) / (atol + rtol * abs(numeric))
            if not excess <= worst:  # nan too
                worst = math.inf if math.isnan(excess) else excess
                message = (
                    f"the derivative of {output} by {x} is wrong: expected {numeric!r} by central differences, "
                    f"actual {analytic!r} by the rules, off by {abs(analytic - numeric):.3g}"
                )
    if message:
        raise GradcheckError(message)
