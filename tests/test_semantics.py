"""The decided meanings, row by row: each test is named after its row.  What one operation computes is in test_ops.py."""

from __future__ import annotations

import copy
import math
import pickle
import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from conftest import oracle, run_fresh
from mpmath import mpf
from test_ops import EXACT, SLOPE_NEAR_ZERO, partial, ulps

import micrograd
from micrograd import MLP, Layer, Neuron, Value, losses, ops, topological_order
from micrograd.ops import TABLE

# --------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("data", [2, 2.0, True, Fraction(2, 1), -0.0, math.inf, 10**300])
def test_numbers_value_data_accepts_real_scalars_and_becomes_a_float(data: Any) -> None:
    assert type(Value(data).data) is float
    assert Value(data).data == float(data)


def test_numbers_value_data_beyond_double_precision_is_infinite() -> None:
    assert Value(10**400).data == (Value(1.0) + 10**400).data == math.inf
    assert Value(-(10**400)).data == -math.inf


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "int64", "uint8", "bool_"])
def test_numbers_value_data_accepts_numpy_scalars_and_arrays_without_a_shape(kind: str) -> None:
    np = oracle("numpy")
    for data in (getattr(np, kind)(1), np.array(1, dtype=kind)):
        assert type(Value(data).data) is float
        assert Value(data).data == 1.0


@pytest.mark.parametrize(
    ("data", "kind", "hint"),
    [
        ("2.0", "str", "write Value(float(text))"),
        (2j, "complex", "a Value is real: use z.real and z.imag"),
        (None, "NoneType", "a function without a return statement gives None"),
        ([1.0], "list", "for several numbers write [Value(x) for x in numbers]"),
        ((1.0,), "tuple", "for several numbers write [Value(x) for x in numbers]"),
        (b"2", "bytes", "for several numbers write [Value(x) for x in numbers]"),
    ],
)
def test_numbers_value_data_refuses_the_rest_and_says_what_to_write(data: Any, kind: str, hint: str) -> None:
    with pytest.raises(TypeError) as error:
        Value(data)
    assert str(error.value) == f"Value(data) takes one real number, got {kind}: {hint}"


def test_numbers_value_data_refuses_a_value() -> None:
    with pytest.raises(
        TypeError, match=r"got Value: it is one already: use it as it is, or v\.detach\(\) for a constant copy"
    ):
        Value(Value(1.0))


def test_numbers_value_data_refuses_arrays_with_a_shape_and_complex_scalars() -> None:
    np = oracle("numpy")
    for data in (np.zeros(1), np.zeros((2, 2)), np.complex128(1), np.array(1j), np.array("a"), np.datetime64("2020-01-01")):
        with pytest.raises(TypeError, match=r"^Value\(data\) takes one real number, got "):
            Value(data)


@pytest.mark.parametrize(
    ("compute", "expected"),
    [
        (lambda: Value(1e308) * 10, math.inf),
        (lambda: Value(1e308) + 1e308, math.inf),
        (lambda: Value(1000.0).exp(), math.inf),
        (lambda: Value(-1000.0).exp(), 0.0),
        (lambda: Value(0.0).log(), -math.inf),
        (lambda: Value(-1.0).log(), math.nan),
        (lambda: Value(-1.0).sqrt(), math.nan),
        (lambda: Value(1.0) / 0, math.inf),
        (lambda: 1 / Value(-0.0), -math.inf),
        (lambda: Value(0.0) / Value(0.0), math.nan),
        (lambda: Value(-2.0) ** 0.5, math.nan),
        (lambda: Value(-2.0) ** Value(0.5), math.nan),
        (lambda: (-2.0) ** Value(0.5), math.nan),
        (lambda: Value(0.0) ** -1, math.inf),
        (lambda: Value(-0.0) ** -3, -math.inf),
        (lambda: Value(10.0) ** 400, math.inf),
        (lambda: Value(math.inf) - math.inf, math.nan),
        (lambda: Value(math.inf).sin(), math.nan),
        (lambda: Value(2.0).asin(), math.nan),
        (lambda: Value(1.0).atanh(), math.inf),
        (lambda: Value(1000.0).cosh(), math.inf),
        (lambda: Value(-1000.0).sinh(), -math.inf),
    ],
)
def test_numbers_arithmetic_follows_ieee_754_and_never_raises_or_turns_complex(
    compute: Callable[[], Value], expected: float
) -> None:
    result = compute()
    result.backward()
    assert type(result.data) is float
    assert result.data == expected or (math.isnan(expected) and math.isnan(result.data))


