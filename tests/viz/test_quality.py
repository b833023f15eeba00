"""How good the pictures are, measured against Graphviz's ``dot`` on the same boxes and edges: crossings, edges under boxes."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest

from micrograd import MLP, Neuron, Value, draw, losses, nn, softmax
from micrograd.viz.graph import Graph
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
    x1, x2, w1, w2, b = (Value(x, label=name) for x, name in ((2.0, "x1"), (0.0, "x2"), (-3.0, "w1"), (1.0, "w2"), (6.88, "b")))
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


def ours(graph: Graph) -> Picture:
    layout, position = lay_out(graph), {box.id: k for k, box in enumerate(graph.boxes)}
    routes = [flattened(route) for route in layout.routes]
    ends = [(position[edge.source], position[edge.target]) for edge in graph.edges]
    return Picture(layout.boxes, [(*end, route) for end, route in zip(ends, routes, strict=True)])


def flattened(route: list[Point]) -> list[Point]:
    """A route as the SVG draws it: swings and level stretches in turn."""
    found = [route[0]]
    for k, (x, y) in enumerate(route[1:]):
        x0, y0 = found[-1]
        middle = (x0 + x) / 2
        found += [(x, y)] if k % 2 or y == y0 else bezier((x0, y0), (middle, y0), (middle, y), (x, y))
    return found


def dots(graph: Graph) -> Picture:
    """What ``dot`` makes of boxes of the same sizes and the same edges."""
    position = {box.id: k for k, box in enumerate(graph.boxes)}
    lines = ["digraph { graph [rankdir=LR] node [shape=box fixedsize=true label=\"\"] edge [arrowhead=none]"]
    for k, (_, _, width, height) in enumerate(lay_out(graph).boxes):
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
    """The number of places where two edges cross; that they meet in a point or run on one line for a while is none."""
    pieces = sorted(
        (min(a[0], b[0]), max(a[0], b[0]), a, b, edge)
        for edge, (_, _, line) in enumerate(picture.edges)
        for a, b in zip(line, line[1:], strict=False)
    )
    found, active = 0, []
    for left, right, a, b, edge in pieces:
        active = [piece for piece in active if piece[0] > left]
        found += sum(other != edge and cross(a, b, c, d) for _, c, d, other in active)
        active.append((right, a, b, edge))
    return found


def cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    if max(a[1], b[1]) < min(c[1], d[1]) or max(c[1], d[1]) < min(a[1], b[1]):
        return False
    return turn(a, b, c) * turn(a, b, d) < 0 and turn(c, d, a) * turn(c, d, b) < 0


def turn(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


if __name__ == "__main__":
    import time
    tot = [0, 0]
    for name, make in GRAPHS.items():
        g = draw(make(), level="value").graph
        t = time.time(); o = ours(g); t1 = time.time(); d = dots(g); t2 = time.time()
        co, cd = crossings(o), crossings(d)
        tot[0] += co; tot[1] += cd
        print(f"{name:20} {len(g.boxes):4} boxes {len(g.edges):4} edges  ours {co:5} dot {cd:5}  layout.crossings {lay_out(g).crossings} times {t1-t:.2f} {t2-t1:.2f} {time.time()-t2:.2f}")
    print(tot, tot[0]/tot[1])
