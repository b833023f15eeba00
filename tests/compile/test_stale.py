"""A program never runs stale: what its function reads may change, and the next run gives the new answer or a clear error."""

from __future__ import annotations

import copy
import enum
import functools
import math
import sys
import warnings
from array import array
from collections import defaultdict, deque
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from face import BACKENDS, close, recordings

import micrograd
from micrograd import Value, nn, trees
from micrograd.compile import bound
from micrograd.compile.program import Program
from micrograd.compile.recording import is_within


@pytest.fixture(params=["called", "bound"], autouse=True)
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is said here holds for calls, and for bound calls, which are made in C from the second one on."""
    if request.param == "called":
        return
    known: dict[Any, Any] = {}
    busy: list[Any] = []

    def through(name: str, wrt: Any) -> None:
        plain = getattr(Program, name)

        def call(program: Program, *args: Any, **named: Any) -> Any:
            if is_within() or named or busy:  # a bound call may come to a plain one
                return plain(program, *args, **named)
            asked = id(program), name, *map(id, args)
            busy.append(asked)
            try:
                if asked not in known:
                    known[asked] = program.bind(*args, wrt=wrt), args  # which live on, so that the id is theirs
                return known[asked][0]()
            except TypeError:  # what cannot be bound is called
                return plain(program, *args, **named)
            finally:
                busy.clear()

        monkeypatch.setattr(Program, name, call)

    def native(self: Program, fn: Any, batch: Any, reduce: Any, backend: str, *rest: Any) -> None:
        init(self, fn, batch, reduce, "native", *rest)

    init = Program.__init__
    monkeypatch.setattr(Program, "__init__", native)
    monkeypatch.setattr(bound, "MANY", 1)
    through("__call__", None)
    through("value_and_grad", 0)


both_backends = pytest.mark.parametrize("backend", BACKENDS)


def answer_or_error(program: Any, expected: Any, *args: Any) -> None:
    """The function's new answer, or an error that says what changed: never the old answer."""
    try:
        found = program(*args)
    except (TypeError, ValueError, RuntimeError) as error:
        assert len(str(error)) > 20  # noqa: PT017 (an error need not come)
        return
    close(found, expected)


# ------------------------------------------------------------------------------------------------ parameters, arrays


@both_backends
def test_the_data_of_a_captured_parameter_is_read_anew(backend: str) -> None:
    w = Value(2.0)
    program = micrograd.compile(lambda x: w * x**2, backend=backend)
    for number in (2.0, -3.0, 0.0, float("inf")):
        w.data = number
        close(program(2.0), number * 4.0)
        close(program.value_and_grad(2.0)[1], number * 4.0)
        w.grad = 0.0
        program.backward(2.0)
        assert w.grad == 4.0
    assert recordings(program) <= 3  # one a way to run it


@both_backends
def test_the_parameters_of_a_module_are_read_anew_and_may_be_loaded(backend: str) -> None:
    model, other = nn.MLP(2, [3, 1], seed=1), nn.MLP(2, [3, 1], seed=2)
    program = micrograd.compile(lambda x: model(x), backend=backend)
    before = program([1.0, -0.5])
    model.load_state_dict(other.state_dict())
    close(program([1.0, -0.5]), other([1.0, -0.5]).data)
    assert program([1.0, -0.5]) != before


@both_backends
def test_a_captured_result_is_computed_anew_from_its_leaves(backend: str) -> None:
    a = Value(2.0)
    c = a * 3.0
    program = micrograd.compile(lambda x: c * x, backend=backend)
    close(program(1.0), 6.0)
    a.data = 10.0
    close(program(1.0), 30.0)
    close(program.backward(2.0), 60.0)
    close(a.grad, 6.0)


@both_backends
def test_an_array_changed_in_place_is_read_anew(backend: str) -> None:
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    program = micrograd.compile(lambda r: r[0] * r[1], batch=(0,), backend=backend)
    close(program(x), [2.0, 12.0])
    x[0] = -5.0
    close(program(x), [25.0, 12.0])
    row = np.array([1.0, 2.0])
    single = micrograd.compile(lambda r: r[0] * r[1], backend=backend)
    close(single(row), 2.0)
    row *= 3.0
    close(single(row), 18.0)


