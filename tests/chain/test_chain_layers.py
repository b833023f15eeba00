"""micrograd.chain.layers: the gradients of a loss by the layers of a network, and the equations between them."""

from __future__ import annotations

import math
import random
import sys

import pytest
from conftest import oracle

from micrograd import MLP, Layer, Value, losses, ops, softmax
from micrograd.chain import layer_gradients

ACTIVATIONS = [name for name, op in ops.TABLE.items() if op.arity == 1 and all(low < 0.2 < high for low, high in op.domain)]


def network(*sizes: int, activation: str = "tanh", seed: int = 1) -> MLP:
    """A network whose pre-activations stay near 0.2, inside the domain of every activation here."""
    model = MLP(sizes[0], sizes[1:], activation=activation, seed=seed)
    rng = random.Random(seed)
    for layer in model.layers:
        for neuron in layer.neurons:
            neuron.b.data = 0.2
            for w in neuron.w:
                w.data = rng.uniform(-0.1, 0.1)
    return model


def multiplied(matrix: list[list[float]], vector: list[float]) -> list[float]:
    return [sum(m * v for m, v in zip(row, vector, strict=True)) for row in matrix]


def transposed_weights(layer: Layer) -> list[list[float]]:
    return [list(column) for column in zip(*[[w.data for w in neuron.w] for neuron in layer.neurons], strict=True)]


def texts(found: object) -> list[list[str]]:
    return [[identity.text for identity in layer.identities] for layer in found]  # type: ignore[attr-defined]


def test_s2_the_gradient_at_the_output_is_softmax_minus_onehot() -> None:
    model = network(2, 3, 4)
    out = model([1.0, -2.0])
    found = layer_gradients(model, losses.cross_entropy(out, 2))
    expected = [p - (i == 2) for i, p in enumerate(softmax([v.data for v in out]))]
    assert found[-1].grad_a == pytest.approx(expected, rel=1e-14)
    assert found[-1].identities[0].text == "grad_a = softmax(a) - onehot(2)"
    assert found[-1].identities[0].holds


def test_s2_holds_for_the_logarithm_of_a_softmax_and_for_a_mean_too() -> None:
    model = network(2, 3, 4)
    found = layer_gradients(model, -softmax(model([1.0, -2.0]))[1].log())
    assert found[-1].identities[0].text.startswith("grad_a = softmax(a) - onehot(1)")
    assert found.hold
    batch = losses.cross_entropy([model([1.0, -2.0]), model([0.5, 0.1])], [2, 0])
    found = layer_gradients(model, batch, example=1)
    assert found[-1].identities[0].text == "grad_a = softmax(a) - onehot(0), times 0.5"
    assert found.hold


def test_s3_the_gradient_at_a_hidden_activation_is_the_transposed_weights_times_the_gradient_above() -> None:
    model = network(2, 3, 4, 2)
    found = layer_gradients(model, losses.cross_entropy(model([1.0, -2.0]), 0))
    for k in (0, 1):
        expected = multiplied(transposed_weights(model.layers[k + 1]), found[k + 1].grad_a)
        assert found[k].grad_h == pytest.approx(expected, rel=1e-12)
        assert found[k].identities[0].text == "grad_h = W_above^T grad_a_above"
        assert found[k].identities[0].holds


def test_s5_the_gradient_at_a_pre_activation_is_the_element_wise_product_with_the_slope() -> None:
    model = network(2, 3, 2)
    found = layer_gradients(model, losses.cross_entropy(model([1.0, -2.0]), 0))
    layer = found[0]
    assert layer.h == pytest.approx([math.tanh(a) for a in layer.a], rel=1e-15)
    slopes = [1.0 - math.tanh(a) ** 2 for a in layer.a]
    expected = [g * s for g, s in zip(layer.grad_h, slopes, strict=True)]
    assert layer.grad_a == pytest.approx(expected, rel=1e-12)
    assert texts(found)[0][1] == "grad_a = grad_h (*) g'(a)"


