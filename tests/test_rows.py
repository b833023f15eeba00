"""Every statement of the two texts that micrograd teaches is in a notebook and in a unit test."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import ROOT

ROWS = ["S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "V1", "V2", "V3", "V4", "V5", "V6", "V7"]


def rows_covered_by(notebook: Path) -> set[str]:
    """The rows that the line *Covers: ...* of a notebook's first cell names."""
    first = "".join(json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]["source"])
    found = re.search(r"^\*Covers: (.*)\*$", first, re.MULTILINE)
    return set(re.findall(r"\b[SV][0-9]+\b", found[1])) if found else set()


def rows_tested_in(file: Path) -> set[str]:
    """The rows that the names of the tests in a file have, such as S1 in test_s1_the_derivative_is_a_sum."""
    names = re.findall(r"^def test_(\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {part.upper() for name in names for part in name.split("_") if re.fullmatch("[sv][0-9]+", part)}


@pytest.mark.parametrize("row", ROWS)
def test_a_teaching_notebook_covers_the_row(row: str) -> None:
    assert [path.stem for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")) if row in rows_covered_by(path)]


@pytest.mark.parametrize("row", ROWS)
def test_a_unit_test_of_the_chain_rule_has_the_row_in_its_name(row: str) -> None:
    assert [path.stem for path in sorted((ROOT / "tests" / "chain").glob("test_*.py")) if row in rows_tested_in(path)]


def test_a_row_that_is_in_no_name_and_in_no_notebook_would_be_noticed(tmp_path: Path) -> None:
    notebook, file = tmp_path / "n.ipynb", tmp_path / "test_n.py"
    notebook.write_text(json.dumps({"cells": [{"source": ["# S2\n", "*Covers: S1, V3 (S, V).*"]}]}), encoding="utf-8")
    file.write_text("def test_s1_and_v3_hold() -> None: ...\n# def test_s2_too\n", encoding="utf-8")
    assert rows_covered_by(notebook) == rows_tested_in(file) == {"S1", "V3"}


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")), ids=lambda path: path.stem)
def test_a_teaching_notebook_typesets_its_formulas_and_uses_the_library_beside_them(notebook: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = {kind: "".join("".join(c["source"]) for c in cells if c["cell_type"] == kind) for kind in ("markdown", "code")}
    assert re.search(r"\$[^$]*[=\\][^$]*\$", texts["markdown"]), "no formula for MathJax"
    assert re.search(r"^from micrograd", texts["code"], re.MULTILINE)
