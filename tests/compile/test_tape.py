"""The tape, and what simplify and adjoint make of it: printed, verified, each expression once."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

import micrograd
from micrograd.compile import recording, tape as tapes
from micrograd.compile.adjoint import adjoint
from micrograd.compile.roll import roll
from micrograd.compile.simplify import simplify
from micrograd.compile.tape import ADD, KINDS, MUL, Space, Tape
from micrograd.compile.trace import Trace
from micrograd.compile.vector import LANES


def recorded(fn: Callable[..., Any], count: int) -> Tape:
    """The tape of a function of so many numbers."""
    trace = Trace()
    space = trace.tape.space(Space("x"))
    result = fn(*[trace.symbol(trace.tape.leaf(space, i)) for i in range(count)])
    trace.tape.outputs = [result.node]
    return trace.tape.verify()


def kinds(tape: Tape) -> list[str]:
    return [KINDS[code].name for code, args in zip(tape.codes, tape.args, strict=True) if args]


def test_a_tape_prints_a_line_for_each_instruction() -> None:
    assert str(recorded(lambda x, y: x * y + x.tanh(), 2)).splitlines() == [
        "parameters: 0 reals", "x: 2 reals", "%0 = x[0]", "%1 = x[1]", "%2 = mul %0 %1", "%3 = tanh %0", "%4 = add %2 %3",
        "return %4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "args", "outputs", "message"),
    [
        (MUL, (0, 2), [1], "reads what is not there yet"),
        (MUL, (0, 1), [1], "reads what is not there yet"),
        (ADD, (0,), [1], "takes 2 operands, got 1"),
        (tapes.dot(1, 0, 1, 0), (0, 0), [1], "takes 3 operands, got 2"),
        (tapes.take(2), (0, 0), [1], "takes 3 operands, got 2"),
        (tapes.LEAF, (), [1], "from nowhere"),
        (tapes.CONST, (), [1], "from nowhere"),
        (tapes.scatter(1), (0, 0), [1], "from nowhere"),
        (tapes.scatter(2), (0, 0), [1], "takes 4 operands, got 2"),
        (tapes.LEAF, (0,), [1], "takes 0 operands, got 1"),
        (MUL, (0, -1), [1], "reads what is not there yet"),
        (MUL, (0, 0), [5], "returns"),
    ],
)
def test_a_tape_that_cannot_be_is_refused(code: int, args: tuple[int, ...], outputs: list[int], message: str) -> None:
    tape = Tape()
    tape.leaf(tape.space(Space("x")), 0)
    tape.add(code, args)
    tape.outputs = outputs
    if "operands" in message:
        tape.origins[1] = tape.positions[1] = (0, 1)
    with pytest.raises(ValueError, match=message):
        tape.verify()


def test_nothing_is_added_to_a_frozen_tape() -> None:
    tape = recorded(lambda x: x * 2.0, 1)
    printed = str(tape)
    tape.freeze()
    changes: list[Callable[[], Any]] = [
        lambda: tape.add(MUL, (0, 0)), lambda: tape.leaf(1, 1), lambda: tape.constant(7.0), lambda: tape.space(Space("y")),
        lambda: tape.labels.update({0: "x"}), lambda: tape.rank.setdefault(0, 1), lambda: tape.args.__setitem__(2, (0, 0)),
        lambda: tape.outputs.append(0),
    ]  # fmt: skip
    for change in changes:
        with pytest.raises((TypeError, AttributeError)):
            change()
    assert str(tape) == printed
    thawed = tape.thawed()
    thawed.outputs = [thawed.add(MUL, (2, thawed.constant(2.0)))]
    assert (len(thawed), str(tape)) == (4, printed)
    assert str(thawed).splitlines()[-2:] == ["%3 = mul %2 %1", "return %3"]


@pytest.mark.parametrize("stage", ["simplify", "adjoint", "roll", "schedule"])
def test_a_stage_that_makes_what_cannot_be_is_named(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(recording, stage)

    def wrong(form: Any, *rest: Any) -> Any:
        made = right(form, *rest)
        if stage == "adjoint":
            form.add(MUL, (len(form), 0))
        elif stage == "simplify":
            made.add(MUL, (0,))
        else:
            made.shared -= 1
        return made

    monkeypatch.setattr(recording, stage, wrong)
    with pytest.raises(RuntimeError, match=f"a fault of micrograd's compiler: {stage} made a program that cannot be"):
        micrograd.compile(lambda x: x.sin() * x, backend="numpy").value_and_grad(1.0)


def rolled() -> Any:
    tape = recorded(lambda x, y: (x * y).tanh() + x.sin(), 2)
    tape.outputs += adjoint(tape, {tape.outputs[0]: tape.constant(1.0)}, [0, 1])
    return roll(tape)


BROKEN: dict[str, Callable[[Any], Any]] = {
    "reads what is not there yet": lambda program: setattr(program, "before", program.before[::-1]),
    "an output is not computed": lambda program: setattr(program, "before", program.before[:-1]),
    "an address outside of": lambda program: program.before[0].outs[0].fill(-1),
    "an address outside of .* shared": lambda program: setattr(program, "outputs", program.outputs + program.shared),
    "numbers and 0 an example": lambda program: program.before[-1].ins[0].fill(LANES),
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_vector_program_that_cannot_be_is_refused(message: str) -> None:
    program = rolled()
    program.freeze()
    assert isinstance(program.before, tuple)
    BROKEN[message](program)
    with pytest.raises(ValueError, match=message):
        program.verify()


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (lambda a, b, c: a * b + c, ["dot[1, 0, 1, 0]"]),
        (lambda a, b, c: c + b * a - a, ["dot[1, 0, 1, 1]"]),
        (lambda a, b, c: sum([a * b, b * c, a * c]), ["dot[3, 0, 0, 0]"]),
        (lambda a, b, c: a - (b - (c - a * b)), ["dot[0, 1, 2, 1]"]),
        (lambda a, b, c: -(-a * b), ["dot[1, 0, 0, 0]"]),
        (lambda a, b, c: a * -b + -c * -a, ["dot[1, 1, 0, 0]"]),
        (lambda a, b, c: (a + b) * (a + b), ["dot[0, 0, 2, 0]", "dot[1, 0, 0, 0]"]),
        (lambda a, b, c: -(a + b) * c, ["dot[0, 0, 2, 0]", "dot[0, 1, 0, 0]"]),
        (lambda a, b, c: a * 1.0 - -1.0 * b, ["dot[0, 0, 2, 0]"]),
        (lambda a, b, c: c - (0 + a), ["dot[0, 0, 1, 1]"]),
        (lambda a, b, c: a / 4.0 + a**2, ["dot[2, 0, 0, 0]"]),
        (lambda a, b, c: a.exp() + a.exp(), ["exp", "dot[0, 0, 2, 0]"]),
        (lambda a, b, c: (a, b.exp())[0] + c, ["dot[0, 0, 2, 0]"]),
        (lambda a, b, c: micrograd.detach(a.maximum(b).maximum(c)), ["largest[3]", "identity"]),
        (lambda a, b, c: a.maximum(b).maximum(c), ["maximum", "maximum"]),
        (lambda a, b, c: micrograd.dot([a, b], [c, -c], a + b), ["dot[1, 1, 2, 0]"]),
    ],
)
def test_a_sum_of_products_is_one_instruction(fn: Any, expected: list[str]) -> None:
    assert kinds(simplify(recorded(fn, 3)).verify()) == expected


def test_a_long_sum_is_one_instruction_however_it_is_nested() -> None:
    def left(*x: Any) -> Any:
        total = x[0] * x[1]
        for a, b in zip(x, x[2:], strict=False):
            total = total + a * b
        return total

    def balanced(*x: Any) -> Any:
        return x[0] * x[-1] if len(x) < 3 else balanced(*x[: len(x) // 2]) + balanced(*x[len(x) // 2 :])

    assert kinds(simplify(recorded(left, 5000))) == ["dot[4999, 0, 0, 0]"]
    assert len(kinds(simplify(recorded(balanced, 4096)))) == 1


def test_the_adjoint_of_a_product_of_sums_is_written_out() -> None:
    tape = simplify(recorded(lambda a, b, c: (a + b) * c, 3))
    out = tape.outputs[0]
    nodes = {position: node for node, (_, position) in tape.origins.items()}
    found = adjoint(tape, {out: tape.constant(1.0)}, [nodes[i] for i in range(3)])
    assert found[0] == found[1] == nodes[2]  # da = db = c, without an instruction
    assert KINDS[tape.codes[found[2]]].name == "dot[0, 0, 2, 0]"  # dc = a + b, which is there already
    tape.verify()


def test_recording_leaves_the_collector_as_it_was() -> None:
    program = micrograd.compile(lambda x: x * x if gc.isenabled() else x + 1.0, backend="numpy")
    assert program(3.0) == 4.0  # off while a function is recorded
    assert gc.isenabled()
    with pytest.raises(TypeError):
        micrograd.compile(lambda x: None, backend="numpy")(3.0)
    assert gc.isenabled()
    gc.disable()
    try:
        micrograd.compile(lambda x: x, backend="numpy")(3.0)
        assert not gc.isenabled()
    finally:
        gc.enable()