@pytest.mark.parametrize(
    ("activation", "g", "slope"),
    [
        ("sigmoid", lambda a: 1.0 / (1.0 + math.exp(-a)), lambda g: g * (1.0 - g)),
        ("tanh", math.tanh, lambda g: 1.0 - g**2),
        ("relu", lambda a: max(0.0, a), lambda g: float(g > 0.0)),
    ],
)
def test_s7_slopes_are_those_of_the_lecture(activation: str, g, slope) -> None:  # type: ignore[no-untyped-def]
    model = MLP(2, [8, 1], activation=activation, seed=3)
    layer = layer_gradients(model, model([1.0, -2.0]))[0]
    assert layer.h == pytest.approx([g(a) for a in layer.a], rel=1e-14)
    assert layer.slopes == pytest.approx([slope(h) for h in layer.h], rel=1e-14)


def test_s8_a_step_against_the_gradients_lowers_the_loss() -> None:
    model = network(2, 3, 2)
    before = losses.cross_entropy(model([1.0, -2.0]), 0)
    for layer, found in zip(model.layers, layer_gradients(model, before), strict=True):
        for neuron, row, by_b in zip(layer.neurons, found.grad_w, found.grad_b, strict=True):
            neuron.b.data -= 0.1 * by_b
            for w, by_w in zip(neuron.w, row, strict=True):
                w.data -= 0.1 * by_w
    assert losses.cross_entropy(model([1.0, -2.0]), 0).data < before.data


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_all_identities_hold_for_every_activation_of_the_table(activation: str) -> None:
    model = network(2, 3, 3, 2, activation=activation)
    found = layer_gradients(model, losses.mse(model([0.3, -0.2]), [1.0, -1.0]))
    assert found.hold, str(found)
    assert len(found) == 3
    assert all(math.isfinite(g) and g for layer in found for g in layer.slopes)


def test_an_operation_from_outside_serves_as_an_activation() -> None:
    @ops.op(symbol="cube", domain=[(-2.0, 2.0)])
    def cube(xp, a):  # type: ignore[no-untyped-def]
        return a * a * a, (3.0 * a * a,)

    try:
        model = network(2, 2, 1, activation="cube")
        found = layer_gradients(model, model([1.0, 2.0]))
        assert found[0].slopes == [3.0 * a * a for a in found[0].a]
        assert found.hold
    finally:
        del ops.TABLE["cube"]


def test_numbers_match_pytorch() -> None:
    torch = oracle("torch")
    model = MLP(3, [4, 5, 3], activation="tanh", seed=2)
    x = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    pre, post, h = [], [], x
    for layer in model.layers:
        W = torch.tensor([[w.data for w in n.w] for n in layer.neurons], dtype=torch.float64)  # noqa: N806
        a = (W @ h).requires_grad_() if not pre else W @ h
        a.retain_grad()
        h = torch.tanh(a) if layer is not model.layers[-1] else a * 1.0
        h.retain_grad()
        pre.append(a)
        post.append(h)
    torch.nn.functional.cross_entropy(h, torch.tensor(1)).backward()
    for layer, a, h in zip(layer_gradients(model, losses.cross_entropy(model(x.tolist()), 1)), pre, post, strict=True):
        assert layer.grad_a == pytest.approx(a.grad.tolist(), rel=1e-12, abs=1e-16)
        assert layer.grad_h == pytest.approx(h.grad.tolist(), rel=1e-12, abs=1e-16)


def test_several_examples_must_be_chosen_from() -> None:
    model = network(2, 3, 1)
    X, y = [[1.0, 2.0], [3.0, 4.0], [-1.0, 0.0]], [1.0, 2.0, 3.0]  # noqa: N806
    loss = losses.mse([model(x) for x in X], y)
    with pytest.raises(ValueError, match=r"on 3 examples.*example=0 to example=2"):
        layer_gradients(model, loss)
    for i, x in enumerate(X):
        found = layer_gradients(model, loss, example=i)
        assert found[0].below == x
        assert (found.example, found.examples) == (i, 3)
        assert found.hold
        assert f"example {i} of 3" in str(found)
    with pytest.raises(IndexError, match="example 3 is not there"):
        layer_gradients(model, loss, example=3)
    with pytest.raises(TypeError, match="must be an integer"):
        layer_gradients(model, loss, example=1.0)  # type: ignore[arg-type]


