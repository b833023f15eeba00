"""Modules, neurons, layers and MLPs: micrograd 0.1.0's behaviour, PyTorch's numbers, and errors that teach."""

from __future__ import annotations

import copy
import json
import math
import os
import pickle
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, oracle, run_fresh

import micrograd
from micrograd import MLP, Layer, Module, Neuron, Value, nn, ops, topological_order


def micrograd_0_1_0() -> str:
    """The folder of the published micrograd 0.1.0, an oracle like those of ``conftest.oracle``."""
    folder = Path(os.environ.get("MICROGRAD_SDIST", ROOT / ".ci" / "cache" / "micrograd-0.1.0"))
    if not (folder / "micrograd" / "nn.py").exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs micrograd 0.1.0 in {folder}")
        pytest.skip(f"micrograd 0.1.0 is not in {folder}")
    return str(folder)


# ----------------------------------------------------------------------------------------------- as in micrograd 0.1.0

SAME_CODE = """
import json, random
from micrograd.engine import Value
from micrograd.nn import MLP, Layer, Neuron
random.seed(1337)
out = []
for sizes in ([16, 16, 1], [4, 1, 3], [1]):
    model = MLP(2, sizes)
    drawn = [p.data for p in model.parameters()]
    scores = model([0.3, -1.7])
    loss = sum((s * s for s in (scores if isinstance(scores, list) else [scores])), Value(0))
    loss.backward()
    out.append([drawn, repr(model), loss.data, [p.grad for p in model.parameters()]])
neuron, layer = Neuron(3, nonlin=False), Layer(2, 2)
out.append([[p.data for m in (neuron, layer) for p in m.parameters()], repr(neuron) + repr(layer), random.random(), []])
print(json.dumps(out))
"""


def test_same_draws_reprs_losses_and_gradients_as_micrograd_0_1_0() -> None:
    width_one = SAME_CODE.replace("[4, 1, 3], ", "")  # micrograd 0.1.0 fails on a hidden layer of width 1
    theirs = json.loads(run_fresh(width_one, PYTHONPATH=micrograd_0_1_0()))
    ours = json.loads(run_fresh(width_one))
    for (drawn, text, loss, grads), (drawn0, text0, loss0, grads0) in zip(ours, theirs, strict=True):
        assert drawn == drawn0
        assert text == text0
        assert loss == pytest.approx(loss0, rel=1e-13)
        assert grads == pytest.approx(grads0, rel=1e-12, abs=1e-14)


def test_attributes_keep_the_names_of_micrograd() -> None:
    model = MLP(3, [4, 1])
    assert [len(layer.neurons) for layer in model.layers] == [4, 1]
    neuron = model.layers[0].neurons[0]
    assert [len(neuron.w), neuron.b.data, neuron.nonlin] == [3, 0.0, True]
    assert not model.layers[1].neurons[0].nonlin
    assert model.parameters() == [p for layer in model.layers for n in layer.neurons for p in [*n.w, n.b]]


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (Neuron(3), "ReLUNeuron(3)"),
        (Neuron(3, nonlin=False), "LinearNeuron(3)"),
        (Neuron(1, activation="tanh"), "TanhNeuron(1)"),
        (Neuron(1, activation="leaky_relu"), "LeakyReluNeuron(1)"),
        (Neuron(1, activation="ReLU"), "ReLUNeuron(1)"),
        (Neuron(1, activation="Tanh"), "TanhNeuron(1)"),
        (Neuron(1, activation="LeakyReLU"), "LeakyReluNeuron(1)"),
        (Neuron(1, 0), "LinearNeuron(1)"),
        (Neuron(1, activation=None), "LinearNeuron(1)"),
        (Neuron(1, activation="Linear"), "LinearNeuron(1)"),
        (MLP(2, [1, 1], activation=None), "MLP of [Layer of [LinearNeuron(2)], Layer of [LinearNeuron(1)]]"),
        (Module(), "Module()"),
        (Neuron(1, activation=lambda z: z * z), "CustomNeuron(1)"),
        (Layer(2, 1), "Layer of [ReLUNeuron(2)]"),
        (MLP(2, [1, 1]), "MLP of [Layer of [ReLUNeuron(2)], Layer of [LinearNeuron(1)]]"),
    ],
)
def test_repr(module: Module, text: str) -> None:
    assert repr(module) == text


