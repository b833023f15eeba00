"""The engine: recording, the order of a graph, the chain rule, and the ways in which a node is built and used."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from conftest import oracle, run_fresh

import micrograd
from micrograd import Value, ops, topological_order
from micrograd.engine import CONSTANT, INPUT, PARAMETER

# ------------------------------------------------------------------------------------------------------- recording


def test_a_node_keeps_its_operation_parents_and_local_derivatives() -> None:
    a, b = Value(2.0), Value(3.0)
    node = a * b
    assert node.operation is ops.mul
    assert node.parents == (a, b)
    assert node.local_derivatives == (3.0, 2.0)
    assert node.kind == "operation"
    assert (a.parents, a.local_derivatives, a.kind) == ((), (), "input")


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_node_of_any_number_of_parents_keeps_them_in_order(count: int) -> None:
    values = [Value(float(i)) for i in range(count)]
    node = ops.sum(values)
    assert node.parents == tuple(values)
    assert node.local_derivatives == (1.0,) * count
    node.backward()
    assert [v.grad for v in values] == [1.0] * count


def test_numbers_become_constant_leaves() -> None:
    x = Value(2.0)
    constant = (x + 3).parents[1]
    assert (constant.kind, constant.data, constant.operation) == ("constant", 3.0, CONSTANT)
    assert (2 - x).parents[0].kind == "constant"
    assert ops.dot([x, 2.0, 1.0]).parents[1].kind == "constant"


def test_leaf_kinds_tell_inputs_parameters_and_constants_apart() -> None:
    assert Value(1.0).operation is INPUT
    assert Value(1.0).detach().operation is CONSTANT
    assert micrograd.Neuron(1).w[0].operation is PARAMETER
    assert {leaf._op for leaf in (Value(1.0), Value(1.0).detach(), micrograd.Neuron(1).b)} == {""}


def test_local_derivatives_are_those_of_the_moment_of_recording() -> None:
    x = Value(3.0)
    y = x * x
    x.data = 100.0
    y.backward()
    assert (y.data, x.grad) == (9.0, 6.0)


def test_a_value_has_no_attributes_but_its_own() -> None:
    with pytest.raises(AttributeError):
        Value(1.0).gradient = 2.0  # type: ignore[attr-defined]
    assert not hasattr(Value(1.0), "__dict__")


# -------------------------------------------------------------------------------------------------------- the order


def test_topological_order_has_every_node_once_and_after_its_parents() -> None:
    x, y = Value(1.0), Value(2.0)
    a = x + y
    b = a * a + x
    root = b * a + b
    order = topological_order(root)
    assert len(order) == len(set(order)) == 9 - 2
    position = {node: i for i, node in enumerate(order)}
    assert all(position[parent] < position[node] for node in order for parent in node.parents)
    assert order[-1] is root


def test_topological_order_is_a_depth_first_postorder_from_the_first_operand() -> None:
    x, y = Value(1.0, label="x"), Value(2.0, label="y")
    a = y * x
    root = a + x
    assert topological_order(root) == [y, x, a, root]


def test_topological_order_of_several_roots_and_of_none() -> None:
    x = Value(1.0)
    a, b = x * 2, x * 3
    order = topological_order(a, b, a)
    assert (order[0], order[2], order[-1], len(order)) == (x, a, b, 5)
    assert topological_order() == []
    assert topological_order(x) == [x]


def test_topological_order_takes_nodes_in_stop_as_leaves() -> None:
    x = Value(1.0)
    a = x * 2
    root = a + 1
    assert topological_order(root, stop={a})[0] is a
    assert x not in topological_order(root, stop={a})


# ------------------------------------------------------------------------------------------------------- backward


def test_backward_sums_over_all_paths() -> None:
    x = Value(3.0)
    a, b = x * 2, x * x
    root = a * b + a + x
    root.backward()
    assert x.grad == 2 * 9.0 + 6.0 * 6.0 + 2.0 + 1.0
    assert (a.grad, b.grad, root.grad) == (10.0, 6.0, 1.0)


def test_backward_over_a_repeated_operand_counts_each_edge() -> None:
    x = Value(3.0)
    for node, slope in [(x + x, 2.0), (x * x, 6.0), (x - x, 0.0), (x / x, 0.0), (ops.sum([x, x, x]), 3.0)]:
        x.grad = 0.0
        node.backward()
        assert x.grad == slope
    x.grad = 0.0
    ops.dot([x, x, x, x, x]).backward()
    assert x.grad == 4 * 3.0 + 1.0


def test_backward_zeroes_the_interior_and_accumulates_in_the_leaves() -> None:
    x = Value(2.0)
    a = x * x
    root = a * 3
    a.grad = root.grad = 99.0
    x.grad = 1.0
    root.backward()
    assert (root.grad, a.grad, x.grad) == (1.0, 3.0, 13.0)


def test_backward_of_a_shared_node_from_two_roots_keeps_each_pass_right() -> None:
    x = Value(2.0)
    shared = x * x
    first, second = shared * 3, shared + x
    first.backward()
    assert (shared.grad, x.grad) == (3.0, 12.0)
    second.backward()
    assert (shared.grad, x.grad) == (1.0, 12.0 + 5.0)
    shared.backward()
    assert (shared.grad, x.grad) == (1.0, 17.0 + 4.0)


def test_backward_of_a_leaf_adds_its_seed() -> None:
    x = Value(2.0)
    x.backward()
    x.backward(2.5)
    assert x.grad == 3.5


@pytest.mark.parametrize("seed", [2, 0.5, -1.0, True, 0.0])
def test_backward_scales_with_its_seed(seed: float) -> None:
    x = Value(3.0)
    node = x * x
    node.backward(seed)
    assert (node.grad, x.grad) == (float(seed), 6.0 * seed)


@pytest.mark.parametrize(("seed", "kind"), [("1", "str"), (None, "NoneType"), ([1.0], "list"), (Value(2.0), "Value")])
def test_backward_refuses_a_seed_that_is_no_number(seed: Any, kind: str) -> None:
    x = Value(3.0)
    with pytest.raises(TypeError, match=rf"^backward\(\) takes a number as its seed, got {kind}$"):
        (x * x).backward(seed)
    assert x.grad == 0.0


def test_backward_tells_which_nodes_it_has_reached() -> None:
    x, y = Value(1.0), Value(2.0)
    node = x * x
    assert not x.has_grad
    node.backward()
    assert x.has_grad
    assert node.has_grad
    assert not y.has_grad


def test_backward_passes_infinities_and_nans_on_as_ieee_754_has_it() -> None:
    x = Value(0.0)
    (x.sqrt() * 2).backward()
    assert x.grad == math.inf
    x.grad = 0.0
    (x.sqrt() * 0).backward()
    assert math.isnan(x.grad)


# -------------------------------------------------------------------------------------------------- nodes built by hand


@pytest.mark.parametrize(
    ("symbol", "gradients"),
    [("+", (1.0, 1.0)), ("*", (3.0, 2.0)), ("-", (1.0, -1.0)), ("/", (1 / 3, -2 / 9)), ("max", (0.0, 1.0))],
)
def test_a_node_built_by_hand_with_a_known_symbol_backpropagates(symbol: str, gradients: tuple[float, float]) -> None:
    a, b = Value(2.0), Value(3.0)
    Value(123.0, (a, b), symbol).backward()
    assert (a.grad, b.grad) == pytest.approx(gradients, rel=1e-15)


def test_a_node_built_by_hand_with_one_child() -> None:
    a = Value(0.5)
    node = Value(math.tanh(0.5), (a,), "tanh", "t")
    node.backward()
    assert (node.label, node._op, a.grad) == ("t", "tanh", 1 - math.tanh(0.5) ** 2)


def test_a_node_built_by_hand_with_an_unknown_symbol_fails_at_backward_only() -> None:
    a, b = Value(2.0), Value(3.0)
    node = Value(8.0, (a, b), "a^b", "power")
    assert (node._op, node.label, node.parents, repr(node)) == (
        "a^b",
        "power",
        (a, b),
        "Value(data=8.0, grad=0.0, label='power')",
    )
    with pytest.raises(
        ValueError, match=r"node built by hand.*not in the table.*define the operation with micrograd\.ops\.op"
    ):
        (node * 2).backward()
    assert (a.grad, b.grad) == (0.0, 0.0)


@pytest.mark.parametrize("children", [(), [], iter(())])
def test_a_node_built_by_hand_without_children_is_a_leaf(children: Any) -> None:
    leaf = Value(2.0, children, "")
    leaf.backward()
    assert (leaf.kind, leaf.parents, leaf.grad) == ("input", (), 1.0)


def test_children_must_be_values() -> None:
    with pytest.raises(TypeError, match=r"^_children must be Values, got float: write Value\(x\) for a number x$"):
        Value(5.0, (Value(2.0), 3.0), "+")  # type: ignore[arg-type]


def test_children_may_be_a_set_as_in_lectures() -> None:
    a = Value(2.0)
    assert Value(4.0, {a}, "tanh").parents == (a,)


# -------------------------------------------------------------------------------------------------------- functions


def test_functions_of_numbers_give_floats_and_of_values_give_values() -> None:
    x = Value(2.0)
    for function in (micrograd.maximum, micrograd.hypot, micrograd.pow):
        assert type(function(2, 3)) is float
        assert {type(function(x, 3)), type(function(2, x)), type(function(x, x))} == {Value}
    assert type(micrograd.dot([1, 2], [3, 4])) is float
    assert type(micrograd.dot([1, 2], [3, x])) is Value
    assert type(micrograd.where(True, 1, 2)) is float
    assert type(micrograd.where(True, 1, x)) is Value
    assert type(micrograd.take([1.0, 2.0], 0)) is float
    assert type(micrograd.detach(1)) is float


def test_dot_is_one_node_of_weights_inputs_and_bias() -> None:
    w, x, b = [Value(2.0), Value(3.0)], [Value(5.0), Value(7.0)], Value(1.0)
    node = micrograd.dot(w, x, b)
    node.backward()
    assert node.data == 1.0 + 10.0 + 21.0
    assert node.parents == (*w, *x, b)
    assert [v.grad for v in node.parents] == [5.0, 7.0, 2.0, 3.0, 1.0]
    assert micrograd.dot(iter(w), (5, 7)).data == 31.0
    assert micrograd.dot([], [], 4.0) == 4.0


def test_dot_of_unequal_lengths_says_both() -> None:
    with pytest.raises(ValueError, match=r"^dot\(\) takes as many inputs as weights, got 2 weights and 1 inputs$"):
        micrograd.dot([1.0, 2.0], [1.0])


@pytest.mark.parametrize("bad", [("1",), (None,), ([1.0],)])
def test_dot_of_other_things_is_a_type_error(bad: tuple[Any, ...]) -> None:
    for w in ([1.0], [Value(1.0)]):
        with pytest.raises(TypeError, match=r"^dot\(\) takes Values and numbers, got (str|NoneType|list)$"):
            micrograd.dot(w, bad)


def test_where_takes_a_condition_on_values_and_records_the_chosen_side() -> None:
    a, b = Value(2.0), Value(3.0)
    node = micrograd.where(a < b, a * 2, b)
    node.backward()
    assert (node.data, node._op, a.grad, b.grad) == (4.0, "where", 2.0, 0.0)
    assert micrograd.where(False, a, 7).parents[0].kind == "constant"


@pytest.mark.parametrize("bad", ["1", None, [1.0]])
def test_where_of_other_things_is_a_type_error(bad: Any) -> None:
    for other in (1.0, Value(1.0)):
        with pytest.raises(TypeError, match=r"^where\(\) takes Values and numbers, got (str|NoneType|list)$"):
            micrograd.where(True, bad, other)


def test_take_sends_the_gradient_to_the_entry_alone() -> None:
    table = [Value(1.0), Value(2.0), Value(3.0)]
    node = micrograd.take(table, -2)
    (node * 5).backward()
    assert node.data == 2.0
    assert [v.grad for v in table] == [0.0, 5.0, 0.0]


def test_take_of_a_nested_table_gives_a_row() -> None:
    table = [[Value(1.0), Value(2.0)], [Value(3.0), 4.0]]
    row = micrograd.take(table, 1)
    assert [float(v) for v in row] == [3.0, 4.0]
    row[0].backward()
    assert table[1][0].grad == 1.0  # type: ignore[union-attr]


def test_take_accepts_numpy_integers_and_booleans() -> None:
    np = oracle("numpy")
    assert micrograd.take([1.0, 2.0], np.int64(1)) == micrograd.take([1.0, 2.0], True) == 2.0


@pytest.mark.parametrize(("index", "kind"), [(1.0, "float"), ("0", "str"), (None, "NoneType"), (Value(1.0), "Value")])
def test_take_of_an_index_that_is_no_integer_is_a_type_error(index: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=rf"^take\(\) takes an integer index, got {kind}$"):
        micrograd.take([1.0, 2.0], index)


@pytest.mark.parametrize("index", [2, -3, 100])
def test_take_outside_the_table_is_an_index_error(index: int) -> None:
    with pytest.raises(IndexError, match=rf"^take\(\): index {index} is outside a table of 2$"):
        micrograd.take([1.0, 2.0], index)


@pytest.mark.parametrize(("bad", "kind"), [("1", "str"), (None, "NoneType"), ([1.0], "list")])
def test_detach_of_other_things_is_a_type_error(bad: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=rf"takes Values and numbers, got {kind}$"):
        micrograd.detach(bad)


def test_a_detached_value_is_a_constant_leaf_of_its_own() -> None:
    x = Value(3.0)
    constant = x.detach()
    assert (constant.data, constant.parents, constant.kind) == (3.0, (), "constant")
    assert constant is not x


def test_methods_with_parameters_refuse_values_and_say_what_to_use() -> None:
    with pytest.raises(TypeError, match="low is a parameter and must be a number, got Value: use maximum and minimum"):
        Value(1.0).clip(Value(0.0), 1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="slope is a parameter and must be a number, got str"):
        Value(1.0).leaky_relu("0.1")  # type: ignore[arg-type]


def test_methods_have_names_and_docstrings_for_help() -> None:
    for name in ("tanh", "relu", "exp", "maximum", "atan2", "clip", "elu", "backward", "detach"):
        method = getattr(Value, name)
        assert method.__name__ == name
        assert method.__doc__
        assert ">>> ops" not in method.__doc__


# ------------------------------------------------------------------------------------------------------------ NumPy


@pytest.fixture
def np() -> Any:
    return oracle("numpy")


def test_numpy_scalars_on_either_side_give_one_value(np: Any) -> None:
    v = Value(3.0)
    cases: list[tuple[Any, float]] = [
        (np.float64(2) + v, 5.0),
        (np.float64(2) - v, -1.0),
        (np.float64(2) * v, 6.0),
        (np.float64(6) / v, 2.0),
        (np.float64(2) ** v, 8.0),
        (v + np.float32(2), 5.0),
        (v - np.int64(2), 1.0),
        (v * np.uint8(2), 6.0),
        (v / np.float64(2), 1.5),
        (v ** np.int32(2), 9.0),
        (np.int64(2) * v, 6.0),
        (np.bool_(True) * v, 3.0),
    ]
    for node, expected in cases:
        assert type(node) is Value
        assert node.data == expected


def test_numpy_arrays_without_a_shape_count_as_numbers(np: Any) -> None:
    v = Value(3.0)
    for node in (np.array(2.0) * v, v * np.array(2.0), np.array(2) * v):
        assert type(node) is Value
        assert node.data == 6.0


def test_numpy_arrays_with_a_shape_work_element_wise_on_both_sides(np: Any) -> None:
    v = Value(3.0)
    for array in (np.array([1.0, 2.0]) * v, v * np.array([1.0, 2.0])):
        assert array.dtype == object
        assert [x.data for x in array] == [3.0, 6.0]
    assert [x.data for x in v - np.array([1, 2])] == [2.0, 1.0]
    assert [x.data for x in np.array([1, 2]) / Value(2.0)] == [0.5, 1.0]


def test_numpy_object_arrays_of_values_compute_and_backpropagate(np: Any) -> None:
    w = np.array([[Value(1.0), Value(2.0)], [Value(3.0), Value(4.0)]])
    x = np.array([Value(5.0), Value(6.0)])
    out = w @ x
    assert [v.data for v in out] == [17.0, 39.0]
    (out * out).sum().backward()
    assert [v.grad for v in x] == [2 * 17 * 1 + 2 * 39 * 3, 2 * 17 * 2 + 2 * 39 * 4]
    assert [v.data for v in -x] == [-5.0, -6.0]
    assert [v.data for v in abs(-x)] == [5.0, 6.0]
    assert [v.data for v in x**2] == [25.0, 36.0]
    assert list(x > 5.5) == [False, True]
    assert np.max(x) is x[1]


NUMPY_FUNCTIONS = [
    *("exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh"),
    *("arcsin", "arccos", "arctan", "arcsinh", "arctanh", "absolute", "negative", "positive"),
]


@pytest.mark.parametrize("name", NUMPY_FUNCTIONS)
def test_numpy_functions_of_object_arrays_call_the_methods(name: str, np: Any) -> None:
    function = getattr(np, name)
    v = Value(0.5)
    result = function(np.array([v, Value(0.25)]))
    assert result[0].data == pytest.approx(float(function(0.5)), rel=1e-15)
    result[0].backward()
    step = 1e-6
    assert v.grad == pytest.approx(float(function(0.5 + step) - function(0.5 - step)) / (2 * step), rel=1e-8)


def test_numpy_functions_of_two_object_arrays(np: Any) -> None:
    a, b = np.array([Value(1.0), Value(5.0)]), np.array([Value(3.0), Value(4.0)])
    assert [v.data for v in np.arctan2(a, b)] == [math.atan2(1.0, 3.0), math.atan2(5.0, 4.0)]
    assert [v.data for v in np.hypot(a, b)] == [math.hypot(1.0, 3.0), math.hypot(5.0, 4.0)]
    assert [v.data for v in np.arccosh(a)] == [0.0, math.acosh(5.0)]
    assert [v.data for v in np.maximum(a, b)] == [3.0, 5.0]


def test_numpy_makes_arrays_of_numbers_from_values_when_asked(np: Any) -> None:
    assert np.array([Value(1.0), Value(2.0)], dtype=float).tolist() == [1.0, 2.0]


# -------------------------------------------------------------------------------------------------- identity and order


def test_comparisons_with_other_types_are_refused_by_python() -> None:
    for compare in (lambda a, b: a < b, lambda a, b: a >= b):
        with pytest.raises(TypeError, match="not supported between instances of 'Value' and 'str'"):
            compare(Value(1.0), "1")
    assert Value(1.0) != "1"


def test_formatting_follows_the_float() -> None:
    v = Value(1234.5678, label="v")
    formats: list[tuple[Callable[[], str], str]] = [
        (lambda: f"{v:.2f}", "1234.57"),
        (lambda: f"{v:,.1f}", "1,234.6"),
        (lambda: f"{v:10.1e}|", "   1.2e+03|"),
        (lambda: f"{v}", repr(v)),
        (lambda: "%.1f" % v, "1234.6"),  # noqa: UP031
        (lambda: f"{v!r}", "Value(data=1234.5678, grad=0.0, label='v')"),
    ]
    for text, expected in formats:
        assert text() == expected
    with pytest.raises(ValueError, match="format"):
        f"{v:nonsense}"


def test_values_work_as_keys_and_in_sets_and_sum_starts_at_zero() -> None:
    values = [Value(1.0) for _ in range(3)]
    assert len(set(values)) == 3
    assert sum(dict.fromkeys(values, 1).values()) == 3
    assert values.index(values[2]) == 2
    assert sum(values).data == 3.0
    assert sum(values, Value(1.0)).data == 4.0


def test_a_gradient_set_to_none_counts_as_zero() -> None:
    x = Value(3.0)
    x.grad = None  # type: ignore[assignment]  # how PyTorch code clears a gradient
    (x * x).backward()
    assert x.grad == 6.0


def test_a_node_built_by_hand_as_a_power_backpropagates() -> None:
    x = Value(3.0)
    Value(x.data**2, (x,), f"**{2}").backward()
    assert x.grad == 6.0


def test_backward_within_backward_is_an_error_not_a_deadlock() -> None:
    x = Value(3.0)
    node = x * x

    class Nosy(float):
        def __add__(self, other: float) -> float:
            node.backward()
            return 0.0

    x.grad = Nosy(0.0)
    with pytest.raises(RuntimeError, match="called within backward"):
        node.backward()
    x.grad = 0.0
    node.backward()
    assert x.grad == 6.0


def test_a_forked_child_is_not_locked_out() -> None:
    run_fresh("""
