"""The gradients of a loss by the layers of a network, found in its recorded graph, with the identities that link them."""

from __future__ import annotations

import importlib
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from micrograd import ops
from micrograd.chain import names
from micrograd.chain.sweep import TOLERANCE, adjoints, difference, weighted_sum
from micrograd.engine import Value, topological_order
from micrograd.nn import Layer, Neuron
from micrograd.ops import FLOATS, Op

Vector = Any  # a list of floats, or a NumPy array where NumPy was asked for
Matrix = Any  # a list of rows, or a NumPy array


@dataclass(frozen=True)
class Identity:
    """An equation between gradients: its text, and by how much its sides differ, relative to the terms that are added.

    ``error`` is the largest of any component, each relative to its own terms, and nan where something is not finite.
    """

    text: str
    error: float

    @property
    def holds(self) -> bool:
        """Whether the two sides are finite and equal to 1e-12."""
        return self.error <= TOLERANCE

    def __str__(self) -> str:
        if math.isnan(self.error):
            return f"{self.text}    cannot be checked: not finite"
        verdict = "holds" if self.holds else "does not hold: there are other ways into the loss"
        return f"{self.text}    {verdict} (error {self.error:.1g})"


@dataclass(frozen=True)
class LayerGradient:
    """One layer at one example: ``below`` are its inputs, ``a = b + W below``, ``h = g(a)``, ``slopes`` are g'(a).

    ``grad_h``, ``grad_a``, ``grad_w`` (a row for each neuron) and ``grad_b`` are what the example adds to the derivatives of
    the loss by h, a, W and b.  ``identities`` are the equations of backpropagation (S2, S3, S5) with their errors on these
    numbers.
    """

    name: str
    below: Vector
    a: Vector
    h: Vector
    slopes: Vector
    grad_h: Vector
    grad_a: Vector
    grad_w: Matrix
    grad_b: Vector
    identities: tuple[Identity, ...]

    def __str__(self) -> str:
        columns = [self.a, self.h, self.slopes, self.grad_h, self.grad_a]
        head = ["", "a", "h", "g'(a)", "dL/dh", "dL/da"]
        rows = [[str(i), *map(names.number, row)] for i, row in enumerate(zip(*columns, strict=True))]
        lines = ["".join([cell.rjust(13 if cell is not row[0] else 4) for cell in row]) for row in [head, *rows]]
        return "\n".join([self.name, *lines, *[f"    {identity}" for identity in self.identities]])


class LayerGradients:
    """The layers of a network at one example, from the first to the last; see ``layer_gradients``."""

    def __init__(self, layers: Sequence[LayerGradient], example: int, examples: int) -> None:
        self.layers, self.example, self.examples = tuple(layers), example, examples

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, i: int) -> LayerGradient:
        return self.layers[i]

    def __iter__(self) -> Iterator[LayerGradient]:
        return iter(self.layers)

    @property
    def hold(self) -> bool:
        """Whether all identities hold."""
        return all(identity.holds for layer in self.layers for identity in layer.identities)

    def __repr__(self) -> str:
        head = f"example {self.example} of {self.examples}\n" if self.examples > 1 else ""
        return head + "\n".join(map(str, self.layers))