def test_the_repr_of_a_users_module_shows_its_parts() -> None:
    class Net(Module):
        def __init__(self) -> None:
            self.name, self.scale, self.w = "net", Value(1.0), [Value(2.0), Value(3.0)]
            self.first = Neuron(2)
            self.first.net = self

    assert repr(Net()) == "Net(scale=<1 parameter>, w=<2 parameters>, first=ReLUNeuron(2))"
    net = Module()
    net.child = Module()
    net.child.parent = net
    assert repr(net) == "Module(child=Module(parent=...))"


# ------------------------------------------------------------------------------------------------------------- neurons


def test_a_name_of_an_activation_that_two_operations_could_mean_is_refused() -> None:
    for name in ("my_bend", "mybend"):
        ops.op(symbol=name)(named(lambda xp, a: (a, (1.0,)), name))
    try:
        assert Neuron(1, activation="mybend").activation is ops.TABLE["mybend"]
        with pytest.raises(ValueError, match="unknown activation 'MyBend'"):
            Neuron(1, activation="MyBend")
    finally:
        del ops.TABLE["my_bend"], ops.TABLE["mybend"]


def named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    function.__name__ = name
    return function


def test_a_neuron_without_an_activation_is_one_node() -> None:
    for neuron in (Neuron(1, activation=None), Neuron(1, activation="linear")):
        assert not neuron.nonlin
        assert neuron([2.0])._op == "dot"


def test_a_neuron_is_two_nodes_with_labelled_parameters() -> None:
    neuron = Neuron(3)
    out = neuron([1.0, 2.0, 3.0])
    dot = out.parents[0]
    assert (out._op, dot._op) == ("ReLU", "dot")
    assert [p.label for p in dot.parents] == ["w0", "w1", "w2", "", "", "", "b"]
    assert [p.kind for p in dot.parents] == ["parameter"] * 3 + ["input"] * 3 + ["parameter"]
    assert dot.parents == (*neuron.w, *dot.parents[3:6], neuron.b)


def test_inputs_become_values_once_a_call_and_not_once_a_neuron() -> None:
    out = Layer(2, 5)([1.0, 2.0])
    assert len({p for z in out for p in z.parents[0].parents if p.kind == "input"}) == 2
    x = [Value(1.0), Value(2.0)]
    assert all(z.parents[0].parents[2:4] == tuple(x) for z in Layer(2, 5)(x))


UNARY = [name for name, op in ops.TABLE.items() if op.arity == 1]


@pytest.mark.parametrize("name", UNARY)
def test_every_unary_operation_is_an_activation_by_name_by_operation_and_by_function(name: str) -> None:
    op = ops.TABLE[name]
    point = sum(op.domain[0]) / 2.0
    results = []
    for activation in (name, op, lambda z: op(z)):
        neuron = Neuron(1, activation=activation)
        neuron.load_state_dict({"w.0": 1.0, "b": 0.0})
        out = neuron([point])
        out.backward()
        results.append((out.data, out._op, neuron.w[0].grad, neuron.b.grad))
    value, (slope,) = op.bind(**op.params).rule(ops.FLOATS, point)
    assert results == [(value, op.bind(**op.params).symbol, slope * point, slope)] * 3


def test_an_operation_with_parameters_and_one_defined_by_the_user_are_activations() -> None:
    assert Neuron(1, activation=ops.leaky_relu.bind(slope=0.5))([0.0]).data == 0.0
    neuron = Neuron(1, activation=ops.leaky_relu.bind(slope=0.5))
    neuron.load_state_dict({"w.0": 1.0, "b": 0.0})
    assert neuron([-4.0]).data == -2.0

    @ops.op(symbol="cube")
    def backward(xp: Any, a: Any) -> Any:  # a name that Value has, too, for something else
        return a * a * a, (3.0 * a * a,)

    try:
        neuron = Neuron(1, activation="backward")
        neuron.load_state_dict({"w.0": 1.0, "b": 0.0})
        assert neuron([2.0]).data == 8.0
    finally:
        del ops.TABLE["backward"]


