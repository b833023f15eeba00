"""The picture of a run: what it shows, and that every viewer can show it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from micrograd import MLP, viz
from micrograd.viz.panels import STROKES
from micrograd.viz.run import Run

NS = "{http://www.w3.org/2000/svg}"


def run_of(*nouts: int, nin: int = 2, labels: list[float] | None = None, steps: int = 3, **options) -> Run:
    rows = [[float(i + j) for j in range(nin)] for i in range(len(labels or [0, 1, 2]))]
    model = MLP(nin, list(nouts), seed=1, **options)
    run = viz.watch(model, rows, labels)
    for step in range(steps):
        out = model(rows[0])
        (out if len(nouts) and nouts[-1] == 1 else out[0]).backward()
        run.record(1.0 / (step + 1))
    return run


def texts(run: Run) -> list[str]:
    return [t.text or "" for t in ET.fromstring(run.svg).iter(f"{NS}text")]


@pytest.fixture(scope="module")
def run() -> Run:
    return run_of(4, 3, 1, labels=[-1, 1, 1])


def test_only_presentation_attributes_so_that_github_shows_it(run):
    tags = {element.tag.removeprefix(NS) for element in ET.fromstring(run.svg).iter()}
    assert tags <= {"svg", "title", "desc", "rect", "g", "path", "polygon", "polyline", "line", "circle", "text"}
    assert not re.search(r"style=|<!DOCTYPE|<\?xml|\bid=|href", run.svg)


def test_the_background_is_opaque_and_covers_the_picture(run):
    svg = ET.fromstring(run.svg)
    background = svg.find(f"{NS}rect")
    assert (background.get("width"), background.get("height")) == (svg.get("width"), svg.get("height"))
    assert background.get("fill") == "#ffffff"


def test_everything_lies_within_the_picture(run):
    svg = ET.fromstring(run.svg)
    width, height = float(svg.get("width")), float(svg.get("height"))
    for element in svg.iter():
        assert 0 <= float(element.get("x", 0)) <= width
        assert 0 <= float(element.get("y", 0)) <= height
        for x, y in (map(float, pair.split(",")) for pair in element.get("points", "").split()):
            assert 0 <= x <= width
            assert 0 <= y <= height


def test_title_and_description_tell_the_numbers(run):
    svg = ET.fromstring(run.svg)
    assert svg.find(f"{NS}title").text == "Training: loss 1 to 0.3333 in 3 steps"
    words = svg.find(f"{NS}desc").text
    assert words.startswith("Loss from 1 at step 0 to 0.3333 at step 2. Layer 1: gradient norm from ")
    assert f"{run.records[-1].dead[0]} of its 4 relu neurons are dead" in words


def test_the_same_run_gives_the_same_bytes(run):
    assert run.svg == run_of(4, 3, 1, labels=[-1, 1, 1]).svg


def test_each_panel_is_there(run):
    found = texts(run)
    assert {
        "Loss",
        "Gradient norm of each layer",
        "Dead relu neurons of 4 and 3",
        "weights",
        "gradients",
        "activations",
    } <= {*found}
    assert [t for t in found if t.startswith("Layer")] == ["Layer 1", "Layer 2", "Layer 3"]
    assert [t for t in found if t.startswith("Decision")]


def test_lines_are_told_apart_without_colour():
    assert len({dashes for _, dashes in STROKES}) == len({colour for colour, _ in STROKES}) == len(STROKES)


def test_a_layer_has_one_look_in_all_panels(run):
    lines = [line for line in ET.fromstring(run.svg).iter(f"{NS}polyline") if line.get("stroke-width") == "2"]
    looks = [(line.get("stroke"), line.get("stroke-dasharray") or "") for line in lines]
    assert looks == [STROKES[0], *STROKES[:3], *STROKES[:2]]  # the loss, three norms, the dead of two layers


def test_a_diverged_loss_leaves_a_gap():
    run = run_of(1, nin=3)
    for loss in (float("nan"), 0.5, 0.4):
        run.record(loss)
    lines = [line for line in ET.fromstring(run.svg).iter(f"{NS}polyline") if line.get("stroke-width") == "2"]
    assert [len(line.get("points").split()) for line in lines[:2]] == [3, 2]


def test_of_many_layers_the_first_and_the_last_are_shown():
    found = texts(run_of(*[2] * 8, nin=3))
    assert [t for t in found if t.startswith("Layer")] == ["Layer 1", "Layer 2", "Layer 3", "Layer 7", "Layer 8 (of 8)"]


def test_there_is_a_boundary_only_for_inputs_in_a_plane():
    assert not [t for t in texts(run_of(2, 1, nin=3)) if t.startswith("Decision")]


def shapes(run: Run) -> tuple[int, int, int]:
    """Circles, squares and small grey points of the last plane, with those of the legend."""
    svg = ET.fromstring(run.svg)
    circles = [float(c.get("r")) for c in svg.iter(f"{NS}circle")]
    squares = [p for p in svg.iter(f"{NS}polygon") if p.get("fill") == "#0072B2" and len(p.get("points").split()) == 4]
    return circles.count(4.0), len(squares), circles.count(2.5)


@pytest.mark.parametrize(
    ("nouts", "labels", "expected"),
    [
        ((1,), [-1, 1, 1], (2, 3, 0)),
        ((1,), [0, 1, 1], (2, 3, 0)),
        ((1,), [1, 1, 1], (0, 4, 0)),
        ((2,), [1, 1, 1], (0, 4, 0)),
        ((3,), [0, 1, 1], (2, 3, 0)),
        ((1,), None, (0, 0, 3)),
        ((1,), [0.1, 0.2, 0.3], (0, 0, 3)),
        ((2,), [0, 1, 7], (0, 0, 3)),
    ],
)
def test_points_have_the_shape_of_their_class(nouts, labels, expected):
    assert shapes(run_of(*nouts, labels=labels, steps=1)) == expected


def test_the_boundary_lies_where_the_output_changes_its_sign():
    model = MLP(2, [1], seed=0)
    (neuron,) = model.layers[0].neurons
    neuron.w[0].data, neuron.w[1].data, neuron.b.data = 1.0, 0.0, -0.5  # x = 0.5, the middle
    run = viz.watch(model, [[0.0, 0.0], [1.0, 1.0]], [0, 1])
    run.record(0.0)
    border = next(p for p in ET.fromstring(run.svg).iter(f"{NS}path") if p.get("stroke") == "#222222")
    assert {move.split()[0] for move in re.findall(r"M(\d+ \d+)v1", border.get("d"))} == {"22"}
    assert "h1" not in border.get("d")


def test_the_page_holds_all_it_needs(run):
    assert run.html.startswith("<!DOCTYPE html>")
    assert run.svg in run.html
    assert "<title>Training: loss 1 to 0.3333 in 3 steps</title>" in run.html
    assert "prefers-color-scheme: dark" in run.html
    assert not re.search(r"<script|src=|https?://(?!www\.w3\.org/2000/svg)", run.html)
