"""The public face: draw, Drawing and what shows itself in notebooks."""

from __future__ import annotations

import random
import shutil
import sys
import types
import xml.etree.ElementTree as ET

import pytest

import micrograd
from micrograd import MLP, Layer, Module, Neuron, Value, draw
from micrograd.viz import (
    INLINE_NODES,
    INLINE_VALUES,
    Drawing,
    collapse,
    drawing as drawing_module,
    graph as graph_module,
    inline_svg,
)


def picture() -> Drawing:
    x = Value(2.0, label="x")
    return draw(x * 3.0 + x)


@pytest.mark.parametrize("suffix", [".svg", ".dot", ".html", ".mmd", ".SVG"])
def test_save_writes_the_format_of_the_suffix(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    assert picture().save(path) == path
    begins = {".svg": "<svg", ".dot": "digraph", ".html": "<!DOCTYPE html>", ".mmd": "flowchart LR"}[suffix.lower()]
    assert path.read_text(encoding="utf-8").startswith(begins)


def test_save_takes_strings(tmp_path):
    assert picture().save(str(tmp_path / "x.svg")) == tmp_path / "x.svg"


@pytest.mark.parametrize("name", ["x.gif", "x", "x.svg.txt"])
def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path, name):
    with pytest.raises(ValueError, match=r"ends in one of \.svg, \.dot, \.html, \.mmd, \.png, \.pdf, got"):
        picture().save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_a_missing_tool_is_one_line_that_says_what_to_install(tmp_path, monkeypatch, suffix):
    monkeypatch.setitem(sys.modules, "cairosvg", None)
    monkeypatch.setattr(drawing_module.dot, "renderers", list)
    with pytest.raises(RuntimeError, match=f"^saving {suffix} needs a program that draws it: pip install cairosvg$"):
        picture().save(tmp_path / f"x{suffix}")
    assert not list(tmp_path.iterdir())


def test_png_and_pdf_come_from_cairosvg_where_it_is_installed(tmp_path, monkeypatch):
    fake = types.ModuleType("cairosvg")
    fake.svg2png = lambda bytestring: b"png of " + bytestring[:4]
    monkeypatch.setitem(sys.modules, "cairosvg", fake)
    assert picture().save(tmp_path / "x.png").read_bytes() == b"png of <svg"


@pytest.mark.skipif(not shutil.which("dot"), reason="dot is not installed")
@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".pdf", b"%PDF")])
def test_png_and_pdf_come_from_dot_otherwise(tmp_path, monkeypatch, suffix, magic):
    monkeypatch.setitem(sys.modules, "cairosvg", None)
    assert picture().save(tmp_path / f"x{suffix}").read_bytes().startswith(magic)


def test_the_html_page_holds_the_picture_and_nothing_from_elsewhere():
    x = Value(1.0, label="</title><script>alert(7)")
    page = draw(x * 2).html
    assert "<svg" in page
    assert "<script>alert" not in page
    assert "prefers-color-scheme: dark" in page
    assert page.replace("http://www.w3.org/2000/svg", "").count("http") == 0


def test_a_drawing_is_a_snapshot():
    x = Value(2.0, label="x")
    y = x * x
    drawing = draw(y)
    y.backward()
    assert ">—<" in drawing.svg
    assert ">—<" not in draw(y).svg


def test_a_drawing_shows_itself_in_a_notebook():
    drawing = picture()
    assert drawing._repr_svg_() == drawing.svg
    assert repr(drawing) == "Drawing(4 boxes, 4 edges)"


@pytest.mark.parametrize(("module", "inputs"), [(Neuron(3), 3), (Layer(2, 4), 2), (MLP(4, [2, 1]), 4)])
def test_modules_are_drawn_on_inputs_of_one(module, inputs):
    graph = draw(module, level="value").graph
    drawn = [(box.label, box.data) for box in graph.boxes if box.kind == "input"]
    assert sorted(drawn) == [(f"x{i}", 1.0) for i in range(inputs)]
    assert "Drawn for inputs of 1." in graph.captions


def test_drawing_a_module_changes_neither_it_nor_the_random_numbers():
    model = MLP(2, [2, 1])
    random.seed(5)
    before = (model.state_dict(), random.getstate())
    draw(model)
    assert (model.state_dict(), random.getstate()) == before
    assert not any(p.has_grad for p in model.parameters())


def test_a_module_of_another_kind_must_be_called_first():
    class Line(Module):
        def __call__(self, x):
            return x

    with pytest.raises(TypeError, match="not of Line: call it on your inputs and draw the result"):
        draw(Line())


