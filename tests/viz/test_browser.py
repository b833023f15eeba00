"""The page in a real browser: every step by keyboard, no network, nothing overlaps, and axe-core finds nothing to object to.

It takes Chromium (``apt-get install chromium``) and the packages playwright and axe-playwright-python.
"""

from __future__ import annotations

import importlib.resources
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import oracle
from test_html import HOSTILE, labelled
from test_steps import lecture, random_graph

from micrograd import MLP, Value, draw
from micrograd.viz.animate import animated

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
SIZES = [(1280, 800), (400, 800)]
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = oracle("playwright.sync_api")
    program = shutil.which("chromium")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs chromium: apt-get install chromium")
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=program, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def tab(browser: Any) -> Any:
    """The page that most tests share: a new one takes longer than most tests."""
    return browser.new_context().new_page()


@pytest.fixture
def open_page(browser: Any, tab: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens a page from a file, and at the end holds that it asked for nothing and said nothing on the console.

    ``context`` are options of a browser context of its own, the others are those of ``emulate_media``.
    """
    seen: list[str] = []
    paths: list[str] = []
    listeners = {
        "console": lambda message: seen.append(f"console: {message.text}"),
        "pageerror": lambda error: seen.append(f"error: {error}"),
        "dialog": lambda dialog: seen.append(f"dialog: {dialog.message}"),
        "request": lambda asked: None if asked.url in paths else seen.append(f"request: {asked.url[:80]}"),
    }
    pages = [tab]
    for event, listener in listeners.items():
        tab.on(event, listener)

    def opened(text: str, size: tuple[int, int] = SIZES[0], context: Any = None, **media: str) -> Any:
        path = tmp_path / ("picture.svg" if text.startswith("<svg") else f"page{len(paths)}.html")
        path.write_text(text, encoding="utf-8")
        paths.append(path.as_uri())
        page = tab if context is None else browser.new_context(**context).new_page()
        if page is not tab:
            pages.append(page)
            for event, listener in listeners.items():
                page.on(event, listener)
        page.set_default_timeout(5000)
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.emulate_media(**{"color_scheme": "light", "reduced_motion": "no-preference", **media})
        page.mouse.move(0, 0)
        page.goto(path.as_uri())
        return page

    yield opened
    for page in pages[1:]:
        page.context.close()
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
    assert [what for what in seen if not what.startswith("request: data:")] == []


def read(page: Any) -> str:
    return str(page.locator("#equation").text_content())


def last_cells(page: Any) -> dict[str, str]:
    """The gradient in each box, by the name in the box."""
    return dict(
        page.evaluate(
            """[...document.querySelectorAll(".box")].map(box => {
                const texts = [...box.querySelectorAll("text")].map(t => t.textContent);
                return [texts[0], texts[texts.length - 1]];
            })"""
        )
    )


# -------------------------------------------------------------------------------------------------------------- the passes


def test_a_walk_by_keyboard_ends_at_the_engines_gradients(open_page: Open) -> None:
    root, leaves = lecture()
    picture = draw(root)
    page = open_page(picture.html)
    said = [read(page)]
    for _ in picture.steps().steps[1:]:
        page.keyboard.press("ArrowRight")
        said.append(read(page))
    assert said == [step.text for step in picture.steps().steps]
    root.backward()
    gradients = last_cells(page)
    page.locator(".box").first.focus()
    for leaf in leaves:
        assert float(gradients[leaf.label]) == leaf.grad
        label = page.locator(f'.box[aria-label^="{leaf.label},"]').get_attribute("aria-label")
        assert label == f"{leaf.label}, input, data {leaf.data!r}, gradient {leaf.grad!r}"


def test_home_end_and_the_arrows_move_through_the_steps(open_page: Open) -> None:
    page = open_page(draw(lecture()[0]).html)
    count = page.locator("#count")
    for key, place in (("End", 17), ("ArrowRight", 17), ("ArrowLeft", 16), ("Home", 1), ("ArrowLeft", 1), ("ArrowRight", 2)):
        page.keyboard.press(key)
        assert count.text_content() == f"{place} / 17"


def test_buttons_and_slider_move_through_the_steps(open_page: Open) -> None:
    page = open_page(draw(lecture()[0]).html)
    for button, place in (("Last", 17), ("Previous", 16), ("First", 1), ("Next", 2)):
        page.get_by_role("button", name=f"{button} step").click()
        assert page.locator("#count").text_content() == f"{place} / 17"
    slider = page.get_by_role("slider", name="Step")
    slider.focus()
    page.keyboard.press("End")
    assert read(page).startswith("dL/db += ")
    assert slider.get_attribute("aria-valuetext") == read(page)
    page.keyboard.press("ArrowLeft")
    assert page.locator("#count").text_content() == "16 / 17"


def test_space_plays_to_the_end_and_pauses(open_page: Open) -> None:
    page = open_page("<!DOCTYPE html><title>empty</title>", context={})
    page.clock.install()
    page.set_content(draw(lecture()[0]).html)
    page.keyboard.press("Space")
    assert page.locator("#line").get_attribute("aria-live") == "off"  # while it plays, a reader is not flooded
    page.clock.run_for(2500)
    assert page.locator("#count").text_content() == "3 / 17"
    page.keyboard.press("Space")
    assert page.locator("#line").get_attribute("aria-live") == "polite"
    page.clock.run_for(5000)
    assert page.locator("#count").text_content() == "3 / 17"
    page.get_by_role("button", name="Play").click()
    page.clock.run_for(60_000)
    assert page.locator("#count").text_content() == "17 / 17"
    assert page.get_by_role("button", name="Play").count() == 1


def test_the_current_edge_and_its_local_derivative_are_lit(open_page: Open) -> None:
    picture = draw(lecture()[0])
    page = open_page(picture.html)
    for k, step in enumerate(picture.steps().steps):
        page.evaluate(
            "k => { const s = document.getElementById('slider'); s.value = k; s.dispatchEvent(new Event('input')); }", k
        )
        lit = page.evaluate(
            "[...document.querySelectorAll('.edge')].flatMap((e, i) => e.classList.contains('lit') ? [i] : [])"
        )
        assert lit == sorted(step.edges)
        assert page.locator("#equation mark").all_text_contents() == list(step.parts[1::2])
        if step.phase != "leaves":
            box = page.locator(".box.lit")
            assert box.count() == 1
            assert box.locator(".changed").text_content() == step.cell


def test_a_number_is_not_shown_before_it_is_computed(open_page: Open) -> None:
    page = open_page(draw(lecture()[0]).html)
    assert page.locator(".box.waiting").count() == 5
    assert page.locator('.box[aria-label="L, +, data not computed yet, gradient none yet"]').count() == 1
    page.keyboard.press("End")
    assert page.locator(".box.waiting").count() == 0


# --------------------------------------------------------------------------------------------------------------- the paths


def test_the_sum_over_paths_adds_up_to_the_gradient(open_page: Open) -> None:
    page = open_page(draw(lecture()[0]).html)
    page.get_by_role("button", name="Sum over paths").click()
    choice = page.get_by_role("combobox")
    assert choice.locator("option").all_text_contents() == ["a (3 paths)", "b (1 path)", "c (1 path)", "f (1 path)"]
    assert read(page) == "dL/dv1 * dv1/dd * dd/de * de/da = 1 * -2 * 1 * -3 = 6"
    assert page.locator(".edge.lit").count() == 4
    sums = [last_cells(page)["a"]]
    for _ in range(2):
        page.keyboard.press("ArrowRight")
        assert page.locator(".edge.lit").count() == 2
        sums.append(last_cells(page)["a"])
    assert sums == ["+6", "+8", "+10"]
    assert page.locator("#note").text_content() == "Sum so far: 8 + 2 = 10. All 3 paths add up to the gradient: dL/da = 10."
    choice.select_option("b (1 path)")
    assert page.locator("#note").text_content() == "The only path: dL/db = -4."
    page.get_by_role("button", name="Forward and backward").click()
    assert page.locator("#count").text_content() == "1 / 17"


def test_of_many_paths_it_says_how_many_there_are(open_page: Open) -> None:
    y = Value(1.0, label="x")
    for _ in range(20):
        y = y + y
    y.label = "y"
    page = open_page(draw(y).html)
    page.get_by_role("button", name="Sum over paths").click()
    page.keyboard.press("End")
    assert "The 20 largest of 1,048,576 paths are played; all of them add up to dy/dx = 1.04858e+06." in str(
        page.locator("#note").text_content()
    )


# -------------------------------------------------------------------------------------------------------- boxes and the view


def test_boxes_are_read_by_pointer_and_by_keyboard(open_page: Open) -> None:
    page = open_page(draw(lecture()[0]).html)
    page.keyboard.press("End")
    page.locator(".box").nth(2).hover()
    assert page.locator("#details").text_content() == "e, *, data -6.0, gradient -2.0"
    page.locator("#theme").focus()
    page.keyboard.press("Tab")
    for text in ("a, input, data 2.0, gradient 10.0", "b, input, data -3.0, gradient -4.0"):
        assert page.locator("#details").text_content() == text
        assert page.locator(".box:focus").get_attribute("aria-label") == text
        page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert page.locator(".box:focus").get_attribute("aria-label") == "b, input, data -3.0, gradient -4.0"


def test_the_box_pointed_at_stays_the_one_told_of_after_a_step(open_page: Open) -> None:
    page = open_page(draw(lecture()[0]).html, reduced_motion="reduce")
    page.locator('.box[aria-label^="e,"]').hover()
    assert str(page.locator("#details").text_content()).startswith("e, *, data not computed yet")
    page.keyboard.press("ArrowRight")
    assert str(page.locator("#details").text_content()) == "e, *, data -6.0, gradient none yet"


def scale_and_place(page: Any) -> tuple[float, float]:
    box = page.locator(".box").first.bounding_box()
    return box["width"], box["x"]


def test_zoom_and_pan_by_buttons_wheel_keyboard_and_pointer(open_page: Open) -> None:
    page = open_page(draw(lecture()[0]).html, reduced_motion="reduce")
    width, _ = scale_and_place(page)
    page.get_by_role("button", name="Zoom in").click()
    assert scale_and_place(page)[0] == pytest.approx(1.25 * width, rel=0.03)
    page.get_by_role("button", name="Fit").click()
    assert scale_and_place(page)[0] == pytest.approx(width, rel=0.03)
    page.locator(".box").first.focus()
    page.keyboard.press("-")
    assert scale_and_place(page)[0] == pytest.approx(0.8 * width, rel=0.03)
    page.keyboard.press("0")
    page.keyboard.press("+")
    assert scale_and_place(page)[0] == pytest.approx(1.25 * width, rel=0.03)
    x = scale_and_place(page)[1]
    page.keyboard.press("Shift+ArrowRight")
    assert scale_and_place(page)[1] == pytest.approx(x - 60, abs=2)
    page.mouse.move(640, 480)
    page.mouse.down()
    page.mouse.move(600, 480)
    page.mouse.up()
    assert scale_and_place(page)[1] == pytest.approx(x - 100, abs=2)
    page.mouse.wheel(0, -400)
    page.wait_for_function("w => document.querySelector('.box').getBoundingClientRect().width > 2 * w", arg=width)


def test_a_step_out_of_sight_is_brought_into_view(open_page: Open) -> None:
    page = open_page(draw(random_graph(0, 60), level="value").html, SIZES[1], reduced_motion="reduce")
    stage = page.locator("#stage").bounding_box()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
        box = page.locator(".box.lit").bounding_box()
        assert stage["x"] <= box["x"]
        assert box["x"] + box["width"] <= stage["x"] + stage["width"]
        assert stage["y"] <= box["y"]
        assert box["y"] + box["height"] <= stage["y"] + stage["height"]


# ----------------------------------------------------------------------------------------------------- looks and readability

RECTANGLES = """selector => [...document.querySelectorAll(selector)].filter(e => e.checkVisibility()).map(e => {
    const r = e.getBoundingClientRect();
    return [e.id || e.textContent.slice(0, 40), r.left, r.top, r.right, r.bottom];
})"""


def overlaps(rectangles: list[tuple[str, float, float, float, float]]) -> list[tuple[str, str]]:
    """The pairs that have more than a pixel's edge in common."""
    return [
        (a[0], b[0])
        for a, b in itertools.combinations(rectangles, 2)
        if min(a[3], b[3]) - max(a[1], b[1]) > 1 and min(a[4], b[4]) - max(a[2], b[2]) > 1
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["passes", "sum"])
def test_nothing_overlaps(open_page: Open, size: tuple[int, int], mode: str) -> None:
    page = open_page(draw(lecture()[0]).html, size)
    page.locator(f"#{mode}").click()
    page.keyboard.press("End")
    assert overlaps(page.evaluate(RECTANGLES, "header, #stage, .panel > *, footer > p")) == []
    assert overlaps(page.evaluate(RECTANGLES, "h1, button, select, #slider, #count, .line > p, footer > p")) == []
    assert overlaps(page.evaluate(RECTANGLES, ".box")) == []
    assert overlaps(page.evaluate(RECTANGLES, "#stage text")) == []
    for _, left, top, right, bottom in page.evaluate(
        RECTANGLES, "header, #stage, .panel, footer, button, select, #slider, p"
    ):
        assert left >= 0
        assert right <= size[0]
        assert top >= 0
        assert bottom <= page.evaluate("document.documentElement.scrollHeight") + 1
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_numbers_stay_within_their_boxes_while_they_grow(open_page: Open) -> None:
    x = Value(1.0, label="x")
    root = x * -0.00012345 + x * 0.00012345 + x * 1e-300  # widest in the middle of the sum
    page = open_page(draw(root).html)
    for _ in draw(root).steps().steps:
        rows = page.evaluate(
            """[...document.querySelectorAll(".box")].map(box => [box.firstChild, ...box.querySelectorAll("text")]
                .map(e => { const r = e.getBoundingClientRect(); return ["", r.left, r.top, r.right, r.bottom]; }))"""
        )
        for outline, *texts in rows:
            assert all(outline[1] < text[1] and text[3] < outline[3] for text in texts)
            assert overlaps(texts) == []
        page.keyboard.press("ArrowRight")


def test_axe_finds_no_violation(open_page: Open) -> None:
    axe = importlib.resources.files(oracle("axe_playwright_python")).joinpath("axe.min.js").read_text(encoding="utf-8")
    page = open_page(draw(lecture()[0]).html, reduced_motion="reduce")
    page.evaluate(axe)
    for size, scheme, mode in zip(
        SIZES * 2, ("light", "dark", "dark", "light"), ("passes", "sum", "passes", "sum"), strict=True
    ):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.emulate_media(color_scheme=scheme)
        page.locator(f"#{mode}").click()
        page.keyboard.press("ArrowRight")
        found = page.evaluate("axe.run()")
        assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found["violations"]] == []
        assert len(found["passes"]) > 10


