"""The README keeps its promises: its examples print what they say, its commands are the ones that CI runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from micrograd import ops

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_readme_is_at_most_200_lines_long() -> None:
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("example", EXAMPLES, ids=[text.strip().splitlines()[-1][:30] for text in EXAMPLES])
def test_readme_examples_print_what_their_comments_say(
    example: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    known = dict(ops.TABLE)
    try:
        exec(compile(example, "README.md", "exec"), {"__name__": "readme"})
    finally:
        ops.TABLE.clear()
        ops.TABLE.update(known)
    promised = re.findall(r"print\(.*\)  # (.*)", example)
    assert promised, "an example shows nothing"
    assert capsys.readouterr().out.splitlines() == promised


def test_readme_test_command_is_the_one_that_ci_runs() -> None:
    reader = next(
        line for line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines() if "test_command=" in line
    )
    command = re.search(r"<!-- test command -->\n```sh\n(.*?)\n```", README, re.DOTALL)
    assert command is not None
    done = subprocess.run(
        ["bash", "-c", f'{reader}; printf "%s" "$test_command"'], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == command[1]
    assert "-m pytest" in done.stdout


def test_readme_layout_names_every_module_and_package() -> None:
    layout = README[README.index("## How the code is laid out") :]
    for path in sorted((ROOT / "micrograd").rglob("*.py")):
        name = path.name if path.parent.name == "micrograd" else f"{path.parent.name}/"
        if name != "__init__.py":
            assert name in layout, f"README's layout does not name {name}"


def test_readme_links_lead_to_files() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), f"README links to {target}, which is missing"


def test_readme_examples_need_nothing_but_this_package() -> None:
    imports = {
        line.split()[1].split(".")[0]
        for text in EXAMPLES
        for line in text.splitlines()
        if line.startswith(("from", "import"))
    }
    assert imports <= {"micrograd", *sys.stdlib_module_names}
