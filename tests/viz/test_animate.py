"""The animated picture is whole in its first frame and shows each step at its time."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from test_html import HOSTILE, labelled
from test_steps import lecture, random_graph

from micrograd import MLP, Value, draw
from micrograd.viz.animate import animated
from micrograd.viz.steps import Plan

SVG = "{http://www.w3.org/2000/svg}"


def film(root: Value) -> ET.Element:
    return ET.fromstring(animated(draw(root).graph))


def at(element: ET.Element, name: str, moment: float) -> str | None:
    """An attribute at a moment between 0 and 1 of the animation, as SMIL has it with calcMode discrete."""
    value = element.get(name)
    for animation in element.findall(f"{SVG}animate"):
        if animation.get("attributeName") == name:
            times = [float(t) for t in animation.get("keyTimes", "").split(";")]
            values = animation.get("values", "").split(";")
            assert len(times) == len(values)
            assert times == sorted(set(times))
            assert times[0] == 0.0
            assert times[-1] < 1.0
            value = values[max(i for i, t in enumerate(times) if t <= moment)]
    return value


def texts(root: ET.Element, moment: float) -> list[str]:
    """The texts that are seen at a moment."""
    return [e.text or "" for e in root.iter(f"{SVG}text") if at(e, "visibility", moment) != "hidden"]


@pytest.mark.parametrize("moment", [0.0, 0.999])
def test_the_first_and_the_last_frame_have_all_numbers(moment: float) -> None:
    root = lecture()[0]
    whole = [e.text for e in ET.fromstring(draw(root).steps().svg).iter(f"{SVG}text")]
    assert texts(film(root), moment) == whole


def test_without_animation_the_picture_is_the_static_one() -> None:
    root = lecture()[0]
    picture = film(root)
    still = [e.text for e in picture.iter(f"{SVG}text") if e.get("visibility") != "hidden"]
    assert still == [e.text for e in ET.fromstring(draw(root).steps().svg).iter(f"{SVG}text")]


def test_each_step_shows_its_line_its_number_and_its_edges() -> None:
    root = lecture()[0]
    picture, plan = film(root), Plan(draw(root).graph)
    groups = [g for g in picture.iter(f"{SVG}g") if g.get("class")]
    wires = [g for g in groups if g.get("class") == "edge"]
    boxes = [g for g in groups if g.get("class") != "edge"]
    start, duration = timing(picture, len(plan.steps))
    for k, step in enumerate(plan.steps):
        moment = start + (k + 0.5) * duration
        lines = [e for e in picture.findall(f"{SVG}text") if at(e, "visibility", moment) == "visible"]
        assert [(line.text or "").startswith(step.text) for line in lines] == [True]
        lit = [e for e, wire in enumerate(wires) if at(wire.findall(f"{SVG}path")[0], "stroke-width", moment) == "4"]
        assert tuple(lit) == tuple(sorted(step.edges))
        if step.phase != "leaves":
            seen = [e.text for e in boxes[step.box].findall(f"{SVG}text") if at(e, "visibility", moment) != "hidden"]
            assert step.cell == seen[seen.index("data" if step.phase == "forward" else "grad") + 1]


def timing(picture: ET.Element, steps: int) -> tuple[float, float]:
    """Start and duration of the steps as parts of the whole, from the first and the last line of text."""
    starts = [float(e.findall(f"{SVG}animate")[0].get("keyTimes", "").split(";")[1]) for e in picture.findall(f"{SVG}text")]
    assert len(starts) == steps
    return starts[0], (starts[-1] - starts[0]) / (steps - 1)


def test_before_its_step_a_number_is_not_there() -> None:
    picture = film(lecture()[0])
    start, duration = timing(picture, 17)
    assert "-6" not in texts(picture, start + 0.5 * duration)
    assert "-6" in texts(picture, start + 1.5 * duration)


def test_it_has_no_script_and_no_style() -> None:
    text = animated(draw(lecture()[0]).graph)
    assert not re.search(r"<script|<style|style=|<use|<!DOCTYPE|\son\w+=", text)


def test_text_that_appears_stays_within_the_picture() -> None:
    x = Value(1.0, label="a label of just the length")
    picture = film(x * x)
    width = float(picture.get("width", "0"))
    assert width >= 7 * max(len(e.text or "") for e in picture.findall(f"{SVG}text"))


def test_many_steps_are_played_faster() -> None:
    picture = film(random_graph(0, 45))
    assert float(next(picture.iter(f"{SVG}animate")).get("dur", "").removesuffix("s")) <= 96.0


@pytest.mark.parametrize("label", HOSTILE)
def test_a_label_stays_text(label: str) -> None:
    plain, hostile = film(labelled("x")), film(labelled(label))
    assert [e.tag for e in hostile.iter()] == [e.tag for e in plain.iter()]


def test_save_writes_it(tmp_path: Path) -> None:
    picture = draw(lecture()[0])
    assert picture.save(tmp_path / "backward.svg", animate=True).read_text(encoding="utf-8") == animated(picture.graph)
    with pytest.raises(ValueError, match=r"writes an \.svg"):
        picture.save(tmp_path / "backward.png", animate=True)
    with pytest.raises(ValueError, match="level='value'"):
        draw(MLP(3, [8, 8, 1]), level="layer").save(tmp_path / "backward.svg", animate=True)
