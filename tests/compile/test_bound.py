"""Bound calls give what the plain call gives, read arrays where they lie, and never run stale."""

from __future__ import annotations

import copy
import gc
import pickle
import signal
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import BuiltinFunctionType
from typing import Any

import numpy as np
import pytest
from face import BACKENDS, close

import micrograd
from micrograd import Value, nn, trees
from micrograd.compile import bound as bound_calls, quick, toolchain
from micrograd.optim import SGD


@pytest.fixture(params=[1, 2, bound_calls.MANY], ids=["in C at once", "in C at the second call", "in Python"], autouse=True)
def calls_in_python(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """All that is said here holds for calls in Python and for those in C."""
    monkeypatch.setattr(bound_calls, "MANY", request.param)
    return request.param


both_backends = pytest.mark.parametrize("backend", BACKENDS)


def bowl(x: Any) -> Any:
    return sum(v * v for v in x)


def layered(layers: Any, x: Any, scale: float = 1.0) -> Any:
    for w, b in layers:
        x = [sum(a * v for a, v in zip(row, x, strict=True)).tanh() + c for row, c in zip(w, b, strict=True)]
    return sum(x) * scale


def example(seed: int = 0) -> tuple[Any, Any]:
    draw = np.random.default_rng(seed).normal
    return [(draw(size=(3, 2)), draw(size=3)), (draw(size=(2, 3)), draw(size=2))], draw(size=2)


def same(found: Any, expected: Any) -> None:
    for a, b in zip(numbers(found), numbers(expected), strict=True):
        assert (type(a), np.shape(a)) == (type(b), np.shape(b))
        close(a, b)


def numbers(tree: Any) -> list[Any]:
    if isinstance(tree, (list, tuple)):
        return [leaf for part in tree for leaf in numbers(part)]
    if isinstance(tree, dict):
        return [leaf for part in tree.values() for leaf in numbers(part)]
    return [tree]


# -------------------------------------------------------------------------------------------------------- what it gives


@both_backends
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("wrt", [0, 1, (0, 1), (1,), -1, None], ids=repr)
def test_a_bound_call_gives_what_the_plain_call_gives(backend: str, dtype: str, wrt: Any) -> None:
    layers, x = example()
    layers, x = [(w.astype(dtype), b.astype(dtype)) for w, b in layers], x.astype(dtype)
    program = micrograd.compile(lambda layers, x: layered(layers, x), backend=backend, dtype=dtype)
    bound = program.bind(layers, x, wrt=wrt)
    for _ in range(3):
        expected = program(layers, x) if wrt is None else program.value_and_grad(layers, x, wrt=wrt)
        same(bound(), expected)
        layers[1][0][1, 2] += 0.5
        x[:] *= -1.5


@both_backends
@pytest.mark.parametrize(
    "point",
    [2.0, [1.0, 2.0], {"a": 1.0, "b": [0.5, np.array([1.0, 2.0])]}, (np.eye(2), 3.0), {"w": np.ones(3)}],
    ids=repr,
)
def test_arguments_of_any_structure_are_bound(backend: str, point: Any) -> None:
    program = micrograd.compile(lambda p: sum(v**3 for v in flat(p)), backend=backend)
    bound = program.bind(point)
    for _ in range(2):
        same(bound(), program.value_and_grad(point))


def flat(p: Any) -> list[Any]:
    if isinstance(p, dict):
        return [v for part in p.values() for v in flat(part)]
    if isinstance(p, (list, tuple, np.ndarray)):
        return [v for part in p for v in flat(part)]
    return [p]


@both_backends
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("reduce", ["mean", "sum", None])
def test_batches_are_bound(backend: str, threads: int, reduce: Any) -> None:
    x, y = np.random.default_rng(1).normal(size=(2, 37))
    how: dict[str, Any] = {"batch": (None, 0, 0), "reduce": reduce, "backend": backend, "threads": threads}
    program = micrograd.compile(lambda w, x, y: (w[0] * x + w[1] - y) ** 2, **how)
    w = np.array([0.5, -1.0])
    for wrt in (0, 1, (0, 2), None):
        bound = program.bind(w, x, y, wrt=wrt)
        for _ in range(2):
            same(bound(), program(w, x, y) if wrt is None else program.value_and_grad(w, x, y, wrt=wrt))
            w += 0.25
            y[3] -= 1.0


def test_a_function_with_several_results_is_bound_for_its_values_only() -> None:
    program = micrograd.compile(lambda x: [x[0] * x[1], {"sum": x[0] + x[1]}])
    x = np.array([2.0, 3.0])
    assert program.bind(x, wrt=None)() == [6.0, {"sum": 5.0}]
    with pytest.raises(TypeError, match="gives 2 numbers"):
        program.bind(x)


def test_arguments_may_be_given_by_name_and_a_default_stays() -> None:
    layers, x = example()
    program = micrograd.compile(layered)
    same(program.bind(x=x, layers=layers)(), program.value_and_grad(layers, x))
    same(program.bind(layers, x, scale=2.0)(), program.value_and_grad(layers, x, 2.0))


@pytest.mark.parametrize(("wrt", "error"), [(2, ValueError), ("x", ValueError), (True, ValueError), ((), ValueError)])
def test_wrt_that_names_no_argument_is_refused(wrt: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="wrt must"):
        micrograd.compile(layered).bind(*example(), wrt=wrt)


# ---------------------------------------------------------------------------------------------------------- in place


def test_the_gradient_is_written_into_the_same_arrays_which_no_other_call_touches() -> None:
    x, other = np.array([1.0, 2.0]), np.array([5.0, 6.0])
    program = micrograd.compile(bowl, backend="native")
    bound, second = program.bind(x), program.bind(other)
    value, gradient = bound()
    assert (value, gradient.tolist()) == (5.0, [2.0, 4.0])
    for _ in range(20):
        program.value_and_grad(other)
        assert second()[1].tolist() == [10.0, 12.0]
    assert gradient.tolist() == [2.0, 4.0]
    x[0] = 3.0
    assert bound()[1] is gradient
    assert gradient.tolist() == [6.0, 4.0]


def test_single_numbers_of_a_gradient_are_floats_of_their_own() -> None:
    rate = np.array([2.0])
    bound = micrograd.compile(lambda p, rate: p[0] ** 2 * rate[0], backend="native").bind([3.0], rate)
    first = bound()
    rate[0] = 4.0
    assert (first, bound()) == ((18.0, [12.0]), (36.0, [24.0]))


def test_the_arguments_live_as_long_as_the_bound_call() -> None:
    bounds = [micrograd.compile(bowl, backend="native").bind(np.full(1000, float(i))) for i in range(8)]
    assert [bound()[0] for bound in bounds] == [1000.0 * i * i for i in range(8)]


@pytest.mark.parametrize(
    "x",
    [np.ones(4, np.float32), np.ones(8)[::2], np.arange(4.0).reshape(2, 2).T, np.arange(4), nn.MLP(1, [1])],
    ids=["float32", "strided", "transposed", "integers", "module"],
)
def test_what_cannot_be_read_where_it_lies_is_refused(x: Any) -> None:
    with pytest.raises(TypeError, match="C-contiguous arrays of float64"):
        micrograd.compile(lambda x: x([1.0]) if callable(x) else sum(flat(x)) * 1.0).bind(x)


# -------------------------------------------------------------------------------------------------------- never stale

SCALE = 2.0


@both_backends
def test_what_the_function_captures_is_read_anew(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, table = nn.MLP(2, [3, 1], seed=1), [1.0, 2.0]
    program = micrograd.compile(lambda x: model(x) * SCALE + table[0], backend=backend)
    x = np.array([0.5, -1.0])
    bound = program.bind(x)

    def check() -> None:
        out = model(trees.unflatten([trees.Slot(0), trees.Slot(1)], [Value(v) for v in x])) * SCALE + table[0]
        close(bound()[0], out.data)

    check()
    model.parameters()[0].data += 1.0
    check()
    table[0] = 7.0
    check()
    monkeypatch.setattr(f"{__name__}.SCALE", -3.0)
    check()
    model.load_state_dict(nn.MLP(2, [3, 1], seed=5).state_dict())
    check()
    optimizer = SGD(program.parameters, lr=0.5)  # moves the parameters into a buffer
    check()
    program.backward(x)
    optimizer.step()
    check()


@both_backends
def test_containers_and_the_forms_of_arrays_are_watched(backend: str) -> None:
    rows = [np.array([1.0, 2.0]), np.array([3.0])]
    p = {"a": np.array([1.0]), "b": [2.0, 3.0]}
    program = micrograd.compile(lambda rows, p: sum(flat(rows)) * sum(flat(p)), backend=backend)
    bound = program.bind(rows, p)

    def check() -> None:
        expected = float(np.sum(np.concatenate(rows))) * float(np.sum(flat(p)))
        close(bound()[0], expected)
        assert [np.shape(g) for g in bound()[1]] == [np.shape(row) for row in rows]

    check()
    rows[0] = np.array([5.0, 6.0, 7.0])
    check()
    rows.append(np.array([1.0, 1.0]))
    check()
    p["b"][1] = 30.0
    check()
    p["a"] = np.array([4.0, 4.0])
    check()
    p["c"] = 1.0
    check()
    p["b"] = 2.5
    check()


@pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")
def test_a_shape_or_dtype_that_is_set_in_place_is_noticed() -> None:
    x = np.arange(6.0)
    bound = micrograd.compile(lambda x: sum((i + 1.0) * v for i, v in enumerate(flat(x)))).bind(x)
    assert bound()[1].shape == (6,)
    x.shape = (2, 3)
    assert bound()[1].shape == (2, 3)
    x.shape, x.strides = (3, 2), (8, 24)
    with pytest.raises(TypeError, match="C-contiguous"):
        bound()


def test_indices_are_read_where_they_lie() -> None:
    table, at = np.array([1.0, 2.0, 4.0]), np.array([0, 2])
    bound = micrograd.compile(lambda table, at: micrograd.take(table, at[0]) * micrograd.take(table, at[1])).bind(table, at)
    for _ in range(4):
        same(bound(), (4.0, np.array([4.0, 0.0, 1.0])))
    at[0] = -2
    same(bound(), (8.0, np.array([0.0, 4.0, 2.0])))
    at[1] = 3
    for _ in range(2):
        with pytest.raises(IndexError, match="index 3 is outside a table of 3"):
            bound()
    at[1] = 0
    same(bound(), (2.0, np.array([2.0, 1.0, 0.0])))


def test_within_a_function_that_is_traced_or_differentiated_it_is_an_error() -> None:
    x = np.array([1.0, 2.0])
    bound = micrograd.compile(bowl).bind(x)
    for _ in range(bound_calls.MANY):
        bound()
    for outer in (micrograd.compile(lambda v: v * bound()[0]), micrograd.grad(lambda v: v * bound()[0])):
        with pytest.raises(TypeError, match="cannot be part of another function"):
            outer(3.0)
    assert bound()[0] == 5.0


G = 1.0


def test_a_gradient_by_a_batch_that_is_the_same_for_all_examples_is_read_at_each_call() -> None:
    w, x = np.array([2.0, 1.0]), np.arange(3.0)
    program = micrograd.compile(lambda w, x: w[0] * x + w[1], batch=(None, 0), reduce="sum")
    for wrt in (1, (0, 1)):
        bound = program.bind(w, x, wrt=wrt)
        for slope in (2.0, 5.0):
            w[0] = slope
            same(bound(), program.value_and_grad(w, x, wrt=wrt))


def test_a_call_that_was_refused_leaves_nothing_behind() -> None:
    p: list[Any] = [2.0, np.array([1.0, 2.0])]
    program = micrograd.compile(lambda p: sum(v**3 for v in flat(p)))
    bound = program.bind(p)
    bound()
    p.insert(0, np.ones(2, np.float32))
    with pytest.raises(TypeError, match="C-contiguous"):
        bound()
    p.pop(0)
    same(bound(), program.value_and_grad(p))


def test_the_containers_of_an_answer_are_the_caller_s() -> None:
    for q in ([np.array([1.0, 2.0]), np.array([3.0])], {"a": [np.array([1.0])], "b": (np.array([2.0]), [np.array([3.0])])}):
        program = micrograd.compile(lambda q: sum(v**3 for v in flat(q)))
        bound = program.bind(q)
        _, gradient = bound()
        gradient.clear()
        same(bound(), program.value_and_grad(q))


def test_a_bound_call_within_a_schedule_of_fit_does_not_stay_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    w = Value(0.5)
    program = micrograd.compile(lambda x, y: (w * x * G - y) ** 2)
    bound = program.bind(2.0, 1.0, wrt=None)
    made: list[Any] = []

    def rate(step: int) -> float:
        monkeypatch.setattr(f"{__name__}.G", 2.0)
        bound()
        made.append(program.bind(2.0, 1.0, wrt=None))
        return 0.0

    data = [(float(i), 2.0 * i) for i in range(4)]
    micrograd.fit(program, data, SGD([w], lr=rate), epochs=2, batch_size=1, progress=False)
    for number, expected in ((2.0, 1.0), (7.0, 36.0)):
        monkeypatch.setattr(f"{__name__}.G", number)
        assert [call() for call in (bound, *made)] == [expected] * (1 + len(made))
        assert program(2.0, 1.0) == expected


def test_a_program_that_was_recorded_anew_meanwhile_makes_no_bound_call_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    program = micrograd.compile(lambda x: x * G)
    bound = program.bind(3.0)
    assert bound() == (3.0, 1.0)
    monkeypatch.setattr(f"{__name__}.G", 4.0)
    assert program(3.0) == 12.0
    assert bound() == (12.0, 4.0)


# --------------------------------------------------------------------------------------------------------- calls in C


class Scaled:
    rate = 2.0

    def __init__(self) -> None:
        self.offset = [1.0]

    def __call__(self, x: Any) -> Any:
        return x[0] * self.rate * self.offset[0] * SCALE


def adopted() -> Any:
    w = Value(3.0)
    program = micrograd.compile(lambda x: w * x[0])
    program(np.ones(1))
    assert len(program.parameters) == 1
    return program


KERNEL, RATES, FACTOR = np.ones(2), {2.0}, Value(2.0)
SEEN = {
    "arrays": (micrograd.compile(bowl), (np.ones(2),)),
    "containers": (micrograd.compile(lambda p: bowl(p["x"]) * p["c"][0]), ({"x": np.ones(2), "c": [2.0]},)),
    "an object, its class and a global": (micrograd.compile(Scaled()), (np.ones(1),)),
    "single precision": (micrograd.compile(bowl, dtype="float32"), (np.ones(2, np.float32),)),
    "a batch": (micrograd.compile(lambda w, x: w * x, batch=(None, 0), reduce="sum"), (2.0, np.ones(3))),
    "a captured array": (micrograd.compile(lambda x: x[0] * KERNEL[1]), (np.ones(1),)),
    "parameters in an array": (adopted(), (np.ones(1),)),
}
UNSEEN = {
    "a captured Value": (micrograd.compile(lambda x: FACTOR * x[0]), (np.ones(1),)),
    "a captured set": (micrograd.compile(lambda x: x[0] * sum(RATES)), (np.ones(1),)),
    "NumPy": (micrograd.compile(bowl, backend="numpy"), (np.ones(2),)),
}


def in_c(bound: Any) -> bool:
    return isinstance(bound.__call__, BuiltinFunctionType)


@pytest.mark.parametrize("case", [*SEEN, *UNSEEN])
def test_which_calls_are_made_in_c(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, args = (SEEN | UNSEEN)[case]
    bound = program.bind(*args)
    for _ in range(bound_calls.MANY):
        first = bound()
    assert in_c(bound) == (case in SEEN)
    if case in SEEN:
        same(bound(), first)
        args[-1]["x" if isinstance(args[-1], dict) else 0] += 0.5
        same(bound(), program.value_and_grad(*args))
        assert in_c(bound)


@pytest.mark.parametrize("back", [False, True], ids=["longer", "and back"])
def test_calls_in_c_look_at_the_address_of_an_array(back: bool) -> None:
    x = np.ones(64)
    bound = micrograd.compile(bowl).bind(x)
    for _ in range(bound_calls.MANY):
        bound()
    x.resize(100_000, refcheck=False)
    if back:
        held = np.empty(64)  # which may lie where the array lay
        x.resize(64, refcheck=False)
        held[:] = 0.0
    x[-1] = 2.0
    assert bound()[0] == (67.0 if back else 68.0)
    assert bound()[1].shape == x.shape


def test_a_plain_call_looks_at_the_address_of_an_array_that_was_resized() -> None:
    program = micrograd.compile(lambda w, x: w * x, batch=(None, 0), reduce="mean", backend="native")
    x = np.ones(4)
    assert program(2.0, x) == 2.0
    x.resize(80_000, refcheck=False)
    x[:] = 3.0
    close(program(2.0, x), 6.0)


@pytest.mark.parametrize("batched", [True, False])
def test_an_error_in_the_function_comes_out_of_a_call_in_c(batched: bool) -> None:
    fails = [0.0]

    def f(w: Any, x: Any) -> Any:
        if fails[0]:
            raise ValueError("no more of this")
        return w * x

    how: dict[str, Any] = {"batch": (None, 0), "reduce": "sum"} if batched else {}
    bound = micrograd.compile(f, **how).bind(2.0, np.ones(3) if batched else 1.0)
    for _ in range(bound_calls.MANY):
        bound()
    fails[0] = 1.0
    with pytest.raises(ValueError, match="no more of this"):
        bound()
    fails[0] = 0.0
    assert bound()[0] == (6.0 if batched else 2.0)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps], ids=["copy", "deepcopy", "pickle"])
def test_a_bound_call_is_not_copied(copied: Any) -> None:
    with pytest.raises(TypeError, match="bind the program to the copies"):
        copied(micrograd.compile(bowl).bind(np.ones(2)))


def test_a_value_and_its_gradient_are_of_one_point() -> None:
    """Single numbers of a gradient are read after the run, in which no other thread may come between."""
    rate = np.array([1.0])
    bound = micrograd.compile(lambda p, rate: p[0] ** 2 * rate[0], backend="native").bind([3.0], rate)
    assert bound()[0] == 9.0
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def work(i: int) -> bool:
        for k in range(3_000):
            rate[0] = float(k % 97 + i)
            value, (slope,) = bound()
            if value * 2.0 != slope * 3.0:
                return False
        return True

    try:
        with ThreadPoolExecutor(3) as pool:
            assert all(pool.map(work, range(3)))
    finally:
        sys.setswitchinterval(before)


def test_without_a_compiler_for_them_calls_stay_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise toolchain.NoCompiler("it has gone")

    bound = micrograd.compile(bowl, backend="native").bind(np.ones(2))
    quick._maker.cache_clear()
    monkeypatch.setattr(toolchain, "load", fails)
    for _ in range(3 * bound_calls.MANY):
        assert bound()[0] == 2.0
    assert not in_c(bound)


@pytest.mark.parametrize("batched", [True, False])
def test_bound_calls_of_one_program_in_several_threads(batched: bool) -> None:
    how: dict[str, Any] = {"batch": (None, 0), "reduce": "sum"} if batched else {}
    program = micrograd.compile(lambda w, x: (w * x).tanh() if batched else w * sum(x).tanh(), backend="native", **how)
    points = [np.random.default_rng(i).normal(size=2_000) for i in range(4)]
    expected = [program.value_and_grad(0.5, x) for x in points]
    shared = program.bind(0.5, points[0])

    def work(i: int) -> bool:
        bound = program.bind(0.5, points[i])
        return all((shared(), bound()) == (expected[0], expected[i]) for _ in range(bound_calls.MANY + 200))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_a_bound_call_goes_when_nobody_holds_it_and_its_function_lives_on() -> None:
    bound = micrograd.compile(bowl).bind(np.ones(2))
    for _ in range(bound_calls.MANY):
        bound()
    function, reference = bound.__call__, weakref.ref(bound)
    gc.disable()
    try:
        del bound
        assert reference() is None
    finally:
        gc.enable()
    assert function()[0] == 2.0


def test_what_calls_in_c_hold_is_let_go() -> None:
    program = micrograd.compile(lambda w, x: w["w"][0] * bowl(x))
    x, other, w = np.ones(1000), np.ones(1000), {"w": [2.0]}
    program.value_and_grad(w, other)
    gc.collect()
    before, nothing, numbers_held = (sys.getrefcount(x), sys.getrefcount(w["w"])), sys.getrefcount(None), set()
    bound = program.bind(w, x)
    for _ in range(bound_calls.MANY + 100):
        answer = bound()
        numbers_held.add(sys.getrefcount(answer[0]))
    for _ in range(100):
        w["w"][0] += 0.0  # an equal number, and another one
        bound()
    del bound, answer
    program.value_and_grad(w, other)
    program._calls.clear()
    gc.collect()
    assert (sys.getrefcount(x), sys.getrefcount(w["w"])) == before
    assert numbers_held == {2}  # by the answer and by who asks
    assert abs(sys.getrefcount(None) - nothing) < 50


def test_an_interrupt_within_calls_in_c_leaves_the_program_free() -> None:
    bound = micrograd.compile(bowl).bind(np.ones(1000))
    rounds = []

    def run() -> None:
        while True:
            rounds.append(bound()[0])

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(20):
            signal.setitimer(signal.ITIMER_REAL, 0.002)
            with pytest.raises(KeyboardInterrupt):
                run()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert set(rounds) == {1000.0}
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(bound).result()[0] == 1000.0