def layer_gradients(mlp: Any, loss: Value, example: int | None = None, numpy: bool = False) -> LayerGradients:
    """The gradients of a loss by each layer's pre-activations a and activations h, read off the recorded graph (S2-S5, S7).

    ``mlp`` is an MLP, a Layer or a list of Layers that feed each other.  The equations of backpropagation are evaluated on
    the numbers and compared with the engine's derivatives: grad_h = W_above^T grad_a_above, grad_a = grad_h (*) g'(a),
    grad_W = grad_a h_below^T, grad_b = grad_a, and grad_a = softmax(a) - onehot(y) where a softmax or log_softmax of the
    last layer makes the loss.  One that fails says so: an activation or a weight then has other ways into the loss, such as
    a penalty, or an optimiser has moved the weights since the loss was recorded.

    A loss over several examples has evaluated the network several times, in the order in which the loss met them;
    ``example`` chooses one, and grad_W and grad_b are its share of the sums over the examples.  The numbers are lists of
    floats, NumPy arrays with ``numpy=True``.  Neither parameters nor anyone's ``grad`` are touched.

    ValueError where the loss does not contain the network, where it has several examples and none is chosen, where
    something stands between the layers and where an activation is no operation of the table.  IndexError for an example
    that is not there.

    >>> from micrograd.nn import MLP
    >>> model = MLP(2, [3, 2], activation="tanh", seed=1)
    >>> found = layer_gradients(model, ops.log_softmax(model([1.0, -2.0]))[1] * -1.0)
    >>> found.hold, [len(layer.a) for layer in found]
    (True, [3, 2])
    >>> for identity in found[1].identities:
    ...     print(identity.text)
    grad_a = softmax(a) - onehot(1)
    grad_a = grad_h (*) g'(a)
    grad_W = grad_a h_below^T
    grad_b = grad_a
    """
    layers = _layers(mlp)
    if not isinstance(loss, Value):
        raise TypeError(f"layer_gradients(mlp, loss): the loss must be a Value, got {type(loss).__name__}")
    order = topological_order(loss)
    evaluations = _evaluations(layers, order)
    chosen = _chosen(len(evaluations), example)
    gradient = adjoints(order)
    shares = [[_share(record, gradient) for record in evaluation] for evaluation in evaluations]
    found = []
    for k, record in enumerate(evaluations[chosen]):
        layer = shares[chosen][k]
        if k + 1 < len(layers):
            top = _from_above(layer, shares[chosen][k + 1], layers[k + 1].neurons)
        else:
            top = _softmax_identity(record, order, gradient)
        weights = _weight_identities(record.neurons, [evaluation[k] for evaluation in shares], gradient)
        layer = replace(layer, name=record.name(k), identities=(*top, _element_wise(layer), *weights))
        found.append(_as_arrays(layer) if numpy else layer)
    return LayerGradients(found, chosen, len(evaluations))


# ------------------------------------------------------------------------------------ finding the layers in a graph


@dataclass(frozen=True)
class _Record:
    """One evaluation of a layer: its neurons, the nodes of its inputs, and each neuron's pre-activation and activation."""

    neurons: Sequence[Neuron]
    below: tuple[Value, ...]
    a: Sequence[Value]
    h: Sequence[Value]

    def name(self, k: int) -> str:
        activation = self.neurons[0].activation
        kind = activation.name if self.neurons[0].nonlin and isinstance(activation, Op) else "linear"
        neurons, inputs = (
            f"{n} {what}{'s' * (n != 1)}" for n, what in ((len(self.a), f"{kind} neuron"), (len(self.below), "input"))
        )
        return f"layer {k + 1}: {neurons} of {inputs}"


def _layers(mlp: Any) -> list[Layer]:
    layers = [mlp] if isinstance(mlp, Layer) else list(getattr(mlp, "layers", mlp if isinstance(mlp, (list, tuple)) else ()))
    if not layers or not all(isinstance(layer, Layer) for layer in layers):
        raise TypeError(f"layer_gradients(mlp, loss) takes an MLP, a Layer or a list of Layers, got {type(mlp).__name__}")
    for neuron in [neuron for layer in layers for neuron in layer.neurons]:
        if neuron.nonlin and not isinstance(neuron.activation, Op):
            raise ValueError(
                "layer_gradients() needs activations that are operations of the table, so that h = g(a) is one node: define "
                "this one with micrograd.ops.op, or choose one by name"
            )
    return layers


