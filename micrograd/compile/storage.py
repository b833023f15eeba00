"""Saving programs: the recorded tapes in a plain file, which a process without the Python function loads and runs.

What is saved is what the function did to its numbers, scalar by scalar, before anything is derived from it: so a loaded
program can be asked for all that the first one can, and the file does not depend on how programs are laid out.  Loading
replays the instructions as if the function ran again.  No pickle: a file holds numbers, names of operations and texts only.
"""

from __future__ import annotations

import inspect
import itertools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from micrograd import engine, ops, trees
from micrograd.compile import files, tape as tapes
from micrograd.compile.arguments import rebuild
from micrograd.compile.program import Program
from micrograd.compile.recording import Recording
from micrograd.compile.tape import CONST, KINDS, LEAF, Tape
from micrograd.compile.trace import Index, Symbol
from micrograd.engine import Value

FORMAT = "micrograd program 1"
SETTINGS = ("batch", "reduce", "backend", "threads")
_PRIMITIVES = {
    KINDS[code].name: code for code in (tapes.SELECT, tapes.LESS, tapes.LESS_EQUAL, tapes.AND, tapes.OR, tapes.NOT)
}
_VARIADIC: dict[int, Callable[[int], bool]] = {  # with the counts of operands that they may have
    tapes.SUM: lambda n: True,
    tapes.DOT: lambda n: n % 2 == 1,
    tapes.MEAN: bool,
}
_KEYS = (str, int, float, bool, type(None))  # of dicts


class _Mark:
    """Stands for a number of an argument: of which kind it is, and which leaf of the tape."""

    def __init__(self, kind: str, origin: tuple[int, int]) -> None:
        self.kind, self.origin = kind, origin


# ------------------------------------------------------------------------------------------------------------ saving


def save(program: Program, path: str | os.PathLike[str]) -> None:
    """Write all recordings of a program and the present numbers of its parameters to a file."""
    recordings = [recording for known in program._recordings.values() for recording in known]
    if not recordings:
        raise RuntimeError(f"{program._name} was not recorded yet, so there is nothing to save: call it once before")
    captured = list({id(v): v for recording in recordings for v in recording.captured}.values())
    about = {
        "format": FORMAT,
        "name": program._name,
        "names": max((program._argument_names(len(recording.trees)) for recording in recordings), key=len),
        "dtype": program.dtype.name,
        **{name: getattr(program, name) for name in SETTINGS},
        "labels": [v.label for v in captured],
        "shown": program._shown_names(captured),
        "as_real": sorted(program._as_real),
        "kinds": ["constant" if v.parents else v.kind for v in captured],
        "recordings": [_described(recording, captured) for recording in recordings],
    }
    arrays = {"parameters": np.array([v.data for v in captured], dtype=np.float64)}
    for i, recording in enumerate(recordings):
        arrays.update({f"{i}.{name}": array for name, array in _columns(recording).items()})
    files.write(Path(path), about, arrays)


def _described(recording: Recording, captured: Sequence[Value]) -> dict[str, Any]:
    """A recording as plain data, without its instructions."""
    numbers = {id(v): i for i, v in enumerate(captured)}
    signatures, origins = _arguments(recording)
    return {
        "arguments": signatures,
        "frozen": [[*origins[origin], value] for origin, value in recording.trace.frozen.items()],
        "captured": [numbers[id(v)] for v in recording.captured],
        "kinds": [_spelled(KINDS[code]) for code in sorted(set(recording.tape.codes))],
        "labels": [[node, label] for node, label in recording.tape.labels.items()],
        "result": _signature(recording.structure, [], []),
    }


def _arguments(recording: Recording) -> tuple[list[Any], dict[tuple[int, int], tuple[int, int]]]:
    """The arguments as plain data, and for each leaf of the tape its place among them.

    Space 0 are the captured numbers, 1 and 2 the real numbers and the integers of the first argument, and so on.
    """
    signatures: list[Any] = []
    origins = {(0, i): (0, i) for i in range(len(recording.captured))}
    for i, (tree, spaces) in enumerate(zip(recording.trees, recording.spaces, strict=True)):
        reals: list[Any] = []
        ints: list[Any] = []
        places = rebuild(tree, lambda place, at, spaces=spaces: _Mark(place.kind, (spaces[place.part], at)))  # type: ignore[misc]
        signatures.append(_signature(places, reals, ints))
        origins.update({mark.origin: (2 * i + 1, at) for at, mark in enumerate(reals)})
        origins.update({mark.origin: (2 * i + 2, at) for at, mark in enumerate(ints)})
    return signatures, origins