def test_numbers_forward_results_are_the_bits_of_the_float_expression() -> None:
    rng = random.Random(0)

    def expression(a: Any, b: Any, c: Any) -> Any:
        return (a - b) / c + a / b * c - b / (c - a) ** 3 + 2 / a - (1 - b) / 3 + sum([a, b, c]) - (-a + +b)

    for _ in range(1000):
        numbers = [rng.uniform(0.1, 9.0) * rng.choice((-1, 1)) for _ in range(3)]
        assert expression(*map(Value, numbers)).data == expression(*numbers), numbers


def test_numbers_forward_results_of_methods_are_the_bits_of_the_functions_on_floats() -> None:
    rng = random.Random(0)
    for name in ("exp", "log", "sin", "cos", "tan", "atan", "sinh", "tanh", "erf", "sqrt", "expm1", "log1p"):
        for x in (rng.uniform(0.1, 3.0) for _ in range(100)):
            assert getattr(Value(x), name)().data == getattr(micrograd, name)(x) == getattr(math, name)(x)


@pytest.mark.parametrize("x", [1000.0, -1000.0])
def test_numbers_stability_values_and_gradients_are_finite_at_a_thousand(x: float) -> None:
    def softmax_first(v: Value) -> Value:
        return micrograd.softmax([v, 0.0, -v])[0]

    for f in (
        micrograd.sigmoid,
        micrograd.tanh,
        micrograd.softplus,
        softmax_first,
        lambda v: micrograd.logsumexp([v, 0.0, -v]),
        lambda v: losses.cross_entropy([v, 0.0, -v], 2),
        lambda v: losses.binary_cross_entropy([v], [1.0]),
        lambda v: losses.binary_cross_entropy([v], [0.0]),
    ):
        v = Value(x)
        result = f(v)
        result.backward()
        assert math.isfinite(result.data)
        assert math.isfinite(v.grad)


@pytest.mark.parametrize("name", [name for name, op in TABLE.items() if op.arity in (1, 2)])
def test_numbers_accuracy_of_recorded_values_and_local_derivatives(name: str) -> None:
    """The same bounds as in test_ops.py, here for what a node holds."""
    rng = random.Random(name)
    for _ in range(5):
        args = [rng.uniform(low, high) for low, high in TABLE[name].domain]
        node = TABLE[name](*map(Value, args))
        assert ulps(node.data, EXACT[name](*map(mpf, args))) <= 2.0
        for i, derivative in enumerate(node.local_derivatives):
            expected = partial(EXACT[name], args, i)
            near_zero = name in SLOPE_NEAR_ZERO and abs(derivative - expected) <= 1e-15
            assert near_zero or ulps(derivative, expected) <= 8.0, args


def test_numbers_finding_a_nan_names_the_operation_the_operands_and_the_line() -> None:
    with pytest.raises(FloatingPointError) as error, micrograd.detect_anomaly():
        Value(-3.0).log()
    assert str(error.value).startswith(f"log(-3.0) gave nan, recorded at {__file__}:")


# ------------------------------------------------------------------------------------ derivatives at the odd points


def slopes(f: Callable[..., Any], *args: float) -> tuple[float, ...]:
    values = [Value(x) for x in args]
    f(*values).backward()
    return tuple(v.grad for v in values)


