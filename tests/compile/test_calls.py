"""How a program is called: as a method, with arguments by name, and from within another function."""

from __future__ import annotations

import copy
import gc
import math
import pickle
import weakref
from typing import Any

import numpy as np
import pytest
from face import BACKENDS, close, recordings

import micrograd
from micrograd import Value, nn, optim

both_backends = pytest.mark.parametrize("backend", BACKENDS)


# ----------------------------------------------------------------------------------------------------------- methods


class Line(nn.Module):
    """A line whose losses are compiled."""

    def __init__(self, slope: float = 2.0) -> None:
        self.slope, self.offset, self.scale = Value(slope), Value(1.0), 1.0

    def __call__(self, x: Any) -> Any:
        return self.slope * x + self.offset

    @micrograd.compile(backend="numpy")
    def loss(self, x: Any, y: Any) -> Any:
        """The squared error."""
        return self.scale * (self(x) - y) ** 2

    @micrograd.compile(batch=(0, 0), reduce="mean", backend="numpy")
    def mean_loss(self, x: Any, y: Any) -> Any:
        return self.loss(x, y)

    @staticmethod
    @micrograd.compile(backend="numpy")
    def twice(x: Any) -> Any:
        return 2.0 * x

    @micrograd.compile(backend="numpy")
    @staticmethod
    def thrice(x: Any) -> Any:
        return 3.0 * x


def test_a_compiled_method_is_a_program_of_its_instance() -> None:
    line, steep = Line(), Line(10.0)
    assert [line.loss(3.0, 5.0), steep.loss(3.0, 5.0), Line(0.0).loss(3.0, 5.0)] == [4.0, 676.0, 16.0]
    assert line.loss.value_and_grad(3.0, 5.0, wrt=(0, 1)) == (4.0, (8.0, -4.0))
    assert line.loss.backward(3.0, 5.0) == 4.0
    assert [p.grad for p in line.parameters()] == [12.0, 4.0]
    assert [p.grad for p in steep.parameters()] == [0.0, 0.0]
    assert [recordings(each.loss) for each in (line, steep)] == [1, 1]
    assert "slope" in str(line.loss)
    assert line.loss.__doc__ == "The squared error."
    assert list(line.loss.parameters) == line.parameters()


def test_a_compiled_method_notices_what_its_instance_holds() -> None:
    line = Line()
    line.loss(3.0, 5.0)
    line.slope.data = 3.0
    assert line.loss(3.0, 5.0) == 25.0
    line.scale = 2.0
    assert line.loss(3.0, 5.0) == 50.0
    line.slope = Value(0.0)
    assert line.loss(3.0, 5.0) == 32.0


def test_the_class_has_the_program_of_the_plain_function() -> None:
    assert Line.loss(Line(), 3.0, 5.0) == 4.0
    value, gradient = Line.loss.value_and_grad(Line(), 3.0, 5.0)
    assert (value, gradient.slope.data, gradient.offset.data) == (4.0, 12.0, 4.0)


def test_static_methods_and_callable_objects_in_a_class_get_no_instance() -> None:
    class Owner:
        line = micrograd.compile(Line(), backend="numpy")

    assert (Line().twice(1.5), Line().thrice(1.5), Line.thrice(1.5), Owner().line(3.0)) == (3.0, 4.5, 4.5, 7.0)


def test_a_compiled_method_trains() -> None:
    line, x = Line(), np.linspace(-1.0, 1.0, 12)
    micrograd.fit(line.mean_loss, (x, 5.0 * x - 2.0), optim.Adam(line.parameters(), lr=0.1), 200, 12, progress=False)
    assert line.state_dict() == pytest.approx({"slope": 5.0, "offset": -2.0}, abs=0.01)


def test_copies_of_an_instance_have_programs_of_their_own() -> None:
    line = Line()
    line.loss(3.0, 5.0)
    for twin in (copy.copy(line), copy.deepcopy(line), pickle.loads(pickle.dumps(line))):
        twin.scale = 3.0
        assert (twin.loss(3.0, 5.0), line.loss(3.0, 5.0)) == (12.0, 4.0)


def test_an_instance_is_freed_with_its_program() -> None:
    line = Line()
    line.loss.backward(3.0, 5.0)
    gone = weakref.ref(line)
    del line
    gc.collect()
    assert gone() is None
    assert not vars(Line)["loss"]._methods
    loss = Line().loss  # as a method does, it holds what it is of
    assert loss(3.0, 5.0) == 4.0


def test_an_instance_that_cannot_be_referred_to_says_what_it_needs() -> None:
    class Tight:
        __slots__ = ()

        @micrograd.compile
        def loss(self, x: Any) -> Any:
            return x

    with pytest.raises(TypeError, match=r"loss is a compiled method: Tight needs '__weakref__' among its __slots__"):
        Tight().loss(1.0)


# ---------------------------------------------------------------------------------------------------------- by name


def weighted(x: Any, y: Any = 2.0, z: Any = 10.0) -> Any:
    return x * y + z


