"""Watching a network learn: a few numbers of every layer at every step, in memory that does not grow with the run."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import mul
from pathlib import Path
from typing import Any

from micrograd import ops
from micrograd.engine import Value
from micrograd.nn import MLP, Layer, Module, Neuron
from micrograd.ops import FLOATS, Op

RECORDS = 240  # steps kept: when there are more, every second one is dropped
SHOTS = 16  # steps of which all weights are kept, likewise
SAMPLE = 100  # weights of a layer whose spread is shown
EXAMPLES = 32  # inputs on which the spread of activations is looked at
ROWS = 500  # inputs on which neurons are looked at for dead ones
POINTS = 200  # inputs drawn over the decision boundary
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)

Quantiles = tuple[float, ...]  # the numbers below which these parts of a sample lie; nan where there is no finite one
Weights = list[list[tuple[list[float], float]]]  # for each layer and neuron, its weights and its bias


@dataclass(frozen=True)
class Record:
    """One step: the loss, and for each layer the norm of its gradient, the spread of its numbers, and its dead neurons.

    ``dead`` is None for a layer without relu; ``activations`` and ``dead`` are empty where no inputs are watched.
    """

    step: int
    loss: float
    norms: tuple[float, ...]
    weights: tuple[Quantiles, ...]
    gradients: tuple[Quantiles, ...]
    activations: tuple[Quantiles, ...] = ()
    dead: tuple[int | None, ...] = ()


def watch(model: Module, inputs: Any = None, labels: Any = None, every: int = 1) -> Run:
    """Record how a model learns: call ``run.record(loss)`` after each ``loss.backward()``, and show ``run``.

    ``inputs`` are some rows of numbers, on which activations and dead relu neurons (V4, V5: not active on any row) are
    watched.  Up to 500 rows are all looked at for dead neurons; of more, a sample of 500, and then the picture says "on 500
    rows looked at".  For rows of two numbers the decision boundary is drawn, with the rows and their ``labels`` on it.  Only
    every ``every``-th call records, and a long run keeps every second, fourth, ... record.  Samples have a fixed seed.

    An MLP or a Layer is watched layer by layer, any other Module as one, without inputs.  TypeError for anything else,
    ValueError for inputs or labels that do not fit.

    >>> from micrograd.nn import MLP
    >>> model = MLP(2, [4, 1], seed=1)
    >>> run = watch(model, inputs=[[0.0, 1.0], [1.0, 0.0]], labels=[-1, 1])
    >>> for step in range(3):
    ...     loss = (model([0.0, 1.0]) + 1.0) ** 2
    ...     model.zero_grad()
    ...     loss.backward()
    ...     run.record(loss)
    ...     for p in model.parameters():
    ...         p.data -= 0.1 * p.grad
    >>> len(run.records)
    3
    """
    if not isinstance(model, Module):
        raise TypeError(f"watch() takes a Module, such as an MLP, got {type(model).__name__}")
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise ValueError(f"watch(): every is a whole number of at least 1, got {every!r}")
    return Run(model, inputs, labels, every)


class Run:
    """What ``watch`` gives: it records, shows itself in a notebook, and saves itself as .svg or .html."""

    def __init__(self, model: Module, inputs: Any, labels: Any, every: int) -> None:
        self.layers = _layers(model)
        self.groups = [layer.parameters() for layer in self.layers] or [model.parameters()]
        if inputs is None and labels is not None:
            raise ValueError("watch(): labels belong to inputs: give watch(model, inputs=X, labels=y)")
        rows = _rows(self.layers, model, inputs)
        numbers = _labels(rows, labels)
        self.records: list[Record] = []
        self.shots: list[tuple[int, Weights]] = []
        self._calls, self._every, self._shot_every = 0, every, every
        rng = random.Random(0)
        self._sampled = [_sample(rng, group, SAMPLE) for group in self.groups]
        self.points = _sample(rng, list(zip(rows, numbers, strict=True)), POINTS)
        self._examples = [row for row, _ in _sample(rng, self.points, EXAMPLES)]
        self.looked_at = _sample(rng, rows, ROWS)
        self.is_sampled = len(rows) > ROWS  # then a neuron may be dead only on the rows looked at
        self._functions = [[_function(neuron) for neuron in layer.neurons] for layer in self.layers]

    # ------------------------------------------------------------------------------------------------------ recording

    def record(self, loss: Value | float) -> None:
        """Take down one step, after ``loss.backward()`` and before the gradients are set to zero.

        TypeError for anything but a Value or a number, ValueError before the backward pass.
        """
        number = loss.data if isinstance(loss, Value) else ops.real(loss)
        if number is None:
            raise TypeError(f"record() takes the loss, a Value or a number, got {type(loss).__name__}")
        if isinstance(loss, Value) and not loss.has_grad:
            raise ValueError("record(loss) comes after loss.backward(): there are no gradients to take down yet")
        step, self._calls = self._calls, self._calls + 1
        if step % self._every:
            return
        weights = self._weights()
        self.records.append(self._record(step, number, weights))
        if len(self.records) > RECORDS:
            self.records, self._every = self.records[::2], 2 * self._every
        if self.is_plane:
            self._keep(step, weights)

    def _record(self, step: int, loss: float, weights: Weights) -> Record:
        outputs: list[list[list[float]]] = [[] for _ in self.layers]
        for row in self._examples:
            for numbers, layer in zip(outputs, self._outputs(weights, row), strict=True):
                numbers.append(layer)
        return Record(
            step,
            loss,
            tuple([math.hypot(*[p.grad for p in group]) for group in self.groups]),
            tuple([_quantiles([p.data for p in group]) for group in self._sampled]),
            tuple([_quantiles([p.grad for p in group]) for group in self._sampled]),
            tuple([_quantiles([x for layer in numbers for x in layer]) for numbers in outputs if numbers]),
            self._dead(weights),
        )

    def _dead(self, weights: Weights) -> tuple[int | None, ...]:
        """For each layer, how many relu neurons are 0 on all rows looked at; None where there is no relu."""
        if not self.looked_at:
            return ()
        relus = [[k for k, n in enumerate(layer.neurons) if n.nonlin and n.activation is ops.relu] for layer in self.layers]
        silent = [set(neurons) for neurons in relus]
        for row in self.looked_at:
            if not any(silent):
                break
            for neurons, numbers in zip(silent, self._outputs(weights, row), strict=True):
                neurons.difference_update([k for k in neurons if numbers[k] != 0.0])
        return tuple([len(left) if neurons else None for left, neurons in zip(silent, relus, strict=True)])

    def _keep(self, step: int, weights: Weights) -> None:
        """Keep the weights of the first and the last step, and of some in between."""
        if self.shots and self.shots[-1][0] % self._shot_every:  # only the last one may stand between the others
            self.shots.pop()
        self.shots.append((step, weights))
        if len(self.shots) > SHOTS:
            self.shots, self._shot_every = self.shots[::2], 2 * self._shot_every

    def _weights(self) -> Weights:
        return [[([w.data for w in neuron.w], neuron.b.data) for neuron in layer.neurons] for layer in self.layers]

    # ------------------------------------------------------------------------------------------------------ computing

    @property
    def is_plane(self) -> bool:
        """Whether inputs are points of a plane, so that the decision boundary can be drawn."""
        return bool(self.points) and len(self.points[0][0]) == 2

    def moments(self, count: int) -> list[tuple[int, Weights]]:
        """Up to ``count`` of the kept steps with their weights, from the first to the last."""
        last = len(self.shots) - 1
        return [self.shots[k] for k in dict.fromkeys([round(j * last / (count - 1)) for j in range(count)])]

    def outputs(self, weights: Weights, row: Sequence[float]) -> list[float]:
        """What the network gave for a row when it had these weights."""
        for layer in self._outputs(weights, row):
            row = layer
        return list(row)

    def _outputs(self, weights: Weights, row: Sequence[float]) -> Iterator[list[float]]:
        """The activations of each layer, in floats: no graph is recorded."""
        for neurons, functions in zip(weights, self._functions, strict=True):
            row = [function(sum(map(mul, w, row)) + b) for (w, b), function in zip(neurons, functions, strict=True)]
            yield row

    # -------------------------------------------------------------------------------------------------------- showing

    @property
    def svg(self) -> str:
        """The picture as SVG text.  ValueError before anything was recorded."""
        from micrograd.viz.panels import picture

        if not self.records:
            raise ValueError("nothing is recorded yet: call run.record(loss) after each loss.backward()")
        return picture(self)

    @property
    def html(self) -> str:
        """The picture in a page of its own."""
        from micrograd.viz.panels import page

        return page(self.svg)

    def save(self, path: str | Path) -> Path:
        """Write the picture to a file and return the path.  ValueError for a suffix other than .svg and .html."""
        path = Path(path)
        if path.suffix.lower() not in (".svg", ".html"):
            raise ValueError(f"save() takes a path that ends in .svg or .html, got {path.name!r}")
        path.write_text(self.svg if path.suffix.lower() == ".svg" else self.html, encoding="utf-8")
        return path

    def _repr_svg_(self) -> str | None:
        return self.svg if self.records else None

    def __repr__(self) -> str:
        if not self.records:
            return "Run(nothing recorded)"
        first, last = self.records[0], self.records[-1]
        return f"Run({last.step + 1:,} step{'s' * (last.step > 0)}, loss {first.loss:.4g} to {last.loss:.4g})"


# -------------------------------------------------------------------------------------------------------------- the parts


def _layers(model: Module) -> list[Layer]:
    if isinstance(model, MLP):
        return list(model.layers)
    return [model] if isinstance(model, Layer) else []


def _rows(layers: list[Layer], model: Module, inputs: Any) -> list[list[float]]:
    if inputs is None:
        return []
    if not layers:
        raise ValueError(
            f"watch() knows the layers of an MLP or a Layer, not of {type(model).__name__}: leave out inputs to record its "
            "loss, weights and gradients"
        )
    nin = len(layers[0].neurons[0].w)
    try:
        rows = [[float(x) for x in row] for row in inputs]
    except TypeError:
        raise TypeError("watch(): inputs are rows of numbers, such as [[0.0, 1.0], [1.0, 0.0]]") from None
    wrong = next((row for row in rows if len(row) != nin), None)
    if wrong is not None or not rows:
        got = "no rows" if wrong is None else f"a row of {len(wrong)}"
        raise ValueError(f"watch(): the model takes rows of {nin} inputs, got {got}")
    return rows


def _labels(rows: list[list[float]], labels: Any) -> Sequence[float | None]:
    if labels is None:
        return [None] * len(rows)
    try:
        numbers = [float(label) for label in labels]
    except (TypeError, ValueError):
        raise TypeError(
            f"watch(): labels are numbers, one for each row of inputs, such as [-1, 1], got {labels!r}"
        ) from None
    if len(numbers) != len(rows):
        raise ValueError(f"watch() takes one label for each row of inputs, got {len(numbers)} labels for {len(rows)} rows")
    return numbers


def _sample(rng: random.Random, items: Sequence[Any], size: int) -> list[Any]:
    """Some of the items, in their order."""
    return [items[i] for i in sorted(rng.sample(range(len(items)), min(size, len(items))))]


def _function(neuron: Neuron) -> Callable[[float], float]:
    """A neuron's activation from float to float."""
    if not neuron.nonlin:
        return float
    return partial(_applied, neuron.activation)


def _applied(activation: Any, z: float) -> float:
    if isinstance(activation, Op):
        return float(activation.rule(FLOATS, z)[0])
    return float(activation(Value(z)).data)


def _quantiles(numbers: Iterable[float]) -> Quantiles:
    finite = sorted(filter(math.isfinite, numbers))
    if not finite:
        return (math.nan,) * len(LEVELS)
    return tuple([finite[int(level * (len(finite) - 1) + 0.5)] for level in LEVELS])