def test_odd_points_relu_at_zero_has_slope_zero() -> None:
    assert slopes(Value.relu, 0.0) == slopes(Value.relu, -0.0) == (0.0,)


def test_odd_points_abs_at_zero_has_slope_zero() -> None:
    assert slopes(abs, 0.0) == slopes(abs, -0.0) == (0.0,)


def test_odd_points_maximum_and_minimum_split_a_tie_half_and_half() -> None:
    assert slopes(micrograd.maximum, 2.0, 2.0) == slopes(micrograd.minimum, 2.0, 2.0) == (0.5, 0.5)


@pytest.mark.parametrize("x", [0.0, -0.0, 2.0, -2.0, math.inf])
def test_odd_points_x_to_the_zero_has_derivative_zero_everywhere(x: float) -> None:
    assert slopes(lambda v: v**0, x) == (0.0,)
    assert slopes(lambda v: v ** Value(0.0), x) == (0.0,)


@pytest.mark.parametrize("b", [0.5, 1.0, 2.0, 3.5])
def test_odd_points_zero_to_the_b_has_derivative_zero_by_b(b: float) -> None:
    assert slopes(lambda v: 0.0**v, b) == (0.0,)


def test_odd_points_a_negative_base_has_derivative_nan_by_its_exponent() -> None:
    base, exponent = slopes(lambda a, b: a**b, -2.0, 3.0)
    assert base == 12.0
    assert math.isnan(exponent)


def test_odd_points_sqrt_at_zero_has_slope_infinity() -> None:
    assert slopes(micrograd.sqrt, 0.0) == (math.inf,)


def test_odd_points_a_constant_exponent_is_a_parameter_without_gradient() -> None:
    node = Value(-2.0) ** 3
    assert len(node.parents) == 1
    node.backward()
    assert node.parents[0].grad == 12.0


def test_odd_points_where_sends_the_gradient_to_the_chosen_side_and_no_nan_leaks() -> None:
    for condition, expected in ((True, (1.0, 0.0)), (False, (0.0, 1.0))):
        assert slopes(lambda a, b, c=condition: micrograd.where(c, a, b), 2.0, 3.0) == expected
    x = Value(0.0)
    safe = micrograd.where(x > 0, x.log() * x.sqrt(), x * 2)
    safe.backward()
    assert (safe.data, x.grad) == (0.0, 2.0)


def test_odd_points_detach_is_the_identity_with_gradient_zero() -> None:
    assert slopes(lambda v: micrograd.detach(v) * v.detach(), 3.0) == (0.0,)
    assert micrograd.detach(Value(3.0)).data == 3.0
    assert micrograd.detach(3.0) == 3.0


# -------------------------------------------------------------------------------------------------------- gradients


def test_gradients_backward_twice_doubles_the_leaves_and_never_corrupts_the_interior() -> None:
    x, y = Value(2.0), Value(3.0)
    product = x * y
    root = product * product + x
    root.backward()
    once = (x.grad, y.grad)
    root.backward()
    assert (x.grad, y.grad) == (2 * once[0], 2 * once[1]) == (2 * 37.0, 2 * 24.0)
    assert (product.grad, root.grad) == (12.0, 1.0)


def test_gradients_backward_from_an_interior_node_and_then_from_the_root() -> None:
    x = Value(2.0)
    middle = x * x
    root = middle * x
    middle.backward()
    root.backward()
    assert (x.grad, middle.grad) == (4.0 + 12.0, 2.0)


def test_gradients_backward_with_a_seed_scales() -> None:
    x = Value(3.0)
    (x * x).backward(-2)
    assert x.grad == -12.0


def test_gradients_of_leaves_accumulate_over_different_roots() -> None:
    x = Value(3.0)
    (2 * x).backward()
    (x * x).backward()
    assert x.grad == 8.0