def test_a_module_can_be_the_activation_and_is_trained_with_the_neuron() -> None:
    class Slope(Module):
        __hash__ = None

        def __init__(self) -> None:
            self.a = Value(0.25)

        def __call__(self, z: Value) -> Value:
            return micrograd.where(z > 0, z, self.a * z)

    assert list(MLP(1, [1, 1], activation=Slope()).state_dict())[2] == "layers.0.neurons.0.activation.a"


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "sigmoid"])
def test_an_mlp_gives_the_values_and_gradients_of_pytorch(activation: str) -> None:
    torch = oracle("torch")
    model = MLP(3, [5, 1, 4], activation=activation, seed=3)
    x = [Value(v) for v in (0.5, -1.25, 2.0)]
    out = model(x)
    sum(out).backward()

    function = {"gelu": torch.nn.functional.gelu}.get(activation) or getattr(torch, activation)
    xt = torch.tensor([v.data for v in x], dtype=torch.float64, requires_grad=True)
    leaves, h = [], xt
    for i, layer in enumerate(model.layers):
        w = torch.tensor([[p.data for p in n.w] for n in layer.neurons], dtype=torch.float64, requires_grad=True)
        b = torch.tensor([n.b.data for n in layer.neurons], dtype=torch.float64, requires_grad=True)
        leaves.append((w, b))
        h = w @ h + b
        h = function(h) if i < 2 else h
    h.sum().backward()
    assert [v.data for v in out] == pytest.approx(h.tolist(), rel=1e-13, abs=1e-15)
    assert [v.grad for v in x] == pytest.approx(xt.grad.tolist(), rel=1e-12, abs=1e-15)
    for layer, (w, b) in zip(model.layers, leaves, strict=True):
        grads = [[*(p.grad for p in n.w), n.b.grad] for n in layer.neurons]
        expected = torch.cat([w.grad, b.grad[:, None]], dim=1).tolist()
        for got, want in zip(grads, expected, strict=True):
            assert got == pytest.approx(want, rel=1e-12, abs=1e-15)


def test_a_hidden_layer_of_width_one_works_and_a_last_one_gives_a_bare_value() -> None:
    assert isinstance(MLP(2, [3, 1])([1.0, 2.0]), Value)
    assert isinstance(Layer(2, 1)([1.0, 2.0]), Value)
    out = MLP(2, [3, 1, 1, 2])([1.0, 2.0])
    assert [type(v) for v in out] == [Value, Value]


def test_inputs_may_be_any_iterable_of_numbers_and_values() -> None:
    np = oracle("numpy")
    model = MLP(2, [3, 1], seed=0)
    expected = model([1.0, 2.0]).data
    rows: list[Any] = [
        (1, 2),
        iter([1.0, Value(2.0)]),
        (v for v in (1.0, 2.0)),
        np.array([1.0, 2.0]),
        np.array([1, 2]),
        np.array([1, 2], dtype=np.float32),
        [np.array(1.0), True + 1],
    ]
    assert [model(row).data for row in rows] == [expected] * len(rows)


# ------------------------------------------------------------------------------------------------------ initialisation


def test_a_seed_repeats_the_weights_and_leaves_the_global_generator_alone() -> None:
    before = random.getstate()
    first, again, other = MLP(2, [3, 1], seed=7), MLP(2, [3, 1], seed=7), MLP(2, [3, 1], seed=8)
    assert random.getstate() == before
    assert first.state_dict() == again.state_dict() != other.state_dict()
    random.seed(7)
    assert MLP(2, [3, 1]).state_dict() == first.state_dict()