def test_the_shares_of_all_examples_add_up_to_the_gradient() -> None:
    model = network(2, 3, 1)
    loss = losses.mse([model(x) for x in ([1.0, 2.0], [3.0, 4.0])], [1.0, 2.0])
    shares = [layer_gradients(model, loss, example=i)[0].grad_w[1][0] for i in range(2)]
    loss.backward()
    assert sum(shares) == pytest.approx(model.layers[0].neurons[1].w[0].grad, rel=1e-14)


def test_the_same_inputs_given_twice_are_two_examples() -> None:
    layer = Layer(2, 2, activation="tanh")
    x = [Value(1.0), Value(2.0)]
    first, second = layer(x), layer(x)
    loss = first[0] * 2.0 + first[1] + second[0] * 3.0 + second[1]
    found = [layer_gradients(layer, loss, example=i)[0].grad_h for i in range(2)]
    assert found == [[2.0, 1.0], [3.0, 1.0]]


def test_an_output_that_the_loss_does_not_use_has_gradient_zero() -> None:
    model = network(2, 3, 3)
    out = model([1.0, 2.0])
    found = layer_gradients(model, out[1] * 2.0)
    assert found[-1].grad_a == [0.0, 2.0, 0.0]
    assert found[-1].a == [v.data for v in out]
    assert found.hold


def test_zero_activations_and_a_layer_of_one_neuron_are_found() -> None:
    model = MLP(1, [1, 1, 1], activation="relu", seed=1)
    found = layer_gradients(model, model([0.0]))
    assert [layer.h for layer in found] == [[0.0], [0.0], [0.0]]
    assert found.hold


def test_a_weight_penalty_shows_as_another_way_into_the_loss() -> None:
    model = network(2, 3, 1)
    loss = losses.mse([model([1.0, 2.0])], [1.0]) + losses.l2(model.parameters(), 0.1)
    found = layer_gradients(model, loss)
    assert not found.hold
    verdicts = {identity.text: identity.holds for identity in found[0].identities}
    assert verdicts["grad_h = W_above^T grad_a_above"]
    assert verdicts["grad_a = grad_h (*) g'(a)"]
    assert not verdicts["grad_W = grad_a h_below^T"]
    assert "does not hold: there are other ways into the loss" in str(found)


def test_a_small_component_is_not_hidden_by_a_large_one() -> None:
    model = MLP(2, [1], seed=1)
    w1 = model.layers[0].neurons[0].w[1]
    y = model([1e8, 1e-7])
    found = layer_gradients(model, y * y + w1 * w1 * 1e-2)
    assert [identity.text for identity in found[0].identities if not identity.holds] == ["grad_W = grad_a h_below^T"]
    assert layer_gradients(model, y * y).hold


@pytest.mark.parametrize("x", [1e200, math.inf, math.nan])
def test_what_is_not_finite_does_not_hold(x: float) -> None:
    model = MLP(1, [1], seed=1)
    y = model([x])
    found = layer_gradients(model, y * y)
    assert not found.hold
    assert "grad_W = grad_a h_below^T    cannot be checked: not finite" in str(found)


