"""Optimisers: they move parameters against their gradients (S8).  Update rules and defaults are PyTorch's.

The learning rate is a number, or a function from the count of steps done to a number, such as
``cosine(0.1, 0.0, steps=100)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from micrograd import ops
from micrograd.engine import Value

Schedule = Callable[[int], float]
LearningRate = float | Schedule


class Optimizer:
    """What all optimisers share: the parameters, the learning rate ``lr``, the count of ``steps`` done and the state.

    ``state`` holds lists of one number a parameter by name.  A subclass gives their names in ``memories`` and moves the
    parameters in ``_update(lr)``.  A parameter whose grad is None, as PyTorch leaves it, is skipped with its state.

    ValueError for no parameters, a parameter twice, and one that was computed from others; TypeError for one that is no
    Value.
    """

    memories: tuple[str, ...] = ()

    def __init__(self, parameters: Iterable[Value], lr: LearningRate) -> None:
        self.parameters = _checked(parameters)
        self.lr = lr if callable(lr) else _at_least_zero("lr", lr)
        self.steps = 0
        self.state = {name: [0.0] * len(self.parameters) for name in self.memories}

    def step(self) -> None:
        """Move every parameter once, by its present gradient.

        >>> w = Value(1.0)
        >>> optimizer = SGD([w], lr=0.1)
        >>> (w * w).backward()
        >>> optimizer.step()
        >>> w.data
        0.8
        """
        lr = _at_least_zero("lr", self.lr(self.steps) if callable(self.lr) else self.lr)
        self.steps += 1
        self._update(lr)

    def __repr__(self) -> str:
        hidden = ("parameters", "state")
        settings = [f"{k}={'schedule' if callable(v) else repr(v)}" for k, v in vars(self).items() if k not in hidden]
        count = len(self.parameters)
        return f"{type(self).__name__}(<{count} parameter{'s' * (count != 1)}>, {', '.join(settings)})"

    def _update(self, lr: float) -> None:
        raise NotImplementedError(f"{type(self).__name__} needs a method _update(lr) that moves self.parameters")

    def _reached(self) -> list[tuple[int, Value]]:
        """The parameters that have a gradient, with their positions."""
        return [(i, p) for i, p in enumerate(self.parameters) if p.grad is not None]

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to zero, as each ``backward()`` adds to it."""
        for parameter in self.parameters:
            parameter.grad = 0.0

    def state_dict(self) -> dict[str, Any]:
        """What training needs, besides the parameters, to go on as if it had not stopped: plain data, fit for JSON.

        >>> SGD([Value(1.0)], lr=0.1, momentum=0.9).state_dict()
        {'steps': 0, 'velocity': [0.0]}
        """
        return {"steps": self.steps, **{name: list(numbers) for name, numbers in self.state.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict()`` of the same kind of optimiser.  Where anything is wrong, nothing is changed.

        TypeError or ValueError for something that is no such state or has another count of parameters.
        """
        name, expected = type(self).__name__, ["steps", *self.memories]
        if not isinstance(state, Mapping) or sorted(state) != sorted(expected):
            got = sorted(state) if isinstance(state, Mapping) else type(state).__name__
            raise ValueError(f"{name}.load_state_dict() takes a dict of {', '.join(expected)}, got {got}")
        steps = state["steps"]
        if not isinstance(steps, int) or steps < 0:
            raise ValueError(f"{name}.load_state_dict(): steps must be a whole number from 0, got {steps!r}")
        loaded = {memory: _numbers(name, memory, state[memory], len(self.parameters)) for memory in self.memories}
        self.steps, self.state = steps, loaded


class SGD(Optimizer):
    """Stochastic gradient descent ``w -= lr * g`` (S8), as ``torch.optim.SGD``.

    With weight decay ``g = grad + weight_decay * w``.  With momentum ``velocity = momentum * velocity + g`` takes the place
    of g, and with ``nesterov`` (Sutskever et al., 2013) ``g + momentum * velocity`` does.

    ValueError for negative numbers and for ``nesterov`` without momentum.

    >>> w = Value(1.0)
    >>> optimizer = SGD([w], lr=0.25)
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     (w * w).backward()
    ...     optimizer.step()
    >>> w.data
    0.125
    """

    memories = ("velocity",)

    def __init__(
        self,
        parameters: Iterable[Value],
        lr: LearningRate,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(parameters, lr)
        self.momentum = _at_least_zero("momentum", momentum)
        self.weight_decay = _at_least_zero("weight_decay", weight_decay)
        self.nesterov = nesterov
        if nesterov and not momentum:
            raise ValueError("SGD(nesterov=True) needs a momentum, such as momentum=0.9")

    def _update(self, lr: float) -> None:
        velocity = self.state["velocity"]
        for i, p in self._reached():
            g = p.grad + self.weight_decay * p.data if self.weight_decay else p.grad
            if self.momentum:
                velocity[i] = self.momentum * velocity[i] + g
                g = g + self.momentum * velocity[i] if self.nesterov else velocity[i]
            p.data -= lr * g


class Adam(Optimizer):
    """Adaptive moments (Kingma and Ba, 2015), as ``torch.optim.Adam``.

    ``mean`` and ``square`` are running means of the gradient and of its square with the decays ``betas``; divided by
    ``1 - beta**steps`` they are unbiased, and ``w -= lr * mean / (sqrt(square) + eps)``.  Weight decay is added to the
    gradient.

    ValueError for negative numbers and for betas outside 0 .. 1.

    >>> w = Value(1.0)
    >>> optimizer = Adam([w], lr=0.5)
    >>> (w * w).backward()
    >>> optimizer.step()
    >>> round(w.data, 6)
    0.5
    """

    memories = ("mean", "square")

    def __init__(
        self,
        parameters: Iterable[Value],
        lr: LearningRate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr)
        self.betas = _betas(betas)
        self.eps = _at_least_zero("eps", eps)
        self.weight_decay = _at_least_zero("weight_decay", weight_decay)

    def _update(self, lr: float) -> None:
        self._move(lr, self.weight_decay)

    def _move(self, lr: float, weight_decay: float) -> None:
        mean, square = self.state["mean"], self.state["square"]
        beta1, beta2 = self.betas
        rate = lr / (1.0 - beta1**self.steps)
        scale = math.sqrt(1.0 - beta2**self.steps)
        for i, p in self._reached():
            g = p.grad + weight_decay * p.data if weight_decay else p.grad
            mean[i] += (1.0 - beta1) * (g - mean[i])
            square[i] = beta2 * square[i] + (1.0 - beta2) * g * g
            p.data -= rate * ops.FLOATS.div(mean[i], math.sqrt(square[i]) / scale + self.eps)  # 0/0 is nan where eps is 0


class AdamW(Adam):
    """Adam whose weight decay shrinks the weights themselves, ``w -= lr * weight_decay * w``, as ``torch.optim.AdamW``.

    The decay stays out of the running means (Loshchilov and Hutter: Decoupled Weight Decay Regularization, 2019).

    >>> w = Value(1.0)
    >>> AdamW([w], lr=0.1, weight_decay=0.5).step()
    >>> w.data
    0.95
    """

    def __init__(
        self,
        parameters: Iterable[Value],
        lr: LearningRate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)

    def _update(self, lr: float) -> None:
        for _, p in self._reached():
            p.data *= 1.0 - lr * self.weight_decay
        self._move(lr, 0.0)


# ------------------------------------------------------------------------------------------------------- schedules


def linear(start: float, end: float, steps: int) -> Schedule:
    """A learning rate that goes evenly from ``start`` to ``end`` in so many steps, and stays there.

    >>> rate = linear(1.0, 0.0, steps=4)
    >>> [rate(step) for step in range(6)]
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    start, end, steps = _at_least_zero("start", start), _at_least_zero("end", end), _count("steps", steps, 1)
    return lambda step: start + (end - start) * min(step / steps, 1.0)


def cosine(start: float, end: float, steps: int, warmup: int = 0) -> Schedule:
    """A learning rate that falls from ``start`` to ``end`` like a cosine, after it rose evenly in ``warmup`` of the steps.

    The curve is that of Loshchilov and Hutter (SGDR, 2017) without restarts; the rate stays at ``end``.

    >>> rate = cosine(1.0, 0.0, steps=4, warmup=2)
    >>> [round(rate(step), 3) for step in range(6)]
    [0.5, 1.0, 1.0, 0.5, 0.0, 0.0]
    """
    start, end = _at_least_zero("start", start), _at_least_zero("end", end)
    warmup = _count("warmup", warmup, 0)
    steps = _count("steps", steps, warmup + 1)

    def rate(step: int) -> float:
        if step < warmup:
            return start * (step + 1) / warmup
        progress = min((step - warmup) / (steps - warmup), 1.0)
        return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))

    return rate


