"""The notebooks: committed executed, free of traces of the run, and the same again when they are executed anew."""

from __future__ import annotations

import difflib
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, oracle, run_fresh
from rebuild_notebooks import EXERCISES, FOLDER, METADATA, NOTEBOOKS, execute

REBUILD = "if the change is meant, run: python tests/rebuild_notebooks.py"
TEACHING = [
    "00_quickstart",
    "01_derivative",
    "02_sum_over_paths",
    "03_backward_order",
    "04_hidden_layer_gradient",
    "05_vector_chain_rule",
    "06_neuron_gradient",
    "07_loss_gradient",
    "08_activations_vanishing",
    "09_train_moons",
    "10_softmax_cross_entropy",
    "11_compile",
    "12_microgpt",
    "13_monte_carlo_greeks",
    "14_fit_with_scipy",
]
PROBLEMS = ["1_write_tanh", "2_exponent", "3_planted_bugs"]
STATEMENTS = {*(f"S{i}" for i in range(1, 9)), *(f"V{i}" for i in range(1, 8))}
LIMIT = 400_000  # bytes of a notebook with its pictures
LIMIT_OF_THE_GALLERY = 1_500_000  # it holds pages with scripts, too


def name(path: Path) -> str:
    return path.relative_to(FOLDER).with_suffix("").as_posix()


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
each_text = pytest.mark.parametrize("path", [*NOTEBOOKS, *EXERCISES], ids=name)
each_exercise = pytest.mark.parametrize("path", EXERCISES, ids=name)


def read(path: Path) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def shown(output: dict[str, Any]) -> dict[str, str]:
    """The texts of an output by their kind.  A PNG depends on the version of matplotlib and is left out."""
    data = {output.get("name", ""): output["text"]} if output["output_type"] == "stream" else output["data"]
    return {kind: "".join(text) for kind, text in data.items() if kind != "image/png"}


def sources(notebook: dict[str, Any]) -> list[str]:
    return ["".join(cell["source"]) for cell in code_cells(notebook)]


def test_the_notebooks_are_there_in_teaching_order() -> None:
    solutions = [f"solutions/{problem}" for problem in PROBLEMS]
    assert [name(path) for path in NOTEBOOKS] == [*TEACHING, "gallery", *solutions]
    assert [name(path) for path in EXERCISES] == [f"exercises/{problem}" for problem in PROBLEMS]


@each_notebook
def test_every_cell_was_executed_in_order_without_error(path: Path) -> None:
    cells = code_cells(read(path))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), REBUILD
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "execute_result", "display_data"}
    assert {output["name"] for output in outputs if output["output_type"] == "stream"} <= {"stdout"}, "a warning was shown"


@each_text
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
    assert path.stat().st_size < (LIMIT_OF_THE_GALLERY if path.stem == "gallery" else LIMIT)


@each_text
def test_it_asserts_and_names_the_statements_that_it_covers(path: Path) -> None:
    notebook = read(path)
    assert sum("assert" in cell or is_check(cell) for cell in sources(notebook)) >= 3
    covered = re.search(r"\*Covers: (.*)\*", "".join(notebook["cells"][0]["source"]))
    assert covered is not None, "the first cell needs a line *Covers: S1 ...*"
    assert set(re.findall(r"\b[SV]\d+\b", covered[1])) & STATEMENTS
    assert set(re.findall(r"\b[SV]\d+\b", covered[1])) <= STATEMENTS


@each_text
def test_it_loads_nothing_from_a_network(path: Path) -> None:
    texts = ["".join(cell["source"]) for cell in read(path)["cells"]]
    assert re.findall(r"https?://\S+|!\s*pip|%pip|urllib|requests|fetch_\w+", "\n".join(texts)) == []


@each_text
def test_its_links_lead_to_notebooks_that_exist(path: Path) -> None:
    for cell in read(path)["cells"]:
        for target in re.findall(r"\]\(([^)]+\.ipynb)\)", "".join(cell["source"])):
            assert (path.parent / target).exists(), target