@pytest.mark.parametrize(
    ("init", "bound"), [("uniform", 1.0), ("he", math.sqrt(6.0 / 50)), ("xavier", math.sqrt(6.0 / (50 + 40)))]
)
def test_an_initialisation_is_the_uniform_draw_scaled_by_its_bound(init: str, bound: float) -> None:
    layer, plain = Layer(50, 40, init=init, rng=random.Random(1)), Layer(50, 40, rng=random.Random(1))
    weights = [w.data for n in layer.neurons for w in n.w]
    assert weights == pytest.approx([w.data * bound for n in plain.neurons for w in n.w], rel=1e-15, abs=1e-15)
    assert [n.b.data for n in layer.neurons] == [0.0] * 40
    variance = {"uniform": 1.0 / 3.0, "he": 2.0 / 50, "xavier": 2.0 / (50 + 40)}[init]
    assert sum(w * w for w in weights) / len(weights) == pytest.approx(variance, rel=0.1)


def test_initialisations_match_the_bounds_of_pytorch() -> None:
    torch = oracle("torch")
    weight = torch.empty(400, 300, dtype=torch.float64)
    for init, draw in (("he", torch.nn.init.kaiming_uniform_), ("xavier", torch.nn.init.xavier_uniform_)):
        torch.manual_seed(0)
        bound = nn.INITIALISATIONS[init](300, 400)
        assert 0.999 * bound < draw(weight).abs().max().item() <= bound


# ------------------------------------------------------------------------------------------------------------- modules


class Nested(Module):
    def __init__(self) -> None:
        self.name = "not a parameter"
        self.rows = [[Value(0.0), Value(1.0)], (Value(2.0),)]
        self.table = {"a": Value(3.0), "b": [Value(4.0)]}
        self.part = Neuron(1)
        self.again = self.rows
        self.fixed = Value(9.0).detach()
        self.result = self.rows[0][0] * 2.0
        self.numbers = [1.0, None, "text", {2}]


def test_parameters_are_found_in_nested_attributes_in_order_each_once() -> None:
    module = Nested()
    names = ["rows.0.0", "rows.0.1", "rows.1.0", "table.a", "table.b.0", "part.w.0", "part.b"]
    assert [name for name, _ in module.named_parameters()] == names
    assert [p.data for p in module.parameters()][:5] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert module.parameters()[5:] == module.part.parameters()


def test_parameters_in_numpy_arrays_and_in_modules_that_refer_back_are_found() -> None:
    np = oracle("numpy")
    module = Module()
    module.w = np.array([[Value(1.0), Value(2.0)]])
    module.child = Module()
    module.child.parent = module
    module.child.v = Value(3.0)
    assert module.state_dict() == {"w.0.0": 1.0, "w.0.1": 2.0, "child.v": 3.0}


def test_leaves_are_marked_as_parameters_when_a_module_is_asked_for_them() -> None:
    class Line(Module):
        def __init__(self) -> None:
            self.slope, self.rest = Value(2.0), [Value(1.0)]

        def __call__(self, x: Value) -> Value:
            return self.slope * x + self.rest[0]

    class Chosen(Line):
        def parameters(self) -> list[Value]:
            return [self.slope]

    line, named_ones, chosen = Line(), Line(), Chosen()
    micrograd.optim.SGD(line.parameters(), lr=0.1)
    dict(named_ones.named_parameters())
    dict(chosen.named_parameters())
    for module in (line, named_ones):
        assert [v.kind for v in topological_order(module(Value(3.0)))].count("parameter") == 2
        assert [v.kind for v in topological_order(module(Value(3.0)))].count("input") == 1
    assert (chosen.slope.kind, chosen.rest[0].kind) == ("parameter", "input")


def test_modules_that_refer_to_each_other_come_to_an_end() -> None:
    class Both(Module):
        def __init__(self) -> None:
            self.w = Value(1.0)

        def parameters(self) -> list[Value]:
            return super().parameters()

    a, b = Both(), Both()
    a.other, b.other = b, a
    assert (a.parameters(), b.parameters()) == ([a.w, b.w], [b.w, a.w])
    assert dict(a.named_parameters()) == {"w": a.w, "other.w": b.w}
    crowd = [Neuron(1) for _ in range(20)]
    for neuron in crowd:
        neuron.all = crowd
    assert len(crowd[0].parameters()) == 40


