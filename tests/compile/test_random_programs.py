"""Random programs: eager == numpy == native, values and gradients, one example and batches, both number types."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from checking import CASES, Case, bundle, check_backends, check_bundle, check_values
from exact import value_and_gradients
from hypothesis import HealthCheck, given, settings, strategies as st
from programs import ARGUMENTS, OPERATIONS, Program

from micrograd.compile import toolchain

COUNT = 500  # python tests/compile/nightly.py runs 20,000
TOGETHER = 10  # programs that share a native compilation


class Drawn:
    """hypothesis as a source of choices, so that a failing program shrinks."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw

    def choice(self, options: Any) -> Any:
        return self.draw(st.sampled_from(options))


@st.composite
def programs(draw: st.DrawFn, result: str = "number") -> Program:
    return Program(Drawn(draw), size=draw(st.integers(1, 10)), result=result)


NUMPY = [Case("numpy"), Case("numpy", "float32"), *[Case("numpy", size=3, reduce=r) for r in (None, "sum", "mean")]]
quick = settings(max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@quick
@given(programs(), st.sampled_from(NUMPY))
def test_the_numpy_program_agrees_with_the_eager_engine(program: Program, case: Case) -> None:
    check_backends(program, case)


@quick
@given(programs("structure"), st.sampled_from(NUMPY[:3]))
def test_results_in_any_structure_agree_with_the_eager_engine(program: Program, case: Case) -> None:
    check_values(program, case)


@pytest.fixture
def quick_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile without optimisations: twice as quick, and it is not the C compiler that is tested; nightly.py has some."""
    left_out = {"-O2": "-O0", "-ftree-vectorize": "-fno-tree-vectorize"}
    monkeypatch.setattr(toolchain, "FLAGS", tuple(left_out.get(flag, flag) for flag in toolchain.FLAGS))


@pytest.mark.parametrize("seed", range(COUNT // TOGETHER))
@pytest.mark.usefixtures("quick_compiler")
def test_native_numpy_and_eager_agree(seed: int) -> None:
    check_bundle(seed, TOGETHER, CASES[seed % len(CASES)])


@pytest.mark.parametrize("case", [Case("native"), Case("native", "float32"), Case("native", size=19)], ids=str)
def test_native_results_in_any_structure_agree_with_the_eager_engine(case: Case) -> None:
    for seed in range(5):
        check_values(Program(random.Random(seed), result="structure"), case)


CONSTRUCTS = {  # what the programs are made of, as patterns of their source
    **{name: rf"ops\.{name}\(" for name in OPERATIONS},
    "a node that is read twice": r"(v\d+) = .*(\n.*)*\b\1\b(.*\n)*.*\b\1\b",
    "a sum of products": r"v\d+ \* \S+ \+ ",
    "sum()": r"\bsum\(\[",
    "a sum backwards": r"reversed",
    "dot": r"micrograd\.dot\(\[",
    "a matrix times a vector": r"for w, x in zip\(row",
    "softmax": r"micrograd\.softmax",
    "log_softmax": r"micrograd\.log_softmax",
    "an entry of a table": r"micrograd\.take\(\[",
    "a row of a table": r"micrograd\.take\(t",
    "where": r"micrograd\.where",
    "a nan that must not leak": r"micrograd\.where\(.*(sqrt|log)\(\)",
    "detach": r"detach",
    "ties": r"micrograd\.m(ax|in)imum\((\S+), \2\)",
    "kinks": r"\* 0\.0\)",
    "arrays": r"np\.|@|\[::-1\]\n",
    "a module": r"model\d\(",
    "a loop": r"for i in range",
    "a long loop": r"for i in range\((12|30)\)",
    "a choice in a loop": r"for i in range\(\d+\):\n(            .*\n)*            .*where",
}


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_random_programs_have_all_that_a_function_may_have(dtype: str, batched: bool) -> None:
    cases = {seed: CASES[seed % len(CASES)] for seed in range(COUNT // TOGETHER)}
    seeds = [seed for seed, case in cases.items() if case.dtype == dtype and bool(case.size) == batched]
    drawn = [program for seed in seeds for program in bundle(seed, TOGETHER).programs]
    missing = [what for what, pattern in CONSTRUCTS.items() if not any(re.search(pattern, p.source) for p in drawn)]
    assert missing == []
    assert {kind for program in drawn for kind in program.kinds} == set(ARGUMENTS)
    assert {cases[seed].reduce for seed in seeds} == (
        {None} if not batched else {"mean"} if dtype == "float32" else {None, "sum", "mean"}
    )


def test_few_random_programs_are_too_sensitive_to_roundoff_to_be_compared() -> None:
    for dtype, allowed in (("float64", 1), ("float32", 4)):
        unstable = 0
        for seed in range(100):
            program = Program(random.Random(seed))
            value, gradient = value_and_gradients(program, program.example(), dtype)
            unstable += not (value.stable and gradient.stable)
        assert unstable <= allowed