@both_backends
def test_a_list_or_a_module_changed_in_place_is_read_anew(backend: str) -> None:
    x = [1.0, 2.0]
    program = micrograd.compile(lambda r: sum(r), backend=backend)
    close(program(x), 3.0)
    x[0] = 7.0
    close(program(x), 9.0)
    x.append(1.0)
    close(program(x), 10.0)
    model = nn.MLP(1, [1], seed=1)
    of_module = micrograd.compile(lambda m: m([1.0]), backend=backend)
    of_module(model)
    model.layers[0].neurons[0].b.data = 100.0
    close(of_module(model), model([1.0]).data)


# ----------------------------------------------------------------------------------------------- captured constants

RATE = 2.0
SETTINGS = {"rate": 2.0}


def test_a_number_in_a_closure() -> None:
    rate = 2.0
    program = micrograd.compile(lambda x: x * rate, backend="numpy")
    close(program(1.0), 2.0)
    rate = 5.0
    answer_or_error(program, 5.0, 1.0)


def test_a_global_number(monkeypatch: pytest.MonkeyPatch) -> None:
    program = micrograd.compile(lambda x: x * RATE, backend="numpy")
    close(program(1.0), 2.0)
    monkeypatch.setitem(globals(), "RATE", 5.0)
    answer_or_error(program, 5.0, 1.0)


def test_a_number_in_a_captured_list() -> None:
    rates = [2.0, 3.0]
    program = micrograd.compile(lambda x: x * rates[0] + rates[1], backend="numpy")
    close(program(1.0), 5.0)
    rates[0] = 5.0
    answer_or_error(program, 8.0, 1.0)


def test_a_number_in_a_global_dict(monkeypatch: pytest.MonkeyPatch) -> None:
    program = micrograd.compile(lambda x: x * SETTINGS["rate"], backend="numpy")
    close(program(1.0), 2.0)
    monkeypatch.setitem(SETTINGS, "rate", 5.0)
    answer_or_error(program, 5.0, 1.0)


def test_a_captured_array_changed_in_place() -> None:
    table = np.array([2.0, 3.0])
    program = micrograd.compile(lambda x: x * table[0] + table[1], backend="numpy")
    close(program(1.0), 5.0)
    table[0] = 5.0
    answer_or_error(program, 8.0, 1.0)


def test_an_attribute_of_a_captured_object() -> None:
    settings = SimpleNamespace(rate=2.0)
    program = micrograd.compile(lambda x: x * settings.rate, backend="numpy")
    close(program(1.0), 2.0)
    settings.rate = 5.0
    answer_or_error(program, 5.0, 1.0)


def test_a_setting_of_a_captured_module() -> None:
    model = nn.MLP(1, [2, 1], activation="tanh", seed=1)
    program = micrograd.compile(lambda x: model([x]), backend="numpy")
    close(program(0.5), model([0.5]).data)
    for neuron in model.layers[0].neurons:
        neuron.nonlin = False
    answer_or_error(program, model([0.5]).data, 0.5)


def test_an_attribute_that_a_method_reads() -> None:
    class Model:
        def __init__(self) -> None:
            self.rate = 2.0

        def loss(self, x: Any) -> Any:
            return x * self.rate

    model = Model()
    program = micrograd.compile(model.loss, backend="numpy")
    close(program(1.0), 2.0)
    model.rate = 5.0
    answer_or_error(program, 5.0, 1.0)


def test_a_number_that_a_function_it_calls_captures() -> None:
    rate = 2.0

    def scaled(x: Any) -> Any:
        return x * rate

    program = micrograd.compile(lambda x: scaled(x) + 1.0, backend="numpy")
    close(program(1.0), 3.0)
    rate = 5.0
    answer_or_error(program, 6.0, 1.0)


def test_a_default_of_the_function() -> None:
    def f(x: Any, rate: float = 2.0) -> Any:
        return x * rate

    program = micrograd.compile(f, backend="numpy")
    close(program(1.0), 2.0)
    close(program(1.0, 5.0), 5.0)
    f.__defaults__ = (7.0,)
    answer_or_error(program, 7.0, 1.0)


