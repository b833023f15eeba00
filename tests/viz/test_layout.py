"""Where things are drawn: nothing overlaps, no edge runs under a box, few edges cross."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from micrograd import MLP, Neuron, Value, draw, softmax
from micrograd.viz.layout import Item, Layout, Link, arrange
from micrograd.viz.svg import lay_out


def net(size: int, seed: int) -> tuple[list[Item], list[Link]]:
    """A random graph with long edges, repeated edges and boxes of many sizes."""
    rng = random.Random(seed)
    items = [Item(rng.randint(40, 120), rng.randint(40, 90), rng.random() < 0.3) for _ in range(size)]
    links = []
    for target in range(3, size):
        for _ in range(rng.randint(1, 3)):
            source = rng.randrange(max(0, target - 12), target)
            links.append(Link(source, target, rng.choice(["blue", "red"]), rng.choice([0.0, 40.0])))
    return items, links


def random_values(size: int, seed: int) -> list[Value]:
    rng = random.Random(seed)
    values = [Value(rng.random(), label=f"x{i}") for i in range(4)]
    for _ in range(size):
        a, b = rng.choice(values[-8:]), rng.choice(values[-8:])
        values.append(rng.choice([lambda a, b: a + b, lambda a, b: a * b, lambda a, b: a - b, lambda a, b: a.tanh()])(a, b))
    return values[-3:]


LAYOUTS = {f"random {seed}": lambda seed=seed: arrange(*net(10 + 12 * seed, seed)) for seed in range(5)}
LAYOUTS["network"] = lambda: lay_out(draw(MLP(2, [3, 3, 1]), level="value").graph)
LAYOUTS["softmax"] = lambda: lay_out(draw(softmax([Value(float(i)) for i in range(4)])).graph)
LAYOUTS["values"] = lambda: lay_out(draw(random_values(40, 1), level="value").graph)
LAYOUTS["folded"] = lambda: lay_out(draw(Neuron(12), level="value", expand=False).graph)


@pytest.fixture(params=LAYOUTS, scope="module")
def layout(request) -> Layout:
    return LAYOUTS[request.param]()


def points(route: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """A route with its swings, cubic curves, sampled."""
    found = [route[0]]
    for k, (x, y) in enumerate(route[1:]):
        x0, y0 = found[-1]
        for t in [] if k % 2 else [i / 16 for i in range(1, 16)]:
            s = 3 * t * t - 2 * t**3  # control points at half the way, level
            found.append((x0 + (x - x0) * (1.5 * t - 1.5 * t * t + t**3), y0 + (y - y0) * s))
        found.append((x, y))
    return found


def test_boxes_do_not_overlap(layout):
    for k, (x, y, width, height) in enumerate(layout.boxes):
        for x2, y2, width2, height2 in layout.boxes[:k]:
            assert x + width < x2 or x2 + width2 < x or y + height + 8 <= y2 or y2 + height2 + 8 <= y


def test_no_edge_runs_under_a_box(layout):
    for route in layout.routes:
        for (x0, y0), (x1, y1) in pairwise(points(route)):
            for x, y, width, height in layout.boxes:
                inside = x + 0.01 < (x0 + x1) / 2 < x + width - 0.01 and y < (y0 + y1) / 2 < y + height
                assert not inside


def test_edges_leave_on_the_right_of_their_source_and_enter_on_the_left_of_their_target():
    items, links = net(40, 7)
    layout = arrange(items, links)
    for link, route in zip(links, layout.routes, strict=True):
        x, y, width, height = layout.boxes[link.source]
        assert route[0] == (x + width, pytest.approx(y + height / 2, abs=0.11))
        x, y, width, height = layout.boxes[link.target]
        assert route[-1][0] == x
        assert y < route[-1][1] < y + height


def test_edges_run_from_left_to_right(layout):
    for route in layout.routes:
        assert all(a[0] <= b[0] for a, b in pairwise(route))


def test_everything_lies_within_the_picture(layout):
    for x, y, width, height in layout.boxes:
        assert x >= 0
        assert y >= 0
        assert x + width <= layout.width
        assert y + height <= layout.height + 0.1
    assert all(-0.1 <= y <= layout.height + 0.1 for route in layout.routes for _, y in route)


def test_edges_into_a_box_arrive_apart_with_room_for_their_labels():
    layout = lay_out(draw(Neuron(9), level="value", expand=False).graph)
    ends = sorted(route[-1][1] for route in layout.routes if route[-1][0] == max(r[-1][0] for r in layout.routes[:-1]))
    assert all(b - a >= 14 for a, b in pairwise(ends))


def test_a_repeated_operand_is_two_separate_curves():
    layout = arrange([Item(50, 40), Item(50, 40)], [Link(0, 1), Link(0, 1)])
    first, second = (route[-1][1] for route in layout.routes)
    assert abs(first - second) >= 14


def test_a_chain_is_one_straight_row():
    items = [Item(50, height) for height in (40, 60, 44, 90)]
    layout = arrange(items, [Link(i, i + 1) for i in range(3)])
    assert len({y + height / 2 for _, y, _, height in layout.boxes}) == 1


def test_boxes_of_a_column_are_equally_wide():
    layout = arrange([Item(50, 40), Item(90, 40), Item(60, 40)], [Link(0, 2), Link(1, 2)])
    assert layout.boxes[0][2] == layout.boxes[1][2] == 90


def test_a_leaf_stands_next_to_its_user():
    layout = arrange([Item(50, 40)] * 5, [Link(0, 1), Link(1, 2), Link(2, 4), Link(3, 4)])
    assert layout.boxes[3][0] == layout.boxes[2][0]


def test_a_tree_has_no_crossings():
    links = [Link(i, 15 + i // 2) for i in range(8)] + [Link(8 + i, 19 + i // 2) for i in range(6)]
    links += [Link(15 + i, 23 + i // 3) for i in range(7)]
    assert arrange([Item(50, 40)] * 26, [Link(a.source, a.target) for a in links]).crossings == 0


@pytest.mark.parametrize(("width", "least"), [(3, 9), (4, 36)])
def test_a_full_layer_has_the_fewest_crossings_that_there_can_be(width, least):
    links = [Link(a, width + b) for a in range(width) for b in range(width)]
    assert arrange([Item(50, 80)] * (2 * width), links).crossings == least


def test_operands_that_must_not_change_places_enter_in_order():
    items = [Item(50, 40), Item(50, 40), Item(50, 40, ordered=True), Item(50, 40, ordered=True)]
    links = [Link(0, 2), Link(1, 2), Link(1, 3), Link(0, 3)]
    routes = arrange(items, links).routes
    assert routes[0][-1][1] < routes[1][-1][1]
    assert routes[2][-1][1] < routes[3][-1][1]


def test_edges_of_one_bundle_share_their_way():
    items = [Item(50, 40)] * 6
    chain = [Link(i, i + 1) for i in range(5)]
    shared = arrange(items, [*chain, Link(0, 4, "blue"), Link(0, 5, "blue")]).routes
    apart = arrange(items, [*chain, Link(0, 4, "blue"), Link(0, 5, "red")]).routes
    assert shared[-1][:5] == shared[-2][:5]
    assert apart[-1][:5] != apart[-2][:5]


def test_thousands_of_boxes_are_laid_out_without_recursion():
    count = 2000
    layout = arrange([Item(50, 40)] * count, [Link(i, i + 1) for i in range(count - 1)] + [Link(0, count - 1)])
    assert len(layout.routes[-1]) == 2 * count - 1


def test_nothing_gives_an_empty_picture():
    layout = arrange([], [])
    assert (layout.width, layout.height, layout.boxes) == (0.0, 0.0, [])
