"""Optimisers: they move parameters against their gradients (S8).  Update rules and defaults are PyTorch's.

An optimiser of a list of Values moves them one by one; one of ``program.parameters`` moves the array that a compiled program
reads, as a whole and with the same rule.

The learning rate is a number, or a function from the count of steps done to a number, such as
``cosine(0.1, 0.0, steps=100)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from micrograd import ops
from micrograd.columns import COLUMNS, Column, numbers_of
from micrograd.engine import Value

Schedule = Callable[[int], float]
LearningRate = float | Schedule


class Optimizer:
    """What all optimisers share: the parameters, the learning rate ``lr``, the count of ``steps`` done and the state.

    ``state`` holds one number a parameter by name.  A subclass gives the names in ``memories``, the numbers that are the
    same in all steps in ``_constants``, those of one step in ``_settings`` and the update of one parameter in ``_rule``; the
    last two are rules over a number system as the operations have, with ``xp.where`` in place of ``if``.  A parameter whose
    grad is None, as PyTorch leaves it, is skipped with its state.

    ValueError for no parameters, a parameter twice, and one that was computed from others; TypeError for one that is no
    Value.
    """

    memories: tuple[str, ...] = ()

    def __init__(self, parameters: Iterable[Value], lr: LearningRate) -> None:
        self.parameters: Any = _checked(parameters)
        self.lr = lr if callable(lr) else _at_least_zero("lr", lr)
        self.steps = 0
        self.state: dict[str, Any] = {name: [0.0] * len(self.parameters) for name in self.memories}
        self._count = len(self.parameters)
        self._stepper: Any = None  # what runs the rule on whole arrays

    def step(self) -> None:
        """Move every parameter once, by its present gradient.

        >>> w = Value(1.0)
        >>> optimizer = SGD([w], lr=0.1)
        >>> (w * w).backward()
        >>> optimizer.step()
        >>> w.data
        0.8
        """
        rate = self._rate(self.steps)
        self.steps += 1
        self._update(rate)

    def _rate(self, steps: int) -> float:
        """The learning rate after so many steps."""
        lr: Any = self.lr(steps) if callable(self.lr) else self.lr
        return lr if lr.__class__ is float and lr >= 0.0 else _at_least_zero("lr", lr)

    def __repr__(self) -> str:
        hidden = ("parameters", "state", "_count", "_stepper")
        settings = [f"{k}={'schedule' if callable(v) else repr(v)}" for k, v in vars(self).items() if k not in hidden]
        count = len(self.parameters)
        return f"{type(self).__name__}(<{count} parameter{'s' * (count != 1)}>, {', '.join(settings)})"

    def _update(self, lr: float) -> None:
        """Move every parameter by the rule, at this learning rate in step number ``steps``."""
        arrays = self._arrays()
        memories = [self.state[name] for name in self.memories]
        if arrays is not None:
            self._stepper(self, lr, (*arrays, *memories))
            return
        settings = self._settings(ops.FLOATS, lr, float(self.steps), *self._constants())
        data, gradients = [p.data for p in self.parameters], [p.grad for p in self.parameters]
        skipped = [i for i, gradient in enumerate(gradients) if gradient is None]
        for i in skipped:
            gradients[i] = 0.0
        results = self._rule(COLUMNS, settings, *map(Column, (data, gradients, *memories)))
        moved, *new = (numbers_of(result, len(data)) for result in results)
        for i in skipped:
            for old, numbers in zip((data, *memories), (moved, *new), strict=True):
                numbers[i] = old[i]
        self.state, self._stepper = dict(zip(self.memories, new, strict=True)), None
        for p, number in zip(self.parameters, moved, strict=True):
            p.data = number

    def _constants(self) -> tuple[float, ...]:
        """The numbers that all steps share; one that is zero may leave out a part of the rule."""
        return ()

    def _settings(self, xp: Any, lr: Any, steps: Any, *constants: Any) -> tuple[Any, ...]:
        """The numbers that the rule reads in a step, of which there were ``steps`` with this one."""
        return lr, *constants

    def _rule(self, xp: Any, settings: Sequence[Any], w: Any, g: Any, *memory: Any) -> tuple[Any, ...]:
        """The new parameter and the new memories, from the parameter, its gradient and the old memories."""
        raise NotImplementedError(f"{type(self).__name__} needs a method _rule(xp, settings, w, g, *memory) -> (w, *memory)")

    def _arrays(self) -> tuple[Any, Any] | None:
        """The arrays of a compiled program's parameters and of their gradients."""
        if not hasattr(self.parameters, "_reader"):
            return None
        if len(self.parameters) != self._count:
            raise RuntimeError(
                f"the program has captured {len(self.parameters)} parameters by now, but this optimiser was made for "
                f"{self._count}: make a new one of program.parameters"
            )
        arrays: tuple[Any, Any] | None = self.parameters._reader.flat()
        if arrays is not None and self._stepper is None:
            self._stepper = self.parameters._stepper(self.state)
        return arrays

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to zero, as each ``backward()`` adds to it."""
        if hasattr(self.parameters, "zero_grad"):
            self.parameters.zero_grad()
            return
        for parameter in self.parameters:
            parameter.grad = 0.0

    def state_dict(self) -> dict[str, Any]:
        """What training needs, besides the parameters, to go on as if it had not stopped: plain data, fit for JSON.

        >>> SGD([Value(1.0)], lr=0.1, momentum=0.9).state_dict()
        {'steps': 0, 'velocity': [0.0]}
        """
        return {"steps": self.steps, **{name: [float(x) for x in self.state[name]] for name in self.memories}}

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
        self.steps, self.state, self._stepper = steps, loaded, None


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

    def _constants(self) -> tuple[float, ...]:
        return self.momentum, self.weight_decay, float(self.nesterov)

    def _rule(self, xp: Any, settings: Sequence[Any], w: Any, g: Any, velocity: Any) -> tuple[Any, ...]:
        lr, momentum, weight_decay, nesterov = settings
        if weight_decay:
            g = g + weight_decay * w
        if momentum:
            velocity = momentum * velocity + g
            g = g + momentum * velocity if nesterov else velocity
        return w - lr * g, velocity


class Adam(Optimizer):
    """Adaptive moments (Kingma and Ba, 2015), as ``torch.optim.Adam``.

    ``mean`` and ``square`` are running means of the gradient and of its square with the decays ``betas``; divided by
    ``1 - beta**steps`` they are unbiased, and ``w -= lr * mean / (sqrt(square) + eps)``.  What they are divided by is moved
    into ``lr`` and ``eps``, as the paper proposes.  Weight decay is added to the gradient.

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

    def _constants(self) -> tuple[float, ...]:
        return *self.betas, self.eps, self.weight_decay

    def _settings(self, xp: Any, lr: Any, steps: Any, *constants: Any) -> tuple[Any, ...]:
        beta1, beta2, eps, weight_decay = constants
        scale = xp.sqrt(1.0 - xp.pow(beta2, steps))  # of the root of the unbiased square
        rate = xp.div(lr * scale, 1.0 - xp.pow(beta1, steps))
        return rate, beta1, beta2, scale * eps, weight_decay, None

    def _rule(self, xp: Any, settings: Sequence[Any], w: Any, g: Any, mean: Any, square: Any) -> tuple[Any, ...]:
        rate, beta1, beta2, eps, weight_decay, kept = settings
        if weight_decay:
            g = g + weight_decay * w
        if kept is not None:
            w = kept * w
        mean = mean + (1.0 - beta1) * (g - mean)
        square = beta2 * square + (1.0 - beta2) * g * g
        return w - rate * xp.div(mean, xp.sqrt(square) + eps), mean, square  # 0/0 is nan where eps is 0


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

    def _settings(self, xp: Any, lr: Any, steps: Any, *constants: Any) -> tuple[Any, ...]:
        *others, decay, _ = super()._settings(xp, lr, steps, *constants)
        return *others, 0.0, 1.0 - lr * decay if decay else None


