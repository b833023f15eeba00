"""What is drawn: boxes, edges, and how large graphs collapse."""

from __future__ import annotations

import itertools
import random

import pytest
from conftest import run_fresh

from micrograd import MLP, Neuron, Value, dot, draw, softmax, topological_order
from micrograd.engine import PARAMETER
from micrograd.viz.graph import number, signed


def parameter(data: float, label: str) -> Value:
    value = Value(data, label=label)
    value.operation = PARAMETER
    return value


def perceptron(sizes: list[int], inputs: int, rng: random.Random) -> list[list[tuple[list[Value], Value]]]:
    layers = []
    for size in sizes:
        layer = []
        for _ in range(size):
            weights = [parameter(rng.uniform(-1, 1), f"w{i}") for i in range(inputs)]
            layer.append((weights, parameter(0.0, "b")))
        layers.append(layer)
        inputs = size
    return layers


def scores(layers: list[list[tuple[list[Value], Value]]], x: list[Value]) -> list[Value]:
    """A network written with * and +, as in lectures."""
    for k, layer in enumerate(layers):
        sums = [sum((wi * xi for wi, xi in zip(w, x, strict=True)), b) for w, b in layer]
        x = [s.relu() for s in sums] if k < len(layers) - 1 else sums
    return x


def hinge_loss(examples: int, sizes: list[int], regular: bool = False) -> Value:
    rng = random.Random(1)
    layers = perceptron(sizes, 2, rng)
    losses = []
    for _ in range(examples):
        (score,) = scores(layers, [Value(rng.gauss(0, 1), label="x0"), Value(rng.gauss(0, 1), label="x1")])
        losses.append((1 + -rng.choice([-1.0, 1.0]) * score).relu())
    loss = sum(losses) * (1.0 / examples)
    if regular:
        loss = loss + 1e-4 * sum(p * p for layer in layers for w, b in layer for p in [*w, b])
    loss.label = "loss"
    loss.backward()
    return loss


def boxes(root, **options):
    return draw(root, **options).graph.boxes


def named(root, **options):
    return {box.label or box.symbol: box for box in boxes(root, **options)}


# ------------------------------------------------------------------------------------------------- a box for each value


def test_each_value_is_one_box_with_label_symbol_data_and_gradient():
    a, b = Value(2.0, label="a"), Value(-3.0, label="b")
    c = a * b
    c.label = "c"
    c.backward()
    found = {box.label: (box.kind, box.symbol, box.data, box.grad) for box in boxes(c)}
    assert found == {"a": ("input", "", 2.0, -3.0), "b": ("input", "", -3.0, 2.0), "c": ("operation", "*", -6.0, 1.0)}


def test_gradient_is_unknown_before_the_first_backward_and_zero_is_known():
    x = Value(2.0, label="x")
    y = x * 0.0
    assert named(y)["x"].grad is None
    y.backward()
    assert named(y)["x"].grad == 0.0


def test_a_repeated_operand_has_an_edge_for_each_place():
    x = Value(3.0)
    edges = draw(x + x).graph.edges
    assert [(e.source, e.target, e.index, e.derivative) for e in edges] == [("v0", "v1", 0, 1.0), ("v0", "v1", 1, 1.0)]


def test_each_edge_carries_the_local_derivative():
    x, y = Value(3.0), Value(4.0)
    assert [e.derivative for e in draw(x * y).graph.edges] == [4.0, 3.0]
    assert [e.derivative for e in draw(x - y).graph.edges] == [1.0, -1.0]


def test_boxes_come_after_their_operands():
    graph = draw(hinge_loss(3, [2, 1]), level="value").graph
    place = {box.id: k for k, box in enumerate(graph.boxes)}
    assert all(place[e.source] < place[e.target] for e in graph.edges)


def test_outputs_of_a_vector_operation_carry_their_index():
    outputs = softmax([Value(1.0), Value(2.0)])
    assert [box.symbol for box in boxes(outputs) if box.kind == "operation"] == ["softmax[0]", "softmax[1]"]


def test_a_node_built_by_hand_is_drawn_without_derivatives():
    node = Value(1.0, (Value(2.0), Value(3.0)), "mystery")
    derivatives = [e.derivative for e in draw(node).graph.edges]
    assert len(derivatives) == 2
    assert all(d != d for d in derivatives)


@pytest.mark.parametrize(
    ("x", "plain", "with_sign"),
    [
        (0.70710678, "0.7071", "+0.7071"),
        (-2.0, "-2", "-2"),
        (0.0, "0", "0"),
        (-0.0, "0", "0"),
        (1234567.0, "1.235e+06", "+1.235e+06"),
    ],
)
def test_numbers_have_four_significant_digits_and_printed_signs(x, plain, with_sign):
    assert (number(x), signed(x)) == (plain, with_sign)