import os
from micrograd import Value, engine
x = Value(3.0)
engine._LOCK.acquire()  # as if another thread were in a pass
child = os.fork()
if not child:
    (x * x).backward()
    os._exit(0 if x.grad == 6.0 else 1)
assert os.waitpid(child, 0)[1] == 0
""")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: micrograd.dot(1.0, 2.0),
            r"dot\(\) takes a list of weights and one of inputs, got float: write dot\(\[w\], \[x\]\)",
        ),
        (lambda: micrograd.take(Value(1.0), 0), r"take\(\) takes a list of Values, got Value"),
        (lambda: micrograd.topological_order(1.0), r"topological_order\(\) takes Values, each by itself, got float"),
        (lambda: micrograd.topological_order([Value(1.0)]), "each by itself, got list"),
        (lambda: Value(1.0, Value(2.0)), r"_children must be a tuple of Values, got a Value: write \(v,\)"),
    ],
)
def test_what_is_no_list_or_no_value_is_named(call: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


def test_take_reads_object_arrays_of_values() -> None:
    numpy = oracle("numpy")
    table = numpy.array([[Value(1.0), Value(2.0)], [Value(3.0), Value(4.0)]])
    row = micrograd.take(table, 1)
    assert [v.data for v in row] == [3.0, 4.0]
    assert row[0].parents == (table[1][0],)
