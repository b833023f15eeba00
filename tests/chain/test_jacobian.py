"""micrograd.chain.jacobian: labelled sparse Jacobians and their products."""

from __future__ import annotations

import math
import random
import re

import pytest

from micrograd import Value, dot, jacobian, maximum, softmax, tanh
from micrograd.chain import Jacobian, chain, jacobian_of


def values(text: str, *numbers: float) -> list[Value]:
    return [Value(x, label=f"{text}{i}") for i, x in enumerate(numbers, 1)]


def test_v1_the_vector_chain_rule_is_a_product_of_jacobians() -> None:
    (x,) = values("x", 0.7)
    g = [x * x, 4.0 * x]  # the intermediate variables of the post: x**2 and 4x
    f = [g[0] + g[1].sin(), g[0] * g[1]]
    product = chain(jacobian_of(f, g), jacobian_of(g, x))
    assert product.to_lists() == [
        [pytest.approx(2 * 0.7 + 4 * math.cos(4 * 0.7), rel=1e-15)],
        [pytest.approx(12 * 0.7**2, rel=1e-15)],
    ]
    assert product.mode == "product"
    assert product.row_labels, product.column_labels == (("v1", "v2"), ("x1",))


def test_v2_the_jacobian_of_the_element_wise_product_is_diagonal() -> None:
    w, x = values("w", 2.0, 3.0, 5.0), values("x", 7.0, 11.0, 13.0)
    products = [a * b for a, b in zip(w, x, strict=True)]
    by_w = jacobian_of(products, w)
    assert by_w.is_diagonal
    assert by_w.diagonal() == [7.0, 11.0, 13.0]
    assert "diagonal" in repr(by_w)
    total = products[0] + products[1] + products[2]
    assert chain(jacobian_of(total, products), by_w).to_lists() == [[7.0, 11.0, 13.0]]
    assert jacobian_of(dot(w, x), w).to_lists() == [[7.0, 11.0, 13.0]]


def test_v3_the_affine_part_of_a_neuron_has_the_derivatives_x_and_1() -> None:
    w, x, b = values("w", 2.0, 3.0), values("x", 7.0, 11.0), Value(1.0, label="b")
    assert jacobian_of(dot(w, x, b), [*w, b]).to_lists() == [[7.0, 11.0, 1.0]]


def test_v4_the_maximum_with_zero_is_piecewise() -> None:
    t = values("t", -2.0, 0.0, 3.0)
    J = jacobian_of([a.relu() for a in t], t)  # noqa: N806
    assert J.diagonal() == [0.0, 0.0, 1.0]
    assert [jacobian_of(maximum(0.0, a), a)[0, 0] for a in t] == [0.0, 0.5, 1.0]  # a tie is shared


def test_s4_a_pre_activation_has_one_weight_as_its_derivative_by_an_activation() -> None:
    W, h = [[1.0, -2.0], [3.0, 4.0], [5.0, 6.0]], values("h", 0.3, -0.6)  # noqa: N806
    a = [dot(row, h, 0.1) for row in W]
    assert jacobian_of(a, h).to_lists() == W


def test_s6_the_jacobian_of_the_activations_is_diagonal() -> None:
    a = values("a", 0.3, -0.6, 2.0)
    J = jacobian_of([tanh(x) for x in a], a)  # noqa: N806
    assert J.is_diagonal
    assert len(J.entries) == 3
    assert (J[0, 0], J[0, 1]) == (1.0 - math.tanh(0.3) ** 2, 0.0)
    assert not jacobian_of(softmax(a), a).is_diagonal


def test_absent_entries_are_not_zeros() -> None:
    x, y = values("x", 2.0, 3.0)
    J = jacobian_of([x * 0.0, y * 5.0], [x, y])  # noqa: N806
    assert J.entries == {(0, 0): 0.0, (1, 1): 5.0}
    assert str(J).splitlines()[1:] == ["    x1  x2", "v1   0   .", "v2   .   5"]
    assert [[int(n) for n in row] for row in J.to_lists()] == [[0, 0], [0, 5]]


def test_inputs_count_as_independent_of_each_other() -> None:
    (x,) = values("x", 3.0)
    g = x * x
    f = g * x
    assert jacobian_of(f, [g, x]).to_lists() == [[3.0, 9.0]]
    assert jacobian_of(f, x).to_lists() == [[27.0]]
    assert chain(jacobian_of(f, [g, x]), jacobian_of([g, x], x)).to_lists() == [[27.0]]


def test_an_output_that_is_an_input_has_derivative_one() -> None:
    x, y = values("x", 2.0, 3.0)
    assert jacobian_of([x, x * y], [x, y]).entries == {(0, 0): 1.0, (1, 0): 3.0, (1, 1): 2.0}


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_both_modes_agree_with_the_functional_jacobian(mode: str) -> None:
    rng = random.Random(1)
    numbers = [rng.uniform(-1, 1) for _ in range(5)]

    def f(x: list[Value]) -> list[Value]:
        s = x[0] * x[1] + x[2].sin()
        return [s * x[3], s.exp() + s, x[4] / (s * s + 1.0)]

    x = [Value(n) for n in numbers]
    found = jacobian_of(f(x), x, mode=mode).to_lists()  # type: ignore[arg-type]
    for row, expected in zip(found, jacobian(f)(numbers), strict=True):
        assert row == pytest.approx(expected, rel=1e-14, abs=1e-300)