def test_a_captured_value_that_is_replaced_by_another() -> None:
    w = Value(2.0)
    program = micrograd.compile(lambda x: w * x, backend="numpy")
    close(program(1.0), 2.0)
    old, w = w, Value(5.0)
    answer_or_error(program, 5.0, 1.0)
    program.backward(1.0)
    assert (old.grad, w.grad) == (0.0, 1.0)


def test_a_parameter_of_a_captured_module_that_is_replaced_by_another() -> None:
    model = nn.MLP(1, [1], seed=1)
    program = micrograd.compile(lambda x: model([x]), backend="numpy")
    program(1.0)
    model.layers[0].neurons[0].b = Value(100.0)
    answer_or_error(program, model([1.0]).data, 1.0)


def test_a_captured_list_of_values_that_grows() -> None:
    weights = [Value(1.0), Value(2.0)]
    program = micrograd.compile(lambda x: sum(w * x for w in weights), backend="numpy")
    close(program(1.0), 3.0)
    weights.append(Value(10.0))
    answer_or_error(program, 13.0, 1.0)


def test_a_captured_flag() -> None:
    flags = {"square": False}
    program = micrograd.compile(lambda x: x * x if flags["square"] else x, backend="numpy")
    close(program(3.0), 3.0)
    flags["square"] = True
    answer_or_error(program, 9.0, 3.0)


# ------------------------------------------------------------------------------------------- structure, number types


@both_backends
def test_another_structure_is_another_program(backend: str) -> None:
    program = micrograd.compile(lambda x: sum(x.values()) if isinstance(x, dict) else sum(x) * 2.0, backend=backend)
    close(program([1.0, 2.0]), 6.0)
    close(program([1.0, 2.0, 3.0]), 12.0)
    close(program({"a": 1.0, "b": 2.0}), 3.0)
    close(program(np.array([1.0, 2.0])), 6.0)
    close(program([1.0, 2.0]), 6.0)


@both_backends
def test_the_order_and_the_names_of_a_dict_are_structure(backend: str) -> None:
    program = micrograd.compile(lambda x: next(iter(x.values())) - x["b"] * 10.0, backend=backend)
    close(program({"a": 1.0, "b": 2.0}), -19.0)
    close(program({"b": 2.0, "a": 1.0}), -18.0)
    with pytest.raises(KeyError):
        program({"a": 1.0, "c": 2.0})


@both_backends
def test_arguments_of_another_number_type_give_the_same_answer(backend: str) -> None:
    program = micrograd.compile(lambda x: x[0] * 3.0 + x[1], batch=(0,), backend=backend)
    for dtype in ("float64", "float32", "float16", "int64", "int8", "uint16", ">f8", "float64"):
        answer_or_error(program, [5.0, 13.0], np.array([[1, 2], [3, 4]], dtype=dtype))
    for dtype in ("float64", "float32", "float16", ">f8"):
        close(program(np.array([[1, 2], [3, 4]], dtype=dtype)), [5.0, 13.0])


@both_backends
def test_scalars_of_any_number_type_give_the_same_answer(backend: str) -> None:
    program = micrograd.compile(lambda x, y: x * 3.0 + y * y, backend=backend)
    for one in (1.0, np.float64(1.0), np.float32(1.0), np.array(1.0), Value(1.0), 1, np.int64(1)):
        close(program(one, 2.0), 7.0)
    for two in (2, np.int32(2), np.array(2), 3, 2.0):
        close(program(1.0, two), 3.0 + float(two) ** 2)


@both_backends
def test_integers_frozen_in_one_recording_are_not_used_by_the_next(backend: str) -> None:
    program = micrograd.compile(lambda x, n: sum(x ** (i + 1) for i in range(n)) * n, backend=backend)
    for n in (1, 3, 2, 3, 1):
        close(program(0.5, n), sum(0.5 ** (i + 1) for i in range(n)) * n)


