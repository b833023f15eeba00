"""The steps are the engine's own: its order, its numbers, its sums; and the paths are those of the chain rule."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from micrograd import Value, dot, draw, topological_order
from micrograd.chain import paths
from micrograd.viz.steps import Plan, Step


def lecture() -> tuple[Value, list[Value]]:
    """The graph of the lecture, with one leaf that is used three times."""
    a, b, c, f = (Value(x, label=name) for name, x in {"a": 2.0, "b": -3.0, "c": 10.0, "f": -2.0}.items())
    e = a * b
    e.label = "e"
    d = e + c
    d.label = "d"
    result = d * f + a * a
    result.label = "L"
    return result, [a, b, c, f]


def random_graph(seed: int, size: int) -> Value:
    """A graph of ``size`` nodes, in which the result depends on every node."""
    rng = random.Random(seed)
    nodes = [Value(rng.uniform(-1.0, 1.0), label=f"x{i}") for i in range(max(2, size // 8))]
    unused = list(nodes)
    while len(nodes) + len(unused) - 1 < size:
        a, b = unused.pop(rng.randrange(len(unused))), rng.choice(nodes[-40:])
        node = rng.choice([lambda a, b: a * b, lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a.tanh() * b])(a, b)
        nodes += [node] if len(node.parents[0].parents) != 1 else [node.parents[0], node]
        unused = [v for v in unused if v is not b] + [node]
    while len(unused) > 1:
        a, b, *unused = unused
        unused.append(a + b)
    unused[0].label = "L"
    return unused[0]


def plan(root: Value) -> Plan:
    return Plan(draw(root, level="value", expand=False).graph)


def test_the_text_says_which_term_is_added_to_what() -> None:
    steps = plan(lecture()[0]).steps
    assert [s.text for s in steps] == [
        "a = 2, b = -3, c = 10, f = -2",
        "e = a * b = 2 * -3 = -6",
        "d = e + c = -6 + 10 = 4",
        "v1 = d * f = 4 * -2 = -8",
        "v2 = a * a = 2 * 2 = 4",
        "L = v1 + v2 = -8 + 4 = -4",
        "dL/dL = 1",
        "dL/dv1 += dL/dL * dL/dv1 = 1 * 1 = 1",
        "dL/dv2 += dL/dL * dL/dv2 = 1 * 1 = 1",
        "dL/da += dL/dv2 * dv2/da = 1 * 2 = 2",
        "dL/da += dL/dv2 * dv2/da = 1 * 2 = 2",
        "dL/dd += dL/dv1 * dv1/dd = 1 * -2 = -2",
        "dL/df += dL/dv1 * dv1/df = 1 * 4 = 4",
        "dL/de += dL/dd * dd/de = -2 * 1 = -2",
        "dL/dc += dL/dd * dd/dc = -2 * 1 = -2",
        "dL/da += dL/de * de/da = -2 * -3 = 6",
        "dL/db += dL/de * de/db = -2 * 2 = -4",
    ]


def test_the_local_derivative_is_lit_by_name_and_as_a_number() -> None:
    step = next(s for s in plan(lecture()[0]).steps if s.text.startswith("dL/de"))
    assert step.parts[1::2] == ("dd/de", "1")


def test_a_reused_node_shows_its_terms_and_their_sum() -> None:
    notes = [s.note for s in plan(lecture()[0]).steps if s.text.startswith("dL/da")]
    assert notes == [
        "Term 1 of 3: dL/da = 2.",
        "Term 2 of 3: dL/da = 2 + 2 = 4.",
        "Term 3 of 3: dL/da = 2 + 2 + 6 = 10. Complete.",
    ]


def test_many_terms_are_shown_as_the_sum_so_far_and_the_last() -> None:
    x = Value(1.0, label="x")
    total = Value(0.0)
    for _ in range(10):
        total = total + x
    total.label = "L"
    notes = [step.note for step in plan(total).steps if step.text.startswith("dL/dx ")]
    assert notes[-1] == "Term 10 of 10: dL/dx = 4 + 1 + 1 + 1 + 1 + 1 + 1 = 10. Complete."


@pytest.mark.parametrize("seed", range(8))
def test_gradients_are_the_engines_bit_for_bit(seed: int) -> None:
    root = random_graph(seed, 60)
    played = plan(root)
    root.backward()
    assert played.gradients == [node.grad for node in topological_order(root)]
    assert played.data == [node.data for node in topological_order(root)]


@pytest.mark.parametrize("seed", range(4))
def test_a_node_passes_its_gradient_on_once_it_is_complete_and_each_edge_is_used_once(seed: int) -> None:
    played = plan(random_graph(seed, 60))
    used: list[int] = []
    for step in played.backward[1:]:
        (edge,) = step.edges
        giver = played.ends[edge][1]
        arriving = {e for e, (source, _) in enumerate(played.ends) if source == giver}
        assert arriving <= set(used)
        used.append(edge)
    assert sorted(used) == list(range(len(played.ends)))


def test_the_order_is_the_engines() -> None:
    """With terms whose floating-point sum depends on their order: 1e16 + 1 - 1e16 is 0, 1e16 - 1e16 + 1 is 1."""
    for factors in ((1e16, 1.0, -1e16), (1e16, -1e16, 1.0), (1.0, 1e16, -1e16)):
        x = Value(1.0, label="x")
        root = sum([x * f for f in factors], Value(0.0))
        played = plan(root)
        root.backward()
        assert played.gradients[topological_order(root).index(x)] == x.grad


def test_grad_is_neither_read_nor_written() -> None:
    root, leaves = lecture()
    for leaf in leaves:
        leaf.grad = 123.0
    assert plan(root).gradients[0] == 10.0
    assert [leaf.grad for leaf in leaves] == [123.0] * 4
    assert root.grad == 0.0


def test_an_expanded_dot_has_the_engines_gradients() -> None:
    w, x = [Value(0.5, label="w1"), Value(-1.5, label="w2")], [Value(3.0, label="x1"), Value(2.0, label="x2")]
    root = dot(w, x, Value(1.0, label="b")).tanh()
    played = Plan(draw(root, level="value", expand=True).graph)
    root.backward()
    gradients = dict(zip(played.names, played.gradients, strict=True))
    for leaf in (*w, *x):
        assert gradients[leaf.label] == leaf.grad


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda a, b: -a, "v1 = -a = -2 = -2"),
        (lambda a, b: -b, "v1 = -b = -(-3) = 3"),
        (lambda a, b: b**2, "v1 = b**2 = (-3)**2 = 9"),
        (lambda a, b: a**2, "v1 = a**2 = 2**2 = 4"),
        (lambda a, b: a**b, "v1 = a ** b = 2 ** -3 = 0.125"),
        (lambda a, b: a.tanh(), "v1 = tanh(a) = tanh(2) = 0.964028"),
        (lambda a, b: dot([a], [b], 1.0), "v1 = dot(a, b, c1) = dot(2, -3, 1) = -5"),
        (lambda a, b: dot([a] * 4, [b] * 4), "v1 = dot(a, a, a, a, b, …, c1) = dot(2, 2, 2, 2, -3, …, 0) = -24"),
    ],
)
def test_operations_read_as_they_are_written(make: object, text: str) -> None:
    root = make(Value(2.0, label="a"), Value(-3.0, label="b"))  # type: ignore[operator]
    assert plan(root).steps[1].text == text


def test_a_leaf_alone_has_a_gradient_of_one() -> None:
    assert [s.text for s in plan(Value(2.0, label="x")).steps] == ["x = 2", "dx/dx = 1"]


def test_many_leaves_are_counted() -> None:
    root = sum(Value(1.0, label=f"x{i}") for i in range(9))
    assert plan(root).steps[0].text.endswith("and 4 more")  # type: ignore[arg-type]


def test_nan_and_infinity_are_played() -> None:
    x = Value(0.0, label="x")
    steps = plan(x.log() * 0.0).steps
    assert steps[1].text == "v1 = log(x) = log(0) = -inf"
    assert steps[-1].text.endswith("0 * inf = nan")
    assert math.isnan(steps[-1].value)


def test_minus_zero_is_written_as_zero() -> None:
    x = Value(-1.0, label="x")
    assert plan(x * 0.0).steps[1].text == "v1 = x * c1 = -1 * 0 = 0"


def test_of_several_results_the_first_is_derived_and_the_caption_says_so() -> None:
    a = Value(2.0, label="a")
    p, q = a * 3.0, a * 5.0
    p.label, q.label = "p", "q"
    played = Plan(draw([p, q]).graph)
    assert dict(zip(played.names, played.gradients, strict=True)) == {"a": 3.0, "c1": 2.0, "p": 1.0, "c2": 0.0, "q": 0.0}
    assert "The backward pass is that of p, the first of 2 results." in played.graph.captions


@pytest.mark.parametrize("options", [{"level": "layer"}, {"depth": 1}, {"focus": True}, {"max_nodes": 4}])
def test_a_picture_that_leaves_values_out_is_refused(options: dict[str, object]) -> None:
    root, leaves = lecture()
    options = {**options, "focus": leaves[1]} if "focus" in options else options
    with pytest.raises(ValueError, match=r"level='value'"):
        draw(root, **options).steps()  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(4))
def test_paths_are_those_of_the_chain_rule(seed: int) -> None:
    root = random_graph(seed, 24)
    played = plan(root)
    order = topological_order(root)
    for leaf in played.paths:
        every = paths(root, order[leaf.box])
        assert (leaf.count, leaf.total) == (every.count, every.total)
        assert [s.product for s in leaf.shown] == [p.product for p in every.largest(len(leaf.shown))]
        assert leaf.total == pytest.approx(played.gradients[leaf.box], rel=1e-12)
        if len(leaf.shown) == leaf.count:
            assert leaf.shown[-1].total == pytest.approx(leaf.total, rel=1e-12)
        for shown in leaf.shown:
            assert played.ends[shown.edges[0]][1] == played.root
            assert played.ends[shown.edges[-1]][0] == leaf.box
            assert all(played.ends[up][0] == played.ends[down][1] for up, down in itertools.pairwise(shown.edges))


def test_of_many_paths_the_largest_are_shown_and_all_are_counted() -> None:
    x = Value(1.0, label="x")
    y = x
    for _ in range(60):
        y = y + y
    (leaf,) = plan(y).paths
    assert (leaf.count, leaf.total) == (2**60, 2.0**60)
    assert len(leaf.shown) == 20


def test_constants_have_paths_only_where_there_is_nothing_else() -> None:
    assert [plan(Value(1.0, label="x") * 3.0).names[leaf.box] for leaf in plan(Value(1.0, label="x") * 3.0).paths] == ["x"]
    constant = Value(2.0).detach()
    assert len(plan(constant * constant).paths) == 1


def test_a_step_prints_its_number_as_the_box_does() -> None:
    assert Step("forward", 0, (), ("",), "", 2.0).cell == "2"
    assert Step("backward", 0, (), ("",), "", 2.0).cell == "+2"
