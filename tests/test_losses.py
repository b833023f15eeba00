"""Losses against PyTorch and mpmath: values and gradients, at +-1000 too, for one example and for a batch."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from conftest import oracle

import micrograd
from micrograd import MLP, Value, losses, ops
from micrograd.losses import binary_cross_entropy, cross_entropy, hinge, l2, mse

LOGITS = [-1000.0, -30.0, -1.5, 0.0, 1e-9, 0.75, 30.0, 1000.0]
PAIRS = [(z, t) for z in LOGITS for t in (0.0, 1.0)]


def leaves_of(nest: Any) -> list[Value]:
    return [v for item in nest for v in leaves_of(item)] if isinstance(nest, list) else [nest]


def wrapped(nest: Any) -> Any:
    return [wrapped(item) for item in nest] if isinstance(nest, list) else Value(nest)


def hinge_in_torch(torch: Any, scores: Any, labels: Any) -> Any:
    return torch.nn.functional.relu(1.0 - torch.tensor(labels, dtype=torch.float64) * scores).mean()


def in_torch(name: str) -> Callable[[Any, Any, Any], Any]:
    def loss(torch: Any, predictions: Any, targets: Any) -> Any:
        kind = torch.int64 if name == "cross_entropy" else torch.float64
        return getattr(torch.nn.functional, name)(predictions, torch.tensor(targets, dtype=kind))

    return loss


BCE = in_torch("binary_cross_entropy_with_logits")
CASES: list[tuple[Callable[..., Any], Any, Any, Callable[..., Any]]] = [
    (mse, 3.0, -1.0, in_torch("mse_loss")),
    (mse, [1.0, -2.0, 0.5], [0.0, 4.0, 0.5], in_torch("mse_loss")),
    (mse, [[1.0, -2.0], [3.0, 4.0]], [[0.5, 1.0], [2.0, -1.0]], in_torch("mse_loss")),
    (hinge, -0.5, 1, hinge_in_torch),
    (hinge, [0.3, 2.0, -3.0, 1000.0, -1000.0], [1, 1, -1, -1, 1], hinge_in_torch),
    (binary_cross_entropy, 0.3, 1, BCE),
    (binary_cross_entropy, [z for z, _ in PAIRS], [t for _, t in PAIRS], BCE),
    (binary_cross_entropy, LOGITS, [0.25, 0.5, 0.1, 0.9, 0.0, 1.0, 0.75, 0.5], BCE),
    (cross_entropy, [0.1, 2.0, -1.0], 2, in_torch("cross_entropy")),
    (cross_entropy, [5.0], 0, in_torch("cross_entropy")),
    (cross_entropy, [1000.0, -1000.0, 0.0], 1, in_torch("cross_entropy")),
    (cross_entropy, [-1000.0, -1000.0], 0, in_torch("cross_entropy")),
    (cross_entropy, [[0.1, 2.0, -1.0], [1000.0, 999.0, -1000.0]], [0, 1], in_torch("cross_entropy")),
]


@pytest.mark.parametrize(("loss", "predictions", "targets", "reference"), CASES)
def test_values_and_gradients_are_those_of_pytorch(
    loss: Callable[..., Any], predictions: Any, targets: Any, reference: Callable[..., Any]
) -> None:
    torch = oracle("torch")
    values = wrapped(predictions)
    ours = loss(values, targets)
    ours.backward()
    tensor = torch.tensor(predictions, dtype=torch.float64, requires_grad=True)
    theirs = reference(torch, tensor, targets)
    theirs.backward()
    assert ours.data == pytest.approx(theirs.item(), rel=1e-14, abs=1e-15)
    grads = [v.grad for v in leaves_of(values)]
    assert grads == pytest.approx(tensor.grad.flatten().tolist(), rel=1e-14, abs=1e-15)
    assert loss(predictions, targets) == ours.data  # plain numbers give the same number


@pytest.mark.parametrize(("z", "t"), [*PAIRS, (40.0, 1.0), (-40.0, 0.0), (2.5, 0.25)])
def test_binary_cross_entropy_is_accurate_for_the_smallest_losses(z: float, t: float) -> None:
    mpmath = oracle("mpmath")
    with mpmath.workdps(1000):
        p = 1 / (1 + mpmath.exp(-mpmath.mpf(z)))
        exact = -t * mpmath.log(p) - (1 - t) * mpmath.log(1 - p)
        value, slope = float(exact), float(p - t)
    logit = Value(z)
    loss = binary_cross_entropy(logit, t)
    loss.backward()
    assert loss.data == pytest.approx(value, rel=4e-16, abs=0.0)
    assert logit.grad == pytest.approx(slope, rel=4e-16, abs=0.0)


def test_the_gradient_of_cross_entropy_is_softmax_minus_onehot() -> None:
    generator = random.Random(0)
    for _ in range(50):
        logits = [Value(generator.uniform(-20.0, 20.0)) for _ in range(6)]
        y = generator.randrange(6)
        cross_entropy(logits, y).backward()
        expected = [p - (i == y) for i, p in enumerate(ops.softmax([z.data for z in logits]))]
        assert [z.grad for z in logits] == pytest.approx(expected, rel=1e-14, abs=4e-16)


def test_cross_entropy_of_one_example_is_one_node_and_a_negation() -> None:
    logits = [Value(0.1), Value(2.0)]
    loss = cross_entropy(logits, 1)
    (log_probability,) = loss.parents
    assert (loss._op, log_probability._op) == ("neg", "log_softmax")
    assert log_probability.parents == tuple(logits)


def test_l2_is_one_weighted_sum_with_gradient_2_strength_p() -> None:
    model = MLP(2, [3, 1], seed=0)
    parameters = model.parameters()
    penalty = l2(parameters, 0.25)
    penalty.backward()
    assert penalty.data == pytest.approx(0.25 * math.fsum(p.data**2 for p in parameters), rel=1e-15)
    assert [p.grad for p in parameters] == [0.5 * p.data for p in parameters]
    assert l2(iter([3.0, 4.0]), 0) == 0.0


def test_the_loss_of_one_neuron_has_the_gradients_of_the_matrix_calculus() -> None:
    neuron = micrograd.Neuron(2)
    neuron.load_state_dict({"w.0": 0.5, "w.1": -1.0, "b": 0.25})
    xs, ys = [[1.0, -2.0], [-3.0, 1.0], [2.0, 0.5]], [1.0, 2.0, 3.0]
    mse([neuron(x) for x in xs], ys).backward()
    active = [(x, y, z) for x, y in zip(xs, ys, strict=True) if (z := 0.5 * x[0] - x[1] + 0.25) > 0.0]
    assert 0 < len(active) < len(xs)
    for j, w in enumerate(neuron.w):  # V7: dC/dw = (2/N) sum e x over the active inputs
        assert w.grad == pytest.approx(2.0 / 3.0 * sum((z - y) * x[j] for x, y, z in active), rel=1e-15)
    assert neuron.b.grad == pytest.approx(2.0 / 3.0 * sum(z - y for _, y, z in active), rel=1e-15)


def test_targets_of_mse_may_be_values_and_get_gradients() -> None:
    p, t = Value(3.0), Value(1.0)
    mse([p], [t]).backward()
    assert (p.grad, t.grad) == (4.0, -4.0)


def test_batches_may_be_arrays_and_generators() -> None:
    np = oracle("numpy")
    assert mse(np.array([1.0, 2.0]), np.array([1.0, 4.0])) == 2.0
    assert mse((x for x in (1.0, 2.0)), (1.0, 4.0)) == 2.0
    assert mse(np.array(1.0), np.float64(3.0)) == 4.0
    assert hinge([Value(0.5)], np.array([-1])).data == 1.5
    rows = [[Value(0.0), Value(1000.0)]] * 2
    assert cross_entropy(rows, np.array([1, 0])).data == 500.0
    assert cross_entropy(np.array([[0.0, 1000.0]]), [np.int64(0)]) == 1000.0


def test_overflow_gives_inf_and_never_raises() -> None:
    assert mse([1e200], [-1e200]) == math.inf
    assert mse([Value(1e200)], [-1e200]).data == math.inf


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mse([1.0], [1.0, 2.0]), ValueError, r"mse\(\) takes as many targets as predictions, got 1 and 2"),
        (lambda: mse([[1.0, 2.0]], [[1.0]]), ValueError, "as many targets as predictions, got 2 and 1"),
        (lambda: mse([], []), ValueError, r"mse\(\) of an empty batch"),
        (lambda: mse([1.0], 1.0), ValueError, r"mse\(\) takes two numbers or two lists, got list and float"),
        (lambda: mse([[1.0]], [1.0]), ValueError, "two numbers or two lists, got list and float"),
        (lambda: mse("1", 1.0), TypeError, "a loss takes numbers and Values, got '1'"),
        (lambda: hinge([1.0], [0]), ValueError, r"hinge\(\) takes labels -1 and \+1, got 0: .* 2 \* label - 1"),
        (lambda: hinge([1.0], [None]), ValueError, "labels -1 and .1, got None"),
        (lambda: hinge([1.0, 2.0], [1]), ValueError, r"hinge\(\) takes as many targets as predictions, got 2 and 1"),
        (lambda: hinge([], []), ValueError, r"hinge\(\) of an empty batch"),
        (lambda: binary_cross_entropy([1.0], [-1]), ValueError, "targets from 0 to 1, got -1"),
        (lambda: binary_cross_entropy([1.0], [math.nan]), ValueError, "targets from 0 to 1, got nan"),
        (lambda: binary_cross_entropy([1.0], [1, 0]), ValueError, "as many targets as predictions, got 1 and 2"),
        (lambda: binary_cross_entropy([], []), ValueError, "of an empty batch"),
        (lambda: cross_entropy([1.0, 2.0], 2), ValueError, r"class 2 is outside 0 \.\. 1, as there are 2 logits"),
        (lambda: cross_entropy([1.0, 2.0], -1), ValueError, r"class -1 is outside 0 \.\. 1"),
        (lambda: cross_entropy([], 0), ValueError, "class 0 is outside"),
        (lambda: cross_entropy([1.0, 2.0], 1.0), TypeError, r"a class as an integer, got 1\.0"),
        (lambda: cross_entropy([1.0, 2.0], True), TypeError, "a class as an integer, got True"),
        (lambda: cross_entropy([1.0, 2.0], "1"), TypeError, "got '1'"),
        (lambda: cross_entropy([1.0, 2.0], [0, 1]), ValueError, "one list of logits and one class, or a list of rows"),
        (lambda: cross_entropy([[1.0, 2.0]], [[0]]), ValueError, "one list of logits and one class, or a list of rows"),
        (lambda: cross_entropy([[1.0, 2.0]], 0), TypeError, r"log_softmax\(\) takes Values and numbers, got list"),
        (lambda: cross_entropy([[1.0, 2.0]], [0, 1]), ValueError, "as many targets as predictions, got 1 and 2"),
        (lambda: cross_entropy([], []), ValueError, "of an empty batch"),
        (lambda: cross_entropy(Value(1.0), 0), TypeError, "a list of logits, got Value: .* binary_cross_entropy"),
        (lambda: l2([], 0.1), ValueError, r"l2\(\) of no parameters"),
        (lambda: l2([Value(1.0)], -0.1), ValueError, r"a strength of 0 or more, got -0\.1"),
        (lambda: l2([Value(1.0)], None), ValueError, "a strength of 0 or more, got None"),
    ],
)
def test_bad_input_gives_an_error_that_names_expected_and_got(
    call: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()


def test_every_public_loss_is_tested_against_pytorch() -> None:
    public = {name for name, f in vars(losses).items() if getattr(f, "__module__", "") == losses.__name__ and name[0] != "_"}
    assert public == {loss.__name__ for loss, *_ in CASES} | {"l2"}


def test_l2_of_a_module_or_a_single_value_says_what_to_write() -> None:
    with pytest.raises(TypeError, match=r"l2\(\) takes a list of Values, got MLP: write model\.parameters\(\)"):
        losses.l2(MLP(1, [1]), 0.1)
    with pytest.raises(TypeError, match=r"l2\(\) takes a list of Values, got Value: write \[w\] for a single one"):
        losses.l2(Value(1.0), 0.1)
