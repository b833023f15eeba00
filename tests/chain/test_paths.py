"""micrograd.chain.paths: counting, adding up and ranking the paths between two nodes."""

from __future__ import annotations

import math

import pytest
from conftest import run_fresh

from micrograd import Value, dot
from micrograd.chain import Paths, paths
from micrograd.chain.names import latex_name, latex_number, names_of


def lecture() -> tuple[Value, Value]:
    """L = (a * b + c) * f with a = 2, b = -3, c = 10, f = -2."""
    a, b, c, f = (Value(x, label=name) for x, name in ((2.0, "a"), (-3.0, "b"), (10.0, "c"), (-2.0, "f")))
    e = a * b
    e.label = "e"
    d = e + c
    d.label = "d"
    L = d * f  # noqa: N806
    L.label = "L"
    return L, a


def ladder(rungs: int, left: float = 1.0, right: float = 1.0) -> tuple[Value, Value]:
    """A graph with 2 ** rungs paths."""
    x = node = Value(1.0, label="x")
    for _ in range(rungs):
        node = dot([left, right], [node, node])
    return node, x


def test_s1_the_derivative_is_the_sum_over_all_paths() -> None:
    a = Value(3.0, label="a")
    q = [a * a, 5.0 * a, a.exp()]
    p = q[0] * q[1] + q[2]
    found = paths(p, a)
    assert found.count == 4
    assert sum(path.product for path in found) == found.total == pytest.approx(3 * 5.0 * 9.0 + math.exp(3.0), rel=1e-14)
    p.backward()
    assert found.total == pytest.approx(a.grad, rel=1e-15)


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ((1e200, 1e200, 0.0), 0.0),  # from the leaf up inf * 0.0 = nan
        ((1e-200, 1e-200, 1e300, 1e200), math.inf),  # from the leaf up 0.0
        ((0.0, 1e200, 1e200), math.nan),  # from the leaf up 0.0
    ],
)
def test_the_total_overflows_where_backward_does(factors: tuple[float, ...], expected: float) -> None:
    c = node = Value(2.0)
    for factor in factors:
        node = node * factor
    total = paths(node, c).total
    node.backward()
    assert total == pytest.approx(expected, nan_ok=True)
    assert total == pytest.approx(c.grad, nan_ok=True)


def test_a_path_prints_as_a_product_of_local_derivatives() -> None:
    (path,) = paths(*lecture())
    assert str(path) == "dL/dd * dd/de * de/da = -2 * 1 * -3 = 6"
    fractions = r" \cdot ".join(rf"\frac{{\partial {n}}}{{\partial {p}}}" for n, p in ("Ld", "de", "ea"))
    assert path.latex() == rf"{fractions} = (-2) \cdot 1 \cdot (-3) = 6"


def test_a_path_is_made_of_edges_that_can_be_drawn() -> None:
    root, leaf = lecture()
    (path,) = paths(root, leaf)
    assert [(e.node.label, e.position, e.parent.label, e.derivative) for e in path.edges] == [
        ("L", 0, "d", -2.0),
        ("d", 0, "e", 1.0),
        ("e", 0, "a", -3.0),
    ]
    assert path.product == 6.0


def test_a_repeated_operand_is_two_paths_with_two_positions() -> None:
    x = Value(3.0)
    assert [(p.edges[0].position, p.product) for p in paths(x * x, x)] == [(0, 3.0), (1, 3.0)]


def test_paths_to_an_interior_node_end_there() -> None:
    a = Value(2.0)
    q = a * a
    p = q * q + a
    assert paths(p, q).count == 2
    assert paths(p, q).total == 8.0


def test_a_node_has_one_path_of_no_edges_to_itself() -> None:
    x = Value(3.0, label="x")
    for node in (x, x * x):
        (path,) = paths(node, node)
        assert (path.edges, path.product) == ((), 1.0)
        assert (paths(node, node).count, paths(node, node).total) == (1, 1.0)
    assert str(next(iter(paths(x, x)))) == "dx/dx = 1"


def test_a_leaf_that_is_not_reached_has_no_paths_and_total_zero() -> None:
    x, y = Value(1.0, label="x"), Value(2.0, label="y")
    found = paths(x * x, y)
    assert (found.count, found.total, list(found), found.largest(3)) == (0, 0.0, [], [])
    assert repr(found) == "dv1/dy = 0, the sum over 0 paths"


def test_2_to_the_60_paths_are_counted_exactly_and_the_largest_come_at_once() -> None:
    found = paths(*ladder(60, left=0.5, right=0.25))
    assert found.count == 2**60
    assert found.total == pytest.approx(0.75**60, rel=1e-14)
    products = [path.product for path in found.largest(200)]
    binomial = [0.5**60, *[0.5**59 * 0.25] * 60, *[0.5**58 * 0.25**2] * 139]
    assert products == binomial


def test_equal_products_neither_flood_the_search_nor_change_their_order() -> None:
    found = paths(*ladder(60))
    turns = [[edge.position for edge in path.edges] for path in found.largest(4)]
    assert [t[:58] for t in turns] == [[2] * 58] * 4
    assert [t[58:] for t in turns] == [[2, 2], [2, 3], [3, 2], [3, 3]]