def step_decay(start: float, factor: float, every: int) -> Schedule:
    """A learning rate that is multiplied by ``factor`` after ``every`` so many steps.

    >>> rate = step_decay(1.0, 0.5, every=2)
    >>> [rate(step) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    start, factor, every = _at_least_zero("start", start), _at_least_zero("factor", factor), _count("every", every, 1)
    return lambda step: start * factor ** (step // every)


# ---------------------------------------------------------------------------------------------------------- checks


def _checked(parameters: Iterable[Value]) -> list[Value]:
    if hasattr(parameters, "parameters"):
        raise TypeError(f"an optimiser takes a list of Values, got {type(parameters).__name__}: write model.parameters()")
    if isinstance(parameters, Value) or not hasattr(parameters, "__iter__"):
        raise TypeError(f"an optimiser takes a list of Values, got {type(parameters).__name__}: write [w] for a single one")
    values = list(parameters)
    if not values:
        raise ValueError("an optimiser of no parameters: expected at least one, such as model.parameters()")
    for value in values:
        if not isinstance(value, Value):
            raise TypeError(f"a parameter must be a Value, got {type(value).__name__}: numbers cannot be moved in place")
        if value.parents:
            raise ValueError(f"a parameter must be a leaf, got the result of {value._op!r}: pass what it was computed from")
    if len(set(values)) != len(values):
        raise ValueError("a parameter is listed twice and would be moved twice: pass each one once")
    return values


def _at_least_zero(name: str, x: Any) -> float:
    number = ops.real(x)
    if number is None or not number >= 0.0:
        raise ValueError(f"{name} must be a number of 0 or more, got {x!r}")
    return number


def _count(name: str, n: Any, least: int) -> int:
    if not isinstance(n, int) or n < least:
        raise ValueError(f"{name} must be a whole number from {least}, got {n!r}")
    return n


def _betas(betas: Any) -> tuple[float, float]:
    numbers = [ops.real(beta) for beta in betas] if hasattr(betas, "__iter__") else []
    if len(numbers) != 2 or not all(number is not None and 0.0 <= number < 1.0 for number in numbers):
        raise ValueError(f"betas must be two numbers from 0 to below 1, got {betas!r}")
    return numbers[0], numbers[1]  # type: ignore[return-value]


def _numbers(optimizer: str, memory: str, given: Any, count: int) -> list[float]:
    numbers = [ops.real(x) for x in given] if isinstance(given, (list, tuple)) else []
    if len(numbers) != count or None in numbers:
        raise ValueError(
            f"{optimizer}.load_state_dict(): {memory} must be a list of {count} numbers, one a parameter, got "
            + (f"{len(given)} items" if isinstance(given, (list, tuple)) else type(given).__name__)
        )
    return numbers  # type: ignore[return-value]