@both_backends
def test_true_and_one_and_one_point_zero_are_told_apart(backend: str) -> None:
    program = micrograd.compile(lambda x, flag: x * 2.0 if flag is True else x * 3.0, backend=backend)
    assert [program(1.0, flag) for flag in (1.0, True, 1, True, 1.0)] == [3.0, 2.0, 3.0, 2.0, 3.0]


@both_backends
def test_a_negative_zero_is_not_a_zero(backend: str) -> None:
    program = micrograd.compile(lambda x, y: x / y, backend=backend)
    assert [program(1.0, y) for y in (0.0, -0.0, 0.0)] == [float("inf"), float("-inf"), float("inf")]


def test_a_shape_that_the_function_was_not_recorded_for() -> None:
    program = micrograd.compile(lambda x: sum(x), batch=(0,), backend="numpy")
    close(program(np.ones((2, 3))), [3.0, 3.0])
    close(program(np.ones((2, 5))), [5.0, 5.0])


def test_two_programs_of_one_function_do_not_share_what_they_know() -> None:
    def f(x: Any) -> Any:
        return x * 2.0

    single, batched = micrograd.compile(f, backend="numpy"), micrograd.compile(f, batch=(0,), backend="numpy")
    single32 = micrograd.compile(f, backend="numpy", dtype="float32")
    assert (single(0.1), list(batched([0.1, 1.0]))) == (0.2, [0.2, 2.0])
    assert single32(0.1) != 0.2
    assert single(0.1) == 0.2


def test_what_methods_and_classes_hold() -> None:
    class Net:
        scale = 2.0

        def inner(self, x: Any) -> Any:
            return x * self.scale

        def __call__(self, x: Any) -> Any:
            return self.inner(x)

    net = Net()
    program = micrograd.compile(net, backend="numpy")
    assert program(1.0) == 2.0
    Net.scale = 10.0
    assert program(1.0) == 10.0
    Net.inner = lambda self, x: x + 0.5  # type: ignore[method-assign]
    assert program(1.0) == 1.5


# ------------------------------------------------------------------------------------------------- every place there is


class Slotted:
    __slots__ = ("__dict__", "_rate")

    def __init__(self) -> None:
        self._rate = 2.0

    @property
    def rate(self) -> float:
        return self._rate


@dataclass
class Plain:
    rate: float = 2.0


@dataclass(slots=True)
class Narrow:
    rate: float = 2.0


@dataclass(frozen=True)
class Frozen:
    rate: float = 2.0


def nested() -> tuple[Any, Any]:
    """A function three closures deep, and what changes its number."""
    rate = 2.0

    def change(new: float) -> None:
        nonlocal rate
        rate = new

    def inner(x: Any) -> Any:
        return x * rate

    def middle() -> Any:
        return lambda x: inner(x)

    return lambda x: middle()(x), change


def in_place(container: Any, at: Any = 0) -> tuple[Any, Any]:
    """A function that reads an entry of a container, and what changes it."""
    return (lambda x: x * float(container[at])), lambda new: container.__setitem__(at, new)


def attribute(holder: Any, name: str = "rate") -> tuple[Any, Any]:
    return (lambda x: x * holder.rate), lambda new: setattr(holder, name, new)


def replaced(make: Any) -> tuple[Any, Any]:
    """A function that reads an object by a closure, and what puts an equal one with another number in its place."""
    held = make(2.0)

    def change(new: float) -> None:
        nonlocal held
        held = make(new)

    return (lambda x: x * held.rate), change


def of_array(shape: tuple[int, ...], dtype: str = "f8") -> tuple[Any, Any]:
    numbers = np.full(shape, 2.0, dtype)
    return (lambda x: x * float(numbers.ravel()[0])), lambda new: numbers.fill(new)


def of_partial() -> tuple[Any, Any]:
    rates = [2.0]
    program = functools.partial(lambda rates, x, more: x * rates[0] * more["by"], rates, more={"by": 1.0})
    return program, lambda new: program.keywords["more"].update(by=new / 2.0)


def of_default() -> tuple[Any, Any]:
    rates = [2.0]

    def fn(x: Any, rates: Any = rates) -> Any:
        return x * rates[0]

    return fn, lambda new: rates.__setitem__(0, new)


