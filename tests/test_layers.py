"""Who may import whom: each layer is imported in a fresh process, and what got loaded with it is looked at."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import ROOT, run_fresh

#: For each module, the modules of the package that may be loaded by importing it.
CORE = {"micrograd", "micrograd.ops", "micrograd.engine", "micrograd.anomaly", "micrograd.copying"}
ALLOWED = {
    "micrograd": CORE,
    "micrograd.losses": CORE | {"micrograd.losses"},
    "micrograd.optim": CORE | {"micrograd.columns", "micrograd.optim"},
    "micrograd.trees": CORE | {"micrograd.trees"},
    "micrograd.nn": CORE | {"micrograd.nn", "micrograd.trees"},
    "micrograd.functional": CORE | {"micrograd.functional", "micrograd.trees"},
    "micrograd.check": CORE | {"micrograd.check", "micrograd.functional", "micrograd.trees"},
}

# The package's own __init__ is left out by an empty stand-in, so that a module shows what it imports itself.
BARE = """
import sys, types
package = types.ModuleType("micrograd")
package.__path__ = [{path!r}]
sys.modules["micrograd"] = package
"""

LOADED = """
import importlib, sys
before = set(sys.modules)
importlib.import_module({module!r})
print(*sorted(set(sys.modules) - before))
"""


def loaded_by(module: str, path: Path | None = None) -> set[str]:
    """The modules that importing one loads in a fresh process; with a path, of a package folder without its __init__."""
    bare = "" if path is None else BARE.format(path=str(path))
    return set(run_fresh(bare + LOADED.format(module=module)).split())


def outside_the_standard_library(modules: set[str]) -> set[str]:
    return {name for name in modules if name.partition(".")[0] not in sys.stdlib_module_names | {"micrograd"}}


def of_the_package(modules: set[str]) -> set[str]:
    return {name for name in modules if name.partition(".")[0] == "micrograd"}


def test_ops_imports_the_standard_library_only() -> None:
    loaded = loaded_by("micrograd.ops", ROOT / "micrograd")
    assert not outside_the_standard_library(loaded)
    assert of_the_package(loaded) == {"micrograd.ops"}


def test_engine_imports_ops_only() -> None:
    loaded = loaded_by("micrograd.engine", ROOT / "micrograd")
    assert not outside_the_standard_library(loaded)
    assert of_the_package(loaded) == {"micrograd.ops", "micrograd.engine"}


@pytest.mark.parametrize("module", ALLOWED)
def test_a_layer_imports_only_those_below_it_and_the_standard_library(module: str) -> None:
    loaded = loaded_by(module)
    assert not outside_the_standard_library(loaded)
    assert of_the_package(loaded) <= ALLOWED[module]


ROOMS = sorted(
    path.stem for path in (ROOT / "micrograd").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
)


@pytest.mark.parametrize("room", sorted({*ROOMS} - {"__init__", "__main__", "viz", "compile"}))
def test_nothing_but_the_command_line_imports_pictures_and_the_compiler(room: str) -> None:
    loaded = loaded_by(f"micrograd.{room}")
    assert not outside_the_standard_library(loaded)
    assert not {name for name in loaded if name.startswith(("micrograd.viz", "micrograd.compile"))}


@pytest.mark.parametrize(
    ("line", "caught"),
    [
        ("import numpy", "numpy"),
        ("from micrograd import engine", "micrograd.engine"),
        ("import micrograd.viz.svg", "micrograd.viz"),
    ],
)
def test_the_fence_catches_a_planted_import(line: str, caught: str, tmp_path: Path) -> None:
    package = tmp_path / "micrograd"
    for name in ("ops.py", "engine.py", "viz/__init__.py", "viz/svg.py"):
        target = package / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((ROOT / "micrograd" / name).read_text() if name == "ops.py" else "")
    (package / "ops.py").write_text((package / "ops.py").read_text() + f"\n{line}\n")
    loaded = loaded_by("micrograd.ops", package)
    assert caught in outside_the_standard_library(loaded) | (of_the_package(loaded) - {"micrograd.ops"})


def test_the_package_loads_its_other_rooms_when_they_are_asked_for() -> None:
    run_fresh("""
import sys, micrograd
assert "micrograd.nn" not in sys.modules and "micrograd.viz" not in sys.modules
micrograd.MLP, micrograd.draw
assert "micrograd.nn" in sys.modules and "micrograd.viz" in sys.modules
assert "graphviz" not in sys.modules and "numpy" not in sys.modules
""")


def test_the_compiler_loads_numpy_when_something_is_compiled_and_not_before() -> None:
    run_fresh("""
import sys, micrograd
import micrograd.compile
assert "numpy" not in sys.modules
inner = {name for name in sys.modules if name.startswith("micrograd.compile.")}
assert not inner, inner
decorator = micrograd.compile(backend="numpy")
assert "numpy" not in sys.modules
assert decorator(lambda x: x * x)(3.0) == 9.0
assert "numpy" in sys.modules and "micrograd.compile.program" in sys.modules
""")


@pytest.mark.parametrize("call", ["micrograd.compile(lambda x: x)", "micrograd.load_program", "micrograd.fit"])
def test_without_numpy_the_compiler_says_in_one_line_what_to_install(call: str) -> None:
    run_fresh(f"""
import sys
sys.modules["numpy"] = None
import micrograd
try:
    {call}
except ModuleNotFoundError as error:
    assert str(error) == "{call.partition("(")[0]} needs NumPy: pip install numpy", error
    assert error.__suppress_context__
else:
    raise AssertionError
""")


def test_every_public_name_exists_and_is_listed() -> None:
    run_fresh("""
import micrograd
for name in micrograd.__all__:
    getattr(micrograd, name)
assert set(micrograd.__all__) <= set(dir(micrograd))
try:
    micrograd.nonsense
except AttributeError as error:
    assert str(error) == "module 'micrograd' has no attribute 'nonsense'"
else:
    raise AssertionError
""")


def test_no_module_outside_the_compiler_names_it_but_the_public_face() -> None:
    for path in (ROOT / "micrograd").glob("*.py"):
        if path.name != "__init__.py":
            assert "from micrograd.compile" not in path.read_text(), path.name