def _columns(recording: Recording) -> dict[str, Any]:
    """The instructions as arrays."""
    tape, (_, origins) = recording.tape, _arguments(recording)
    used = {code: i for i, code in enumerate(sorted(set(tape.codes)))}
    whole = {
        "codes": [used[code] for code in tape.codes],
        "counts": [len(args) for args in tape.args],
        "args": [a for args in tape.args for a in args],
        "leaves": np.array([origins[origin] for _, origin in sorted(tape.origins.items())], dtype=np.int64).reshape(-1, 2),
        "outputs": tape.outputs,
    }
    columns = {name: np.array(numbers, dtype=np.int64) for name, numbers in whole.items()}
    return {**columns, "constants": np.array([number for _, number in sorted(tape.constants.items())], dtype=np.float64)}


def _spelled(kind: tapes.Kind) -> list[Any]:
    """A kind of instruction as plain data."""
    what = kind.key[0]
    if what in ("take", "given"):
        return [what, kind.shape[0]]
    if what in ("leaf", "const") or (what == "apply" and kind.name in _PRIMITIVES):
        return [kind.name]
    op = kind.op
    if what != "apply" or op is None or ops.TABLE.get(op.name) is not op._base:
        raise ValueError(f"a program with the operation {kind.name!r} cannot be saved: define it with micrograd.ops.op")
    return ["apply", op.name, op.params if op is not op._base else {}]


def _signature(x: Any, reals: list[Any], ints: list[Any]) -> Any:
    """An argument or a result as plain data, with its symbols and indices collected, left to right."""
    if x.__class__ is Symbol or isinstance(x, trees.Slot) or (isinstance(x, _Mark) and x.kind == "real"):
        reals.append(x)
        return {"slot": x.index} if isinstance(x, trees.Slot) else {"real": 1}
    if isinstance(x, (Index, _Mark)):
        ints.append(x)
        return {"index": 1}
    if x is None or type(x) in (bool, str):
        return x
    if type(x) is bytes:
        return {"bytes": x.hex()}
    if type(x) in (list, tuple):
        return {type(x).__name__: [_signature(part, reals, ints) for part in x]}
    if type(x) is dict and all(type(key) in _KEYS for key in x):
        return {"dict": [[key, _signature(part, reals, ints)] for key, part in x.items()]}
    if isinstance(x, np.ndarray) and x.dtype == object:
        return {"array": [list(x.shape), [_signature(part, reals, ints) for part in x.ravel().tolist()]]}
    raise ValueError(
        f"a program with a {type(x).__name__} among its arguments or results cannot be saved: lists, tuples, dicts, arrays, "
        "strings and booleans can; let the function capture a model, and its parameters are saved with it"
    )


# ----------------------------------------------------------------------------------------------------------- loading


def load_program(path: str | os.PathLike[str]) -> Program:
    """The program that ``program.save(path)`` wrote, with the parameters as they were then; its function is not needed.

    It can be asked for everything, for arguments of the structures that it was called with before it was saved.  Operations
    of the user's own must be defined again.  ValueError for a file that is damaged or no such program.

    >>> import tempfile, micrograd
    >>> w = micrograd.Value(2.0)
    >>> program = micrograd.compile(lambda x: w * x * x)
    >>> program(3.0)
    18.0
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     program.save(f"{folder}/square.npz")
    ...     loaded = load_program(f"{folder}/square.npz")
    >>> loaded(3.0), loaded.value_and_grad(3.0)
    (18.0, (18.0, 12.0))
    """
    try:
        about, arrays = files.read(Path(path), FORMAT)
        saved = _File(about, arrays)
        batch, *settings = (about[name] for name in ("batch", "reduce", "backend", "dtype", "threads"))
        program = Program(saved.function(), tuple(batch) if isinstance(batch, list) else batch, *settings)
    except FileNotFoundError:
        raise
    except files._FAULTS as error:
        raise ValueError(f"{os.fspath(path)} is not a program that micrograd saved, or it is damaged: {error}") from None
    program._parameters._capture(saved.captured)
    program._as_real.update(saved.as_real)
    return program