def _evaluations(layers: Sequence[Layer], order: Sequence[Value]) -> list[list[_Record]]:
    """The records of the layers for each evaluation of the network, found from the last layer down."""
    by_weights: dict[tuple[Value, ...], list[Value]] = {}
    for node in order:
        if node.operation is ops.dot:
            n = len(node.parents) // 2
            by_weights.setdefault((*node.parents[:n], node.parents[-1]), []).append(node)
    users = {(node.parents[0], _name(node)): node for node in order if len(node.parents) == 1}
    neurons = layers[-1].neurons
    tops: dict[tuple[Value, ...], list[dict[int, Value]]] = {}
    for i, neuron in enumerate(neurons):
        seen: Counter[tuple[Value, ...]] = Counter()  # the network may have been given the same inputs several times
        for node in by_weights.get((*neuron.w, neuron.b), []):
            below = node.parents[len(neuron.w) : -1]
            rounds = tops.setdefault(below, [])
            if seen[below] == len(rounds):
                rounds.append({})
            rounds[seen[below]][i] = node
            seen[below] += 1
    evaluations = []
    for below, rounds in tops.items():
        for found in rounds:
            nodes = [_nodes(neuron, found.get(i), below, users) for i, neuron in enumerate(neurons)]
            a, h = zip(*nodes, strict=True)
            evaluations.append([*_below(layers[:-1], below), _Record(neurons, below, a, h)])
    if not evaluations:
        raise ValueError("this loss was not computed from this network: pass the model whose outputs it was computed from")
    return evaluations


def _nodes(
    neuron: Neuron, a: Value | None, below: tuple[Value, ...], users: dict[tuple[Value, str], Value]
) -> tuple[Value, Value]:
    """The pre-activation and activation nodes of a neuron; new ones, which have no way into the loss, where it has none."""
    if a is None:
        h = neuron(below)
        return (h.parents[0] if neuron.nonlin else h), h
    if not neuron.nonlin:
        return a, a
    found = users.get((a, neuron.activation.name))  # type: ignore[attr-defined]
    return a, (neuron.activation(a) if found is None else found)


def _below(layers: Sequence[Layer], h: tuple[Value, ...]) -> list[_Record]:
    """The records of the hidden layers, whose activations are the inputs of the layer above."""
    records: list[_Record] = []
    for k, layer in reversed(list(enumerate(layers))):
        neurons = layer.neurons
        a = [_pre_activation(neuron, node) for neuron, node in zip(neurons, h, strict=False)]
        below = a[0].parents[len(neurons[0].w) : -1]
        dots = [(ops.dot, (*neuron.w, *below, neuron.b)) for neuron in neurons]
        if [(node.operation, node.parents) for node in a] != dots or len(h) != len(neurons):
            raise ValueError(
                f"the inputs of layer {k + 2} are not the activations of layer {k + 1}: layer_gradients() needs layers that "
                "feed each other directly"
            )
        records.append(_Record(neurons, below, a, h))
        h = below
    return records[::-1]


def _pre_activation(neuron: Neuron, h: Value) -> Value:
    """The node that a neuron's activation was applied to; h itself where it was not."""
    return h.parents[0] if neuron.nonlin and _name(h) == neuron.activation.name else h  # type: ignore[attr-defined]


def _name(node: Value) -> str:
    return getattr(node.operation, "name", "")


def _chosen(examples: int, example: int | None) -> int:
    if example is None:
        if examples > 1:
            raise ValueError(
                f"this loss evaluates the network on {examples} examples, each with activations of its own: choose one with "
                f"example=0 to example={examples - 1}"
            )
        return 0
    if isinstance(example, bool) or not isinstance(example, int):
        raise TypeError(f"example must be an integer, got {example!r}")
    if not 0 <= example < examples:
        raise IndexError(f"example {example} is not there: this loss evaluates the network on {examples}")
    return example


# -------------------------------------------------------------------------------- numbers, and the equations between them


