"""The notebooks: committed executed, free of traces of the run, and the same again when they are executed anew."""

from __future__ import annotations

import difflib
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, oracle
from rebuild_notebooks import METADATA, NOTEBOOKS, execute

REBUILD = "if the change is meant, run: python tests/rebuild_notebooks.py"
FIRST_HOUR = {"00_quickstart", "01_derivative", "03_backward_order", "09_train_moons"}
STATEMENTS = {*(f"S{i}" for i in range(1, 9)), *(f"V{i}" for i in range(1, 8))}
LIMIT = 400_000  # bytes of a notebook with its pictures
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def shown(output: dict[str, Any]) -> dict[str, str]:
    """The texts of an output by their kind.  A PNG depends on the version of matplotlib and is left out."""
    data = {output.get("name", ""): output["text"]} if output["output_type"] == "stream" else output["data"]
    return {kind: "".join(text) for kind, text in data.items() if kind != "image/png"}


def test_the_notebooks_of_the_first_hour_are_there() -> None:
    assert {path.stem for path in NOTEBOOKS} >= FIRST_HOUR


@each_notebook
def test_every_cell_was_executed_in_order_without_error(path: Path) -> None:
    cells = code_cells(read(path))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), REBUILD
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "execute_result", "display_data"}
    assert {output["name"] for output in outputs if output["output_type"] == "stream"} <= {"stdout"}, "a warning was shown"


@each_notebook
def test_no_time_version_or_widget_state_is_kept(path: Path) -> None:
    notebook = read(path)
    assert notebook["metadata"] == METADATA, REBUILD
    assert all(cell["metadata"] == {} for cell in notebook["cells"]), REBUILD


@each_notebook
def test_no_address_and_no_path_of_a_machine_is_shown(path: Path) -> None:
    texts = [text for cell in code_cells(read(path)) for output in cell["outputs"] for text in shown(output).values()]
    found = re.findall(r"0x[0-9a-f]{6,}|(?:/home|/root|/tmp|/usr|/work|/Users)/\S*|[A-Z]:\\\S*", "\n".join(texts))
    assert found == []


@each_notebook
def test_it_is_small(path: Path) -> None:
    assert path.stat().st_size < LIMIT


@each_notebook
def test_it_asserts_and_names_the_statements_that_it_covers(path: Path) -> None:
    notebook = read(path)
    assert sum("assert" in "".join(cell["source"]) for cell in code_cells(notebook)) >= 3
    covered = re.search(r"\*Covers: (.*)\*", "".join(notebook["cells"][0]["source"]))
    assert covered is not None, "the first cell needs a line *Covers: S1 ...*"
    assert set(re.findall(r"\b[SV]\d+\b", covered[1])) & STATEMENTS
    assert set(re.findall(r"\b[SV]\d+\b", covered[1])) <= STATEMENTS


@each_notebook
def test_it_loads_nothing_from_a_network(path: Path) -> None:
    texts = ["".join(cell["source"]) for cell in read(path)["cells"]]
    assert re.findall(r"https?://\S+|!\s*pip|%pip|urllib|requests|fetch_\w+", "\n".join(texts)) == []


@each_notebook
def test_its_links_lead_to_notebooks_that_exist(path: Path) -> None:
    for cell in read(path)["cells"]:
        for target in re.findall(r"\]\(([^)]+\.ipynb)\)", "".join(cell["source"])):
            assert (path.parent / target).exists(), target


@pytest.mark.notebooks
@each_notebook
def test_executed_anew_it_shows_the_same(path: Path, tmp_path: Path) -> None:
    for name in ("nbclient", "ipykernel", "matplotlib", "sklearn"):
        oracle(name)
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # those of the Jupyter libraries in this process are not ours to fix
        again = execute(path, tmp_path)
    for i, (before, after) in enumerate(zip(code_cells(read(path)), code_cells(again), strict=True), start=1):
        committed, fresh = ([shown(output) for output in cell["outputs"]] for cell in (before, after))
        assert committed == fresh, f"{path.name}, In [{i}] shows something else; {REBUILD}\n{difference(committed, fresh)}"
    for saved in tmp_path.iterdir():
        assert saved.read_bytes() == (path.parent / saved.name).read_bytes(), f"{saved.name} differs; {REBUILD}"


def difference(committed: list[dict[str, str]], fresh: list[dict[str, str]]) -> str:
    """The lines in which two lists of outputs differ, cut to what a reader takes in."""
    left, right = (
        [line for output in outputs for text in output.values() for line in text.splitlines()]
        for outputs in (committed, fresh)
    )
    return "\n".join(
        line[:200] for line in list(difflib.unified_diff(left, right, "committed", "fresh", lineterm="", n=0))[:20]
    )


def test_the_picture_of_the_readme_is_the_one_that_the_quickstart_saves() -> None:
    picture = (ROOT / "notebooks" / "neuron.svg").read_text(encoding="utf-8")
    outputs = [output for cell in code_cells(read(ROOT / "notebooks" / "00_quickstart.ipynb")) for output in cell["outputs"]]
    assert picture in [shown(output).get("image/svg+xml", "") for output in outputs], REBUILD