def test_several_roots_are_drawn_together():
    x = Value(1.0, label="x")
    graph = draw([x + 1, x * 2]).graph
    assert len(graph.roots) == 2
    assert sum(box.label == "x" for box in graph.boxes) == 1


# ---------------------------------------------------------------------------------------------------------- dot products


def weighted_sum(n: int) -> Value:
    w = [parameter(float(i + 1), f"w{i}") for i in range(n)]
    x = [Value(10.0 * (i + 1), label=f"x{i}") for i in range(n)]
    return dot(w, x, parameter(0.5, "b"))


def test_a_small_dot_is_expanded_into_products_and_their_sum():
    s = weighted_sum(2)
    s.backward(3.0)
    graph = draw(s).graph
    products = [box for box in graph.boxes if box.symbol == "*"]
    assert [(p.data, p.grad) for p in products] == [(10.0, 3.0), (40.0, 3.0)]
    (total,) = (box for box in graph.boxes if box.symbol == "+")
    assert (total.data, total.grad) == (s.data, 3.0)
    assert [e.derivative for e in graph.edges if e.target == total.id] == [1.0, 1.0, 1.0]


def test_gradients_of_an_expanded_dot_follow_from_its_edges():
    s = weighted_sum(3)
    s.backward()
    graph = draw(s, expand=True).graph
    grads = {box.id: 0.0 for box in graph.boxes} | dict.fromkeys(graph.roots, 1.0)
    for box in reversed(graph.boxes):
        for edge in graph.edges:
            if edge.target == box.id:
                grads[edge.source] += grads[box.id] * edge.derivative
    assert grads == {box.id: box.grad for box in graph.boxes}


def test_a_dot_with_gradients_unknown_expands_into_unknown_gradients():
    assert {box.grad for box in boxes(weighted_sum(2))} == {None}


def test_a_large_dot_is_folded_and_the_caption_says_so():
    picture = draw(weighted_sum(20))
    assert [box.symbol for box in picture.graph.boxes if box.kind == "operation"] == ["dot"]
    assert "1 weighted sum is folded" in picture.svg


@pytest.mark.parametrize(("expand", "count"), [(True, 8), (False, 6), (None, 8)])
def test_expand_decides_by_hand(expand, count):
    assert len(boxes(weighted_sum(2), expand=expand)) == count


def test_expand_true_wins_over_the_room_at_level_value():
    assert sum(box.symbol == "*" for box in boxes(weighted_sum(20), level="value", expand=True)) == 20


# -------------------------------------------------------------------------------------------------------------- collapsing


def test_a_moons_loss_of_65000_nodes_is_at_most_20_boxes():
    loss = hinge_loss(100, [16, 16, 1])
    assert len(topological_order(loss)) > 60_000
    picture = draw(loss)
    assert len(picture.graph.boxes) <= 20
    layers = [(box.symbol, box.count) for box in picture.graph.boxes if box.kind == "group" and "neuron" in box.symbol]
    assert layers == [("layer of 16 neurons", 100), ("layer of 16 neurons", 100), ("neuron", 100)]
    assert "level layer" in picture.svg
    assert "65,140 values" in picture.svg


def plain_hinge_loss(sizes: list[int], examples: int, labels: bool = False) -> Value:
    """A network whose weights are marked by nothing: Values in lists, on inputs that are numbers."""
    rng = random.Random(1)
    shapes = list(itertools.pairwise(sizes))
    layers = [[[Value(rng.uniform(-1, 1)) for _ in range(n)] + [Value(0.0)] for _ in range(m)] for n, m in shapes]
    if labels:
        for layer in layers:
            for neuron in layer:
                for k, w in enumerate(neuron):
                    w.label = f"w{k}"
    net = [[(neuron[:-1], neuron[-1]) for neuron in layer] for layer in layers]
    losses = []
    for _ in range(examples):
        (score,) = scores(net, [rng.gauss(0, 1) for _ in range(sizes[0])])
        losses.append((1 + -rng.choice([-1.0, 1.0]) * score).relu())
    return sum(losses) * (1 / examples)


@pytest.mark.parametrize(("sizes", "examples"), [([2, 16, 16, 1], 100), ([4, 4, 1], 20), ([2, 4, 4, 1], 20)])
@pytest.mark.parametrize("level", ["auto", "neuron", "layer"])
def test_leaves_of_any_kind_that_feed_one_layer_are_one_box(sizes, examples, level):
    for labels in (False, True):
        graph = draw(plain_hinge_loss(sizes, examples, labels), level=level).graph
        assert len(graph.boxes) <= 10
        of_layers = [box.count for box in graph.boxes if box.kind == "input"]
        assert sorted(of_layers) == sorted((n + 1) * m for n, m in itertools.pairwise(sizes))