@pytest.mark.notebooks
@each_notebook
def test_executed_anew_it_shows_the_same(path: Path, tmp_path: Path) -> None:
    for name in ("nbclient", "ipykernel", "matplotlib", "sklearn", "scipy", "names"):
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


def test_the_gallery_has_every_kind_of_picture() -> None:
    code = "\n".join(sources(read(FOLDER / "gallery.ipynb")))
    drawn = ("expand=True", "expand=False", 'level="neuron"', 'level="layer"', "focus=", "depth=", "draw_dot(", "paths=")
    others = ("jacobian_of(", "line_chart(", "viz.watch(", ".steps()", "animate=True", ".mermaid")
    assert [kind for kind in (*drawn, *others) if kind not in code] == []


# ------------------------------------------------------------------------------------------------------------- exercises


def is_check(cell: str) -> bool:
    return cell.startswith("# CHECK")


def is_task(cell: str) -> bool:
    return cell.startswith("# YOUR TURN")


def solution_of(path: Path) -> list[str]:
    return sources(read(FOLDER / "solutions" / path.name))


def complaints(cells: list[str]) -> list[str | None]:
    """The message of the failed assertion of each cell, None for a cell that passed; run in one fresh process."""
    program = (
        f"cells = {cells!r}"
        + """
import json, matplotlib

matplotlib.use("svg")
said, names = [], {"__name__": "__main__"}
for cell in cells:
    try:
        exec(cell, names)
        said.append(None)
    except AssertionError as error:
        said.append(str(error))
print()
print(json.dumps(said))
"""
    )
    oracle("matplotlib")
    said: list[str | None] = json.loads(run_fresh(program).splitlines()[-1])
    return said


@each_exercise
def test_an_exercise_is_kept_without_outputs_and_differs_from_its_solution_in_the_tasks_alone(path: Path) -> None:
    exercise, solution = read(path), read(FOLDER / "solutions" / path.name)
    assert all(cell["execution_count"] is None and cell["outputs"] == [] for cell in code_cells(exercise))
    pairs = [["".join(cell["source"]) for cell in pair] for pair in zip(exercise["cells"], solution["cells"], strict=True)]
    assert all(is_task(left) and is_task(right) for left, right in pairs if left != right)
    assert any(left != right for left, right in pairs)


@each_exercise
def test_every_check_of_an_unsolved_exercise_fails_with_a_hint(path: Path) -> None:
    cells = sources(read(path))
    assert sum(map(is_check, cells)) >= 3
    for cell, complaint in zip(cells, complaints(cells), strict=True):
        assert (complaint is not None) == is_check(cell), cell
        assert complaint is None or complaint.startswith("Hint: "), complaint


@each_exercise
def test_every_check_passes_once_the_solution_is_put_in(path: Path) -> None:
    pairs = zip(sources(read(path)), solution_of(path), strict=True)
    assert set(complaints([solved if is_task(cell) else cell for cell, solved in pairs])) == {None}


@pytest.mark.parametrize("mended", ["1", "12", "123"])
def test_the_checks_of_the_planted_bugs_lead_from_one_to_the_next(mended: str) -> None:
    cells = sources(read(FOLDER / "exercises" / "3_planted_bugs.ipynb"))
    task = next(i for i, cell in enumerate(cells) if is_task(cell))
    bugs = {
        "1": ("(self.data, other.data))", "(other.data, self.data))"),
        "2": ("parent.grad = node", "parent.grad += node"),
        "3": ("for node in reversed(order):", "for node in sorted(order, key=lambda n: -depth(n)):"),
    }
    for bug in mended:
        before, after = bugs[bug]
        assert cells[task].count(before) == 1
        cells[task] = cells[task].replace(before, after)
    cells[task] += "\n\n\ndef depth(node):\n    return 1 + max((depth(parent) for parent in node.parents), default=0)\n"
    failed = [complaint is not None for cell, complaint in zip(cells, complaints(cells), strict=True) if is_check(cell)]
    assert failed[:3] == [str(bug) not in mended for bug in (1, 2, 3)]
