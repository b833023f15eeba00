"""The SVG: what is written in it, and what must never be."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from micrograd import MLP, Value, draw, softmax
from micrograd.engine import PARAMETER
from micrograd.viz.svg import clean, text_width

NS = "{http://www.w3.org/2000/svg}"
NASTY = "<script>alert('&\"')</script>\x00\x1b\u202e\ud800]]>\n--> {|}"


def lecture_neuron() -> Value:
    x1, x2 = Value(2.0, label="x1"), Value(0.0, label="x2")
    w1, w2, b = Value(-3.0, label="w1"), Value(1.0, label="w2"), Value(6.8813735870195432, label="b")
    for p in (w1, w2, b):
        p.operation = PARAMETER
    n = x1 * w1 + x2 * w2 + b
    n.label = "n"
    o = n.tanh()
    o.label = "o"
    return o


def parsed(root, **options) -> ET.Element:
    return ET.fromstring(draw(root, **options).svg)


def groups(svg: ET.Element, kind: str) -> list[ET.Element]:
    return [g for g in svg.iter(f"{NS}g") if g.get("class") == kind]


def texts(element: ET.Element) -> list[str]:
    return [t.text or "" for t in element.iter(f"{NS}text")]


def test_the_lecture_neuron_shows_every_number():
    o = lecture_neuron()
    o.backward()
    svg = parsed(o)
    assert len(groups(svg, "operation")) == 5
    assert len(groups(svg, "edge")) == 9
    found = {texts(g)[0]: texts(g)[1:] for kind in ("input", "parameter", "operation") for g in groups(svg, kind)}
    assert found["o"] == ["tanh", "data", "0.7071", "grad", "+1"]
    assert found["n"] == ["+", "data", "0.8814", "grad", "+0.5"]
    assert found["x1"] == ["input", "data", "2", "grad", "-1.5"]
    assert found["w2"] == ["parameter", "data", "1", "grad", "0"]


def test_the_gradient_is_a_dash_before_backward():
    svg = parsed(lecture_neuron())
    assert texts(svg).count("—") == 10


def test_edges_carry_local_derivatives_with_printed_signs():
    x, y = Value(2.0, label="x"), Value(-3.0, label="y")
    assert [texts(g) for g in groups(parsed(x * y), "edge")] == [["-3"], ["+2"]]


@pytest.mark.parametrize(
    ("factor", "colour", "dashed"), [(2.0, "#0072B2", False), (-2.0, "#D55E00", False), (0.0, None, True)]
)
def test_the_sign_is_told_by_okabe_and_ito_colours_and_zero_by_dashes(factor, colour, dashed):
    x = Value(1.0)
    edge = groups(parsed(x * factor), "edge")[0]
    path = edge.find(f"{NS}path")
    assert (path.get("stroke-dasharray") is not None) == dashed
    assert path.get("stroke") == colour or dashed


def test_leaf_kinds_differ_in_shape_and_in_text():
    x, w = Value(1.0, label="x"), Value(2.0, label="w")
    w.operation = PARAMETER
    svg = parsed(x * w + 3.0)
    shapes = {}
    for kind in ("input", "parameter", "constant"):
        (g,) = groups(svg, kind)
        assert kind in texts(g)
        outline = next(e for e in g if e.tag != f"{NS}title")
        shapes[kind] = (outline.tag, len(outline.get("points", "").split()), float(outline.get("rx", 0)) > 10)
    assert len(set(shapes.values())) == 3


def test_a_repeated_operand_is_drawn_as_two_different_edges():
    x = Value(3.0, label="x")
    paths = [g.find(f"{NS}path").get("d") for g in groups(parsed(x + x), "edge")]
    assert len(set(paths)) == 2


def test_the_background_is_opaque_and_covers_the_picture():
    svg = parsed(lecture_neuron())
    background = svg.find(f"{NS}rect")
    assert (background.get("width"), background.get("height")) == (svg.get("width"), svg.get("height"))
    assert background.get("fill") == "#ffffff"


def test_title_and_description_come_first():
    o = lecture_neuron()
    svg = parsed(o)
    assert [svg[0].tag, svg[0].text] == [f"{NS}title", "Computation graph of o"]
    assert svg[1].tag == f"{NS}desc"
    assert "10 boxes and 9 edges" in svg[1].text
    assert "o has data 0.7071" in svg[1].text


@pytest.mark.parametrize("level", ["value", "neuron", "layer"])
def test_only_presentation_attributes_so_that_github_shows_it(level):
    text = draw(MLP(2, [3, 1]), level=level).svg
    tags = {element.tag.removeprefix(NS) for element in ET.fromstring(text).iter()}
    assert tags <= {"svg", "title", "desc", "rect", "g", "path", "polygon", "text"}
    assert not re.search(r"style=|<!DOCTYPE|<\?xml|\bid=|href", text)


def test_labels_are_text_and_never_markup():
    x = Value(1.0, label=NASTY)
    y = x * 2
    y.label = NASTY
    text = draw(y).svg
    ET.fromstring(text)
    text.encode()
    assert "<script" not in text
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", text)


def test_labels_that_are_no_strings_are_drawn_too():
    x = Value(1.0, label=7)
    assert "7" in texts(parsed(x * 2))


def test_long_labels_are_cut_and_wide_ones_fit_their_boxes():
    assert clean("m" * 100) == "m" * 27 + "…"
    x = Value(1.0, label="W" * 100)
    (g,) = groups(parsed(x * 2), "input")
    outline = next(e for e in g if e.tag == f"{NS}polygon")
    right = max(float(point.split(",")[0]) for point in outline.get("points").split())
    assert right > text_width("W" * 27 + "…input", bold=True)


def test_texts_of_a_box_do_not_overlap():
    svg = parsed(softmax([Value(float(i), label=f"a rather long label {i}") for i in range(3)]))
    for kind in ("input", "operation"):
        for g in groups(svg, kind):
            lines: dict[str, list[ET.Element]] = {}
            for t in g.iter(f"{NS}text"):
                lines.setdefault(t.get("y"), []).append(t)
            for line in lines.values():
                if len(line) == 2:
                    left, right = line
                    end = float(left.get("x")) + text_width(left.text, 12)
                    assert end < float(right.get("x")) - text_width(right.text, 12) + 6


def test_rolled_up_boxes_say_how_many_and_the_caption_says_what():
    model = MLP(2, [4, 4, 1])
    svg = parsed([model([0.1 * i, 1.0]) for i in range(10)], level="layer")
    assert any("× 10" in text for text in texts(svg))
    assert any("level layer" in text for text in texts(svg))


def test_the_result_has_a_thicker_border():
    svg = parsed(lecture_neuron())
    widths = {texts(g)[0]: g.find(f"{NS}rect").get("stroke-width") for g in groups(svg, "operation")}
    assert float(widths["o"]) > float(widths["n"])


@pytest.mark.parametrize("x", [float("inf"), float("-inf"), float("nan"), 1e300, -0.0])
def test_odd_numbers_are_drawn(x):
    assert texts(parsed(Value(x, label="x") * 1.0))


def test_the_same_graph_gives_the_same_bytes():
    assert draw(lecture_neuron()).svg == draw(lecture_neuron()).svg
