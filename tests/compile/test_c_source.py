"""The C that a program becomes: no warning, no undefined behaviour, nothing out of bounds, the same bits for any threads."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checking import Case, arguments, bundle, compile_program
from conftest import ROOT

import micrograd
from micrograd import trees
from micrograd.compile.c_file import _tables

STRICT = ["-Wall", "-Wextra", "-Werror"]
SANITIZED = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def compilers() -> list[list[str]]:
    """The C compilers that are here, as commands."""
    found = [[path] for name in ("gcc", "clang") if (path := shutil.which(name))]
    try:
        import ziglang  # noqa: F401
    except ImportError:
        pass
    else:
        found.append([sys.executable, "-m", "ziglang", "cc"])
    return found


def needed(what: Any, name: str) -> Any:
    """Skip where something is missing; fail in CI."""
    if not what:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{name} is not here")
    return what


def c_source(seed: int, case: Case) -> str:
    """The C of a few random programs, with their gradients."""
    programs = bundle(seed, 4)
    program = compile_program(programs, case)
    examples = [programs.example() for _ in range(case.size or 1)]
    program.value_and_grad(*arguments(programs, case, examples), wrt=programs.differentiable)
    source: str = program.c_source
    return source


CASES = [
    Case("numpy"),
    Case("numpy", "float32"),
    Case("numpy", size=5, reduce="mean"),
    Case("numpy", "float32", 5),
    Case("native", size=5, reduce="sum", threads=2),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("compiler", compilers(), ids=lambda command: Path(command[-1]).name)
def test_the_c_source_compiles_without_a_warning(compiler: list[str], case: Case, tmp_path: Path) -> None:
    file = tmp_path / "program.c"
    file.write_text(c_source(1, case))
    flags = ["-std=gnu11", "-O2", *STRICT, "-c", "-o", str(tmp_path / "program.o")]
    done = subprocess.run([*compiler, *flags, str(file)], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr[:3000]) == (0, "")


def pattern(rng: np.random.Generator) -> Any:
    """Numbers as tables have them: repeated with a constant step, or without any order."""
    count, period = int(rng.integers(1, 300)), int(rng.integers(1, 40))
    if rng.random() < 0.3:
        return rng.integers(0, 9, count)
    place = np.arange(count)
    return rng.integers(0, 1000, period)[place % period] + place // period * int(rng.integers(-5, 6))


@pytest.mark.parametrize("seed", range(8))
def test_the_function_that_fills_the_table_fills_it_with_its_numbers(seed: int, tmp_path: Path) -> None:
    gcc = needed(shutil.which("gcc"), "gcc")
    rng = np.random.default_rng(seed)
    table = np.concatenate([pattern(rng) for _ in range(seed * 5)] or [np.zeros(1)]).astype(np.int32)
    file, library = tmp_path / "table.c", tmp_path / "table.so"
    file.write_text("#include <stdint.h>\n" + _tables(table))
    subprocess.run([gcc, "-std=gnu11", *STRICT, "-shared", "-fPIC", "-o", str(library), str(file)], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.mg_tables()
    assert list((ctypes.c_int32 * len(table)).in_dll(loaded, "mg_table")) == table.tolist()


def test_the_comment_names_the_flags_that_give_the_same_bits() -> None:
    """A program that begins on the interpreter is compiled without contraction; one of a batch is not."""
    small = micrograd.compile(lambda xs: sum(micrograd.exp(x) for x in xs), backend="native")
    small([0.5] * 40)
    assert "-fopenmp-simd -ffp-contract=off -DMG_EXACT, link with -lm" in small.c_source
    many = micrograd.compile(lambda x: micrograd.exp(x) * x, batch=(0,), backend="native")
    many(np.arange(3.0))
    assert "-fopenmp-simd, link with -lm" in many.c_source


def test_a_table_that_repeats_is_short() -> None:
    steps, back = (np.arange(252)[::way, None] * 7 for way in (1, -1))
    table = np.concatenate([(steps + np.arange(5) ** 2).ravel(), np.arange(400), (back + np.array([5, 2])).ravel()])
    assert len(_tables(table)) < len(_tables(table[:0])) + 200
    assert len(_tables(np.random.default_rng(0).permutation(1000))) > 4000


def test_the_c_source_is_the_same_in_every_process() -> None:
    code = "import sys; sys.path[:0] = {path!r}; import test_c_source as t; print(t.c_source(3, t.CASES[0]))"
    path = [str(ROOT / "tests" / "compile"), str(ROOT / "tests"), str(ROOT)]
    sources = {
        subprocess.run(
            [sys.executable, "-c", code.format(path=path)],
            env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True, timeout=120,
        ).stdout
        for seed in ("0", "1", "random")
    }  # fmt: skip
    assert len(sources) == 1
    assert len(sources.pop()) > 1000


SANITIZER_RUN = """
import sys
sys.path[:0] = {path!r}
from checking import Case, bundle, check_backends
for seed, case in {cases}:
    check_backends(bundle(seed, 4), Case(*case))
print("clean")
"""


@pytest.mark.parametrize(
    "case",
    [
        ("native",),
        ("native", "float32"),
        ("native", "float64", 19, "sum"),
        ("native", "float32", 19, "mean"),
        ("native", "float64", 1),
        ("native", "float64", 37, "sum", 2),
    ],
    ids=str,
)
def test_random_programs_run_clean_under_the_address_and_undefined_behaviour_sanitizers(case: Any, tmp_path: Path) -> None:
    gcc = needed(shutil.which("gcc"), "gcc")
    library = subprocess.run([gcc, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout.strip()
    needed(os.path.isabs(library), "libasan")
    path = [str(ROOT / "tests" / "compile"), str(ROOT / "tests"), str(ROOT)]
    command = tmp_path / "cc"  # its flags come last, so that -O3 is not asked for
    command.write_text(f'#!/bin/sh\nexec {gcc} "$@" {" ".join([*STRICT, *SANITIZED])}\n')
    command.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", SANITIZER_RUN.format(path=path, cases=[(10, case)])],
        env={
            **os.environ,
            "CC": str(command),
            "LD_PRELOAD": library,
            "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
            "MICROGRAD_CACHE": str(tmp_path / "cache"),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "clean"
    assert "ERROR" not in done.stderr
    assert "runtime error" not in done.stderr


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_two_threads_give_the_bits_of_one(seed: int, dtype: str) -> None:
    programs = bundle(seed, 3)
    size = random.Random(seed).choice([2, 100, 257])
    examples = [programs.example() for _ in range(size)]
    results = []
    for threads in (1, 2):
        case = Case("native", dtype, size, "sum", threads)
        program = compile_program(programs, case)
        args = arguments(programs, case, examples)
        value, gradients = program.value_and_grad(*args, wrt=programs.differentiable)
        results.append([value, *(leaf for g in gradients for leaf in trees.flatten(g)[0])])
    assert np.array_equal(results[0], results[1], equal_nan=True)