def test_gradients_a_leaf_has_no_parents_and_zero_grad_is_on_modules_and_optimisers() -> None:
    model = MLP(2, [3, 1])
    for owner in (model, micrograd.optim.SGD(model.parameters(), lr=0.1)):
        model([1.0, 2.0]).backward()
        assert any(p.grad for p in model.parameters())
        owner.zero_grad()
        assert [p.grad for p in model.parameters()] == [0.0] * len(model.parameters())
    assert all(p.parents == () for p in model.parameters())


def test_gradients_operands_are_an_ordered_tuple_with_duplicates() -> None:
    x, y = Value(2.0), Value(3.0)
    assert (x + x).parents == (x, x)
    assert (y - x).parents == (y, x)
    assert (x - y).parents == (x, y)
    assert ops.sum([x, y, x]).parents == (x, y, x)
    double = x + x
    double.backward()
    assert x.grad == 2.0


_REPORT = """
import random
from micrograd import MLP, Value, draw, topological_order
random.seed(3)
model = MLP(3, [5, 4, 1])
total = sum(model([i / 7, 0.3, -i]) ** 2 for i in range(9))
names = {id(p): p.label for p in model.parameters()}
total.backward()
print([p.grad.hex() for p in model.parameters()])
print([(v._op, v.data.hex(), v.grad.hex(), len(v.parents)) for v in topological_order(total)])
print([(v.data.hex(), v.grad.hex()) for v in total._prev])
print(draw(total).svg, draw(model.layers[0].neurons[0]([1.0, 2.0, 3.0])).dot)
"""


def test_gradients_order_is_the_same_under_every_hash_seed() -> None:
    outputs = {run_fresh(_REPORT, PYTHONHASHSEED=seed) for seed in ("0", "1", "4711", "random")}
    assert len(outputs) == 1


_CHAIN = """
import copy, gc, pickle, sys
from micrograd import Value, draw, topological_order
sys.setrecursionlimit(200)
N = 1_000_000
x = Value(1.0, label="x")
root = x
for _ in range(N):
    root = root + x
"""


def test_gradients_depth_a_chain_of_a_million_records_backpropagates_and_is_freed() -> None:
    run_fresh(
        _CHAIN + "assert root.data == N + 1\n"
        "root.backward()\nassert x.grad == N + 1\n"
        "root.backward()\nassert x.grad == 2 * (N + 1)\n"
        "assert len(topological_order(root)) == N + 1\n"
        "del root\n"
    )


def test_gradients_depth_a_chain_of_a_million_draws_collapsed() -> None:
    run_fresh(_CHAIN + "picture = draw(root)\nassert len(picture.svg) < 1_000_000\n")


def test_gradients_depth_a_chain_of_a_million_is_copied() -> None:
    run_fresh(
        _CHAIN + "twin = copy.copy(root)\nassert twin.parents == root.parents\n"
        "twin, leaf = copy.deepcopy((root, x))\ntwin.backward()\nassert (leaf.grad, x.grad) == (N + 1, 0.0)\n"
    )


def test_gradients_depth_a_chain_of_a_million_is_pickled() -> None:
    run_fresh(
        _CHAIN + "twin, leaf = pickle.loads(pickle.dumps((root, x)))\n"
        "twin.backward()\nassert (leaf.grad, x.grad) == (N + 1, 0.0)\n"
    )


def test_gradients_memory_no_reference_cycle() -> None:
    run_fresh("""
import gc
gc.disable()
import copy, pickle, random
from micrograd import MLP, Value, draw, grad, hessian, losses, ops, topological_order
def values():
    return sum(type(o) is Value for o in gc.get_objects())
gc.collect()
gc.disable()
before = values()
def use():
    x = Value(0.5)
    y = ops.softmax([x * x, x.tanh() + 2, 1 / x])[1] ** 2
    y.backward()
    topological_order(y)
    twin = copy.deepcopy(y)
    twin.backward()
    pickle.loads(pickle.dumps([y, x])), copy.copy(y), repr(y), y.has_grad
    model = MLP(2, [4, 1])
    loss = losses.mse([model([1.0, 2.0])], [3.0])
    loss.backward()
    grad(lambda a: a * a.sin())(2.0)
    hessian(lambda a: a * a.sin())(2.0)
use()
assert values() == before, (before, values())
x = Value(1.0)
root = x
for _ in range(1000):
    root = (root * x).tanh() + root
root.backward()
assert values() > before + 3000
del root, x
assert values() == before, (before, values())
""")