@pytest.mark.parametrize(
    ("args", "named", "expected"),
    [
        ((3.0,), {}, 16.0),
        ((3.0,), {"y": 4.0}, 22.0),
        ((3.0,), {"z": 1.0}, 7.0),
        ((), {"z": 1.0, "x": 3.0}, 7.0),
        ((3.0, 4.0), {"z": 0.0}, 12.0),
    ],
)
def test_arguments_by_name(args: Any, named: Any, expected: float) -> None:
    program = micrograd.compile(weighted, backend="numpy")
    assert program(*args, **named) == expected == weighted(*args, **named)
    value, gradient = program.value_and_grad(*args, **named, wrt=0)
    assert (value, gradient) == (expected, named.get("y", args[1] if len(args) > 1 else 2.0))
    assert program.jacobian(*args, **named) == gradient
    assert program.backward(*args, **named) == expected


@both_backends
def test_arguments_of_a_batch_by_name(backend: str) -> None:
    program = micrograd.compile(weighted, batch=(None, 0), backend=backend)
    close(program(y=np.array([1.0, 2.0]), x=3.0), [13.0, 16.0])
    close(program.value_and_grad(y=np.array([1.0, 2.0]), x=3.0, wrt=1)[1], [3.0, 3.0])


@pytest.mark.parametrize(
    ("fn", "args", "named", "message"),
    [
        (weighted, (1.0,), {"w": 2.0}, "unexpected keyword argument 'w'"),
        (weighted, (1.0,), {"x": 2.0}, "multiple values for argument 'x'"),
        (weighted, (), {"y": 2.0}, "missing a required argument: 'x'"),
        (lambda x, *, y: x * y, (1.0,), {"y": 2.0}, r"y can be given by name only.*functools\.partial\(fn, y=\.\.\.\)"),
        (lambda x, **more: x * more["y"], (1.0,), {"y": 2.0}, "can be given by name only"),
    ],
)
def test_names_that_the_function_does_not_have_are_told(fn: Any, args: Any, named: Any, message: str) -> None:
    program = micrograd.compile(fn, backend="numpy")
    with pytest.raises(TypeError, match=message):
        program(*args, **named)


def test_a_loaded_program_knows_the_names(tmp_path: Any) -> None:
    program = micrograd.compile(weighted, backend="numpy")
    program(1.0, 2.0, 3.0)
    program.save(tmp_path / "p.npz")
    assert micrograd.load_program(tmp_path / "p.npz")(1.0, z=3.0, y=2.0) == 5.0


# ------------------------------------------------------------------------------------- within other functions


def inner_and_outer(**options: Any) -> tuple[Any, Any, list[float]]:
    rates = [2.0]
    inner = micrograd.compile(lambda x, n: x**n * rates[0], **options)
    return inner, micrograd.compile(lambda x: inner(x, 3) + inner(1.0, 1) * x, **options), rates


@both_backends
def test_a_program_within_a_compiled_function_is_a_part_of_it(backend: str) -> None:
    inner, outer, rates = inner_and_outer(backend=backend)
    close(outer(2.0), 20.0)
    close(outer.value_and_grad(2.0)[1], 26.0)
    assert recordings(inner) == 0
    rates[0] = 3.0
    close(outer(2.0), 30.0)
    close(inner(2.0, 3), 24.0)


def test_parameters_of_a_program_within_another_get_their_gradients() -> None:
    w = Value(3.0, label="w")
    inner = micrograd.compile(lambda x: w * x, backend="numpy")
    outer = micrograd.compile(lambda x: inner(x) ** 2 + inner(1.0), backend="numpy")
    assert outer.backward(2.0) == 39.0
    assert w.grad == 25.0
    w.data = 1.0
    assert outer(2.0) == 5.0


def test_a_program_within_an_eager_derivative_is_the_plain_function() -> None:
    program = micrograd.compile(lambda x: x.sin(), backend="numpy")
    assert micrograd.grad(program)(0.5) == math.cos(0.5)
    assert micrograd.grad(micrograd.grad(lambda x: program(x * x)))(0.5) == pytest.approx(
        2 * math.cos(0.25) - 4 * 0.25 * math.sin(0.25)
    )
    assert program(0.5) == math.sin(0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, x: p.value_and_grad(x)[0], r"test_calls\.py:\d+: derivatives of a compiled function cannot be part of"),
        (lambda p, x: p.jacobian(x), "call the program there, and ask the outer one for its derivatives"),
        (lambda p, x: p.backward(x), "derivatives of a compiled function"),
        (
            lambda p, x: micrograd.compile(lambda x: x, batch=0)(x),
            r"compiled with batch=.*call its plain function <lambda>\.fn",
        ),
    ],
)
def test_what_a_program_cannot_do_within_another_function(call: Any, message: str) -> None:
    program = micrograd.compile(lambda x: x * x, backend="numpy")
    for outer in (
        micrograd.compile(lambda x: call(program, x), backend="numpy"),
        micrograd.grad(lambda x: call(program, x)),
    ):
        with pytest.raises(TypeError, match=message):
            outer(2.0)
    assert program(3.0) == 9.0


@both_backends
def test_a_call_with_an_array_of_integers_needs_no_second_look(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    w = [Value(float(i)) for i in range(4)]
    program = micrograd.compile(lambda at: micrograd.take(w, at[1]), batch=0, reduce="sum", backend=backend)
    at = np.array([[0, 1], [0, 3]])
    assert program.backward(at) == 4.0
    monkeypatch.setattr(program, "_called", None)
    assert program.backward(at) == 4.0
    assert [v.grad for v in w] == [0.0, 2.0, 0.0, 2.0]
