"""The loss curve: an SVG that every viewer shows, with its numbers at the right places."""

from __future__ import annotations

import random
from xml.etree import ElementTree

import pytest

from micrograd.viz.chart import HEIGHT, WIDTH, line_chart, ticks

SVG = "{http://www.w3.org/2000/svg}"


def chart(**series):
    return ElementTree.fromstring(line_chart("Loss on a & b", "epoch", "cross-entropy", series))


def points(polyline):
    return [tuple(map(float, pair.split(","))) for pair in polyline.get("points").split()]


def test_each_series_is_a_line_of_its_own_colour_and_dash_and_is_named():
    root = chart(training=[2.0, 1.0, 0.5], held_out=[2.0, 1.5, 1.0])
    lines = root.findall(f"{SVG}polyline")
    assert [line.get("stroke") for line in lines] == ["#0072B2", "#D55E00"]
    assert [line.get("stroke-dasharray") for line in lines] == [None, "7 4"]
    assert {"training", "held_out", "epoch", "cross-entropy"} <= {text.text for text in root.iter(f"{SVG}text")}


def test_points_lie_where_the_ticks_say():
    root = chart(training=[2.0, 1.0, 0.5])
    texts = list(root.iter(f"{SVG}text"))
    across = {float(t.text): float(t.get("x")) for t in texts if t.text in "012" and t.get("text-anchor") == "middle"}
    up = {
        float(t.text): float(t.get("y")) - 4 for t in texts if t.get("text-anchor") == "end"
    }  # text hangs 4 below its tick
    expected = [(across[0], up[2.0]), (across[1], up[1.0]), (across[2], up[0.5])]
    assert points(root.find(f"{SVG}polyline")) == expected


def test_only_presentation_attributes_and_an_opaque_background():
    text = line_chart("t", "x", "y", {"training": [1.0, 0.5]})
    root = ElementTree.fromstring(text)
    assert not [e for e in root.iter() if e.tag.removeprefix(SVG) in ("style", "script", "use") or e.get("style")]
    background = root.find(f"{SVG}rect")
    assert (background.get("width"), background.get("height"), background.get("fill")) == (
        str(WIDTH),
        str(HEIGHT),
        "#ffffff",
    )


def test_title_and_description_tell_what_the_picture_shows():
    root = chart(training=[2.0, 0.5])
    assert root.find(f"{SVG}title").text == "Loss on a & b"
    assert root.find(f"{SVG}desc").text == "cross-entropy by epoch: training from 2 to 0.5"


@pytest.mark.parametrize("numbers", [[0.0], [0.0, 0.0], [1.0], [1e-300] * 3, [1e300, 1.0], list(range(1001))])
def test_any_finite_series_stays_inside_the_frame(numbers):
    for x, y in points(chart(training=numbers).find(f"{SVG}polyline")):
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT


def test_ticks_are_few_round_and_reach_the_top():
    rng = random.Random(0)
    for top in [10.0 ** rng.uniform(-12, 12) for _ in range(500)]:
        marks = ticks(top)
        step = marks[1]
        assert 4 <= len(marks) <= 8
        assert marks[0] == 0.0
        assert marks[-2] < top * (1 + 1e-6)
        assert marks[-1] > top * (1 - 1e-6)
        assert f"{step:e}"[0] in "125"
    assert ticks(3, whole=True) == [0.0, 1.0, 2.0, 3.0]
