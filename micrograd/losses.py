"""Losses: how far predictions are from their targets, as one number to call ``backward()`` on.

Each takes one example or a batch, and a batch gives the mean, as in PyTorch.  Predictions are Values; plain numbers work
too and give a float.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import Any

from micrograd import engine, ops


def mse(predictions: Any, targets: Any) -> Any:
    """Mean squared error ``(1/N) * sum (p_i - t_i)**2`` (V6) of two numbers, two lists, or two lists of equal rows.

    ValueError for unequal lengths and for none at all.

    >>> mse([1.0, 2.0], [1.0, 4.0])
    2.0
    """
    return ops.mean([ops.power(p - t, 2.0) for p, t in _pairs("mse", predictions, targets)])


def hinge(scores: Any, labels: Any) -> Any:
    """Max-margin loss, the mean of ``max(0, 1 - label * score)``, for labels -1 and +1.

    ValueError for other labels, for unequal lengths and for none at all.

    >>> hinge([2.0, 0.5], [1, -1])
    0.75
    """
    return ops.mean([ops.relu(1.0 - s if _sign(y) > 0.0 else 1.0 + s) for s, y in _pairs("hinge", scores, labels)])


def binary_cross_entropy(logits: Any, targets: Any) -> Any:
    """The mean of ``-t * log(sigmoid(z)) - (1 - t) * log(1 - sigmoid(z))`` for logits z and targets t from 0 to 1.

    It is ``softplus(z) - z * t``, finite at any logit; the gradient by z is ``sigmoid(z) - t``.  Logits are what a linear
    last layer gives: no sigmoid goes before this loss.

    ValueError for targets outside 0 .. 1, for unequal lengths and for none at all.

    >>> binary_cross_entropy([1000.0, -1000.0], [1, 1])
    500.0
    """
    pairs = _pairs("binary_cross_entropy", logits, targets)
    return ops.mean([_logistic_loss(z, _probability(t)) for z, t in pairs])


def cross_entropy(logits: Any, target: Any) -> Any:
    """``-log softmax(logits)[target]`` for a list of logits and its class 0 .. n-1; the mean for a list of each.

    The gradient by the logits is ``softmax(logits) - onehot(target)`` (S2).  No softmax goes before this loss.

    TypeError for a class that is no integer, ValueError for one outside the logits, for unequal lengths and for none at all.

    >>> cross_entropy([0.0, 1000.0], 0), cross_entropy([[0.0, 1000.0], [0.0, 1000.0]], [1, 0])
    (1000.0, 500.0)
    """
    rows, classes = _items(logits), _items(target)
    if rows is None:
        raise TypeError(
            f"cross_entropy() takes a list of logits, got {type(logits).__name__}: for a single output there is "
            "binary_cross_entropy"
        )
    if classes is None:
        return _negative_log_likelihood(rows, target)
    _check_lengths("cross_entropy", rows, classes)
    return ops.mean([_negative_log_likelihood(_items(row), y) for row, y in zip(rows, classes, strict=True)])


def l2(parameters: Iterable[Any], strength: float) -> Any:
    """The penalty ``strength * sum p**2``, as one weighted sum; its gradient by p is ``2 * strength * p``.

    ValueError for no parameters and for a negative strength, TypeError for a module or a single Value.

    >>> l2([3.0, 4.0], 0.5)
    12.5
    """
    if hasattr(parameters, "parameters") or not hasattr(parameters, "__iter__"):
        hint = "model.parameters()" if hasattr(parameters, "parameters") else "[w] for a single one"
        raise TypeError(f"l2() takes a list of Values, got {type(parameters).__name__}: write {hint}")
    values = list(parameters)
    number = ops.real(strength)
    if not values:
        raise ValueError("l2() of no parameters: expected at least one, such as model.parameters()")
    if number is None or not number >= 0.0:
        raise ValueError(f"l2() takes a strength of 0 or more, got {strength!r}")
    return engine.dot(values, values) * number


# ------------------------------------------------------------------------------------------------- single examples


def _logistic_loss(z: Any, t: float) -> Any:
    if t in (0.0, 1.0):
        return ops.softplus(-z if t else z)  # accurate for the smallest losses too, where the difference below cancels
    return ops.softplus(z) - z * t


def _negative_log_likelihood(logits: list[Any] | None, y: Any) -> Any:
    if logits is None or _items(y) is not None:
        raise ValueError("cross_entropy() takes one list of logits and one class, or a list of rows and a list of classes")
    if hasattr(y, "_pick"):  # a traced integer, which may differ at each call
        return -engine.take(ops.log_softmax(logits), y)
    if isinstance(y, bool) or not hasattr(y, "__index__"):
        raise TypeError(f"cross_entropy() takes a class as an integer, got {y!r}")
    index = operator.index(y)
    if not 0 <= index < len(logits):
        raise ValueError(
            f"cross_entropy(): class {index} is outside 0 .. {len(logits) - 1}, as there are {len(logits)} logits"
        )
    return -ops.log_softmax.bind(index=index)(logits)


def _sign(label: Any) -> float:
    number = ops.real(label)
    if number not in (-1.0, 1.0):
        raise ValueError(f"hinge() takes labels -1 and +1, got {label!r}: for labels 0 and 1 write 2 * label - 1")
    return float(number)


def _probability(target: Any) -> float:
    number = ops.real(target)
    if number is None or not 0.0 <= number <= 1.0:
        raise ValueError(f"binary_cross_entropy() takes targets from 0 to 1, got {target!r}")
    return number


# --------------------------------------------------------------------------------------------------------- batches


def _pairs(name: str, a: Any, b: Any) -> Iterator[tuple[Any, Any]]:
    """The numbers of two nests of the same shape, side by side."""
    left, right = _items(a), _items(b)
    if left is None and right is None:
        yield a, b
        return
    if left is None or right is None:
        raise ValueError(f"{name}() takes two numbers or two lists, got {type(a).__name__} and {type(b).__name__}")
    _check_lengths(name, left, right)
    for x, y in zip(left, right, strict=True):
        yield from _pairs(name, x, y)


def _items(x: Any) -> list[Any] | None:
    """The items of a list, tuple, array or other iterable; None for a single number."""
    if isinstance(x, (str, bytes)):
        raise TypeError(f"a loss takes numbers and Values, got {x!r}")
    return list(x) if hasattr(x, "__iter__") and getattr(x, "shape", None) != () else None


def _check_lengths(name: str, predictions: list[Any], targets: list[Any]) -> None:
    if len(predictions) != len(targets):
        raise ValueError(f"{name}() takes as many targets as predictions, got {len(predictions)} and {len(targets)}")
    if not predictions:
        raise ValueError(f"{name}() of an empty batch: expected at least one example")