LUMINANCE = """() => [...document.querySelectorAll("#stage text")].map(text => {
    const luminance = colour => {
        const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(Number)
            .map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const outline = text.parentNode.classList.contains("box") ? text.parentNode.firstChild : null;
    const behind = outline ? getComputedStyle(outline).fill
        : text.parentNode.classList.contains("lit") ? getComputedStyle(text).stroke
        : getComputedStyle(document.getElementById("stage")).backgroundColor;
    const pair = [luminance(getComputedStyle(text).fill), luminance(behind)].sort((a, b) => b - a);
    return (pair[0] + 0.05) / (pair[1] + 0.05);
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_in_the_picture_have_contrast_aa(open_page: Open, scheme: str) -> None:
    """axe does not look into SVG."""
    net = MLP(2, [2, 1])  # inputs, parameters and constants
    page = open_page(draw(net([1.0, Value(2.0)]), level="value").html, color_scheme=scheme, reduced_motion="reduce")
    page.keyboard.press("End")
    assert min(page.evaluate(LUMINANCE)) >= 4.5


def background(page: Any) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_dark_mode_follows_the_system_and_the_toggle(open_page: Open) -> None:
    page = open_page(draw(lecture()[0]).html)
    light = background(page)
    page.emulate_media(color_scheme="dark")
    dark = background(page)
    assert light != dark
    page.get_by_role("button", name="Light colours").click()
    assert background(page) == light
    page.emulate_media(color_scheme="light")
    page.get_by_role("button", name="Dark colours").click()
    assert background(page) == dark
    page.get_by_role("button", name="Light colours").click()
    assert background(page) == light


def test_reduced_motion_stops_all_transitions(open_page: Open) -> None:
    duration = "getComputedStyle(document.querySelector('.box').firstChild).transitionDuration"
    text = draw(lecture()[0]).html
    assert open_page(text).evaluate(duration) == "0.12s, 0.12s"
    page = open_page(text, SIZES[1], reduced_motion="reduce")
    assert page.evaluate(duration) == "0s"
    page.keyboard.press("End")
    page.keyboard.press("Home")
    before = scale_and_place(page)
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert scale_and_place(page) == before


# ------------------------------------------------------------------------------------------------------ odd surroundings


@pytest.mark.parametrize("framed", [False, True])
def test_hostile_labels_stay_text(open_page: Open, framed: bool) -> None:
    root = labelled(HOSTILE[0])
    for label in HOSTILE[1:]:
        root = root + labelled(label)
    stepper = draw(root, level="value").steps()
    page = open_page(f"<!DOCTYPE html><title>t</title>{stepper._repr_html_()}" if framed else stepper.html)
    inside = page.frame_locator("iframe").locator("body") if framed else page.locator("body")
    inside.get_by_role("button", name="Next step").press("End")
    inside.locator("#count", has_text=f"{len(stepper.steps)} /").wait_for()
    assert inside.locator("script").count() == 2
    assert inside.locator("img").count() == 0
    assert inside.locator(".box").count() == len(stepper.plan.names)
    names = [
        box.split(", ")[0]
        for box in inside.locator(".box").evaluate_all("all => all.map(e => e.getAttribute('aria-label'))")
    ]
    assert HOSTILE[0] in names


def test_it_runs_in_a_sandboxed_frame_whose_line_breaks_were_joined(open_page: Open) -> None:
    frame = draw(lecture()[0]).steps()._repr_html_()
    page = open_page(f"<!DOCTYPE html><title>notebook</title>{frame.replace(chr(10), ' ')}")
    inside = page.frame_locator("iframe")
    inside.get_by_role("button", name="Next step").press("End")
    inside.get_by_text("dL/db += ").wait_for()
    assert page.evaluate("document.querySelector('iframe').contentDocument") is None  # it is a world of its own


def test_in_a_frame_the_wheel_scrolls_the_notebook_until_the_picture_is_clicked(open_page: Open) -> None:
    frame = draw(lecture()[0]).steps()._repr_html_()
    page = open_page(f"<!DOCTYPE html><title>notebook</title>{frame}<div style='height: 3000px'></div>")
    box = page.frame_locator("iframe").locator(".box").first
    box.hover()
    width = box.bounding_box()["width"]
    page.mouse.wheel(0, 100)
    page.wait_for_function("window.scrollY > 0")
    assert box.bounding_box()["width"] == width


def test_without_scripts_the_picture_is_there_with_all_numbers(open_page: Open) -> None:
    root, leaves = lecture()
    page = open_page(draw(root).html, context={"java_script_enabled": False})
    root.backward()
    texts = page.locator("#stage text").all_text_contents()
    assert {f"{leaf.grad:+g}" for leaf in leaves} <= set(texts)
    assert not page.locator(".panel").is_visible()


def test_a_collapsed_picture_can_be_looked_around_in(open_page: Open) -> None:
    page = open_page(draw(MLP(3, [8, 8, 1]), level="layer").html)
    assert not page.locator(".panel").is_visible()
    page.locator(".box").first.hover()
    assert str(page.locator("#details").text_content()).startswith("x0, x1, x2, input × 3, ")
    page.keyboard.press("ArrowRight")


def test_the_animated_picture_plays_without_a_script(open_page: Open) -> None:
    """At a moment in the middle of a step its line alone is seen; at the start there is none."""
    picture = draw(lecture()[0])
    page = open_page(animated(picture.graph))
    seen = """seconds => { document.documentElement.pauseAnimations(); document.documentElement.setCurrentTime(seconds);
        return [...document.querySelectorAll("svg > text")].filter(e => getComputedStyle(e).visibility === "visible")
            .map(e => e.textContent); }"""
    assert page.evaluate(seen, 0.5) == []
    for k, step in enumerate(picture.steps().steps):
        (line,) = page.evaluate(seen, 2.0 + 1.2 * (k + 0.5))
        assert line.startswith(step.text)
