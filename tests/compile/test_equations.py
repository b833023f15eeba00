"""The matrix products of a network are found, whatever the order in which its sums were written."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

import micrograd
from micrograd import Value, nn

SIZES = [4, 5, 6, 3]  # inputs and the outputs of three layers, all different

SUMS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "left to right": lambda w, x, b: _chain([p * q for p, q in zip(w, x, strict=True)]) + b,
    "bias first": lambda w, x, b: b + _chain([p * q for p, q in zip(w, x, strict=True)]),
    "bias as the start": lambda w, x, b: _chain([b] + [p * q for p, q in zip(w, x, strict=True)]),
    "reversed": lambda w, x, b: _chain([p * q for p, q in zip(w, x, strict=True)][::-1]) + b,
    "right to left": lambda w, x, b: _right([p * q for p, q in zip(w, x, strict=True)] + [b]),
    "factors swapped": lambda w, x, b: _chain([q * p for p, q in zip(w, x, strict=True)]) + b,
    "sum()": lambda w, x, b: sum(p * q for p, q in zip(w, x, strict=True)) + b,
    "sum() from the bias": lambda w, x, b: sum((p * q for p, q in zip(w, x, strict=True)), b),
    "micrograd.sum": lambda w, x, b: micrograd.sum([*[p * q for p, q in zip(w, x, strict=True)], b]),
    "in pairs": lambda w, x, b: _pairs([*[p * q for p, q in zip(w, x, strict=True)], b]),
    "dot": lambda w, x, b: micrograd.dot(w, x, b),
    "dot and bias": lambda w, x, b: micrograd.dot(w, x) + b,
    "no bias": lambda w, x, b: sum(p * q for p, q in zip(w, x, strict=True)),
    "negated": lambda w, x, b: b - sum(-p * q for p, q in zip(w, x, strict=True)),
}


def _chain(terms: list[Any]) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _right(terms: list[Any]) -> Any:
    total = terms[-1]
    for term in terms[-2::-1]:
        total = term + total
    return total


def _pairs(terms: list[Any]) -> Any:
    while len(terms) > 1:
        terms = [_chain(terms[i : i + 2]) for i in range(0, len(terms), 2)]
    return terms[0]


def weights(seed: int = 0) -> list[tuple[list[list[Value]], list[Value]]]:
    rng = random.Random(seed)
    return [
        (
            [[Value(rng.uniform(-1, 1), label=f"W{k}") for _ in range(m)] for _ in range(n)],
            [Value(rng.uniform(-1, 1), label=f"b{k}") for _ in range(n)],
        )
        for k, (m, n) in enumerate(itertools.pairwise(SIZES), start=1)
    ]


def network(layers: Any, affine: Callable[[Any, Any, Any], Any]) -> Callable[[Any], Any]:
    """Three layers written neuron by neuron, and the cross-entropy of class 1."""

    def loss(x: Any) -> Any:
        for i, (w, b) in enumerate(layers):
            z = [affine(row, x, c) for row, c in zip(w, b, strict=True)]
            x = [v.tanh() for v in z] if i < 2 else z
        return -micrograd.log_softmax(x)[1]

    return loss


def products(program: Any) -> tuple[int, int]:
    """How many matrix products the printed equations have, forward and backward."""
    forward, backward = str(program).split("backward")
    return forward.count("@"), backward.count("@") + _outer(backward)


def _outer(text: str) -> int:
    return text.count("outer(")


X = [0.5, -1.0, 0.25, 2.0]

written = pytest.mark.parametrize("affine", SUMS.values(), ids=SUMS.keys())


@written
def test_one_product_a_layer_forward_and_two_backward(affine: Any) -> None:
    program = micrograd.compile(network(weights(), affine), backend="numpy")
    program.backward(X)
    assert products(program) == (3, 5), str(program)  # nobody asks for the gradient by x


@written
def test_the_gradient_by_the_inputs_is_one_more_product(affine: Any) -> None:
    layers = weights()

    def loss(x: Any, layers: Any) -> Any:
        return network(layers, affine)(x)

    program = micrograd.compile(loss, backend="numpy")
    program.value_and_grad(X, layers, wrt=(0, 1))
    assert products(program) == (3, 6), str(program)


@written
def test_the_gradient_by_the_inputs_alone_needs_no_outer_products(affine: Any) -> None:
    program = micrograd.compile(network(weights(), affine), backend="numpy")
    program.value_and_grad(X)
    assert products(program) == (3, 3), str(program)


@written
def test_the_products_of_a_batch_are_as_many(affine: Any) -> None:
    program = micrograd.compile(network(weights(), affine), batch=(0,), reduce="mean", backend="numpy")
    program.backward([X, X, X])
    assert products(program) == (3, 5), str(program)


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "gelu"])
@pytest.mark.parametrize("batched", [False, True])
def test_the_products_of_a_module(activation: str, batched: bool) -> None:
    model = nn.MLP(SIZES[0], SIZES[1:], activation=activation, seed=1)
    batch: Any = {"batch": (0,), "reduce": "sum"} if batched else {}
    program = micrograd.compile(lambda x: -micrograd.log_softmax(model(x))[1], backend="numpy", **batch)
    program.backward([X, X] if batched else X)
    assert products(program) == (3, 5), str(program)


@pytest.mark.parametrize("sizes", [[2, 16, 16, 1], [3, 3, 3, 3], [7, 2, 2, 2]])
def test_layers_of_equal_size_are_not_confused(sizes: list[int]) -> None:
    model = nn.MLP(sizes[0], sizes[1:], activation="tanh", seed=1)
    program = micrograd.compile(lambda x: micrograd.sum(z**2 for z in outputs(model(x))), backend="numpy")
    program.backward([0.5] * sizes[0])
    forward, backward = products(program)
    if sizes[-1] > 1:
        assert (forward, backward) == (3, 5), str(program)
    else:  # the last layer is a row of weights: its products may be written without a matrix
        assert 2 <= forward <= 3
        assert 3 <= backward <= 5


def outputs(z: Any) -> list[Any]:
    return z if isinstance(z, list) else [z]


def test_the_equations_of_a_chain_of_products_without_activation() -> None:
    """(W3 (W2 (W1 x))): each product is found once, forward."""
    layers = weights()

    def f(x: Any) -> Any:
        for w, _ in layers:
            x = [sum(p * q for p, q in zip(row, x, strict=True)) for row in w]
        return x

    program = micrograd.compile(f, backend="numpy")
    program(X)
    assert str(program).count("@") == 3, str(program)


def test_a_matrix_of_examples_written_as_loops_is_one_product() -> None:
    a = [[0.5 * i - 0.25 * j for j in range(4)] for i in range(5)]
    b = [[0.25 * i + 0.5 * j for j in range(6)] for i in range(4)]
    program = micrograd.compile(
        lambda a, b: [
            [sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*b, strict=True)] for row in a
        ],
        backend="numpy",
    )
    program(a, b)
    assert str(program).count("@") == 1, str(program)


def test_the_users_labels_are_in_the_equations() -> None:
    program = micrograd.compile(network(weights(), SUMS["left to right"]), backend="numpy")
    program.backward(X)
    for name in ("W1 @ x", "W2 @", "W3 @", "b1", "W3.T @", "W2.T @"):
        assert name in str(program), str(program)