_INTERRUPTED = """
import faulthandler, sys
faulthandler.dump_traceback_later(60, exit=True)
from micrograd import Value, ops
from micrograd.engine import _count_paths, _send_gradients
WALKS = {_count_paths.__code__, _send_gradients.__code__}

def graph():
    x, y = Value(2.0), Value(3.0)
    a = x * y
    b = ops.dot([a, x, 1.0, a, 2.0])
    return x, y, a, b, b * a + b + x * x

def interrupt_at(n, call):
    count = 0
    def local(frame, event, arg):
        nonlocal count
        if event == "opcode":
            count += 1
            if count == n:
                raise KeyboardInterrupt
        return local
    def trace(frame, event, arg):
        if frame.f_code in WALKS:
            frame.f_trace_opcodes = True
            return local
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)

x, y, a, b, root = graph()
root.backward()
right, interior = (x.grad, y.grad), [v.grad for v in (a, b, root)]
interruptions = 0
while True:
    x, y, a, b, root = graph()
    root.backward()
    try:
        interrupt_at(interruptions + 1, root.backward)
    except KeyboardInterrupt:
        interruptions += 1
    else:
        break
    once, twice = right, tuple(2 * g for g in right)
    assert (x.grad, y.grad) in (once, twice), (interruptions, x.grad, y.grad)
    x.grad = y.grad = 0.0
    root.backward()
    assert (x.grad, y.grad) == right, interruptions
    assert [v.grad for v in (a, b, root)] == interior, interruptions
print(interruptions)
"""


def test_gradients_interruption_at_any_instruction_leaves_the_graph_usable() -> None:
    assert int(run_fresh(_INTERRUPTED)) > 500


def test_gradients_interruption_by_a_signal_leaves_the_graph_usable() -> None:
    run_fresh("""
import faulthandler, random, signal
faulthandler.dump_traceback_later(60, exit=True)
from micrograd import Value
x = Value(1.0)
root = x
for _ in range(30_000):
    root = root * 1.0 + x * 1.0
def interrupt(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
rng = random.Random(0)
interrupted = expected = 0
for _ in range(100):
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, 1e-2))
        root.backward()
        signal.setitimer(signal.ITIMER_REAL, 0.0)
    except KeyboardInterrupt:
        interrupted += 1
    assert x.grad in (expected, expected + 30_001.0), (x.grad, expected)
    expected = x.grad
assert interrupted
x.grad = 0.0
root.backward()
assert x.grad == 30_001.0
""")


def test_gradients_interruption_by_an_exception_leaves_the_leaves_as_they_were() -> None:
    x, y = Value(2.0), Value(3.0)
    good = x * y
    broken = good + Value(1.0, (x,), "by hand")
    good.backward()
    with pytest.raises(ValueError, match="not in the table"):
        broken.backward()
    assert (x.grad, y.grad) == (3.0, 2.0)
    good.backward()
    assert (x.grad, y.grad) == (6.0, 4.0)


def test_gradients_threads_that_share_parameters_and_graphs_give_right_sums() -> None:
    run_fresh("""
import faulthandler, sys, threading
faulthandler.dump_traceback_later(60, exit=True)
from micrograd import Value
sys.setswitchinterval(1e-6)
w, b = Value(1.0), Value(0.0)
shared = w
for _ in range(300):
    shared = shared * w + b
once = Value(1.0)
reference = once
for _ in range(300):
    reference = reference * once + 0.0
reference.backward()
start = threading.Barrier(8)
def work():
    start.wait()
    for _ in range(5):
        shared.backward()
threads = [threading.Thread(target=work) for _ in range(8)]
for t in threads: t.start()
for t in threads: t.join()
assert w.grad == 40 * once.grad, (w.grad, once.grad)
""")