def of_program() -> tuple[Any, Any]:
    fn, change = in_place([2.0])
    inner = micrograd.compile(fn, backend="numpy")
    return (lambda x: inner(x)), change


def of_class() -> tuple[Any, Any]:
    base = type("Base", (), {"rate": 2.0})
    kind = type("Settings", (base,), {})
    return (lambda x: x * kind.rate), lambda new: setattr(base, "rate", new)


def of_the_class_of_an_object() -> tuple[Any, Any]:
    kind = type("Own", (), {"rate": 2.0})
    return attribute(kind())[0], attribute(kind)[1]


def of_method() -> tuple[Any, Any]:
    """A number that a special method reads."""
    rates = [2.0]
    kind = type("Table", (), {"__getitem__": lambda self, i: rates[i]})
    table = kind()
    return (lambda x: x * table[0]), lambda new: rates.__setitem__(0, new)


PLACES: dict[str, Any] = {
    "a list": lambda: in_place([2.0, 1.0]),
    "a deque": lambda: in_place(deque([2.0, 1.0])),
    "an array of the standard library": lambda: in_place(array("d", [2.0, 1.0])),
    "a dict": lambda: in_place({"rate": 2.0}, "rate"),
    "a dict with a default": lambda: in_place(defaultdict(float, rate=2.0), "rate"),
    "an object": lambda: attribute(SimpleNamespace(rate=2.0)),
    "slots": lambda: attribute(Slotted(), "_rate"),
    "a dataclass": lambda: attribute(Plain()),
    "a dataclass with slots": lambda: attribute(Narrow()),
    "a dataclass in the place of another": lambda: replaced(Frozen),
    "an object with slots in the place of another": lambda: replaced(Narrow),
    "a class": lambda: attribute(type("Own", (), {"rate": 2.0})),
    "the class of an object": of_the_class_of_an_object,
    "a class that a class is built on": of_class,
    "a method of Python's": of_method,
    "an array": lambda: of_array((3,)),
    "an array of floats of single precision": lambda: of_array((2, 2), "f4"),
    "an array without axes": lambda: of_array(()),
    "an array of objects": lambda: of_array((2,), "O"),
    "a function three closures deep": nested,
    "a partial function": of_partial,
    "a default argument": of_default,
    "another program": of_program,
}


@pytest.mark.parametrize("place", PLACES)
def test_a_number_changes_in(place: str) -> None:
    fn, change = PLACES[place]()
    program = micrograd.compile(lambda x: 1.0 / fn(x), backend="numpy")
    assert program(1.0) == 0.5
    change(5.0)
    assert program(1.0) == 0.2
    for zero, expected in ((0.0, float("inf")), (-0.0, float("-inf")), (0.0, float("inf"))):
        change(zero)
        assert program(1.0) == expected
    known = recordings(program)
    assert [program(1.0), program(1.0)] == [float("inf")] * 2
    assert recordings(program) == known  # and nothing is recorded again that is as it was


def test_a_number_that_is_set_first_after_the_recording() -> None:
    held = Slotted()
    del held._rate
    program = micrograd.compile(lambda x: x * getattr(held, "_rate", 2.0), backend="numpy")
    assert program(1.0) == 2.0
    held._rate = 5.0
    assert program(1.0) == 5.0


def test_a_keyword_default() -> None:
    def fn(x: Any, *, rate: float = 2.0) -> Any:
        return x * rate

    program = micrograd.compile(fn, backend="numpy")
    assert program(1.0) == 2.0
    fn.__kwdefaults__["rate"] = 5.0
    assert program(1.0) == 5.0
    fn.__kwdefaults__ = {"rate": 7.0}
    assert program(1.0) == 7.0


def test_the_order_of_a_dict_and_of_a_set() -> None:
    rates = {"a": 2.0, "b": 3.0}
    program = micrograd.compile(lambda x: x * next(iter(rates.values())), backend="numpy")
    assert program(1.0) == 2.0
    rates["a"] = rates.pop("a")
    assert program(1.0) == 3.0
    numbers = {8, 0}  # two numbers of one place in the table of a set: the first that came comes first
    of_set = micrograd.compile(lambda x: x + next(iter(numbers)), backend="numpy")
    for first, second in ((8, 0), (0, 8)):
        numbers.clear()
        numbers.add(first)
        numbers.add(second)
        assert of_set(0.0) == next(iter(numbers))