@pytest.mark.parametrize(("sizes", "examples"), [([2, 16, 16, 1], 100), ([4, 4, 1], 20), ([2, 4, 4, 1], 20)])
def test_a_loss_of_an_mlp_is_at_most_20_boxes(sizes, examples):
    model, rng = MLP(sizes[0], sizes[1:]), random.Random(2)
    inputs = [[Value(rng.gauss(0, 1)) for _ in range(sizes[0])] for _ in range(examples)]
    loss = sum((1 - model(x)).relu() for x in inputs) * (1 / examples)
    assert len(boxes(loss)) <= 20


def test_more_than_20_boxes_of_neurons_are_drawn_as_layers_unless_asked_for():
    outputs = MLP(4, [16, 3])([1.0, 2.0, 3.0, 4.0])
    assert [box.symbol for box in boxes(outputs) if box.kind == "group"] == ["layer of 16 neurons", "layer of 3 neurons"]
    assert sum(box.symbol == "neuron" for box in boxes(outputs, max_nodes=50)) == 19


def test_regularised_networks_show_their_layers_too():
    symbols = [box.symbol for box in boxes(hinge_loss(50, [16, 16, 1], regular=True))]
    assert symbols.count("layer of 16 neurons") == 2
    assert symbols.count("neuron") == 1


def test_every_value_is_counted_once():
    loss = hinge_loss(20, [4, 4, 1])
    for level in ("value", "neuron", "layer"):
        assert sum(box.size for box in boxes(loss, level=level, max_nodes=10_000)) == len(topological_order(loss))


def test_at_level_neuron_a_neuron_is_one_box_on_all_examples():
    neurons = [box for box in boxes(hinge_loss(20, [4, 4, 1]), level="neuron") if box.symbol == "neuron"]
    assert [box.count for box in neurons] == [20] * 9


def test_networks_with_dot_and_networks_with_plus_and_times_collapse_alike():
    rng = random.Random(1)
    layers = perceptron([4, 4, 1], 2, rng)
    x = [Value(1.0, label="x0"), Value(2.0, label="x1")]
    (by_hand,) = scores(layers, x)
    for k, layer in enumerate(layers):
        x = [dot(w, x, b) for w, b in layer]
        x = [s.relu() for s in x] if k < 2 else x
    for level in ("neuron", "layer"):
        one, other = (draw(root, level=level).graph for root in (by_hand, x[0]))
        assert [(b.symbol, b.count, b.label) for b in one.boxes] == [(b.symbol, b.count, b.label) for b in other.boxes]
        assert len(one.edges) == len(other.edges)


def test_the_derivative_through_a_collapsed_neuron_is_the_product_along_its_path():
    w, x, b = parameter(0.5, "w"), Value(2.0, label="x"), parameter(0.1, "b")
    y = (x * w + b).tanh()
    y.backward()
    (edge,) = draw(y, level="neuron").graph.edges
    assert edge.derivative == pytest.approx(x.grad, rel=1e-15)


def test_parameters_inside_a_neuron_are_named():
    (neuron,) = (box for box in boxes(Neuron(2), level="neuron") if box.kind == "group")
    assert neuron.notes[-1] == "3 parameters: w0, w1, b"


def test_a_long_chain_is_one_box():
    v = Value(1.0, label="x")
    for _ in range(20_000):
        v = (v * 0.999 + 0.001).sin().tanh() - 0.5
    picture = draw(v)
    assert len(picture.graph.boxes) <= 5
    assert "run of 100,000 operations" in picture.svg


def sines(n: int) -> Value:
    v = Value(1.0, label="x")
    for _ in range(n):
        v = v.sin()
    return v


def test_a_strip_of_more_than_12_columns_collapses_unless_asked_for():
    assert [box.symbol for box in boxes(sines(30))] == ["", "run of 30 operations"]
    assert len(boxes(sines(11))) == 12
    assert len(boxes(sines(30), level="value")) == len(boxes(sines(30), max_nodes=31)) == 31
    assert len(boxes(sines(30), depth=20)) == 21


def test_a_long_graph_that_does_not_get_shorter_stays_as_it_is():
    a, b = Value(1.0), Value(2.0)
    for _ in range(14):
        a, b = b, a + b
    assert {box.kind for box in boxes(b)} == {"input", "operation"}


