"""draw_dot, DOT text and Mermaid text, with and without Graphviz."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from conftest import oracle, run_fresh

from micrograd import MLP, Value, draw, draw_dot, topological_order
from micrograd.viz import dot as dot_module
from micrograd.viz.dot import mermaid_text, quoted, record_text

NASTY = 'a"b\\{c|d}<e>\x00\n[f](g)`h`;--> \\'


@pytest.fixture
def no_dot(monkeypatch):
    """A machine without Graphviz and without the wheel."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(dot_module.sysconfig, "get_path", lambda name: "")


def product() -> Value:
    a, b = Value(2.0, label="a"), Value(-3.0, label="b")
    c = a * b
    c.label = "c"
    return c


# ------------------------------------------------------------------------------------------------------------- draw_dot


def test_draw_dot_is_a_digraph_in_the_form_of_the_lectures():
    graphviz = oracle("graphviz")
    c = product()
    c.backward()
    digraph = draw_dot(c)
    assert isinstance(digraph, graphviz.Digraph)
    assert digraph.format == "svg"
    assert digraph.graph_attr == {"rankdir": "LR"}
    lines = [line.strip() for line in digraph.source.splitlines()]
    assert 'v0 [label="{ a | data 2.0000 | grad -3.0000 }" shape=record]' in lines
    assert 'v2 [label="{ c | data -6.0000 | grad 1.0000 }" shape=record]' in lines
    assert 'v2op [label="*"]' in lines
    assert {"v0 -> v2op", "v1 -> v2op", "v2op -> v2"} <= set(lines)


def test_draw_dot_draws_a_repeated_operand_twice():
    x = Value(1.0)
    assert draw_dot(x + x).source.count("v0 -> v1op") == 2


@pytest.mark.parametrize(("argument", "message"), [({"rankdir": "up"}, 'rankdir is "LR"'), ({"format": "gifx"}, "format")])
def test_draw_dot_refuses_unknown_formats_and_directions(argument, message):
    with pytest.raises(ValueError, match=message):
        draw_dot(product(), **argument)


def test_draw_dot_refuses_what_is_no_value():
    with pytest.raises(TypeError, match="takes a Value, a list of Values or a Module, got str"):
        draw_dot("x")


def test_draw_dot_takes_modules():
    assert draw_dot(MLP(2, [1])).source.count("shape=record") == 6


def test_displaying_draw_dot_needs_no_graphviz(no_dot):
    digraph = draw_dot(product())
    bundle = digraph._repr_mimebundle_()
    assert bundle == {"image/svg+xml": draw(product()).svg}
    assert digraph._repr_image_svg_xml() == draw(product()).svg
    assert digraph.pipe("svg") == draw(product()).svg.encode()
    assert digraph.pipe(encoding="utf-8") == draw(product()).svg


def test_displaying_a_large_digraph_collapses_instead_of_waiting_for_dot(monkeypatch):
    graphviz = oracle("graphviz")

    def wait(*args, **options):
        raise AssertionError("dot was called on a large graph")

    model = MLP(2, [16, 16, 1])
    loss = sum((1 - model([float(k), 1.0])).relu() for k in range(20))
    large, small = draw_dot(loss), draw_dot(product())
    monkeypatch.setattr(graphviz.Digraph, "_repr_image_svg_xml", wait)
    svg = large._repr_mimebundle_()["image/svg+xml"]
    assert len(ET.fromstring(svg).findall(".//{http://www.w3.org/2000/svg}g")) < 100
    assert ".source has them all" in svg
    assert large.source.count("shape=record") == len(topological_order(loss))
    with pytest.raises(AssertionError, match="large graph"):  # a small one goes to dot
        small._repr_mimebundle_()


def test_rendering_draw_dot_to_a_file_needs_no_graphviz(no_dot, tmp_path):
    path = draw_dot(product()).render("graph", directory=tmp_path)
    assert path.endswith("graph.svg")
    ET.parse(path)
    assert "digraph" in (tmp_path / "graph").read_text()


def test_a_format_that_nothing_here_makes_is_one_line_of_advice(no_dot):
    with pytest.raises(RuntimeError, match=r"^no program here renders png: install Graphviz.*$"):
        draw_dot(product(), format="png").pipe()


def test_a_program_that_fails_is_passed_over(monkeypatch):
    monkeypatch.setattr(dot_module, "renderers", lambda: [shutil.which("false"), shutil.which("true")])
    assert dot_module.render("digraph {}", "svg") is None


def test_dot_on_the_path_comes_before_the_wheel(monkeypatch, tmp_path):
    monkeypatch.setattr(dot_module.shutil, "which", lambda name, path=None: f"/somewhere/{name}")
    assert dot_module.renderers() == ["/somewhere/dot", "/somewhere/graphviz-pure"]