class _File:
    """The parameters and the recordings of a file."""

    def __init__(self, about: dict[str, Any], arrays: dict[str, Any]) -> None:
        self.name, self.argument_names = str(about["name"]), [str(name) for name in about["names"]]
        numbers = _array(arrays, "parameters", np.float64)
        _need(len(numbers) == len(about["labels"]) == len(about["kinds"]), "parameters")
        leaves = {"input": engine.INPUT, "parameter": engine.PARAMETER, "constant": engine.CONSTANT}
        self.captured = []
        for number, label, kind in zip(numbers.tolist(), about["labels"], about["kinds"], strict=True):
            v = engine._node(leaves[kind], number, engine.NO_PARENTS, ())
            v.label = str(label)
            self.captured.append(v)
        self.as_real = [_within(i, len(self.argument_names), "arguments") for i in about["as_real"]]
        self.shown = {id(v): str(name) for name, v in zip(about["shown"], self.captured, strict=True)}
        self.saved: dict[str, list[_Saved]] = {}
        for i, description in enumerate(about["recordings"]):
            columns = {name[len(f"{i}.") :]: array for name, array in arrays.items() if name.startswith(f"{i}.")}
            saved = _Saved.verified(description, columns, self.captured)
            self.saved.setdefault(json.dumps(description["arguments"]), []).append(saved)
        _need(self.saved, "recordings")

    def function(self) -> Callable[..., Any]:
        """What stands in the place of the saved program's function: it does again what the function did."""

        def replayed(*args: Any) -> Any:
            return self.replay(args)

        replayed.__name__ = replayed.__qualname__ = self.name
        replayed.parameter_names = self.shown  # type: ignore[attr-defined]
        if all(name.isidentifier() for name in self.argument_names):
            kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
            signature = inspect.Signature([inspect.Parameter(name, kind) for name in self.argument_names])
            replayed.__signature__ = signature  # type: ignore[attr-defined]
        return replayed

    def replay(self, args: tuple[Any, ...]) -> Any:
        """Do to some arguments what was done in the recording that fits them."""
        places: list[tuple[list[Any], list[Any]]] = [([], []) for _ in args]
        try:
            signature = json.dumps([_signature(x, *place) for x, place in zip(args, places, strict=True)])
        except ValueError:
            signature = ""
        for saved in self.saved.get(signature, ()):
            if all(places[(space - 1) // 2][1][position].value == value for space, position, value in saved.frozen):
                return saved.replay(places)
        raise ValueError(
            f"{self.name} was loaded from a file, which has no recording for arguments of this structure or for these "
            "integers and settings: call the program with such arguments before it is saved"
        )


@dataclass
class _Saved:
    """One recording as it was saved."""

    codes: Sequence[int]
    args: Sequence[tuple[int, ...]]
    leaves: dict[int, tuple[int, int]]
    constants: dict[int, float]
    outputs: Sequence[int]
    captured: list[Value]
    frozen: list[tuple[int, int, int]]
    labels: list[tuple[int, str]]
    result: Any

    @classmethod
    def verified(cls, about: dict[str, Any], arrays: dict[str, Any], captured: Sequence[Value]) -> _Saved:
        """A recording from a file, ValueError for one that could not have been recorded."""
        names = ("codes", "counts", "args", "leaves", "outputs")
        codes, counts, args, leaves, outputs = (_array(arrays, name, np.int64) for name in names)
        kinds = [_kind(spelled) for spelled in about["kinds"]]
        _need(len(codes) == len(counts) and ((codes >= 0) & (codes < len(kinds))).all(), "instructions")
        _need((counts >= 0).all() and int(counts.sum()) == len(args), "operands")
        edges = np.concatenate([[0], np.cumsum(counts)]).tolist()
        flat = args.tolist()
        tape = Tape()
        tape.codes = [kinds[code] for code in codes.tolist()]
        tape.args = [tuple(flat[start:end]) for start, end in itertools.pairwise(edges)]
        tape.outputs = outputs.tolist()
        nodes = [i for i, code in enumerate(tape.codes) if code == LEAF]
        _need(leaves.shape == (len(nodes), 2), "leaves")
        tape.origins = {node: (space, position) for node, (space, position) in zip(nodes, leaves.tolist(), strict=True)}
        constants = _array(arrays, "constants", np.float64).tolist()
        tape.constants = dict(zip((i for i, code in enumerate(tape.codes) if code == CONST), constants, strict=True))
        tape.verify()
        taken = [captured[_within(i, len(captured), "parameters")] for i in about["captured"]]
        sizes = [len(taken)]
        for signature in about["arguments"]:
            reals, ints = _counted(signature)
            sizes += (reals, ints)
        for space, position in tape.origins.values():
            _within(position, sizes[_within(space, len(sizes), "leaves")], "leaves")
        _check_uses(tape)
        frozen = [(int(s), int(p), int(v)) for s, p, v in about["frozen"]]
        for space, position, _ in frozen:
            _need(space % 2 == 0 and space > 0, "integers")
            _within(position, sizes[_within(space, len(sizes), "integers")], "integers")
        labels = [(_within(node, len(tape), "labels"), str(label)) for node, label in about["labels"]]
        result = _rebuilt(about["result"], len(tape.outputs))
        return cls(tape.codes, tape.args, tape.origins, tape.constants, tape.outputs, taken, frozen, labels, result)

    def replay(self, places: list[tuple[list[Any], list[Any]]]) -> Any:
        """Do to the symbols of a new recording what was done to those of the saved one."""
        for space, position, _ in self.frozen:
            places[(space - 1) // 2][1][position].freeze()
        spaces = [self.captured, *(numbers for place in places for numbers in place)]
        trace = next((x.trace for numbers in spaces[1:] for x in numbers), None)
        made: list[Any] = []
        for i, (code, args) in enumerate(zip(self.codes, self.args, strict=True)):
            if code == LEAF:
                space, position = self.leaves[i]
                made.append(spaces[space][position])
            elif code == CONST:
                made.append(self.constants[i])
            elif KINDS[code].key[0] == "take":
                made.append(made[args[0]]._pick([made[a] for a in args[1:]]))
            else:
                assert trace is not None
                made.append(trace.emit(code, trace.nodes(KINDS[code].name, [made[a] for a in args])))
        for node, label in self.labels:
            if made[node].__class__ is Symbol:
                made[node].trace.tape.labels[made[node].node] = label
        return trees.unflatten(self.result, [made[out] for out in self.outputs])


def _check_uses(tape: Tape) -> None:
    """Integers only pick from tables, and only they do; operations of any number of operands have a possible one."""
    picks = {node for node, (space, _) in tape.origins.items() if space > 0 and space % 2 == 0}
    reached = any(space > 0 for space, _ in tape.origins.values())
    for code, args in zip(tape.codes, tape.args, strict=True):
        first = KINDS[code].key[0] == "take"
        _need(not first or args[0] in picks, "indices")
        _need(picks.isdisjoint(args[first:]), "indices")
        _need(reached or code in (LEAF, CONST), "instructions")
        op = KINDS[code].op
        if op is not None and op.arity is None:
            _need(code in _VARIADIC and _VARIADIC[code](len(args)), "operands")
    _need(picks.isdisjoint(tape.outputs), "indices")


def _kind(spelled: Any) -> int:
    """The code of a kind of instruction."""
    what, *rest = spelled
    if what in ("leaf", "const"):
        return LEAF if what == "leaf" else CONST
    if what in _PRIMITIVES:
        return _PRIMITIVES[what]
    if what in ("take", "given"):
        _need(type(rest[0]) is int and 0 < rest[0] < 1 << 32, "kinds")
        return tapes.take(rest[0]) if what == "take" else tapes.given(rest[0])
    _need(what == "apply", "kinds")
    name, params = rest
    if name not in ops.TABLE:
        raise ValueError(f"it has an operation {name!r}: define it with micrograd.ops.op before loading")
    op = ops.TABLE[name]
    _need(not op.vector and set(params) == set(op.params) and all(type(p) in (int, float) for p in params.values()), "kinds")
    return tapes.apply(op.bind(**params) if params else op)


def _rebuilt(signature: Any, count: int) -> Any:
    """The structure of a result from its plain form."""
    if not isinstance(signature, dict):
        _need(signature is None or isinstance(signature, (bool, str)), "result")
        return signature
    ((what, parts),) = signature.items()
    if what == "slot":
        return trees.Slot(_within(parts, count, "result"))
    if what == "bytes":
        return bytes.fromhex(parts)
    if what == "dict":
        _need(all(type(key) in _KEYS for key, _ in parts), "result")
        return {key: _rebuilt(part, count) for key, part in parts}
    if what == "array":
        shape, entries = parts
        made = np.empty(len(entries), dtype=object)
        made[:] = [_rebuilt(part, count) for part in entries]
        return made.reshape(shape)
    _need(what in ("list", "tuple"), "result")
    made_parts = [_rebuilt(part, count) for part in parts]
    return made_parts if what == "list" else tuple(made_parts)


def _counted(signature: Any) -> tuple[int, int]:
    """How many real numbers and integers an argument has."""
    if not isinstance(signature, dict):
        return 0, 0
    ((what, parts),) = signature.items()
    if what in ("real", "index", "bytes"):
        return int(what == "real"), int(what == "index")
    inner = parts[1] if what == "array" else [part for _, part in parts] if what == "dict" else parts
    counts = [_counted(part) for part in inner]
    return sum(reals for reals, _ in counts), sum(ints for _, ints in counts)


def _array(arrays: dict[str, Any], name: str, dtype: Any) -> Any:
    array = arrays[name]
    _need(array.dtype == dtype and (array.ndim == 1 or name == "leaves"), name)
    return array


def _within(i: Any, count: int, what: str) -> int:
    _need(type(i) is int and 0 <= i < count, what)
    return i  # type: ignore[no-any-return]


def _need(holds: Any, what: str) -> None:
    if not holds:
        raise ValueError(f"its {what} do not fit together")