def test_a_chain_through_parameters_collapses_when_nothing_else_fits():
    v, w = Value(1.0), parameter(0.9, "w")
    for _ in range(3000):
        v = (v * w + 0.1).tanh()
    assert len(boxes(v)) <= 5


def test_equal_inputs_of_many_examples_roll_up_and_keep_their_labels():
    inputs = [box for box in boxes(hinge_loss(20, [4, 4, 1]), level="neuron") if box.kind == "input"]
    assert [(box.label, box.count) for box in inputs] == [("x0", 20), ("x1", 20)]
    assert all(isinstance(box.data, tuple) and box.data[0] < box.data[1] for box in inputs)


def test_auto_takes_the_finest_level_that_fits():
    small, large = draw(MLP(2, [2, 1])).graph, draw(MLP(2, [4, 4, 1])).graph
    assert all(box.kind != "group" for box in small.boxes)
    assert [box.symbol for box in large.boxes if box.kind == "group"] == ["neuron"] * 9


def test_what_fits_nowhere_is_cut_by_depth_with_a_caption():
    rng = random.Random(4)
    values = [Value(1.0), Value(2.0)]
    for _ in range(400):
        a, b = rng.choice(values[-6:]), rng.choice(values[-6:])
        values.append(rng.choice([a * b, a - b, (a + b).sin()]))
    picture = draw(values[-1] + values[-2] * values[-3], max_nodes=12)
    assert len(picture.graph.boxes) == 12
    assert "Cut by depth to what is nearest" in picture.svg
    assert "not drawn" in picture.svg


@pytest.mark.parametrize(("limit", "hidden"), [(2, 100), (5, 100 * 4 * 2)])
def test_counts_of_a_cut_picture_are_true(limit, hidden):
    loss = hinge_loss(100, [4, 1])
    graph = draw(loss, max_nodes=limit).graph
    drawn = sum(box.size for box in graph.boxes)
    assert len(graph.boxes) == limit
    assert graph.captions[0].startswith(f"{drawn:,} values in {limit} boxes")
    assert f"{drawn:,} of {len(topological_order(loss)):,} values" in graph.captions[1]
    notes = [note for box in graph.boxes for note in box.notes if "not drawn" in note]
    assert notes == [f"… {hidden:,} operands not drawn"]


@pytest.mark.parametrize("expand", [True, False])
def test_a_cut_of_single_values_counts_values_and_not_products(expand):
    assert (
        "Cut by depth to what is nearest to the result, 1 of 6 values"
        in draw(weighted_sum(2), level="value", max_nodes=1, expand=expand).graph.captions[-1]
    )


def test_max_nodes_holds_at_every_level():
    loss = hinge_loss(5, [4, 4, 1])
    for level in ("auto", "value", "neuron", "layer"):
        assert len(boxes(loss, level=level, max_nodes=6)) <= 6


def test_depth_draws_what_is_near_the_result():
    v = Value(1.0, label="x")
    for _ in range(6):
        v = v.sin()
    picture = draw(v, depth=2)
    assert [box.symbol for box in picture.graph.boxes] == ["sin"] * 3
    assert picture.graph.boxes[0].notes == ("… 1 operand not drawn",)
    assert "3 of 7 values are drawn" in picture.svg


def test_focus_draws_the_neighbourhood_of_a_node():
    v, chain = Value(1.0), []
    for k in range(9):
        v = v.sin()
        v.label = f"s{k}"
        chain.append(v)
    picture = draw(v, focus=chain[4], depth=1)
    assert [box.label for box in picture.graph.boxes] == ["s3", "s4", "s5"]
    assert [box.focus for box in picture.graph.boxes] == [False, True, False]
    assert "in focus" in picture.svg


@pytest.mark.parametrize("level", ["neuron", "layer"])
def test_a_node_in_focus_stays_a_box_of_its_own_when_others_collapse(level):
    loss = hinge_loss(5, [4, 4, 1])
    node = topological_order(loss)[40]
    (focused,) = (box for box in boxes(loss, focus=node, depth=3, level=level) if box.focus)
    assert focused.value is node


def test_graphs_are_the_same_under_every_hash_seed():
    program = (
        "import random; random.seed(3)\n"
        "from micrograd import MLP, draw, softmax\n"
        "m = MLP(2, [4, 3]); p = softmax(m([1.0, 2.0])); L = -p[0].log() - m([2.0, 1.0])[1]; L.backward()\n"
        "for level in ('auto', 'value', 'neuron', 'layer'):\n"
        "    d = draw(L, level=level); print(d.svg, d.dot, d.mermaid)"
    )
    assert run_fresh(program, PYTHONHASHSEED="1") == run_fresh(program, PYTHONHASHSEED="2")