@pytest.mark.parametrize(
    ("root", "error", "message"),
    [
        ("x", TypeError, "draw.. takes a Value, a list of Values or a Module, got str"),
        (None, TypeError, "got NoneType"),
        (2.0, TypeError, r"got float: it has no history, write Value\(x\) before computing with x"),
        ([], ValueError, "at least one Value, got an empty list"),
        ([Value(1.0), 2.0], TypeError, "a list with float in it"),
    ],
)
def test_what_is_no_value_is_refused(root, error, message):
    with pytest.raises(error, match=message):
        draw(root)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"level": "atom"}, ValueError, "level is one of 'auto', 'value', 'neuron', 'layer', got 'atom'"),
        ({"max_nodes": 0}, ValueError, "max_nodes is a whole number of at least 1, got 0"),
        ({"max_nodes": "many"}, ValueError, "max_nodes is a whole number of at least 1, got 'many'"),
        ({"depth": -1}, ValueError, "depth is a whole number of at least 0, got -1"),
        ({"depth": 1.5}, ValueError, "depth is a whole number"),
        ({"focus": 3}, TypeError, "focus is a Value of the graph, got int"),
        ({"focus": Value(1.0)}, ValueError, "not in the graph"),
        ({"expand": "yes"}, ValueError, "expand is True, False or None"),
    ],
)
def test_options_are_checked_early(options, error, message):
    with pytest.raises(error, match=message):
        draw(Value(1.0) * 2, **options)


def test_a_single_leaf_is_a_picture():
    ET.fromstring(draw(Value(1.0, label="x")).svg)


def test_inline_pictures_are_capped():
    x = v = Value(1.0)
    for k in range(500):
        v = v * x if k % 3 else (v + x).sin()
    svg = inline_svg(v)
    assert ET.fromstring(svg).find("{http://www.w3.org/2000/svg}desc").text.split()[0].isdigit()
    assert int(svg.split("<desc>")[1].split()[0]) <= INLINE_NODES


def looked_at(monkeypatch) -> list[int]:
    """The sizes of the scenes drawn from now on."""
    sizes = []
    honest = collapse.Scene.__init__

    def counted(self, *args, **options):
        honest(self, *args, **options)
        sizes.append(len(self.nodes))

    monkeypatch.setattr(collapse.Scene, "__init__", counted)
    monkeypatch.setattr(graph_module, "topological_order", lambda *roots: pytest.fail("a walk over the whole graph"))
    return sizes


def long_chain() -> Value:
    v = Value(1.0)
    for _ in range(3 * INLINE_VALUES):
        v = v.sin()
    return v


def tangle() -> Value:
    rng = random.Random(0)
    values = [Value(1.0), Value(2.0)]
    while len(values) < 3 * INLINE_VALUES:
        a, b = rng.choice(values[-60:]), rng.choice(values[-60:])
        values.append(a - b if rng.random() < 0.5 else (a * 0.01).sin() + b)
    return values[-1]


@pytest.mark.parametrize("make", [long_chain, tangle, lambda: micrograd.sum([Value(1.0) for _ in range(30_000)])])
def test_an_inline_picture_looks_at_so_many_values_at_most(monkeypatch, make):
    root = make()
    sizes = looked_at(monkeypatch)
    svg = inline_svg(root)
    assert sizes == [INLINE_VALUES]
    assert f"Only the {INLINE_VALUES:,} values nearest to the result are looked at" in svg
    assert int(svg.split("<desc>")[1].split()[0]) <= collapse.PIECE_NODES


def test_an_inline_picture_of_a_graph_within_the_bound_is_whole():
    v = Value(1.0, label="x")
    for _ in range(INLINE_VALUES - 1):
        v = v.sin()
    assert f"run of {INLINE_VALUES - 1:,} operations" in inline_svg(v)
    assert "looked at" not in inline_svg(v)


def test_a_huge_module_is_not_called_for_an_inline_picture(monkeypatch):
    monkeypatch.setattr("micrograd.viz.INLINE_PARAMETERS", 8)
    assert inline_svg(MLP(2, [2, 1])) is None
    assert inline_svg(MLP(1, [2, 1])) is not None


def test_a_long_label_is_whole_in_the_title_of_its_box():
    label = "the distance from the centre of the first cluster, in metres"
    root = ET.fromstring(draw(Value(1.0, label=label)).svg)
    titles = [t.text for t in root.iterfind(".//{http://www.w3.org/2000/svg}g/{http://www.w3.org/2000/svg}title")]
    assert titles == [f"{label}, input, data 1, grad —"]
    assert label not in [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]


def test_captions_explain_what_stands_on_edges_and_nothing_else():
    folded, single = "× N on an edge", "On an edge: the local derivative"
    assert single in picture().svg
    assert folded not in picture().svg
    layers = draw(MLP(4, [16, 3])([1.0, 2.0, 3.0, 4.0])).svg
    assert folded in layers
    assert single not in layers


@pytest.mark.parametrize("thing", ["x", None, [], object(), 3])
def test_inline_pictures_never_raise(thing):
    assert inline_svg(thing) is None


def test_a_broken_value_has_no_inline_picture():
    assert inline_svg(object.__new__(Value)) is None


def test_values_and_modules_have_inline_pictures():
    assert inline_svg(Value(1.0) * 2).startswith("<svg")
    assert inline_svg(MLP(2, [2, 1])).startswith("<svg")


def test_values_and_modules_show_themselves_in_a_notebook() -> None:
    for thing in (Value(1.0) * 2, Neuron(2), Layer(2, 2), MLP(2, [2, 1])):
        picture = thing._repr_svg_()
        assert picture is not None
        assert picture == inline_svg(thing)