def test_the_members_of_a_set() -> None:
    allowed = {2.0}
    program = micrograd.compile(lambda x: sum(x * a for a in allowed), backend="numpy")
    assert program(1.0) == 2.0
    allowed.add(3.0)
    assert program(1.0) == 5.0


def test_a_global_that_goes_and_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    program = micrograd.compile(lambda x: x * RATE, backend="numpy")
    assert program(1.0) == 2.0
    with monkeypatch.context() as patch:
        patch.delitem(globals(), "RATE")
        with pytest.raises(NameError):
            program(1.0)
    assert program(1.0) == 2.0


def test_an_installed_package_is_not_looked_through_but_what_its_objects_hold_is() -> None:
    patch = pytest.MonkeyPatch()
    patch.rate = 2.0  # type: ignore[attr-defined]
    program = micrograd.compile(lambda x: x * patch.rate if pytest else x, backend="numpy")  # type: ignore[attr-defined]
    assert program(1.0) == 2.0
    patch.rate = 5.0  # type: ignore[attr-defined]
    assert program(1.0) == 5.0
    assert len(program._around._probes) < 10


@pytest.mark.parametrize("change", [-0.0, 1, True, np.float64(2.0), Value(2.0)], ids=repr)
def test_an_entry_of_a_nested_list_or_dict_that_was_replaced(change: Any) -> None:
    """Remembered calls are told apart by all that their lists hold, types and signs of zeros too."""
    program = micrograd.compile(lambda p: [p["a"][0] / abs(p["a"][1]), *p["a"]])
    number = float(change)
    args = {"a": [abs(number), 5.0]}
    for _ in range(2):
        assert program(args) == [abs(number) / 5.0, abs(number), 5.0]
    args["a"][0] = change
    found = program(args)[0]
    assert (found, math.copysign(1.0, found)) == (number / 5.0, math.copysign(1.0, number))


def _append(x: Any) -> None:
    x[1].append(5.0)


def _entry(x: Any) -> None:
    x[1][0] = 10.0


def _key(x: Any) -> None:
    x[1]["k"] = 10.0


def _flag(x: Any) -> None:
    x[1]["on"] = False


def _deep(x: Any) -> None:
    x[1][0][1] = 10.0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("beside", "change"),
    [
        ([1.0, 2.0], _entry),
        ([1.0, 2.0], _append),
        ({"k": 1.0}, _key),
        ({"on": True, "k": 2.0}, _flag),
        (([1.0, 2.0],), _deep),
    ],
    ids=lambda x: getattr(x, "__name__", repr(x)),
)
@pytest.mark.parametrize("kind", [list, tuple])
def test_what_lies_beside_an_array_in_an_argument_is_watched(kind: Any, beside: Any, change: Any, backend: str) -> None:
    def f(a: Any) -> Any:
        numbers = trees.flatten(a[1])[0] if not isinstance(a[1], dict) or a[1].get("on", True) else [7.0]
        return a[0][0] * sum(n for n in numbers if not isinstance(n, bool))

    program = micrograd.compile(f, backend=backend)
    x = kind([np.array([2.0]), copy.deepcopy(beside)])
    for _ in range(2):
        program(x), program.value_and_grad(x)
    change(x)
    fresh = micrograd.compile(f, backend="numpy")
    assert program(x) == fresh(copy.deepcopy(x))
    assert program.value_and_grad(x)[0] == fresh(copy.deepcopy(x))