# ------------------------------------------------------------------------------------------------------- schedules


def linear(start: float, end: float, steps: int) -> Schedule:
    """A learning rate that goes evenly from ``start`` to ``end`` in so many steps, and stays there.

    >>> rate = linear(1.0, 0.0, steps=4)
    >>> [rate(step) for step in range(6)]
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    start, end, steps = _at_least_zero("start", start), _at_least_zero("end", end), _count("steps", steps, 1)
    return _of_steps(lambda step: start + (end - start) * min(step / steps, 1.0))


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

    return _of_steps(rate)


def step_decay(start: float, factor: float, every: int) -> Schedule:
    """A learning rate that is multiplied by ``factor`` after ``every`` so many steps.

    >>> rate = step_decay(1.0, 0.5, every=2)
    >>> [rate(step) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    start, factor, every = _at_least_zero("start", start), _at_least_zero("factor", factor), _count("every", every, 1)
    return _of_steps(lambda step: start * factor ** (step // every))


def _of_steps(rate: Schedule) -> Schedule:
    """Mark a schedule that hangs on nothing but the count of steps: it may be asked for many steps at once."""
    rate.of_steps = True  # type: ignore[attr-defined]
    return rate


# ---------------------------------------------------------------------------------------------------------- checks


def _checked(parameters: Iterable[Value]) -> Any:
    """The parameters: those of a compiled program as they are, others as a list."""
    if hasattr(parameters, "_recordings"):
        raise TypeError("an optimiser takes the parameters of a compiled program, got the program: write program.parameters")
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
    return parameters if hasattr(parameters, "_reader") else values


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