def test_modules_of_other_dialects_that_override_parameters_keep_working() -> None:
    class Mine(Module):
        def __init__(self) -> None:
            self.hidden, self.w = Value(1.0), [Value(2.0)]
            self.extra = lambda: Value(0.0)
            self.loose = Value(3.0)
            self._loose = {Value(4.0)}  # a set has no order, so it is not searched

        def parameters(self) -> list[Value]:
            return [*self.w, *self._loose]

    class Holder(Module):
        def __init__(self) -> None:
            self.mine = Mine()

    holder = Holder()
    assert holder.parameters() == holder.mine.parameters()
    assert holder.state_dict() == {"mine.w.0": 2.0, "mine.parameters.1": 4.0}
    for p in holder.parameters():
        p.grad = 5.0
    holder.mine.hidden.grad = 5.0
    holder.zero_grad()
    assert [p.grad for p in holder.parameters()] == [0.0, 0.0]
    assert holder.mine.hidden.grad == 5.0


def test_a_module_needs_no_constructor_and_may_have_no_parameters() -> None:
    assert Module().parameters() == []
    assert Module().state_dict() == {}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("activation", ["tanh", "leaky_relu"])
def test_a_module_copies_whole_and_trains_apart(copied: Callable[[MLP], MLP], activation: str) -> None:
    model = MLP(2, [3, 1], activation=activation, seed=1)
    twin = copied(model)
    assert twin([1.0, 2.0]).data == model([1.0, 2.0]).data
    assert repr(twin) == repr(model)
    assert [p.kind for p in twin.parameters()] == ["parameter"] * 13
    twin([1.0, 2.0]).backward()
    assert any(p.grad for p in twin.parameters())
    assert not any(p.grad for p in model.parameters())


# ------------------------------------------------------------------------------------------------- saving and loading


def test_save_and_load_keep_every_bit(tmp_path: Path) -> None:
    model, twin = MLP(3, [4, 1], seed=1), MLP(3, [4, 1], seed=2)
    odd = [1.0 / 3.0, -0.0, 5e-324, 1.7976931348623157e308, math.nextafter(1.0, 2.0), 0.1 + 0.2]
    for parameter, number in zip(model.parameters(), odd, strict=False):
        parameter.data = number
    model.save(tmp_path / "weights.json")
    twin.load(str(tmp_path / "weights.json"))
    assert [p.data.hex() for p in twin.parameters()] == [p.data.hex() for p in model.parameters()]
    assert json.loads((tmp_path / "weights.json").read_text()) == model.state_dict()
    assert [path.name for path in tmp_path.iterdir()] == ["weights.json"]


def test_loading_changes_the_data_in_place_and_nothing_else() -> None:
    neuron = Neuron(1)
    w = neuron.w[0]
    neuron.load_state_dict({"b": 2, "w.0": True})
    assert neuron.w[0] is w
    assert [w.data, neuron.b.data, type(w.data), w.label, w.kind] == [1.0, 2.0, float, "w0", "parameter"]


