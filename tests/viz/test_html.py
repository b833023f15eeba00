"""The page holds all it needs, stays small, and takes no label for markup."""

from __future__ import annotations

import html.parser
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from test_steps import lecture, random_graph

from micrograd import MLP, Value, draw, losses, topological_order
from micrograd.viz.html import Stepper, page

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<!--",
    "-->",
    "]]>",
    "&lt;b&gt;",
    "\"'`",
    "a\nb\u2028c",
    "$title ${data}",
    '"><img src=x onerror=alert(1)>',
    "\\u003cb",
]


class _Parsed(html.parser.HTMLParser):
    """What a browser sees: tags with their attributes, and the texts in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.tags[-1][0] if self.tags else "", []).append(data)


def data_of(text: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def labelled(label: str) -> Value:
    x = Value(2.0, label=label)
    y = x * x
    y.label = label
    return y


def test_the_page_asks_the_network_for_nothing() -> None:
    parsed = _Parsed(draw(lecture()[0]).html)
    addresses = [
        value for _, attrs in parsed.tags for name, value in attrs.items() if name in ("src", "href", "data", "action")
    ]
    assert addresses == ["data:,"]  # no icon, so that a server is not asked for one
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest|import\(", draw(lecture()[0]).html)


def test_a_graph_of_200_nodes_is_a_page_under_300_kilobytes() -> None:
    picture = draw(random_graph(0, 200), level="value")
    assert 198 <= len(picture.graph.boxes) <= 202
    assert len(picture.html.encode()) < 300_000


@pytest.mark.parametrize(("nin", "sizes"), [(3, [10, 8, 1]), (4, [11, 9, 1])])
def test_a_network_of_about_200_nodes_is_a_page_under_300_kilobytes(nin: int, sizes: list[int]) -> None:
    """Also with each dot product drawn as the sums and products that it is made of, which are half as many boxes again."""
    loss = losses.mse([MLP(nin, sizes, seed=1)([0.5, -0.25, 0.75, 1.0][:nin])], [1.0])
    assert 170 < len(topological_order(loss)) < 230
    picture = draw(loss, level="value", expand=True)
    assert len(picture.html.encode()) < 300_000
    assert len(picture.steps()._repr_html_().encode()) < 320_000


def test_the_same_graph_gives_the_same_page() -> None:
    assert draw(lecture()[0]).html == draw(lecture()[0]).html


@pytest.mark.parametrize("label", HOSTILE)
def test_a_label_stays_text(label: str) -> None:
    plain, hostile = _Parsed(page(draw(labelled("x")).graph)), _Parsed(page(draw(labelled(label)).graph))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    shown = data_of(draw(labelled(label)).html)["boxes"][0][0]
    assert shown == " ".join(label.split())[:27] + "…" * (len(label) > 28)
    assert any(shown in text for text in hostile.texts["text"])


@pytest.mark.parametrize("label", HOSTILE)
def test_a_label_stays_text_within_the_frame(label: str) -> None:
    stepper = draw(labelled(label)).steps()
    (frame,) = _Parsed(stepper._repr_html_()).tags
    assert frame[0] == "iframe"
    assert frame[1]["srcdoc"] == stepper.html
    assert frame[1]["sandbox"] == "allow-scripts"


def test_script_survives_joined_lines() -> None:
    """marimo has joined the lines of srcdoc: a line comment would then swallow the rest, a missing semicolon an error."""
    script = _Parsed(draw(lecture()[0]).html).texts["script"][-1]
    assert "//" not in script
    for line in script.splitlines():
        code = line.strip()
        assert (
            not code
            or code[-1] in ";{},[(:?&|+"
            or code.startswith(("/*", ".filter", "?", ":", "x:", "right:"))
            or code == ")"
        ), line


def test_the_picture_in_the_page_has_the_gradients_of_its_own_pass() -> None:
    root, leaves = lecture()
    for leaf in leaves:
        leaf.grad = 7.0
    texts = _Parsed(draw(root).html).texts["text"]
    assert {"+10", "-4"} <= set(texts)
    assert "+7" not in texts


def test_a_box_made_wide_for_a_sum_on_the_way_shows_the_whole_sum() -> None:
    x = Value(1.0, label="x")
    texts = _Parsed(draw(x * -0.00012345 + x * 0.00012345 + x).html).texts["text"]
    at = texts.index("x")
    assert texts[at : at + 6] == ["x", "input", "data", "1", "grad", "+1"]


def test_numbers_that_json_has_no_name_for_are_text() -> None:
    x = Value(0.0, label="x")
    data = data_of(draw(x.log() * 0.0).html)
    assert [box[3] for box in data["boxes"][:2]] == ["nan", "0.0"]


def test_a_collapsed_picture_is_a_page_without_steps() -> None:
    data = data_of(draw(MLP(3, [8, 8, 1]), level="layer").html)
    assert data["steps"] == []
    assert data["boxes"]


def test_a_stepper_saves_itself(tmp_path: Path) -> None:
    stepper = draw(lecture()[0]).steps()
    assert stepper.save(tmp_path / "steps.html").read_text(encoding="utf-8") == stepper.html
    assert draw(lecture()[0]).save(tmp_path / "drawing.html").read_text(encoding="utf-8") == stepper.html
    with pytest.raises(ValueError, match=r"saved as \.html"):
        stepper.save(tmp_path / "steps.svg")


def test_a_notebook_gets_the_static_picture_first_and_then_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []
    fake = ModuleType("IPython.display")
    fake.display = lambda bundle, raw: shown.append(bundle)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    draw(lecture()[0]).steps()._ipython_display_()
    assert [list(bundle) for bundle in shown] == [["image/svg+xml", "text/plain"], ["text/html", "text/plain"]]
    assert "<script" not in shown[0]["image/svg+xml"]
    assert shown[1]["text/html"].startswith("<iframe ")


def test_without_ipython_it_prints_itself(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    draw(lecture()[0]).steps()._ipython_display_()
    assert capsys.readouterr().out == "Stepper(17 steps)\n"


def test_a_stepper_has_the_steps_as_data() -> None:
    assert draw(lecture()[0]).steps().steps[-1].text == "dL/db += dL/de * de/db = -2 * 2 = -4"
    assert isinstance(draw(lecture()[0]).steps(), Stepper)


def test_a_count_of_paths_beyond_10_to_the_15_is_said_in_words() -> None:
    y = Value(1.0, label="x")
    for _ in range(60):
        y = y + y
    assert data_of(draw(y, level="value").html)["paths"][0]["count"] == "more than 10**15"