def _share(record: _Record, gradient: dict[Value, float]) -> LayerGradient:
    """The numbers of a layer at one example, without its identities."""
    below, a, h = ([node.data for node in nodes] for nodes in (record.below, record.a, record.h))
    slopes = [h.local_derivatives[0] if h is not a else 1.0 for a, h in zip(record.a, record.h, strict=True)]
    grad_h, grad_a = ([gradient.get(node, 0.0) for node in nodes] for nodes in (record.h, record.a))
    grad_w = [[g * x for x in below] for g in grad_a]
    return LayerGradient("", below, a, h, slopes, grad_h, grad_a, grad_w, list(grad_a), ())


def _from_above(layer: LayerGradient, above: LayerGradient, neurons_above: Sequence[Neuron]) -> tuple[Identity, ...]:
    """S3 and S4: the gradient by an activation sums over the units above, each of which it reaches through one weight."""
    columns = zip(*[[w.data for w in neuron.w] for neuron in neurons_above], strict=True)
    expected = [weighted_sum(column, above.grad_a) for column in columns]
    return (Identity("grad_h = W_above^T grad_a_above", difference(layer.grad_h, expected)),)


def _element_wise(layer: LayerGradient) -> Identity:
    """S5 and S6: h_j depends on a_j alone, so that the Jacobian dh/da is diagonal and multiplying by it element-wise."""
    expected = [weighted_sum([g], [slope]) for g, slope in zip(layer.grad_h, layer.slopes, strict=True)]
    return Identity("grad_a = grad_h (*) g'(a)", difference(layer.grad_a, expected))


def _weight_identities(
    neurons: Sequence[Neuron], examples: Sequence[LayerGradient], gradient: dict[Value, float]
) -> tuple[Identity, ...]:
    """The gradients by the weights and biases, which all examples share: the sums that gradient descent follows (S8)."""
    sums = "the sum over the examples of " if len(examples) > 1 else ""
    by_weight, by_bias = [], []
    expected_w, expected_b = [], []
    ones = [1.0] * len(examples)
    for i, neuron in enumerate(neurons):
        by_bias.append(gradient.get(neuron.b, 0.0))
        expected_b.append(weighted_sum(ones, [example.grad_a[i] for example in examples]))
        for j, w in enumerate(neuron.w):
            by_weight.append(gradient.get(w, 0.0))
            expected_w.append(weighted_sum(ones, [example.grad_w[i][j] for example in examples]))
    return (
        Identity(f"grad_W = {sums}grad_a h_below^T", difference(by_weight, expected_w)),
        Identity(f"grad_b = {sums}grad_a", difference(by_bias, expected_b)),
    )


def _softmax_identity(record: _Record, order: Sequence[Value], gradient: dict[Value, float]) -> tuple[Identity, ...]:
    """S2, where the loss sees the last layer through one output y of a softmax or log_softmax."""
    heads = [node for node in order if node.parents == record.a and _name(node) in ("softmax", "log_softmax")]
    if len(heads) != 1:
        return ()
    (head,) = heads
    y = head.operation.params["index"]  # type: ignore[union-attr]
    scale = -gradient[head] * (1.0 if _name(head) == "log_softmax" else head.data)
    p = ops.softmax.rule(FLOATS, *[a.data for a in head.parents])[0]
    lost = abs(gradient[head]) * sys.float_info.min  # the engine multiplies by p_y * p_i, which may underflow
    pairs = [weighted_sum([scale, -scale], [p_i, float(i == y)]) for i, p_i in enumerate(p)]
    expected = [(number, terms + lost) for number, terms in pairs]
    times = "" if scale == 1.0 else f", times {names.number(scale)}"
    text = f"grad_a = softmax(a) - onehot({y}){times}"
    return (Identity(text, difference([gradient[a] for a in head.parents], expected)),)


def _as_arrays(layer: LayerGradient) -> LayerGradient:
    try:
        array = importlib.import_module("numpy").array
    except ImportError:
        raise ImportError("layer_gradients(..., numpy=True) needs NumPy: pip install micrograd[numpy]") from None
    fields = ("below", "a", "h", "slopes", "grad_h", "grad_a", "grad_w", "grad_b")
    return replace(layer, **{field: array(getattr(layer, field)) for field in fields})