def test_gradients_threads_copy_and_pickle_one_graph_at_once() -> None:
    run_fresh("""
import copy, pickle, sys, threading
from micrograd import Value
sys.setswitchinterval(1e-6)
x = Value(2.0)
parts = [x]
for _ in range(200):
    parts.append(parts[-1] + x)
wrong = []
def work(transport):
    for _ in range(20):
        twins = transport(parts)
        if any(b.parents != (a, twins[0]) for a, b in zip(twins, twins[1:])):
            wrong.append(transport)
def pickled(graph): return pickle.loads(pickle.dumps(graph))
threads = [threading.Thread(target=work, args=(t,)) for t in (pickled, copy.deepcopy) * 4]
for t in threads: t.start()
for t in threads: t.join()
assert not wrong, wrong
""")


def test_gradients_higher_order_grad_of_grad_hessian_and_hvp_are_exact() -> None:
    def f(x: Any) -> Any:
        return micrograd.sin(x) * x**3

    second = micrograd.grad(micrograd.grad(f))(0.7)
    third = micrograd.grad(micrograd.grad(micrograd.grad(f)))(0.7)
    s, c, x = math.sin(0.7), math.cos(0.7), 0.7
    assert math.isclose(second, -s * x**3 + 6 * c * x**2 + 6 * s * x, rel_tol=1e-14)
    assert math.isclose(third, -c * x**3 - 9 * s * x**2 + 18 * c * x + 6 * s, rel_tol=1e-14)

    def g(v: Any) -> Any:
        return v[0] * v[0] * v[1] + v[1].exp()

    rows = micrograd.hessian(g)([2.0, 3.0])
    expected = [[6.0, 4.0], [4.0, math.exp(3.0)]]
    assert rows == expected
    assert micrograd.hvp(g, ([2.0, 3.0],), ([1.0, -1.0],)) == [2.0, 4.0 - math.exp(3.0)]


# --------------------------------------------------------------------------------------------------- Python protocol


def test_protocol_order_comparisons_compare_data() -> None:
    a, b = Value(1.0), Value(2.0)
    assert a < b
    assert a <= b
    assert b > a
    assert b >= a
    assert a < 2
    assert 2 > a  # noqa: SIM300
    assert a <= True
    assert not a > 1.0
    assert sorted([b, a]) == [a, b]
    assert max(a, b) is b
    assert not Value(math.nan) < 1
    assert not Value(math.nan) >= 1


def test_protocol_equality_and_hash_are_by_identity() -> None:
    a, b = Value(1.0), Value(1.0)
    assert a != b
    assert a == a
    assert a != 1.0
    assert len({a, b, a}) == 2
    assert {a: "a", b: "b"}[b] == "b"
    a.data = 5.0
    assert {a: "a"}[a] == "a"


def test_protocol_bool_float_int_round_abs_plus_and_format_act_on_data() -> None:
    v = Value(-2.5)
    assert (bool(v), bool(Value(0.0))) == (True, False)
    assert (float(v), int(v), round(v), round(Value(2.345), 2)) == (-2.5, -2, -2, 2.35)
    assert type(round(v)) is int
    assert abs(v).data == 2.5
    assert (+v).data == -2.5
    assert f"{v:.3f}" == "-2.500"
    assert f"{v:+08.2f}" == "-0002.50"
    assert f"{v}" == str(v) == repr(v)
    assert math.floor(float(v)) == -3


def test_protocol_reflected_operators_exist_for_all() -> None:
    v = Value(2.0)
    assert [(3 + v).data, (3 - v).data, (3 * v).data, (3 / v).data, (3**v).data] == [5.0, 1.0, 6.0, 1.5, 9.0]