def test_a_nan_stays_in_a_state_dict_but_is_refused_by_a_file(tmp_path: Path) -> None:
    neuron, path = Neuron(1), tmp_path / "weights.json"
    neuron.save(path)
    before = path.read_bytes()
    for number in (math.nan, math.inf):
        neuron.load_state_dict({"w.0": 0.0, "b": number})
        assert repr(neuron.state_dict()["b"]) == repr(number)
        with pytest.raises(ValueError, match=f"parameter 'b' is {number}, which JSON cannot hold.*detect_anomaly"):
            neuron.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_save_that_is_interrupted_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    neuron, path = Neuron(1), tmp_path / "weights.json"
    neuron.save(path)
    before = path.read_bytes()
    neuron.b.data = 7.0

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        neuron.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({"w.0": 1.0}, ValueError, r"not the weights of this model, ReLUNeuron\(1\): missing 'b'; unexpected none"),
        ({"w.0": 1.0, "b": 1.0, "w.1": 2.0}, ValueError, "missing none; unexpected 'w.1'"),
        ({}, ValueError, "missing 'w.0', 'b'"),
        (dict.fromkeys("vwxyz", 0.0), ValueError, "unexpected 'v', 'w', 'x' and 2 more"),
        ({"w.0": 1.0, "b": "1.0"}, TypeError, "'b' must be a number, got str"),
        ({"w.0": 1.0, "b": None}, TypeError, "'b' must be a number, got NoneType"),
        ({"w.0": 1.0, "b": [1.0]}, TypeError, "'b' must be a number, got list"),
        ([1.0, 2.0], TypeError, "takes a dict of names and numbers, got list"),
        (None, TypeError, "takes a dict of names and numbers, got NoneType"),
    ],
)
def test_loading_what_does_not_fit_names_it_and_changes_nothing(
    state: Any, error: type[Exception], message: str, tmp_path: Path
) -> None:
    neuron, path = Neuron(1, rng=random.Random(0)), tmp_path / "w.json"
    before = neuron.state_dict()
    with pytest.raises(error, match=message):
        neuron.load_state_dict(state)
    path.write_text(json.dumps(state))
    with pytest.raises(error, match=re.escape(str(path)) + ": .*" + message):
        neuron.load(path)
    assert neuron.state_dict() == before


@pytest.mark.parametrize(
    "content",
    [b"", b"not json", b'{"w.0": 1.0', b'{"w.0": NaN, "b": 0.0}', b"\xff\xfe\x00", b"\x80\x04K\x01.", b"[" * 200_000],
)
def test_loading_a_file_that_is_no_json_says_so(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f"{path} is not a JSON file: ")):
        Neuron(1).load(path)


def test_files_and_folders_that_are_missing_raise_their_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        Neuron(1).load(tmp_path / "none.json")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Neuron(1).save(tmp_path / "nowhere" / "w.json")


def test_two_parameters_of_one_name_are_refused() -> None:
    module = Module()
    module.table = {1: Value(1.0), "1": Value(2.0)}
    with pytest.raises(ValueError, match=r"two parameters are named 'table\.1'"):
        module.state_dict()
    with pytest.raises(ValueError, match=r"two parameters are named 'table\.1'"):
        module.load_state_dict({"table.1": 1.0})


