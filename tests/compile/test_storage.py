"""save and load_program: the same numbers without the Python function, and one clear error for any other file."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import run_fresh
from face import BACKENDS

import micrograd
from micrograd import MLP, Value, nn, ops, optim
from micrograd.compile import files

X = np.random.default_rng(0).normal(size=(7, 2))
Y = (X[:, 0] > 0).astype(int)

both_backends = pytest.mark.parametrize("backend", BACKENDS)


def classifier(**options: Any) -> tuple[MLP, Any]:
    model = MLP(2, [3, 2], activation="tanh", seed=1)
    return model, micrograd.compile(lambda x, y: _loss(model, x, y), **options)


def _loss(model: MLP, x: Any, y: Any) -> Any:
    logits = model(x)
    return micrograd.logsumexp(logits) - micrograd.take(logits, y)


def bits(x: Any) -> Any:
    """Numbers of a tree as exact texts."""
    if isinstance(x, dict):
        return {k: bits(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [bits(v) for v in x]
    return [float(v).hex() for v in np.asarray(x, float).ravel()]


# ------------------------------------------------------------------------------------------------- the same program


@both_backends
def test_a_loaded_model_gives_the_same_bits_and_trains_on(backend: str, tmp_path: Path) -> None:
    model, program = classifier(batch=(0, 0), reduce="mean", backend=backend)
    program.backward(X, Y)
    model.zero_grad()
    program.save(tmp_path / "model.npz")
    loaded = micrograd.load_program(tmp_path / "model.npz")
    assert (loaded.reduce, loaded.backend, loaded.dtype) == ("mean", backend, np.float64)
    runs = []
    for each in (program, loaded):
        found = [each(X, Y), each.value_and_grad(X, Y)]
        optimizer = optim.Adam(each.parameters, lr=0.1)
        found.append(micrograd.fit(each, (X, Y), optimizer, 2, 3, progress=False))
        runs.append(bits([found, each.parameters[:], [v.grad for v in each.parameters]]))
    assert runs[0] == runs[1]
    assert loaded.parameters.names == program.parameters.names
    assert [v.kind for v in loaded.parameters] == [v.kind for v in program.parameters]
    if backend == "native":
        assert loaded.c_source == program.c_source
    assert loaded.source == program.source
    assert str(loaded) == str(program)


def rich(p: dict[str, Any], rows: Any, i: int, mode: str, flag: bool) -> Any:
    a, (b, c) = p["a"], p["pair"]
    chosen = micrograd.where((a < b) & (b <= c), a.exp(), micrograd.clip(b, -1.0, 1.0))
    smooth = micrograd.softmax([a, b, micrograd.take(rows[0].tolist(), i)])
    power = c**2.5 + micrograd.leaky_relu(a, 0.125) + 0.1 * float(i > 1)
    return {"x": [chosen, *smooth], "y": (power, mode, None, flag), "z": np.array([a, rows[1, 0]], dtype=object), 3: 7.5}


RICH = ({"a": 0.5, "pair": (1.5, 2)}, np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), 2, "fast", True)


@both_backends
def test_every_kind_of_argument_result_and_instruction_is_kept(backend: str, tmp_path: Path) -> None:
    program = micrograd.compile(rich, backend=backend)
    other = (*RICH[:2], 1, "slow", False)
    expected = [program(*RICH), program(*other), program.jacobian(*RICH, wrt=(0, 1))["x"]]
    program.save(tmp_path / "rich.npz")
    loaded = micrograd.load_program(tmp_path / "rich.npz")
    found = [loaded(*RICH), loaded(*other), loaded.jacobian(*RICH, wrt=(0, 1))["x"]]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_equal(ours, theirs)
    assert (found[0]["y"][1:], found[1]["y"][1:], found[0][3]) == (("fast", None, True), ("slow", None, False), 7.5)
    assert isinstance(found[0]["z"], np.ndarray)
    for changed in ((*RICH[:2], 0, "fast", True), (*RICH[:3], "new", True), ({"a": 0.5}, *RICH[1:]), RICH[:4]):
        with pytest.raises(
            ValueError, match="rich was loaded from a file, which has no recording for arguments of this structure"
        ):
            loaded(*changed)


def test_a_loaded_program_can_be_asked_for_what_the_first_was_not(tmp_path: Path) -> None:
    w = Value(2.0, label="w")
    program = micrograd.compile(lambda x, y: w * x**3 * y)
    program(1.0, 2.0)
    program.save(tmp_path / "p.npz")
    loaded = micrograd.load_program(tmp_path / "p.npz")
    assert loaded.value_and_grad(2.0, 5.0, wrt=(0, 1)) == (80.0, (120.0, 16.0))
    assert loaded.hvp((2.0, 5.0), (1.0, 0.0)) == (120.0, 24.0)
    assert loaded.backward(2.0, 5.0) == 80.0
    (parameter,) = loaded.parameters
    assert (parameter.label, parameter.data, parameter.grad, w.grad) == ("w", 2.0, 40.0, 0.0)
    loaded.save(tmp_path / "again.npz")
    again = micrograd.load_program(tmp_path / "again.npz")
    assert again(2.0, 5.0) == 80.0
    assert again.value_and_grad(x := 2.0, 5.0) == (80.0, program.value_and_grad(x, 5.0)[1])


def test_the_parameters_are_those_of_the_moment(tmp_path: Path) -> None:
    w, fixed = Value(2.0), Value(1.0).detach()
    scaled = w * 10.0
    program = micrograd.compile(lambda x: x * w * scaled * fixed)
    program(1.0)
    w.data, fixed.data = 3.0, 5.0
    program.save(tmp_path / "p.npz")
    w.data = 100.0
    loaded = micrograd.load_program(tmp_path / "p.npz")
    assert loaded(1.0) == 3.0 * 30.0 * 5.0
    assert [v.data for v in loaded.parameters] == [3.0]


def test_several_recordings_share_their_parameters(tmp_path: Path) -> None:
    table = [Value(float(i)) for i in range(4)]
    program = micrograd.compile(lambda word: sum(micrograd.take(table, i) ** 2 for i in word))
    words = [[0, 1, 2], [3, 3], [2]]
    expected = [program(word) for word in words]
    program.save(tmp_path / "p.npz")
    loaded = micrograd.load_program(tmp_path / "p.npz")
    assert [loaded(word) for word in words] == expected == [5.0, 18.0, 4.0]
    assert [loaded([i]) for i in range(4)] == [0.0, 1.0, 4.0, 9.0]
    with pytest.raises(IndexError, match="index 4 is outside a table of 4"):
        loaded([4])
    loaded.parameters.data += 1.0
    assert [loaded(word) for word in words] == [14.0, 32.0, 9.0]


def test_integers_of_a_batch_that_are_numbers_stay_numbers(tmp_path: Path) -> None:
    w = Value(2.0)
    program = micrograd.compile(lambda x, y: (w * x - y) ** 2, batch=(0, 0), reduce="mean")
    x, labels = np.arange(3.0), np.array([1, -1, 1])
    expected = program(x, labels), program.backward(x, labels), w.grad
    program.save(tmp_path / "p.npz")
    loaded = micrograd.load_program(tmp_path / "p.npz")
    found = loaded(x, labels), loaded.backward(x, labels.tolist()), loaded.parameters.grad[0]
    assert found == expected


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_batches_threads_and_precision_are_kept(dtype: str, tmp_path: Path) -> None:
    program = micrograd.compile(
        lambda w, r: micrograd.dot(w, r["x"]).tanh() * r["y"], batch=(None, 0), dtype=dtype, threads=2
    )
    w, rows = [0.5, -0.25], {"x": X, "y": X[:, 1]}
    expected = program(w, rows), program.value_and_grad(w, rows, wrt=(0, 1))
    program.save(tmp_path / "p.npz")
    loaded = micrograd.load_program(tmp_path / "p.npz")
    np.testing.assert_equal((loaded(w, rows), loaded.value_and_grad(w, rows, wrt=(0, 1))), expected)
    assert (loaded.threads, loaded.batch) == (2, (None, 0))


def test_another_process_runs_it_without_the_function(tmp_path: Path) -> None:
    _, program = classifier(batch=(0, 0), reduce="sum")
    expected = program(X, Y)
    path = tmp_path / "model.npz"
    program.save(path)
    code = f"import micrograd; print(micrograd.load_program({str(path)!r})({X.tolist()}, {Y.tolist()}))"
    assert float(run_fresh(code)) == pytest.approx(expected, rel=1e-14)
    with np.load(path, allow_pickle=False) as saved:  # a plain file, which NumPy and JSON read
        assert json.loads(str(saved["about"]))["format"] == "micrograd program 1"


def test_an_operation_of_the_users_own_must_be_there_again(tmp_path: Path) -> None:
    @ops.op(symbol="cube")
    def cube_for_storage(xp: Any, a: Any) -> Any:
        return a * a * a, (3.0 * a * a,)

    try:
        program = micrograd.compile(lambda x: cube_for_storage(x) + 1.0)
        program(2.0)
        program.save(tmp_path / "p.npz")
        assert micrograd.load_program(tmp_path / "p.npz").value_and_grad(2.0) == (9.0, 12.0)
    finally:
        del ops.TABLE["cube_for_storage"]
    with pytest.raises(ValueError, match=r"operation 'cube_for_storage': define it with micrograd.ops.op before loading"):
        micrograd.load_program(tmp_path / "p.npz")
    with pytest.raises(ValueError, match="operation 'cube_for_storage' cannot be saved"):
        program.save(tmp_path / "p.npz")


# ---------------------------------------------------------------------------------------------------------- errors


def test_what_cannot_be_saved_is_an_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="nothing to save: call it once before"):
        micrograd.compile(lambda x: x).save(path)
    takes_a_module = micrograd.compile(lambda m: m([1.0]))
    takes_a_module(nn.MLP(1, [1]))
    with pytest.raises(ValueError, match="let the function capture a model"):
        takes_a_module.save(path)
    assert path.read_text() == "old"
    program = micrograd.compile(lambda x: x * x)
    program(2.0)
    with pytest.raises(FileNotFoundError):
        program.save(tmp_path / "missing" / "p.npz")
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError):
        micrograd.load_program(tmp_path / "none.npz")


def saved_text(tmp_path: Path) -> Path:
    program = micrograd.compile(rich)
    program(*RICH)
    program.save(tmp_path / "p.npz")
    return tmp_path / "p.npz"


def test_a_file_cut_or_changed_anywhere_is_refused(tmp_path: Path) -> None:
    path = saved_text(tmp_path)
    whole = path.read_bytes()
    pick = random.Random(0)
    damaged = [whole[: pick.randrange(len(whole))] for _ in range(60)] + [b"", b"no program", whole + b"x", whole[1:]]
    for _ in range(300):
        at = pick.randrange(len(whole))
        damaged.append(whole[:at] + bytes([whole[at] ^ 1 << pick.randrange(8)]) + whole[at + 1 :])
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is not a program that micrograd saved, or it is damaged"):
            micrograd.load_program(path)


def test_pickles_and_other_formats_are_refused_and_nothing_is_run(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    ran = []

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return ran.append, (1,)

    files.write(path, {}, {"trap": np.array(Trap(), dtype=object)})
    for content in (path.read_bytes(), b"\x80\x04N."):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is not a program"):
            micrograd.load_program(path)
    files.write(path, {"format": "micrograd program 99"}, {})
    with pytest.raises(ValueError, match="its format is 'micrograd program 99', expected 'micrograd program 1'"):
        micrograd.load_program(path)
    assert not ran


def set_at(name: str, index: Any, value: int) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def change(_: dict[str, Any], arrays: dict[str, Any]) -> None:
        arrays[name][index] = value

    return change


def describe_as(*path: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    *steps, last, value = path

    def change(about: dict[str, Any], _: dict[str, Any]) -> None:
        for step in steps:
            about = about[step]
        about[last] = value

    return change


FORGERIES = {
    "an operand that comes later": set_at("0.args", -1, 10**6),
    "a negative operand": set_at("0.args", 0, -1),
    "an unknown kind": set_at("0.codes", 3, 999),
    "a negative kind": set_at("0.codes", 3, -1),
    "a negative count": set_at("0.counts", -1, -2),
    "a huge count": set_at("0.counts", -1, 2**62),
    "a leaf beyond its argument": set_at("0.leaves", (0, 1), 10**9),
    "a leaf of no argument": set_at("0.leaves", (0, 0), 77),
    "a leaf that becomes an index": set_at("0.leaves", (0, 0), 6),
    "an output from nowhere": set_at("0.outputs", 0, 10**6),
    "a negative output": set_at("0.outputs", 0, -1),
    "too few leaves": lambda _, arrays: arrays.update({"0.leaves": arrays["0.leaves"][:-1]}),
    "too few constants": lambda _, arrays: arrays.update({"0.constants": arrays["0.constants"][:-1]}),
    "too few instructions": lambda _, arrays: arrays.update({"0.codes": arrays["0.codes"][:-1]}),
    "other numbers": lambda _, arrays: arrays.update({"0.codes": arrays["0.codes"].astype(float)}),
    "parameters without labels": lambda _, arrays: arrays.update({"parameters": np.zeros(3)}),
    "no instructions": lambda _, arrays: arrays.pop("0.codes"),
    "a smaller argument": describe_as("recordings", 0, "arguments", 1, {"array": [[1, 1], [{"real": 1}]]}),
    "a result without end": describe_as("recordings", 0, "result", {"slot": 99}),
    "a result of another kind": describe_as("recordings", 0, "result", {"set": []}),
    "an integer that is not there": describe_as("recordings", 0, "frozen", [[6, 5, 0]]),
    "a captured number that is not there": describe_as("recordings", 0, "captured", [0]),
    "a label from nowhere": describe_as("recordings", 0, "labels", [[10**6, "x"]]),
    "an operation that is none": describe_as("recordings", 0, "kinds", 2, ["apply", "__import__", {}]),
    "an operation of another arity": describe_as("recordings", 0, "kinds", 3, ["given", 7]),
    "no recordings": describe_as("recordings", []),
    "another backend": describe_as("backend", "cuda"),
    "another precision": describe_as("dtype", "object"),
    "parameters without names": describe_as("shown", ["w"]),
    "no settings": lambda about, _: about.pop("batch"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_file_with_right_checksums_is_refused(name: str, tmp_path: Path) -> None:
    path = saved_text(tmp_path)
    with np.load(path, allow_pickle=False) as saved:
        arrays = {key: saved[key].copy() for key in saved.files}
    about = json.loads(str(arrays.pop("about")))
    FORGERIES[name](about, arrays)
    files.write(path, about, arrays)
    with pytest.raises(ValueError, match="is not a program that micrograd saved, or it is damaged"):
        micrograd.load_program(path)


def test_random_changes_with_right_checksums_are_refused_or_make_another_program_that_runs(tmp_path: Path) -> None:
    program = micrograd.compile(rich, backend="numpy")
    program(*RICH)
    program.save(tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz", allow_pickle=False) as saved:
        whole = {key: saved[key].copy() for key in saved.files}
    pick = random.Random(0)
    refused = ran = 0
    for _ in range(60):
        arrays = {key: array.copy() for key, array in whole.items()}
        numbers = arrays[pick.choice(["0.codes", "0.counts", "0.args", "0.leaves", "0.outputs", "0.constants"])].reshape(-1)
        at = pick.randrange(len(numbers))
        numbers[at] = pick.choice([0, 1, 2, 7, -1, numbers[at] + 1, numbers[at] - 1, 100, 2**40])
        files.write(tmp_path / "q.npz", json.loads(str(arrays.pop("about"))), arrays)
        try:
            loaded = micrograd.load_program(tmp_path / "q.npz")
        except ValueError as error:
            assert "is not a program that micrograd saved, or it is damaged" in str(error)  # noqa: PT017
            refused += 1
        else:
            loaded(*RICH)
            ran += 1
    assert refused > 20
    assert ran > 5


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    program = micrograd.compile(lambda x: x * 2.0)
    program(1.0)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere to write p.npz into"):
        program.save(tmp_path / "nowhere" / "p.npz")