@pytest.mark.parametrize("operand", ["1", None, [1.0], 1j, object(), {}])
def test_protocol_an_operand_of_unknown_type_raises_the_usual_type_error(operand: Any) -> None:
    v = Value(1.0)
    for compute in (
        lambda: v + operand,
        lambda: operand + v,
        lambda: v - operand,
        lambda: operand - v,
        lambda: v / operand,
        lambda: operand / v,
        lambda: v**operand,
        lambda: v * operand,
    ):
        with pytest.raises(TypeError, match=r"unsupported operand|can't multiply|can only concatenate|must be str"):
            compute()
    with pytest.raises(TypeError, match="not supported between instances"):
        v < operand  # noqa: B015
    assert v.__add__(operand) is NotImplemented
    assert v.__rpow__(operand) is NotImplemented
    assert v.__lt__(operand) is NotImplemented


def test_protocol_another_type_may_answer_for_itself() -> None:
    class Other:
        def __radd__(self, left: Any) -> str:
            return "other"

        def __gt__(self, left: Any) -> str:
            return "greater"

    assert Value(1.0) + Other() == "other"
    assert (Value(1.0) < Other()) == "greater"


def test_protocol_in_place_operators_rebind_and_never_mutate() -> None:
    v = w = Value(2.0)
    v += 1
    v -= Value(0.5)
    v *= 4
    v /= 2
    v **= 2
    assert (w.data, w.parents, v.data) == (2.0, (), 25.0)
    v.backward()
    assert w.grad == 2 * 5.0 * 2.0


def test_protocol_sum_of_values_works() -> None:
    values = [Value(float(i)) for i in range(5)]
    total = sum(values)
    total.backward()
    assert (total.data, [v.grad for v in values]) == (10.0, [1.0] * 5)
    assert math.prod(values[1:]).data == 24.0


def test_protocol_numpy_scalars_arrays_and_functions_work_with_values() -> None:
    np = oracle("numpy")
    v = Value(3.0)
    for node in (np.float64(2) * v, v * np.float64(2), np.int64(2) * v, np.float32(2) * v, np.array(2.0) * v):
        assert type(node) is Value
        assert node.data == 6.0
    array = np.array([v, Value(4.0)], dtype=object)
    assert [x.data for x in array * 2 + 1] == [7.0, 9.0]
    assert [x.data for x in np.exp(array)] == [math.exp(3.0), math.exp(4.0)]
    assert [x.data for x in np.tanh(array)] == [math.tanh(3.0), math.tanh(4.0)]


def test_protocol_a_copy_is_one_node_with_the_same_parents() -> None:
    x = Value(2.0, label="x")
    y = x * x
    y.backward()
    twin = copy.copy(y)
    assert twin is not y
    assert (twin.parents, twin.data, twin.grad, twin._op) == (y.parents, 4.0, 1.0, "*")
    assert repr(copy.copy(x)) == repr(x)


@pytest.mark.parametrize("transport", [copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))], ids=["deepcopy", "pickle"])
def test_protocol_a_deep_copy_is_whole_and_backpropagates_into_its_own_leaves(transport: Callable[[Any], Any]) -> None:
    x, y = Value(2.0, label="x"), Value(3.0)
    root = (x * y).tanh() + ops.dot([x, y, x])
    twin, x2, y2 = transport((root, x, y))
    twin.backward()
    assert (x.grad, y.grad) == (0.0, 0.0)
    root.backward()
    assert (x2.grad, y2.grad, twin.data) == (x.grad, y.grad, root.data)
    assert {id(v) for v in topological_order(twin)}.isdisjoint(id(v) for v in topological_order(root))


