"""Trees: what is taken apart comes together again, and what cannot be is named by its position."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, namedtuple
from typing import Any

import pytest
from conftest import oracle, run_fresh

from micrograd import Value
from micrograd.nn import MLP, Module, Neuron
from micrograd.trees import flatten, holds_values, is_parameter, match, paths, stands_still, unflatten

Point = namedtuple("Point", "x y")

TREES = [
    (3.0, [3.0]),
    (True, []),
    ([], []),
    ([1.0, [2.0, ()]], [1.0, 2.0]),
    ((1.0, (2.0,)), [1.0, 2.0]),
    (Point(1.0, [2.0]), [1.0, 2.0]),
    ({"b": 1.0, "a": {"c": 2.0}}, [1.0, 2.0]),
    (OrderedDict(z=1.0, y=2.0), [1.0, 2.0]),
    ({"w": [1.0, None, "relu", False], 3: 4.0}, [1.0, 4.0]),
]


@pytest.mark.parametrize(("tree", "expected"), TREES)
def test_flatten_and_unflatten_are_inverse(tree: Any, expected: Any) -> None:
    leaves, structure = flatten(tree)
    again = unflatten(structure, leaves)
    assert leaves == expected
    assert again == tree
    assert type(again) is type(tree)


def test_dicts_keep_the_order_of_insertion() -> None:
    leaves, structure = flatten({"b": 1.0, "a": 2.0})
    assert leaves == [1.0, 2.0]
    assert list(unflatten(structure, leaves)) == ["b", "a"]


def test_a_defaultdict_keeps_its_factory() -> None:
    leaves, structure = flatten(defaultdict(list, a=1.0))
    assert unflatten(structure, leaves)["new"] == []


def test_integers_become_floats_and_values_stay_themselves() -> None:
    x = Value(2.0)
    leaves, _ = flatten([1, x])
    assert leaves == [1.0, x]
    assert type(leaves[0]) is float


def test_the_tree_that_was_flattened_is_not_changed() -> None:
    tree = {"w": [1.0, 2.0]}
    _, structure = flatten(tree)
    unflatten(structure, [5.0, 6.0])
    assert tree == {"w": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("tree", "position", "kind"),
    [
        (2j, "tree", "complex"),
        ({"w": [1.0, 2.0, {3.0}]}, r"tree\['w'\]\[2\]", "set"),
        (Point(1.0, object()), r"tree\.y", "object"),
        ([iter([1.0])], r"tree\[0\]", "list_iterator"),
    ],
)
def test_what_has_no_leaves_is_refused_by_its_position(tree: Any, position: Any, kind: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{position}: expected a number, a Value, .* got {kind}$"):
        flatten(tree)


def test_paths_are_written_as_in_python() -> None:
    model = Neuron(1)
    _, structure = flatten([1.0, {"b": Point(2.0, (3.0,))}, model])
    assert paths(structure, "t") == ["t[0]", "t[1]['b'].x", "t[1]['b'].y[0]", "t[2].w[0]", "t[2].b"]


def test_match_takes_leaves_from_the_places_of_the_structure() -> None:
    _, structure = flatten({"w": [1.0, "text"], "b": 2.0})
    assert match(structure, {"b": 20, "w": [10.0, None]}) == [10.0, 20.0]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"w": [1.0]}, r"v must have the structure of what it belongs to, but has nothing at v\['b'\]"),
        ({"w": [1.0, 2.0], "b": 1.0}, r"but has something unexpected at v\['w'\]\[1\]"),
        ({"w": 1.0, "b": 1.0}, r"nothing at v\['w'\]\[0\] and something unexpected at v\['w'\]"),
        ({"w": ["1"], "b": 1.0}, r"v\['w'\]\[0\]: expected a number"),
        ({"w": [True], "b": 1.0}, r"v\['w'\]\[0\]: expected a number.* got bool"),
    ],
)
def test_match_names_the_place_where_two_trees_differ(tree: Any, message: Any) -> None:
    _, structure = flatten({"w": [1.0], "b": 2.0})
    with pytest.raises(TypeError, match=message):
        match(structure, tree, "v")


def test_holds_values_looks_everywhere_and_counts_a_module_as_numbers() -> None:
    assert holds_values({"a": [object(), (Value(1.0),)]})
    assert not holds_values([1.0, object(), {1, 2}, None, Neuron(2)])


def test_stands_still_and_is_parameter() -> None:
    assert [stands_still(x) for x in (None, "a", b"a", True, 1, 1.0)] == [True] * 4 + [False] * 2
    x = Value(1.0)
    assert [is_parameter(v) for v in (x, x * 2, x.detach(), 1.0)] == [True, False, False, False]


# -------------------------------------------------------------------------------------------------------- modules


def test_the_leaves_of_a_module_are_its_parameters_in_order() -> None:
    model = MLP(2, [3, 1])
    leaves, structure = flatten(model)
    assert leaves == model.parameters()
    copy = unflatten(structure, [float(i) for i in range(13)])
    assert type(copy) is MLP
    assert [p.data for p in copy.parameters()] == [float(i) for i in range(13)]
    assert list(copy.state_dict()) == list(model.state_dict())
    assert leaves == model.parameters()


class Settings(Module):
    def __init__(self) -> None:
        self.weight, self.rate, self.table = Value(2.0), 0.1, [1.0, 2.0]


def test_settings_of_a_module_are_shared_and_no_leaves() -> None:
    module = Settings()
    leaves, structure = flatten(module)
    copy = unflatten(structure, leaves)
    assert leaves == [module.weight]
    assert copy.rate == 0.1
    assert copy.table is module.table


class Tied(Module):
    def __init__(self) -> None:
        self.encoder = Value(2.0)
        self.decoder = self.encoder


def test_tied_weights_are_one_leaf_and_stay_tied() -> None:
    leaves, structure = flatten(Tied())
    copy = unflatten(structure, [5.0])
    assert len(leaves) == 1
    assert copy.encoder is copy.decoder


def test_one_module_in_two_places_is_two_sets_of_leaves() -> None:
    neuron = Neuron(1)
    assert len(flatten([neuron, neuron])[0]) == 4


class Linked(Module):
    def __init__(self) -> None:
        self.head = Neuron(1)
        self.twin = self.head
        self.head.owner = [self]


def test_modules_that_share_parts_or_refer_back_are_rebuilt_as_they_are() -> None:
    model = Linked()
    leaves, structure = flatten(model)
    copy = unflatten(structure, [5.0, 6.0])
    assert leaves == model.parameters()
    assert copy.head is copy.twin
    assert copy.head.owner[0] is copy
    assert copy.state_dict() == {"head.w.0": 5.0, "head.b": 6.0}
    assert paths(structure, "m") == ["m.head.w[0]", "m.head.b"]


class Hidden(Module):
    def __init__(self) -> None:
        self._store = {"a set hides them": frozenset([Value(1.0)])}

    def parameters(self) -> list[Value]:
        return list(*self._store.values())


def test_parameters_that_cannot_be_replaced_are_refused() -> None:
    with pytest.raises(TypeError, match="arguments: a Hidden has parameters that lie in none of its attributes"):
        flatten([Hidden()], "arguments")


# --------------------------------------------------------------------------------------------------------- arrays


def test_arrays_of_numbers_keep_their_shape() -> None:
    np = oracle("numpy")
    leaves, structure = flatten({"w": np.arange(6).reshape(2, 3)})
    again = unflatten(structure, leaves)["w"]
    assert leaves == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert again.dtype == float
    assert again.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert paths(structure, "t") == [f"t['w'][{i}][{j}]" for i in range(2) for j in range(3)]


def test_arrays_of_values_hold_objects() -> None:
    np = oracle("numpy")
    _, structure = flatten(np.ones((2, 1)))
    values = [Value(1.0), Value(2.0)]
    again = unflatten(structure, values)
    assert again.dtype == object
    assert again.ravel().tolist() == values
    assert flatten(again)[0] == values


def test_an_array_of_arrays_is_one_array_of_more_dimensions() -> None:
    np = oracle("numpy")
    _, structure = flatten(np.ones(2))
    assert unflatten(structure, [np.ones((3, 4)), np.zeros((3, 4))]).shape == (2, 3, 4)


def test_numpy_scalars_are_leaves_and_masks_stand_still() -> None:
    np = oracle("numpy")
    mask = np.array([True, False])
    leaves, structure = flatten([np.float32(1.5), np.array(2), np.int64(3), mask, np.bool_(True)])
    assert leaves == [1.5, 2.0, 3.0]
    assert unflatten(structure, leaves)[3] is mask
    assert flatten(np.zeros((0, 2)))[0] == []


def test_complex_arrays_are_refused() -> None:
    np = oracle("numpy")
    with pytest.raises(TypeError, match=r"x: expected a number, .* got ndarray"):
        flatten(np.array([1j]), "x")


def test_differentiating_numbers_does_not_import_numpy() -> None:
    code = "import sys, micrograd; micrograd.grad(lambda x: x[0] * 2.0)([1.0]); print('numpy' in sys.modules)"
    assert run_fresh(code).strip() == "False"


# ------------------------------------------------------------------------------------------------------- no end


class Part(Module):
    def __init__(self, w: float = 1.0) -> None:
        self.w = Value(w)


class Asked(Part):
    def parameters(self) -> list[Value]:
        return super().parameters()


def circles() -> list[Any]:
    """Trees with a module that refers back to what holds it."""
    child, alone = Part(), Part()
    child.child, alone.me = Part(), alone
    child.child.parent = child
    listed, keyed, asked = [Part(), Part()], {"a": [Part()]}, Asked()
    for part in listed:
        part.all = listed
    keyed["a"][0].holder = keyed
    asked.other = Asked()
    asked.other.other = asked
    return [child, alone, listed, keyed, asked]


@pytest.mark.parametrize("tree", circles())
def test_a_module_may_refer_back_to_its_holder(tree: Any) -> None:
    leaves, structure = flatten(tree)
    assert len(set(leaves)) == len({id(leaf) for leaf in leaves}) >= 1
    assert len(paths(structure)) == len(leaves)
    assert match(structure, tree) == leaves
    again = flatten(unflatten(structure, [7.0] * len(leaves)))[0]
    assert [leaf.data for leaf in again] == [7.0] * len(leaves)
    assert not holds_values(tree)


def test_a_container_that_holds_itself_is_refused_with_the_place() -> None:
    loop: list[Any] = [1.0]
    loop.append({"again": loop})
    part = Part()
    part.table = {}
    part.table["table"] = part.table
    assert not holds_values(loop)
    for tree, place in ((loop, r"\[1\]\['again'\] a list"), (part, r"\.table\['table'\] a dict")):
        with pytest.raises(ValueError, match=rf"a tree must come to an end, but at {place} holds itself"):
            flatten(tree)
