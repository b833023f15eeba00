"""gradcheck: derivatives by the rules, held against derivatives by finite differences."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

from micrograd import trees
from micrograd.engine import Value
from micrograd.functional import Run, jacobian

STEPS = [4.0**-k for k in range(2, 12)]  # from 0.06 down to 2e-7, times a scale
ROUNDING = 2.0**-52  # of a value of magnitude one


class GradcheckError(AssertionError):
    """A derivative by the rules differs from the one by finite differences, or these find none to hold it against."""


def gradcheck(f: Callable[..., Any], inputs: Any, *, order: int = 1, rtol: float = 1e-7, atol: float = 1e-9) -> bool:
    """Compare the derivatives of ``f(*inputs)`` with central differences; True when all agree.

    ``inputs`` is the tuple of arguments; a single argument may stand alone.  Arguments and result may be lists, dicts,
    modules, whatever :mod:`micrograd.functional` takes.  ``order=2`` checks the second derivatives too.  Two derivatives
    agree within ``atol + rtol * abs(expected)``; a nan agrees with nothing.  ``f`` is called twenty times an input, and
    again with other steps where the differences do not settle.

    Raises GradcheckError, an AssertionError, with the worst derivative, expected and actual, or with one whose differences
    find no limit.  Do not check at a kink, such as ``relu`` at 0.  The call is that of PyTorch's
    ``torch.autograd.gradcheck``.

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

    _check_call(f, inputs, arguments(point))
    wrt = tuple([i for i, argument in enumerate(arguments(point)) if not trees.stands_still(argument)])

    def tolerance(slope: float) -> float:
        return atol + rtol * abs(slope)

    def compare(function: Callable[..., Any], leaf: Callable[[float], Any], name: str) -> None:
        run = Run("gradcheck", function, arguments(point), {}, wrt)
        if not run.inputs or not run.outputs:
            raise ValueError(
                "gradcheck() needs at least one number in the inputs and one in the result: inputs are a tuple of "
                f"arguments, each a number, a Value, or a list, dict, array or module of them, got {type(inputs).__name__}"
            )

        def evaluate(xs: list[float]) -> list[float]:
            result = function(*arguments([leaf(x) for x in xs]))
            return [float(number) for number in trees.flatten(result, name)[0]]

        expected = [_differences(evaluate, point, j, tolerance) for j in range(len(point))]
        actual = [run.pull([(output, 1.0)]) for output in run.outputs]
        outputs = trees.paths(run.result_structure, name)
        _report_worst(expected, actual, outputs, trees.paths(structure, "inputs"), tolerance)

    compare(f, Value, "result")  # on Values, as f may call their methods
    if order == 2:
        compare(jacobian(f, wrt), float, "gradient")
    return True


def _check_call(f: Callable[..., Any], inputs: Any, arguments: tuple[Any, ...]) -> None:
    """TypeError where the function cannot take these arguments."""
    try:
        inspect.signature(f).bind(*arguments)
    except TypeError as error:
        if callable(f):
            hint = ": give several arguments as a tuple, such as (3.0, 2.0)" if type(inputs) is not tuple else ""
            count = f"{len(arguments)} argument" + "s" * (len(arguments) != 1)
            raise TypeError(f"gradcheck() cannot call the function with {count}: {error}{hint}") from None
    except ValueError:  # a function written in C may not tell its arguments
        pass


# ---------------------------------------------------------------------------------------------------- differences

Tolerance = Callable[[float], float]
Estimate = tuple[float, float]  # of a derivative: how far it may be off, and the derivative


def _differences(
    evaluate: Callable[[list[float]], list[float]], point: list[float], j: int, tolerance: Tolerance
) -> list[Estimate]:
    """The derivative of each output by input j, from the first scale of steps at which the differences settle.

    Steps in proportion to the input stay within a domain that ends at zero, such as that of log; steps around one suit a
    small input of a smooth function; very small ones the edge of another domain.
    """
    scale, best = abs(point[j]) or 1.0, list[Estimate]()
    for steps in dict.fromkeys([scale, 1.0, STEPS[-1] * scale]):
        found = _at_scale(evaluate, point, j, steps)
        best = [old if _settled(old, tolerance) else min(old, new) for old, new in zip(best or found, found, strict=True)]
        if all(_settled(estimate, tolerance) for estimate in best):
            break
    return best


def _settled(estimate: Estimate, tolerance: Tolerance) -> bool:
    error, slope = estimate
    return error <= 0.1 * tolerance(slope)


def _at_scale(evaluate: Callable[[list[float]], list[float]], point: list[float], j: int, scale: float) -> list[Estimate]:
    """The derivative of each output by input j, as the steps of one scale show it."""
    slopes, noises = [], []
    for step in STEPS:
        right, left = point[j] + step * scale, point[j] - step * scale
        above, below = (evaluate([*point[:j], x, *point[j + 1 :]]) for x in (right, left))
        width = right - left if 0.0 < right - left < math.inf else math.nan  # a step may vanish or overflow
        slopes.append([(a - b) / width for a, b in zip(above, below, strict=True)])
        noises.append([ROUNDING * max(abs(a), abs(b)) / width for a, b in zip(above, below, strict=True)])
    return [_limit(*both) for both in zip(zip(*slopes, strict=True), zip(*noises, strict=True), strict=True)]


def _limit(slopes: Sequence[float], noises: Sequence[float]) -> Estimate:
    """The limit of central differences as their steps shrink, each a quarter of the one before.

    Each pair gives an extrapolation to step zero (Richardson's).  Too large a step errs by truncation, too small a one by
    rounding: the best is where two extrapolations agree most and rounding can do least.
    """
    best = (math.inf, math.nan)
    for coarse, middle, fine, noise in zip(slopes, slopes[1:], slopes[2:], noises[2:], strict=False):
        before, refined = (16.0 * middle - coarse) / 15.0, (16.0 * fine - middle) / 15.0
        error = abs(refined - before) + noise
        if math.isfinite(error):
            best = min(best, (error, refined))
    return best


def _report_worst(
    expected: list[list[Estimate]], actual: list[list[float]], outputs: list[str], inputs: list[str], tolerance: Tolerance
) -> None:
    faults: list[tuple[bool, float, str]] = []  # what is wrong counts more than what cannot be told
    for i, output in enumerate(outputs):
        for j, x in enumerate(inputs):
            (error, numeric), analytic = expected[j][i], actual[i][j]
            off, allowed, which = abs(analytic - numeric), tolerance(numeric), f"the derivative of {output} by {x}"
            if off <= allowed:
                continue
            if math.isnan(numeric) or off <= 10.0 * error or error > allowed + 0.1 * abs(numeric):
                reason = "the differences find no limit here (near a kink or the edge of the domain?)"
                faults.append((False, 0.0, f"{which} cannot be checked: {reason}; the rules give {analytic!r}"))
                continue
            worst = off / allowed if allowed and not math.isnan(off) else math.inf
            values = f"expected {numeric!r} by central differences, actual {analytic!r} by the rules, off by {off:.3g}"
            faults.append((True, worst, f"{which} is wrong: {values}"))
    if faults:
        raise GradcheckError(max(faults)[2])
