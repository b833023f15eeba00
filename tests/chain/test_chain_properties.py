"""Paths, Jacobians and formulas are ways to one derivative: on random graphs all of them agree."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable

import pytest
from chain_graphs import gradients, random_graph
from conftest import oracle
from hypothesis import given, settings, strategies as st

from micrograd import Value, topological_order
from micrograd.chain import Jacobian, chain, derivative_text, jacobian_of, paths
from micrograd.ops import FLOATS

seeds = st.integers(min_value=0, max_value=10**6)
agree = settings(derandomize=True, max_examples=80, deadline=None)


def close(got: float, expected: float, root: Value, leaf: Value) -> bool:
    """Equal to 1e-10 of the sum of the absolute values of all paths, against which rounding is measured."""
    scale = {leaf: 1.0}
    for node in topological_order(root):
        if node is not leaf:
            scale[node] = sum(abs(d) * scale[p] for p, d in zip(node.parents, node.local_derivatives, strict=True))
    return abs(got - expected) <= 1e-10 * scale[root]


@given(seeds)
@agree
def test_the_sum_over_all_paths_is_the_gradient(seed: int) -> None:
    levels, root = random_graph(seed)
    for leaf, expected in zip(levels[0], gradients(root, levels[0]), strict=True):
        found = paths(root, leaf)
        everyone = list(found)
        assert len(everyone) == found.count
        assert len({path.edges for path in everyone}) == found.count
        assert close(found.total, expected, root, leaf)
        assert close(math.fsum(path.product for path in everyone), expected, root, leaf)


@given(seeds)
@agree
def test_paths_come_by_decreasing_size_of_their_product(seed: int) -> None:
    levels, root = random_graph(seed)
    for leaf in levels[0]:
        found = list(paths(root, leaf))
        for earlier, later in itertools.pairwise(found):
            assert abs(earlier.product) >= abs(later.product) * (1.0 - 1e-12)
        for path in found:
            nodes = [edge.node for edge in path.edges] + [leaf]
            assert nodes[0] is root
            for edge, below in zip(path.edges, nodes[1:], strict=True):
                assert edge.parent is below
                assert edge.node.parents[edge.position] is below
                assert edge.node.local_derivatives[edge.position] == edge.derivative


@given(seeds)
@agree
def test_forward_and_reverse_mode_give_the_gradient(seed: int) -> None:
    levels, root = random_graph(seed)
    expected = gradients(root, levels[0])
    forward, reverse = (jacobian_of(root, levels[0], mode=mode) for mode in ("forward", "reverse"))
    assert forward.entries.keys() == reverse.entries.keys()
    for j, leaf in enumerate(levels[0]):
        assert close(forward[0, j], expected[j], root, leaf)
        assert close(reverse[0, j], expected[j], root, leaf)
        assert ((0, j) in forward.entries) == (paths(root, leaf).count > 0)
    cheaper = jacobian_of(root, levels[0])
    assert cheaper.multiplications == min(forward.multiplications, reverse.multiplications)


def every_order(factors: list[Jacobian]) -> list[Jacobian]:
    """The products of the factors in every way to set the parentheses."""
    if len(factors) == 1:
        return factors
    splits = range(1, len(factors))
    return [left @ right for i in splits for left in every_order(factors[:i]) for right in every_order(factors[i:])]


@given(seeds)
@agree
def test_v1_the_product_of_jacobians_is_the_gradient_in_every_association_order(seed: int) -> None:
    levels, root = random_graph(seed, size=9)
    expected = gradients(root, levels[0])
    stages = [[root], *reversed(levels)]
    factors = [jacobian_of(above, below) for above, below in itertools.pairwise(stages)]
    products = [*every_order(factors), chain(*factors)]
    assert len(products) == 6
    for product in products:
        assert product.shape == (1, 3)
        assert all(close(product[0, j], expected[j], root, leaf) for j, leaf in enumerate(levels[0]))


def check_text(seed: int) -> None:
    levels, root = random_graph(seed)
    named = {node.label: node.data for node in topological_order(root) if node.label}
    functions: dict[str, Callable[..., float]] = vars(FLOATS)
    for leaf, expected in zip(levels[0], gradients(root, levels[0]), strict=True):
        left, _, formula = derivative_text(root, leaf).partition(" = ")
        assert left == f"dL/d{leaf.label}"
        names = {**functions, **named, leaf.label: leaf.data, "__builtins__": {}}
        assert close(eval(formula, names), expected, root, leaf), formula


@given(seeds)
@settings(agree, max_examples=80)
def test_the_formula_gives_the_gradient(seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "sympy", None)
        check_text(seed)


@given(seeds)
@settings(agree, max_examples=8)
def test_the_formula_simplified_by_sympy_gives_the_gradient(seed: int) -> None:
    oracle("sympy")
    check_text(seed)
