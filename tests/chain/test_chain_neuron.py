"""micrograd.chain.neuron: the closed formulas of one neuron and its loss beside the engine."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings, strategies as st

from micrograd import Neuron, Value, ops
from micrograd.chain import loss_gradient, neuron_gradient

numbers = st.floats(min_value=-100.0, max_value=100.0)
vectors = st.integers(1, 5).flatmap(lambda n: st.tuples(*[st.lists(numbers, min_size=n, max_size=n)] * 2))


def neuron_with(w: list[float], b: float) -> Neuron:
    neuron = Neuron(len(w))
    neuron.load_state_dict({**{f"w.{i}": w_i for i, w_i in enumerate(w)}, "b": b})
    return neuron


def test_v5_an_active_neuron_has_the_gradient_x_and_1() -> None:
    found = neuron_gradient([1.0, -2.0], [3.0, 1.0], 0.5)
    assert (found.z, found.output, found.active) == (1.5, 1.5, True)
    assert (found.dw, found.db) == (found.engine_dw, found.engine_db) == ([3.0, 1.0], 1.0)


@pytest.mark.parametrize("b", [-1.0, -7.0])
def test_v5_an_inactive_neuron_has_gradient_zero_at_the_kink_too(b: float) -> None:
    found = neuron_gradient([1.0, -2.0], [3.0, 1.0], b)
    assert not found.active
    assert (found.output, found.dw, found.db) == (0.0, [0.0, 0.0], 0.0)
    assert (found.engine_dw, found.engine_db) == ([0.0, 0.0], 0.0)
    assert "inactive" in str(found)


@given(vectors, numbers)
@settings(derandomize=True, deadline=None)
def test_v5_formula_and_engine_agree_everywhere(pair: tuple[list[float], list[float]], b: float) -> None:
    w, x = pair
    found = neuron_gradient(w, x, b)
    assert found.engine_dw == pytest.approx(found.dw, rel=1e-12)
    assert found.output == pytest.approx(max(0.0, found.z), rel=1e-12, abs=1e-9)


def test_v6_the_loss_is_the_mean_squared_error_of_the_neuron() -> None:
    w, b = [0.5, -1.0], 0.25
    X, y = [[1.0, 2.0], [3.0, -1.0], [0.0, 0.0]], [1.0, 2.0, -1.0]  # noqa: N806
    found = loss_gradient(neuron_with(w, b), X, y)
    expected = sum((t - max(0.0, w[0] * p + w[1] * q + b)) ** 2 for (p, q), t in zip(X, y, strict=True)) / 3
    assert found.loss == pytest.approx(expected, rel=1e-15)


def test_v7_the_gradient_sums_errors_times_inputs_over_the_active_examples() -> None:
    found = loss_gradient(neuron_with([2.0], 1.0), [[1.0], [-3.0], [2.0]], [1.0, 1.0, 7.0])
    assert found.mask == [True, False, True]
    assert found.errors == [2.0, -6.0, -2.0]
    assert found.dw == found.engine_dw == [pytest.approx(2 / 3 * (2.0 * 1.0 - 2.0 * 2.0))]
    assert found.db == pytest.approx(0.0)
    forgotten = 2 / 3 * sum(e * x for e, x in zip(found.errors, (1.0, -3.0, 2.0), strict=True))
    assert forgotten != pytest.approx(found.engine_dw[0])  # without the mask the number is wrong


def test_on_the_kink_formula_and_engine_take_the_same_side() -> None:
    assert neuron_gradient([0.9, -0.2], [1.0, 1.0], -0.7).z > 0.0  # in another order of addition z is 0.0
    tenths = [i / 10 for i in range(-9, 10)]
    for p in tenths:
        for q in tenths:
            b = round(-p - q, 1)
            found = neuron_gradient([p, q], [1.0, 1.0], b)
            assert found.dw == found.engine_dw
            assert (found.z > 0.0) == found.active == (found.output > 0.0)
            assert loss_gradient(neuron_with([p, q], b), [[1.0, 1.0]], [2.0]).mask == [found.active]


@given(st.integers(0, 10**6))
@settings(derandomize=True, deadline=None)
def test_v7_formula_and_engine_agree_everywhere(seed: int) -> None:
    rng = random.Random(seed)
    n, examples = rng.randint(1, 4), rng.randint(1, 8)
    X = [[rng.gauss(0, 3) for _ in range(n)] for _ in range(examples)]  # noqa: N806
    neuron = neuron_with([rng.gauss(0, 1) for _ in range(n)], rng.gauss(0, 1))
    found = loss_gradient(neuron, X, [rng.gauss(0, 1) for _ in X])
    assert found.engine_dw == pytest.approx(found.dw, rel=1e-9, abs=1e-12)
    assert found.engine_db == pytest.approx(found.db, rel=1e-9, abs=1e-12)
    assert found.mask == [z > 0.0 for z in found.z]


def test_a_wrong_formula_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("micrograd.chain.neuron.adjoints", lambda order: dict.fromkeys(order, 1.0 + 1e-11))
    with pytest.raises(ArithmeticError, match="differ"):
        neuron_gradient([1.0], [1.0], 1.0)


def test_gradients_beyond_the_range_of_floats_are_not_called_equal() -> None:
    with pytest.raises(ArithmeticError, match="cannot be checked: not finite"):
        loss_gradient(neuron_with([1.0], 0.0), [[1e200]], [0.0])


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_infinite_and_nan_inputs_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="x must be finite numbers"):
        neuron_gradient([1.0], [bad])
    with pytest.raises(ValueError, match="must be finite numbers"):
        loss_gradient(Neuron(1), [[bad]], [1.0])


def test_values_give_their_data_and_nothing_writes_into_a_grad() -> None:
    w, neuron = Value(2.0), neuron_with([2.0], 1.0)
    assert neuron_gradient([w], [Value(3.0)], 1).dw == [3.0]
    loss_gradient(neuron, [[1.0]], [0.0])
    assert (w.grad, neuron.w[0].grad, neuron.b.grad) == (0.0, 0.0, 0.0)


def test_the_table_shows_the_mask() -> None:
    text = str(loss_gradient(neuron_with([2.0], 1.0), [[1.0], [-3.0]], [1.0, 1.0]))
    assert text == (
        "C = (1/2) sum (y - max(0, w.x + b))^2 = 2.5\n"
        "            i  z = w.x + b       active    max(0, z)            y    e = z - y\n"
        "            0            3          yes            3            1            2\n"
        "            1           -5           no            0            1            .\n"
        "dC/dw = (2/2) sum e x^T and dC/db = (2/2) sum e over the 1 active of 2 examples\n"
        "            formula       engine\n"
        "  dw[0]           2            2\n"
        "  db              2            2"
    )


def test_wrong_arguments_are_refused() -> None:
    neuron = Neuron(2)
    with pytest.raises(ValueError, match="2 weights and 1 inputs"):
        neuron_gradient([1.0, 2.0], [1.0])
    with pytest.raises(TypeError, match="w must be numbers, got str"):
        neuron_gradient(["a"], [1.0])
    with pytest.raises(TypeError, match="x must be a list of numbers, got float"):
        neuron_gradient([1.0], 1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes a Neuron, got float"):
        loss_gradient(1.0, [], [])  # type: ignore[arg-type]
    for wrong in (Neuron(2, activation="tanh"), Neuron(2, nonlin=False)):
        with pytest.raises(ValueError, match="ReLU neuron"):
            loss_gradient(wrong, [[1.0, 2.0]], [1.0])
    with pytest.raises(ValueError, match="takes 2 inputs, got 1"):
        loss_gradient(neuron, [[1.0]], [1.0])
    with pytest.raises(ValueError, match="got 1 and 2"):
        loss_gradient(neuron, [[1.0, 2.0]], [1.0, 2.0])
    assert loss_gradient(Neuron(2, activation=ops.relu), [[1.0, 2.0]], [1.0])
