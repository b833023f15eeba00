"""Paths lit in a picture: which edges, how they look, what stands below."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from micrograd import MLP, Neuron, Value, dot, draw
from micrograd.chain import paths

NS = "{http://www.w3.org/2000/svg}"


def example() -> tuple[Value, Value]:
    a, b = Value(2.0, label="a"), Value(-3.0, label="b")
    c = a * b
    c.label = "c"
    d = c + a
    d.label = "d"
    return d, a


def lit_ends(graph) -> list[tuple[str, str, tuple[int, ...]]]:
    names = {box.id: box.label or box.symbol for box in graph.boxes}
    return [(names[edge.source], names[edge.target], edge.paths) for edge in graph.edges if edge.paths]


def test_the_edges_of_the_paths_are_lit_with_their_numbers_and_the_rest_is_faint():
    d, a = example()
    graph = draw(d, paths=paths(d, a).largest(2)).graph
    assert lit_ends(graph) == [("a", "c", (1,)), ("c", "d", (1,)), ("a", "d", (2,))]
    assert [edge.faint for edge in graph.edges] == [not edge.paths for edge in graph.edges]
    assert {box.label for box in graph.boxes if box.faint} == {"b"}


def test_captions_give_the_products_and_their_sum():
    d, a = example()
    assert draw(d, paths=paths(d, a).largest(2)).graph.captions == (
        "Path 1: dd/dc * dc/da = 1 * -3 = -3.",
        "Path 2: dd/da = 1.",
        "Together: -2.",
    )
    assert draw(d, paths=paths(d, a).largest(1)[0]).graph.captions == ("Lit: dd/dc * dc/da = 1 * -3 = -3.",)


def test_paths_of_different_leaves_have_no_sum():
    d, a = example()
    b = d.parents[0].parents[1]
    found = [paths(d, leaf).largest(1)[0] for leaf in (a, b)]
    assert [line[:6] for line in draw(d, paths=found).graph.captions] == ["Path 1", "Path 2"]


def test_a_repeated_operand_lights_one_edge_a_path():
    x = Value(3.0, label="x")
    y = x + x
    first, second = paths(y, x).largest(2)
    for path, expected in ((first, [(1,), ()]), (second, [(), (1,)])):
        assert [edge.paths for edge in draw(y, paths=path).graph.edges] == expected


@pytest.mark.parametrize("expand", [True, False])
def test_a_weighted_sum_is_lit_through_its_products_where_they_are_drawn(expand):
    w, x, b = [Value(2.0, label="w0"), Value(5.0, label="w1")], [Value(3.0, label="x0"), Value(4.0, label="x1")], Value(1.0)
    b.label = "b"
    total = dot(w, x, b)
    for leaf in (*w, *x, b):
        (path,) = paths(total, leaf).largest(1)
        graph = draw(total, paths=path, expand=expand).graph
        lit = [edge for edge in graph.edges if edge.paths]
        products = {box.id: box.data for box in graph.boxes if box.symbol == "*"}
        assert len(lit) == (2 if expand and leaf is not b else 1)
        assert lit[0].source == next(box.id for box in graph.boxes if box.value is leaf)
        assert lit[-1].target == graph.roots[0]
        product = 1.0
        for edge in lit:
            product *= edge.derivative
        assert product == path.product
        assert [products[edge.source] for edge in lit[1:]] == ([6.0] if leaf in (w[0], x[0]) else [20.0])[: len(lit) - 1]


def test_lit_edges_are_thick_and_carry_their_numbers_and_faint_ones_stand_back():
    d, a = example()
    svg = ET.fromstring(draw(d, paths=paths(d, a).largest(2)).svg)
    edges = [g for g in svg.iter(f"{NS}g") if g.get("class") == "edge"]
    widths = [float(edge.find(f"{NS}path").get("stroke-width")) for edge in edges]
    assert [width > 3 for width in widths] == [edge.get("opacity") is None for edge in edges]
    assert sum(width > 3 for width in widths) == 3
    assert [t.text for edge in edges for t in edge.iter(f"{NS}text") if t.get("fill") == "#ffffff"] == ["1", "1", "2"]
    assert edges[0].find(f"{NS}title").text == "a to c: operand 1, local derivative -3, on path 1"


def test_without_paths_nothing_is_lit_or_faint():
    d, _ = example()
    assert "opacity" not in draw(d).svg


def test_many_paths_are_listed_in_part():
    x = Value(1.0, label="x")
    y = x
    for _ in range(4):
        y = y + y
    captions = draw(y, paths=paths(y, x).largest(16)).graph.captions
    assert captions[9].startswith("Path 10: ")
    assert captions[10:] == ("… and 6 paths more.", "Together: 16.")


def test_a_lit_picture_has_the_other_formats_too():
    d, a = example()
    picture = draw(d, paths=paths(d, a).largest(2))
    assert picture.html.startswith("<!DOCTYPE html>")
    assert re.search(r"digraph", picture.dot)


def test_mistakes_are_named():
    d, a = example()
    found = paths(d, a)
    with pytest.raises(TypeError, match=r"a list of Paths, got Paths: take them from .*largest\(3\)"):
        draw(d, paths=found)
    with pytest.raises(TypeError, match="got a list with float in it"):
        draw(d, paths=[3.0])
    with pytest.raises(ValueError, match="no edge to light"):
        draw(d, paths=[])
    with pytest.raises(ValueError, match="no edge to light"):
        draw(d, paths=paths(d, d).largest(1))
    other, leaf = example()
    with pytest.raises(ValueError, match="not in the picture: take paths of the result that is drawn"):
        draw(d, paths=paths(other, leaf).largest(1))


@pytest.mark.parametrize("options", [{"level": "neuron"}, {"level": "layer"}, {"depth": 1}, {"focus": Value(1.0)}])
def test_paths_need_a_box_for_each_value(options):
    d, a = example()
    with pytest.raises(ValueError, match='paths are lit in a picture at level "value"'):
        draw(d, paths=paths(d, a).largest(1), **options)


def test_a_graph_that_auto_would_collapse_is_drawn_value_by_value():
    inputs = [Value(1.0, label="x0"), Value(2.0, label="x1")]
    out = MLP(2, [8, 8, 1], seed=0)(inputs)
    graph = draw(out, paths=paths(out, inputs[0]).largest(1)).graph
    assert "group" not in {box.kind for box in graph.boxes}
    assert any(edge.paths for edge in graph.edges)


def test_a_picture_cut_short_of_a_path_says_so():
    inputs = [Value(float(i), label=f"x{i}") for i in range(9)]
    out = Neuron(9)(inputs)
    with pytest.raises(ValueError, match="raise max_nodes"):
        draw(out, paths=paths(out, inputs[0]).largest(1), max_nodes=2, expand=False)
