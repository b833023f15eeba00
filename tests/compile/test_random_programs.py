"""Random programs: eager == numpy == native, values and gradients, one example and batches, both number types."""

from __future__ import annotations

import random
from typing import Any

import pytest
from checking import CASES, Case, check_backends, check_bundle, check_values
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
    """Compile with fewer optimisations: twice as quick, and it is not the C compiler that is tested; nightly.py has them."""
    left_out = {"-O2": "-O1", "-ftree-vectorize": "-fno-tree-vectorize"}
    monkeypatch.setattr(toolchain, "FLAGS", tuple(left_out.get(flag, flag) for flag in toolchain.FLAGS))


@pytest.mark.parametrize("seed", range(COUNT // TOGETHER))
@pytest.mark.usefixtures("quick_compiler")
def test_native_numpy_and_eager_agree(seed: int) -> None:
    check_bundle(seed, TOGETHER, CASES[seed % len(CASES)])


@pytest.mark.parametrize("case", [Case("native"), Case("native", "float32"), Case("native", size=19)], ids=str)
def test_native_results_in_any_structure_agree_with_the_eager_engine(case: Case) -> None:
    for seed in range(5):
        check_values(Program(random.Random(seed), result="structure"), case)


def test_the_random_programs_use_all_that_a_function_may_hold() -> None:
    text = "".join(Program(random.Random(seed)).source for seed in range(300))
    expected = [f"ops.{name}(" for name in OPERATIONS] + ["micrograd.dot", "micrograd.take", "micrograd.where", "for i in"]
    expected += ["model0", "reversed", "detach", "softmax", "np.", "maximum(", "zip("]
    assert [word for word in expected if word not in text] == []
    kinds = {kind for seed in range(100) for kind in Program(random.Random(seed)).kinds}
    assert kinds == set(ARGUMENTS)


def test_few_random_programs_are_too_sensitive_to_roundoff_to_be_compared() -> None:
    for dtype, allowed in (("float64", 1), ("float32", 4)):
        unstable = 0
        for seed in range(100):
            program = Program(random.Random(seed))
            value, gradient = value_and_gradients(program, program.example(), dtype)
            unstable += not (value.stable and gradient.stable)
        assert unstable <= allowed