def test_the_wheel_is_used_where_there_is_no_dot(monkeypatch, tmp_path):
    wheel = tmp_path / "graphviz-pure"
    wheel.write_text(f"#!{sys.executable}\nimport sys\nprint('<svg>', sys.argv[1], sys.stdin.read()[:7])\n")
    wheel.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert draw_dot(product()).pipe("svg") == b"<svg> -Tsvg digraph\n"


@pytest.mark.skipif(not shutil.which("dot") and os.environ.get("CI") != "true", reason="dot is not installed")
def test_graphviz_reads_what_we_write():
    x = Value(1.0, label=NASTY)
    y = (x * 2).tanh()
    y.label = NASTY
    for source in (draw_dot(y).source, draw(y).dot, draw(MLP(2, [3, 1]), level="layer").dot):
        done = subprocess.run(["dot", "-Tsvg"], input=source.encode(), capture_output=True, check=False)
        assert done.returncode == 0
        assert done.stderr == b""
        ET.fromstring(done.stdout)


@pytest.mark.skipif(not shutil.which("dot") and os.environ.get("CI") != "true", reason="dot is not installed")
@pytest.mark.parametrize("label", ["a|b", "{x}", "<port>", 'say "hi"', "back\\slash", "end\\", "x1*w1 + b"])
def test_graphviz_shows_labels_as_they_are(label):
    x = Value(1.0, label=label)
    for source in (draw_dot(x).source, draw(x).dot):
        svg = subprocess.run(["dot", "-Tsvg"], input=source.encode(), capture_output=True, check=True).stdout
        shown = [t.text.replace("\xa0", " ") for t in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
        assert any(text.strip() == label or text.startswith(label) for text in shown), shown


# ---------------------------------------------------------------------------------------------------------------- text


def test_dot_text_has_boxes_edges_signs_and_captions():
    x = Value(2.0, label="x")
    y = (x * 0.0 - x).tanh()
    source = draw(y).dot
    assert source.startswith("digraph {")
    assert source.count(" -> ") == 5
    assert 'color="#D55E00"' in source
    assert "style=dashed" in source
    assert 'label="x · input\\ndata 2\\ngrad —"' in source
    assert "level layer" in draw(MLP(2, [3, 1]), level="layer").dot


def test_mermaid_text_has_boxes_edges_and_captions():
    x = Value(2.0, label="x")
    text = draw(x * 0.0).mermaid
    assert text.splitlines() == [
        "flowchart LR",
        '  n0>"x #183; input<br/>data 2<br/>grad #8212;"]',
        '  n1{{"constant<br/>data 0<br/>grad #8212;"}}',
        '  n2["*<br/>data 0<br/>grad #8212;"]',
        '  n0 -.->|"0"| n2',
        "  linkStyle 0 stroke:#6e7781",
        '  n1 -->|"+2"| n2',
        "  linkStyle 1 stroke:#0072B2",
    ]
    assert "%% " in draw(MLP(2, [3, 1]), level="layer").mermaid


def test_mermaid_labels_hold_nothing_but_plain_characters():
    x = Value(1.0, label=NASTY)
    for line in draw(x * 2).mermaid.splitlines()[1:]:
        label = re.search(r'"(.*)"', line)
        assert label is None or re.fullmatch(r"(\w|[ .,+\-*/=()]|#\d+;|<br/>)*", label[1].replace("#8212;", ""))


def test_escaping_by_example():
    assert quoted('a"b\\n') == '"a\\"b\\\\n"'
    assert record_text("{a|<b>}") == "\\{a\\|\\<b\\>\\}"
    assert mermaid_text('<b>"') == "#60;b#62;#34;"


def test_graphviz_is_loaded_only_by_draw_dot():
    program = (
        "import sys, micrograd\n"
        "print([m for m in sys.modules if 'graphviz' in m or 'micrograd.viz' in m])\n"
        "from micrograd import Value, draw\n"
        "draw(Value(1.0)).svg; print([m for m in sys.modules if 'graphviz' in m])"
    )
    assert run_fresh(program) == "[]\n[]\n"


def test_without_the_graphviz_package_draw_dot_says_what_to_install():
    program = (
        "import sys; sys.modules['graphviz'] = None\n"
        "from micrograd import Value, draw_dot\n"
        "try: draw_dot(Value(1.0))\n"
        "except ImportError as error: print(error)"
    )
    assert run_fresh(program) == "draw_dot() needs the graphviz package: pip install graphviz, or use draw()\n"