def test_cancelling_sums_and_underflowing_products_are_no_false_alarm() -> None:
    model = network(1, 3, 3)
    for neuron, row in zip(model.layers[1].neurons, ([0.1, 1.0, -3.0], [0.2, -0.3, 2.0], [-0.3, -0.7, 1.0]), strict=True):
        neuron.load_state_dict({**{f"w.{i}": w for i, w in enumerate(row)}, "b": 0.0})
    assert layer_gradients(model, sum(model([0.3]))).hold
    last = Layer(1, 3, nonlin=False)
    for neuron, w in zip(last.neurons, (-400.0, -420.0, 0.0), strict=True):
        neuron.load_state_dict({"w.0": w, "b": 0.0})
    assert layer_gradients(last, -softmax(last([1.0]))[0].log()).hold  # p0 * p1 is 0.0, p1 is not
    tiny = MLP(1, [1], seed=1)
    assert layer_gradients(tiny, tiny([1e-310]) * (1.0 / 3.0)).hold


def test_an_activation_used_elsewhere_shows_too() -> None:
    model = network(2, 2, 1)
    hidden = model.layers[0]([1.0, 2.0])
    found = layer_gradients(model, model.layers[1](hidden) + hidden[0])
    assert [identity.holds for identity in found[0].identities][:2] == [False, True]


def test_a_pre_activation_used_without_its_activation_shows_too() -> None:
    layer = Layer(1, 1, activation="tanh")
    found = layer_gradients(layer, layer([2.0]).parents[0] * 3.0)
    assert (found[0].grad_h, found[0].grad_a) == ([0.0], [3.0])
    assert found[0].h == [math.tanh(found[0].a[0])]
    assert not found.hold


def test_a_single_layer_and_a_list_of_layers_are_networks() -> None:
    layer = Layer(2, 3, activation="tanh")
    assert layer_gradients(layer, sum(layer([1.0, 2.0]))).hold
    model = network(2, 3, 2)
    assert len(layer_gradients(model.layers, sum(model([1.0, 2.0])))) == 2


def test_numpy_arrays_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    numpy = oracle("numpy")
    model = network(2, 3, 1)
    loss = model([1.0, 2.0])
    plain, arrays = layer_gradients(model, loss)[0], layer_gradients(model, loss, numpy=True)[0]
    assert isinstance(arrays.grad_w, numpy.ndarray)
    assert arrays.grad_w.shape == (3, 2)
    assert arrays.grad_w.tolist() == plain.grad_w == numpy.outer(arrays.grad_a, arrays.below).tolist()
    assert str(arrays) == str(plain)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ImportError, match=r"pip install micrograd\[numpy\]"):
        layer_gradients(model, loss, numpy=True)


def test_nothing_writes_into_a_grad() -> None:
    model = network(2, 3, 1)
    layer_gradients(model, model([1.0, 2.0]))
    assert not any(p.grad or p.has_grad for p in model.parameters())


def test_what_prints_names_the_layer_and_its_columns() -> None:
    model = network(2, 1, 2)
    text = str(layer_gradients(model, sum(model([1.0, 2.0]))))
    assert "layer 1: 1 tanh neuron of 2 inputs" in text
    assert "layer 2: 2 linear neurons of 1 input\n" in text
    assert text.splitlines()[1].split() == ["a", "h", "g'(a)", "dL/dh", "dL/da"]


def test_what_cannot_be_read_off_is_refused() -> None:
    model, other = network(2, 3, 1), network(2, 3, 1, seed=2)
    loss = model([1.0, 2.0])
    with pytest.raises(ValueError, match="not computed from this network"):
        layer_gradients(other, loss)
    with pytest.raises(TypeError, match="takes an MLP, a Layer or a list of Layers, got Value"):
        layer_gradients(loss, loss)
    with pytest.raises(TypeError, match="the loss must be a Value, got float"):
        layer_gradients(model, 1.0)  # type: ignore[arg-type]
    between = model.layers[1]([2.0 * h for h in model.layers[0]([1.0, 2.0])])
    with pytest.raises(ValueError, match="the inputs of layer 2 are not the activations of layer 1"):
        layer_gradients(model, between)
    custom = MLP(2, [2, 1], activation=lambda a: a * a.sigmoid())
    with pytest.raises(ValueError, match="operations of the table"):
        layer_gradients(custom, custom([1.0, 2.0]))