def test_each_mode_costs_one_multiplication_for_each_derivative_carried_over_an_edge() -> None:
    x = values("x", *[1.0] * 10)
    loss = sum((a * a for a in x), Value(0.0))  # 20 edges into squares, 10 sums of which the first adds a constant
    forward, reverse = (jacobian_of(loss, x, mode=m) for m in ("forward", "reverse"))
    assert reverse.multiplications == 20 + 10 + 9
    assert forward.multiplications == 20 + 10 + sum(range(1, 10))
    assert jacobian_of(loss, x).mode == "reverse"
    (t,) = values("t", 2.0)
    shared = t.exp()
    outputs = [shared * float(n) for n in range(10)]
    assert [jacobian_of(outputs, t, mode=m).multiplications for m in ("forward", "reverse")] == [11, 20]
    assert jacobian_of(outputs, t).mode == "forward"


def test_a_product_counts_the_multiplications_of_its_entries() -> None:
    x = values("x", 1.0, 2.0)
    g = [a.exp() for a in x]
    f = g[0] * g[1]
    left, right = jacobian_of(f, g), jacobian_of(g, x)
    assert (left @ right).multiplications == left.multiplications + right.multiplications + 2


def test_jacobians_that_do_not_fit_are_refused_with_their_labels() -> None:
    x = values("x", 1.0, 2.0)
    g, h = values("g", 1.0, 2.0), values("h", 3.0)
    with pytest.raises(ValueError, match=re.escape("columns (g1, g2), the right one the rows (h1)")):
        chain(jacobian_of(g[0] * g[1], g), jacobian_of(h, x))
    f = g[0] * g[1]
    with pytest.raises(ValueError, match="same order"):
        chain(jacobian_of(f, g), jacobian_of(g[::-1], g))


def test_a_path_past_the_middle_is_refused_as_the_product_would_miss_it() -> None:
    (x,) = values("x", 3.0)
    g = x * x
    g.label = "g"
    f = g + 5.0 * x
    with pytest.raises(ValueError, match=re.escape("(x1) also reaches (v2) past them")):
        chain(jacobian_of(f, g), jacobian_of(g, x))


def test_latex_and_html_escape_their_labels() -> None:
    x, y = Value(2.0, label="<script>"), Value(3.0, label="a&b_1")
    J = jacobian_of([x * 2.0, y * 1e-9], [x, y])  # noqa: N806
    assert "<script>" not in J._repr_html_()
    assert '<th scope="col">&lt;script&gt;</th><th scope="col">a&amp;b_1</th>' in J._repr_html_()
    assert J._repr_html_().count("<td>·</td>") == 2
    assert J.latex() == (
        r"\frac{\partial (v_{1}, v_{2})}{\partial (\mathrm{\lt script\gt }, \mathrm{a\&b\_1})} = "
        r"\begin{pmatrix} 2 & \cdot \\ \cdot & 1 \times 10^{-9} \end{pmatrix}"
    )


def test_a_large_table_is_cut_off() -> None:
    x = values("x", *[1.0] * 100)
    J = jacobian_of([a * 2.0 for a in x], x)  # noqa: N806
    assert len(str(J).splitlines()) == 23
    assert "x21" not in str(J)
    assert len(J.entries) == 100


def test_labels_of_one_name_are_told_apart() -> None:
    w = [Value(1.0, label="w"), Value(2.0, label="w")]
    assert jacobian_of(w[0] * w[1], w).column_labels == ("w", "w_2")


def test_entries_outside_are_an_index_error() -> None:
    (x,) = values("x", 1.0)
    for place in ((1, 0), (0, 1), (-1, 0)):
        with pytest.raises(IndexError, match="outside a Jacobian of 1 rows and 1 columns"):
            _ = jacobian_of(x * x, x)[place]


def test_wrong_arguments_are_refused() -> None:
    (x,) = values("x", 1.0)
    for outputs, inputs, error, message in [
        (x, 1.0, TypeError, "inputs must be Values, got float"),
        ([x, "x"], x, TypeError, "outputs must be Values, got str"),
        ([], x, ValueError, "outputs are empty"),
        (x, [x, x], ValueError, "inputs hold the same node twice"),
    ]:
        with pytest.raises(error, match=message):
            jacobian_of(outputs, inputs)
    with pytest.raises(ValueError, match="mode must be"):
        jacobian_of(x, x, mode="sideways")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes Jacobians"):
        chain(jacobian_of(x, x), 3.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no Jacobians"):
        chain()
    assert Jacobian.__matmul__(jacobian_of(x, x), 3.0) is NotImplemented


def test_a_deep_chain_needs_no_recursion() -> None:
    (x,) = values("x", 1.0)
    node = x
    for _ in range(10_000):
        node = node * 1.0
    for mode in ("forward", "reverse"):
        assert jacobian_of(node, x, mode=mode).to_lists() == [[1.0]]  # type: ignore[arg-type]