def test_products_beyond_the_range_of_floats_are_still_in_order() -> None:
    found = paths(*ladder(50, left=1e-30, right=1e-20))
    assert [sum(e.derivative == 1e-20 for e in path.edges) for path in found.largest(3)] == [50, 49, 49]
    assert found.largest(1)[0].product == 0.0
    huge = paths(*ladder(50, left=1e30, right=1e20))
    assert [sum(e.derivative == 1e30 for e in path.edges) for path in huge.largest(3)] == [50, 49, 49]


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_infinite_and_nan_derivatives_come_first_and_zeros_last(bad: float) -> None:
    x = Value(1.0)
    node = dot([2.0, 0.0, bad, -3.0, 0.0], [x] * 5)
    order = [edge.position - 5 for path in paths(node, x) for edge in path.edges]
    assert order == [2, 3, 0, 1, 4]
    assert not math.isfinite(paths(node, x).total)


def test_a_zero_with_an_infinity_behind_it_ranks_with_what_spoils_the_sum() -> None:
    x = Value(0.0)
    root = x.sqrt() * 0.0 + 7.0 * x
    assert [path.product for path in paths(root, x)][1:] == [7.0]
    assert math.isnan(next(iter(paths(root, x))).product)


def test_deep_graphs_need_no_recursion() -> None:
    x = node = Value(1.0)
    for _ in range(50_000):
        node = node + 1.0
    found = paths(node, x)
    assert (found.count, found.total) == (1, 1.0)
    (path,) = found
    assert len(path.edges) == 50_000
    assert len(str(path)) < 1000


def test_numbers_of_thousands_of_digits_are_exact() -> None:
    found = paths(*ladder(5_000, 0.5, 0.5))
    assert found.count == 2**5_000
    assert repr(found).endswith("the sum over more than 10**15 paths")


def test_nothing_writes_into_a_grad() -> None:
    root, leaf = lecture()
    list(paths(root, leaf))
    assert (root.grad, leaf.grad, leaf.has_grad) == (0.0, 0.0, False)


def test_wrong_types_are_refused() -> None:
    x = Value(1.0)
    with pytest.raises(TypeError, match="the root must be a Value, got float"):
        paths(1.0, x)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the leaf must be a Value, got list"):
        paths(x, [x])  # type: ignore[arg-type]
    for k in (-1, 1.5, True):
        with pytest.raises(TypeError, match="number of paths"):
            paths(x, x).largest(k)  # type: ignore[arg-type]


def test_a_node_built_by_hand_counts_but_has_no_derivatives_to_add() -> None:
    x = Value(1.0)
    node = Value(2.0, (x, x), "mystery")
    assert paths(node, x).count == 2
    with pytest.raises(ValueError, match="built by hand"):
        _ = paths(node, x).total


def test_paths_are_one_object_to_count_add_and_iterate() -> None:
    found = paths(*lecture())
    assert isinstance(found, Paths)
    assert list(map(str, found)) == list(map(str, found.largest(10)))
    assert repr(found) == "dL/da = 6, the sum over 1 path"


def test_loading_the_chain_rule_loads_neither_drawing_nor_optional_packages() -> None:
    loaded = run_fresh("import sys, micrograd.chain; print(*sys.modules)").split()
    assert "micrograd.chain.paths" in loaded
    forbidden = ("micrograd.viz", "micrograd.compile", "numpy", "sympy", "graphviz")
    assert [name for name in loaded if name.startswith(forbidden)] == []


# ---------------------------------------------------------------------------------------------------------- names


def test_names_are_labels_and_else_numbers_in_topological_order() -> None:
    nodes = [Value(1.0, label="w"), Value(2.0), Value(3.0, label="w"), Value(4.0, label="w_2"), Value(5.0, label="v1")]
    assert list(names_of(nodes).values()) == ["w", "v2", "w_3", "w_2", "v1"]
    x = Value(1.0, label="x")
    product = 2.0 * x
    assert [names_of([*product.parents, product])[n] for n in (*product.parents, product)] == ["c1", "x", "v1"]


@pytest.mark.parametrize(
    ("name", "latex"),
    [("w12", "w_{12}"), ("x", "x"), ("b_2", "b_{2}"), ("x1*w1", r"\mathrm{x1*w1}"), ("a b", r"\mathrm{a\ b}"),
     ("50%_{$}", r"\mathrm{50\%\_\{\$\}}"), ("<\\", r"\mathrm{\lt \backslash }")],
)  # fmt: skip
def test_labels_are_escaped_in_latex(name: str, latex: str) -> None:
    assert latex_name(name) == latex


def test_numbers_in_latex() -> None:
    shown = [latex_number(x) for x in (-2.0, 1e-7, -2.5e20, math.inf, -math.inf, math.nan)]
    assert shown == ["-2", r"1 \times 10^{-7}", r"-2.5 \times 10^{20}", r"\infty", r"-\infty", r"\mathrm{nan}"]