@pytest.mark.parametrize("backend", BACKENDS)
def test_arrays_whose_numbers_are_copied_are_looked_at_in_each_call(backend: str) -> None:
    double = micrograd.compile(lambda a: a * 2.0, backend=backend)
    single = np.array(3.0)
    assert double(single) == 6.0
    single[...] = 5.0
    assert double(single) == 10.0
    squares = micrograd.compile(lambda x: x[0] * x[0], batch=0, reduce="sum", backend=backend)
    rows = [np.array([1.0]), np.array([2.0])]
    assert squares(rows) == 5.0
    rows[1][:] = 10.0
    assert squares(rows) == 101.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_array_that_takes_another_form_in_place(backend: str) -> None:
    program = micrograd.compile(lambda x: x[0][1] + 0.0 * x[0][0], backend=backend)
    x = np.arange(9.0).reshape(3, 3)
    assert program(x) == 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy would rather have a new array
        x.strides = (8, 24)
    assert program(x) == 3.0
    y = np.array([[1.0, 2.0]])
    assert program(y) == 2.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y.dtype = np.dtype(">f8")
    y.byteswap(inplace=True)
    assert program(y) == 2.0


@pytest.mark.parametrize("batch", [None, (None, 0)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_integers_that_change_in_place_pick_others_or_are_outside(batch: Any, backend: str) -> None:
    def picked(table: Any, at: Any) -> Any:
        return sum(
            (i + 1.0) * micrograd.take(table, place) + 0.5 * micrograd.take(table[:2], at[0]) for i, place in enumerate(at)
        )

    def expected() -> float:
        rows = at if batch else [at]
        return float(sum(picked(table.tolist(), row.tolist()) for row in rows))

    program = micrograd.compile(picked, batch=batch, reduce="sum" if batch else None, backend=backend)
    table = np.array([0.5, 1.5, 4.0])
    at = np.array([[0, 2], [1, 1], [-2, -3]] if batch else [1, 2])
    for change in ((), (0,), (1,)):
        if change:
            at[..., 1] = change[0]
        close(program(table, at), expected())
    assert recordings(program) == 1
    at[..., 0] = 2  # inside of the one table and outside of the other
    with pytest.raises(IndexError, match="index 2 is outside a table of 2"):
        program(table, at)
    at[..., 0] = -4
    with pytest.raises(IndexError, match="index -4 is outside a table of"):
        program(table, at)
    at[..., 0] = -1
    close(program(table, at), expected())


@pytest.mark.parametrize("backend", BACKENDS)
def test_integers_that_are_part_of_the_program_change_in_place(backend: str) -> None:
    program = micrograd.compile(lambda x, n: sum(x[0] for _ in range(n[0])) * 1.0, backend=backend)
    x, n = np.array([2.0]), np.array([3])
    assert program(x, n) == 6.0
    n[0] = 5
    assert program(x, n) == 10.0


def test_a_call_that_takes_the_place_of_another_is_counted_once() -> None:
    program = micrograd.compile(lambda x: x[0])
    x = [1.0] * 2000
    for i in range(20):
        x[0] = float(i)
        assert program(x) == float(i)
    assert program._calls.bytes == sum(call.bytes for call in program._calls.known.values())


class Mode(str, enum.Enum):
    FAST = "fast"


class Everything:
    """Equal to all there is."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True

    def __call__(self, x: Any) -> Any:
        return x * 10.0


class Touchy(Everything):
    """Not to be compared."""

    def __eq__(self, other: object) -> bool:
        raise TypeError("this compares with nothing")


MODE: Any = "fast"
HOOK: Any = None


def test_what_is_equal_and_something_else_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    program = micrograd.compile(lambda x: x * (2.0 if type(MODE) is str else 3.0) if HOOK is None else HOOK(x))
    assert program(1.0) == 2.0
    monkeypatch.setattr(f"{__name__}.MODE", Mode.FAST)
    assert program(1.0) == 3.0
    monkeypatch.setattr(f"{__name__}.HOOK", Everything())
    assert program(1.0) == 10.0
    monkeypatch.setattr(f"{__name__}.HOOK", None)
    assert program(1.0) == 3.0


def test_what_cannot_be_compared_counts_as_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    program = micrograd.compile(lambda x: x if HOOK is None else HOOK(x))
    assert program(1.0) == 1.0
    monkeypatch.setattr(f"{__name__}.HOOK", Touchy())
    assert program(1.0) == 10.0


def test_a_global_that_hides_a_builtin_later_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    program = micrograd.compile(lambda x: abs(x) * 2.0)
    assert program(-1.0) == 2.0
    monkeypatch.setattr(f"{__name__}.abs", lambda v: v * 100.0, raising=False)
    assert program(-1.0) == -200.0
    monkeypatch.undo()
    assert program(-1.0) == 2.0


def test_modules_that_name_each_other_are_looked_into_once(monkeypatch: pytest.MonkeyPatch) -> None:
    outer, inner = ModuleType("outer_one"), ModuleType("inner_one")
    outer.inner_one, inner.outer_one = inner, outer  # type: ignore[attr-defined]
    exec("def f(x): return x * outer_one.scale", vars(inner))
    outer.scale = 2.0  # type: ignore[attr-defined]
    for module in (outer, inner):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    program = micrograd.compile(lambda x: outer.inner_one.f(x))
    assert program(3.0) == 6.0
    outer.scale = 5.0  # type: ignore[attr-defined]
    assert program(3.0) == 15.0


RATE: Any = 2.0


class Scaled:
    def __init__(self, x: Any) -> None:
        self.x = x * RATE


@dataclass
class Option:
    name: str
    rate: float = field(compare=False)


def cfg(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("user_settings")
    module.rate = 2.0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "user_settings", module)
    return module


def follows_rate(f: Any, module: Any) -> None:
    module.rate = 2.0
    program = micrograd.compile(f)
    assert program(1.0) == 2.0
    module.rate = 7.0
    assert program(1.0) == 7.0


def test_what_the_constructor_of_a_class_reads_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    program = micrograd.compile(lambda x: Scaled(x).x)
    bound = program.bind(1.0, wrt=None)
    assert program(1.0) == 2.0
    monkeypatch.setattr(f"{__name__}.RATE", 5.0)
    assert [program(1.0), bound()] == [5.0, 5.0]


def test_a_module_that_a_function_imports_is_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    module = cfg(monkeypatch)

    def by_name(x: Any) -> Any:
        from user_settings import rate  # type: ignore[import-not-found]

        return x * rate

    def whole(x: Any) -> Any:
        import user_settings

        return x * user_settings.rate

    for f in (by_name, whole):
        follows_rate(f, module)


def test_a_module_in_an_object_a_dict_or_a_class_is_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    module = cfg(monkeypatch)
    holder, table = SimpleNamespace(m=module), {"m": module}

    class Held:
        m = module

    for f in (lambda x: x * holder.m.rate, lambda x: x * table["m"].rate, lambda x: x * Held.m.rate):
        follows_rate(f, module)


def test_a_global_that_was_not_there_is_noticed_when_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    def f(x: Any) -> Any:
        try:
            return x * NOT_YET  # type: ignore[name-defined]
        except NameError:
            return x

    program = micrograd.compile(f)
    assert program(3.0) == 3.0
    monkeypatch.setattr(f"{__name__}.NOT_YET", 5.0, raising=False)
    assert program(3.0) == 15.0


def test_an_attribute_s_name_is_no_global(monkeypatch: pytest.MonkeyPatch) -> None:
    holder = SimpleNamespace(data=2.0)
    program = micrograd.compile(lambda x: x * holder.data)
    assert program(1.0) == 2.0
    for number in range(3):
        monkeypatch.setattr(f"{__name__}.data", number, raising=False)
        assert program(1.0) == 2.0
    assert recordings(program) == 1


def test_what_lies_deep_in_containers_and_is_equal_to_what_was_there_is_told_from_it() -> None:
    nested, options = [[[0.0]]], [[Option("a", 1.0)]]
    by_sign = micrograd.compile(lambda x: x * math.copysign(2.0, nested[0][0][0]))
    by_rate = micrograd.compile(lambda x: x * options[0][0].rate)
    assert [by_sign(1.0), by_rate(1.0)] == [2.0, 1.0]
    nested[0], options[0] = [[-0.0]], [Option("a", 5.0)]
    assert [by_sign(1.0), by_rate(1.0)] == [-2.0, 5.0]


def test_a_list_that_holds_itself_may_be_captured() -> None:
    own: list[Any] = [2.0]
    own.append(own)
    program = micrograd.compile(lambda x: x * own[0])
    assert program(3.0) == 6.0
    own[0] = 4.0
    assert program(3.0) == 12.0