def test_a_file_that_cannot_be_written_is_named_as_it_was_asked_for(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere" / "w.json", tmp_path):
        with pytest.raises(OSError, match=r"Errno \d+") as caught:
            Neuron(1).save(path)
        assert caught.value.filename == str(path)
        assert "part" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        Neuron(1).save(tmp_path / "w.json")
    finally:
        os.umask(before)
    assert (tmp_path / "w.json").stat().st_mode & 0o777 == 0o640


# -------------------------------------------------------------------------------------------------------------- errors


class Forward(Module):
    def forward(self, x: float) -> float:
        return x


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Neuron(2)([1.0]), ValueError, r"Neuron takes 2 inputs, got 1$"),
        (lambda: Layer(2, 3)([1.0, 2.0, 3.0]), ValueError, r"Layer takes 2 inputs, got 3$"),
        (lambda: MLP(2, [3, 1])([]), ValueError, r"takes 2 inputs, got 0$"),
        (lambda: MLP(2, [3, 1])([[1.0, 2.0]] * 3), ValueError, r"2 inputs, got 3: .* \[model\(x\) for x in examples\]"),
        (lambda: MLP(2, [3, 1])([[1.0, 2.0]] * 2), TypeError, r"got rows of them: .* \[model\(x\) for x in examples\]"),
        (lambda: MLP(1, [1])(3.0), TypeError, r"takes a list of 1 inputs, got float: write \[x\]"),
        (lambda: Neuron(1)(Value(3.0)), TypeError, r"takes a list of 1 inputs, got Value: write \[x\]"),
        (lambda: Neuron(2)("ab"), TypeError, "takes a list of 2 inputs, got str"),
        (lambda: Neuron(2)([1.0, "2"]), TypeError, r"got str: write Value\(float\(text\)\)"),
        (lambda: Neuron(2)([1.0, None]), TypeError, "got NoneType"),
        (lambda: Neuron(0), ValueError, "nin must be a positive integer, got 0"),
        (lambda: Neuron(-1), ValueError, "nin must be a positive integer, got -1"),
        (lambda: Neuron(2.0), TypeError, r"nin must be a positive integer, got 2\.0"),
        (lambda: Layer(2, 0), ValueError, "nout must be a positive integer, got 0"),
        (lambda: Layer(2, True), TypeError, "nout must be a positive integer, got True"),
        (lambda: MLP(2, [3, "1"]), TypeError, "nout must be a positive integer, got '1'"),
        (lambda: MLP(2, []), ValueError, r"list of layer sizes, such as MLP\(2, \[16, 1\]\), got nouts=\[\]"),
        (lambda: MLP(2, 3), ValueError, r"list of layer sizes, such as MLP\(2, \[16, 1\]\), got nouts=3"),
        (lambda: MLP(2, "31"), ValueError, "got nouts='31'"),
        (
            lambda: Neuron(1, activation="rlu"),
            ValueError,
            "unknown activation 'rlu': give the name .* such as relu, .*tanh, or a function from Value",
        ),
        (lambda: Neuron(1, activation="dot"), ValueError, "unknown activation 'dot'"),
        (lambda: Neuron(1, activation=ops.add), ValueError, "unknown activation <operation add>"),
        (lambda: Neuron(2, "tanh"), TypeError, "nonlin must be True or False, got 'tanh': write activation=\"tanh\""),
        (lambda: Neuron(2, ops.tanh), TypeError, 'nonlin must be .* got <operation tanh>: write activation="tanh"'),
        (lambda: Layer(2, 2, nonlin="relu"), TypeError, 'nonlin must be .*: write activation="relu"'),
        (
            lambda: Layer(2, 2, "tanh"),
            ValueError,
            "unknown init 'tanh': choose .*; for an activation write activation=\"tanh\"",
        ),
        (lambda: Neuron(1, activation="ReLu6"), ValueError, "unknown activation 'ReLu6'"),
        (lambda: MLP(2, [3, 1])([1.0]), ValueError, r"^MLP takes 2 inputs, got 1$"),
        (
            lambda: MLP(2, [3, 1])({1.0: "a", 2.0: "b"}),
            TypeError,
            "^MLP takes a list of 2 inputs, got dict: list the numbers",
        ),
        (lambda: Neuron(2)({1.0, 2.0}), TypeError, "^Neuron takes a list of 2 inputs, got set: list the numbers in their"),
        (lambda: MLP(2, {3: 1}), ValueError, r"list of layer sizes, .* got nouts=\{3: 1\}"),
        (lambda: MLP(2, {3, 1}), ValueError, "list of layer sizes, .* got nouts="),
        (lambda: Forward()(1.0), TypeError, r"^Forward cannot be called: rename its forward to __call__$"),
        (lambda: Module()(), TypeError, r"^Module cannot be called: define __call__\(self, x\) in its class$"),
        (lambda: MLP(1, [1], init="zeros"), ValueError, "unknown init 'zeros': choose from uniform, he, xavier"),
    ],
)
def test_bad_input_gives_an_error_that_names_expected_and_got(
    call: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_layer_put_in_by_hand_that_does_not_fit_is_an_error_too() -> None:
    model = MLP(2, [3, 1])
    model.layers[1] = Layer(4, 1)
    with pytest.raises(ValueError, match="Layer takes 4 inputs, got 3"):
        model([1.0, 2.0])
    layer = Layer(2, 2)
    layer.neurons[1] = Neuron(3)
    with pytest.raises(ValueError, match="Neuron takes 3 inputs, got 2"):
        layer([1.0, 2.0])


def test_the_graph_of_an_mlp_holds_only_two_nodes_a_neuron() -> None:
    nodes = topological_order(MLP(2, [16, 16, 1], seed=0)([0.5, 0.25]))
    assert sum(bool(v.parents) for v in nodes) == 2 * 32 + 1
    assert sum(v.kind == "input" for v in nodes) == 2
