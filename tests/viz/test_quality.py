"""How good the pictures are, measured against Graphviz's ``dot`` on the same boxes and edges."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from bisect import bisect_left
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from micrograd import MLP, Neuron, Value, draw, losses, nn, softmax
from micrograd.viz.graph import Graph
from micrograd.viz.layout import Layout
from micrograd.viz.svg import lay_out

ALLOWED = 1.25  # times the crossings of dot, over all graphs
POINTS = 72.0  # an inch
CURVE = [i / 12 for i in range(1, 13)]

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, width, height


class Picture(NamedTuple):
    """Boxes, and edges as polylines with the positions of the boxes that they join."""

    boxes: list[Box]
    edges: list[tuple[int, int, list[Point]]]


# ------------------------------------------------------------------------------------------------------------ the graphs


def quickstart() -> Value:
    """The expression with which micrograd's own page begins."""
    a, b = Value(-4.0, label="a"), Value(2.0, label="b")
    c, d = a + b, a * b + b**3
    c = c + c + 1
    c = c + 1 + c + (-a)
    d = d + d * 2 + (b + a).relu()
    d = d + 3 * d + (b - a).relu()
    f = (c - d) ** 2
    return f / 2.0 + 10.0 / f


def lecture_neuron() -> Value:
    x1, x2, w1, w2, b = (
        Value(x, label=name) for x, name in ((2.0, "x1"), (0.0, "x2"), (-3.0, "w1"), (1.0, "w2"), (6.88, "b"))
    )
    return (x1 * w1 + x2 * w2 + b).tanh()


def regression() -> Value:
    model = Neuron(2, nonlin=False, rng=random.Random(1))
    return losses.mse([model(x) for x in ((1.0, 2.0), (3.0, -1.0), (0.5, 0.5))], [1.0, 0.0, 2.0])


def classification() -> Value:
    model = MLP(2, [3, 3], activation="tanh", seed=1)
    return losses.cross_entropy(model([1.0, -2.0]), 1)