@pytest.mark.parametrize("transport", [copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))], ids=["deepcopy", "pickle"])
def test_protocol_modules_are_copied_and_pickled(transport: Callable[[Any], Any]) -> None:
    model = MLP(2, [3, 1])
    twin = transport(model)
    assert twin([1.0, 2.0]).data == model([1.0, 2.0]).data
    twin([1.0, 2.0]).backward()
    assert not any(p.grad for p in model.parameters())
    assert any(p.grad for p in twin.parameters())


def test_protocol_repr_shows_data_gradient_and_label() -> None:
    assert repr(Value(2)) == "Value(data=2.0, grad=0.0)"
    assert repr(Value(2.0, label="x")) == "Value(data=2.0, grad=0.0, label='x')"
    assert repr(Value(math.nan)) == "Value(data=nan, grad=0.0)"


def test_protocol_repr_never_raises() -> None:
    blank = object.__new__(Value)
    assert repr(blank) == "Value(data=?, grad=?, label='?')"
    strange = Value(1.0)
    strange.data, strange.grad, strange.label = None, "text", 7  # type: ignore[assignment]
    assert repr(strange) == "Value(data=None, grad=text, label=7)"


# -------------------------------------------------------------------------------- names from the three dialects


def test_names_a_value_is_constructed_with_children_op_and_label() -> None:
    a, b = Value(2.0), Value(3.0)
    node = Value(6.0, (a, b), "*", label="product")
    node.backward()
    assert (node.data, node.label, node._op, a.grad, b.grad) == (6.0, "product", "*", 3.0, 2.0)
    assert Value(6.0, _children=(a, b), _op="*").parents == (a, b)


def test_names_prev_op_label_children_and_local_grads_are_read() -> None:
    a, b = Value(2.0, label="a"), Value(3.0)
    node = a * b
    assert set(node._prev) == {a, b}
    assert node._children == (a, b)
    assert node._local_grads == (3.0, 2.0)
    assert (node._op, a._op, a.label, node.label) == ("*", "", "a", "")
    node.label = "c"
    assert node.label == "c"


def test_names_modules_keep_attributes_parameters_and_reprs() -> None:
    neuron = Neuron(2)
    assert (len(neuron.w), neuron.b.data, neuron.nonlin) == (2, 0.0, True)
    assert not Neuron(2, nonlin=False).nonlin
    assert neuron.parameters() == [*neuron.w, neuron.b]
    assert repr(neuron) == "ReLUNeuron(2)"
    layer = Layer(2, 3)
    assert len(layer.neurons) == 3
    assert repr(layer) == "Layer of [ReLUNeuron(2), ReLUNeuron(2), ReLUNeuron(2)]"
    model = MLP(2, [2, 1])
    assert [len(part.neurons) for part in model.layers] == [2, 1]
    assert len(model.parameters()) == 9
    assert repr(model) == "MLP of [Layer of [ReLUNeuron(2), ReLUNeuron(2)], Layer of [LinearNeuron(2)]]"


def test_names_random_seed_draws_the_initial_weights_of_micrograd() -> None:
    random.seed(1337)
    model = MLP(2, [16, 16, 1])
    random.seed(1337)
    for layer in model.layers:
        for neuron in layer.neurons:
            assert [w.data for w in neuron.w] == [random.uniform(-1, 1) for _ in neuron.w]
            assert neuron.b.data == 0.0


def test_names_a_hidden_layer_of_width_one_works_and_one_output_is_a_bare_value() -> None:
    assert type(MLP(2, [1, 1])([1.0, 2.0])) is Value
    assert [type(v) for v in MLP(2, [1, 2])([1.0, 2.0])] == [Value, Value]


@pytest.mark.parametrize("inputs", [[1.0], [1.0, 2.0, 3.0], []])
def test_names_a_wrong_number_of_inputs_is_an_error(inputs: list[float]) -> None:
    for module in (MLP(2, [3, 1]), Layer(2, 3), Neuron(2)):
        with pytest.raises(ValueError, match=f"2 inputs.* got {len(inputs)}"):
            module(inputs)