def random_graph(size: int, seed: int) -> list[Value]:
    """Operations on recent values and now and then on an old one or a leaf; every value that nothing uses is a result."""
    rng = random.Random(seed)
    values = [Value(rng.random(), label=f"x{i}") for i in range(max(3, size // 10))]
    used = set()
    while len(values) < size:
        recent = values[-8:]
        a, b = rng.choice(recent), rng.choice(recent if rng.random() < 0.8 else values)
        used |= {a, b}
        values.append(rng.choice([a + b, a * b, a - b, (a + b).tanh()]) if rng.random() < 0.8 else a.tanh())
    return [value for value in values if value not in used]


GRAPHS: dict[str, Callable[[], Any]] = {
    "quickstart": quickstart,
    "lecture neuron": lecture_neuron,
    "neuron of 3": lambda: Neuron(3, rng=random.Random(0)),
    "neuron of 8": lambda: Neuron(8, rng=random.Random(0)),
    "layer 3 to 3": lambda: nn.Layer(3, 3, rng=random.Random(0)),
    "MLP 2-3-1": lambda: MLP(2, [3, 1], seed=0),
    "MLP 2-3-3-1": lambda: MLP(2, [3, 3, 1], seed=0),
    "MLP 3-4-4-1": lambda: MLP(3, [4, 4, 1], seed=0),
    "softmax of 4": lambda: softmax([Value(float(i), label=f"z{i}") for i in range(4)]),
    "regression": regression,
    "classification": classification,
    "polynomial": lambda: (lambda x: 1 + x * (2 + x * (3 + x * (4 + x * 5))))(Value(0.5, label="x")),
    **{f"random {n}": lambda n=n: random_graph(n, n) for n in (20, 40, 60, 80, 100, 130, 160, 200)},
}


# ---------------------------------------------------------------------------------------------------------- the pictures


def ours(graph: Graph, layout: Layout) -> Picture:
    position = {box.id: k for k, box in enumerate(graph.boxes)}
    ends = [(position[edge.source], position[edge.target]) for edge in graph.edges]
    return Picture(layout.boxes, [(*end, flattened(route)) for end, route in zip(ends, layout.routes, strict=True)])


def flattened(route: list[Point]) -> list[Point]:
    """A route as the SVG draws it: swings and level stretches in turn."""
    found = [route[0]]
    for k, (x, y) in enumerate(route[1:]):
        x0, y0 = found[-1]
        middle = (x0 + x) / 2
        found += [(x, y)] if k % 2 or y == y0 else bezier((x0, y0), (middle, y0), (middle, y), (x, y))
    return found


def dots(graph: Graph, layout: Layout) -> Picture:
    """What ``dot`` makes of boxes of the same sizes and the same edges."""
    if shutil.which("dot") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs the program dot: apt-get install graphviz")
        pytest.skip("the program dot is not installed")
    position = {box.id: k for k, box in enumerate(graph.boxes)}
    lines = ['digraph { graph [rankdir=LR] node [shape=box fixedsize=true label=""] edge [arrowhead=none]']
    for k, (_, _, width, height) in enumerate(layout.boxes):
        lines.append(f"{k} [width={width / POINTS:.4f} height={height / POINTS:.4f}]")
    lines += [f"{position[edge.source]} -> {position[edge.target]}" for edge in graph.edges]
    done = subprocess.run(["dot", "-Tjson"], input="\n".join([*lines, "}"]), capture_output=True, text=True, check=True)
    drawn = json.loads(done.stdout)
    boxes = []
    for node in sorted(drawn["objects"], key=lambda node: int(node["name"])):
        (x, y), width, height = map(float, node["pos"].split(",")), *(POINTS * float(node[k]) for k in ("width", "height"))
        boxes.append((x - width / 2, y - height / 2, width, height))
    return Picture(boxes, [(edge["tail"], edge["head"], spline(edge["pos"])) for edge in drawn["edges"]])


def spline(pos: str) -> list[Point]:
    """The ``pos`` of an edge: a start, and three points for each cubic curve."""
    points = [tuple(map(float, pair.split(","))) for pair in pos.split()]
    found = points[:1]
    for k in range(1, len(points), 3):
        found += bezier(found[-1], *points[k : k + 3])
    return found


def bezier(a: Point, b: Point, c: Point, d: Point) -> list[Point]:
    """Points on a cubic curve, without its first."""

    def at(t: float, axis: int) -> float:
        s = 1.0 - t
        return s**3 * a[axis] + 3 * s * s * t * b[axis] + 3 * s * t * t * c[axis] + t**3 * d[axis]

    return [(at(t, 0), at(t, 1)) for t in CURVE[:-1]] + [d]


# ------------------------------------------------------------------------------------------------------------ the measures


def crossings(picture: Picture) -> int:
    """The number of places where lines cross; that they meet in a point or run on one line for a while is none."""
    pieces = sorted({(a, b) if a < b else (b, a) for _, _, line in picture.edges for a, b in pairwise(line)})
    found, active = 0, []
    for a, b in pieces:
        active = [piece for piece in active if piece[1][0] > a[0]]
        found += sum(cross(a, b, c, d) for c, d in active)
        active.append((a, b))
    return found


def cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    if max(a[1], b[1]) < min(c[1], d[1]) or max(c[1], d[1]) < min(a[1], b[1]):
        return False
    return turn(a, b, c) * turn(a, b, d) < 0 and turn(c, d, a) * turn(c, d, b) < 0


def turn(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def under_boxes(picture: Picture) -> list[tuple[int, int]]:
    """The edges, by the boxes that they join, that run through the inside of a box."""
    boxes = sorted((x + 0.5, x + width - 0.5, y + 0.5, y + height - 0.5) for x, y, width, height in picture.boxes)
    widest = max(right - left for left, right, _, _ in boxes)

    def inside(x: float, y: float) -> bool:
        near = boxes[bisect_left(boxes, (x - widest,)) : bisect_left(boxes, (x,))]
        return any(x < right and top < y < bottom for _, right, top, bottom in near)

    return [
        (source, target)
        for source, target, line in picture.edges
        if any(inside((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, b in pairwise(line))
    ]


# -------------------------------------------------------------------------------------------------------------- the tests


@cache
def graph_of(name: str) -> Graph:
    return draw(GRAPHS[name](), level="value").graph


@cache
def layout_of(name: str) -> Layout:
    return lay_out(graph_of(name))


def test_the_measure_counts_crossings_and_not_meetings():
    def lines(*ends: tuple[Point, Point]) -> Picture:
        return Picture([], [(0, 1, list(line)) for line in ends])

    assert crossings(lines(((0, 0), (2, 2)), ((0, 2), (2, 0)))) == 1
    assert crossings(lines(((0, 0), (2, 2)), ((0, 0), (2, 0)))) == 0
    assert crossings(lines(((0, 0), (2, 0)), ((1, 0), (3, 0)))) == 0
    assert crossings(lines(((0, 0), (2, 2)), ((0, 0), (2, 2)), ((0, 2), (2, 0)))) == 1
    assert under_boxes(lines(((0, 0), (2, 0)))._replace(boxes=[(0.0, -1.0, 2.0, 2.0)])) == [(0, 1)]


@pytest.mark.parametrize("name", GRAPHS)
def test_no_edge_runs_under_a_box(name):
    assert under_boxes(ours(graph_of(name), layout_of(name))) == []


def test_edges_cross_hardly_more_often_than_those_of_dot():
    rows = []
    for name in GRAPHS:
        graph, layout = graph_of(name), layout_of(name)
        rows.append(
            (name, len(graph.boxes), len(graph.edges), crossings(ours(graph, layout)), crossings(dots(graph, layout)))
        )
    total, dot_total = (sum(row[k] for row in rows) for k in (3, 4))
    lines = [f"{'graph':16} boxes edges  ours   dot", *("{:16} {:5} {:5} {:5} {:5}".format(*row) for row in rows)]
    report = "\n".join([*lines, f"{'together':28} {total:5} {dot_total:5}: {total / dot_total:.2f} times"])
    print(report)
    assert total <= ALLOWED * dot_total, report
