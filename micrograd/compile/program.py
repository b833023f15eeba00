"""Programs: the public face of the compiler.

``compile(fn)`` gives a :class:`Program`.  Its first call records ``fn``; each thing asked of it (a value, a gradient by some
arguments, a Jacobian) is a routine that is differentiated, rolled and handed to a backend once.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from micrograd import trees
from micrograd.anomaly import _line_outside
from micrograd.compile.arguments import Argument, describe, detailed
from micrograd.compile.bound import Bound
from micrograd.compile.calls import Call, Calls
from micrograd.compile.native import NativeKernel
from micrograd.compile.parameters import Parameters
from micrograd.compile.recording import Recording, Request, Routine, Stats, is_within
from micrograd.compile.schedule import schedule
from micrograd.compile.surroundings import Surroundings
from micrograd.compile.toolchain import NoCompiler
from micrograd.compile.trace import BatchedIntegerError
from micrograd.compile.vector import Rolled
from micrograd.engine import Value

BACKENDS = ("auto", "numpy", "native")
DTYPES = {"float64": np.float64, "float32": np.float32}
REDUCTIONS = (None, "sum", "mean")
_warned: set[str] = set()


class Program:
    """A compiled function; see :func:`micrograd.compile`.

    Calls in several threads are right: one runs at a time.
    """

    fn: Callable[..., Any]

    def __init__(
        self, fn: Callable[..., Any], batch: Any, reduce: str | None, backend: str, dtype: str, threads: int
    ) -> None:
        _check(fn, batch, reduce, backend, dtype, threads)
        self.fn, self.reduce, self.threads, self.backend = fn, reduce, threads, backend
        self.batch = batch if isinstance(batch, (int, type(None))) else tuple(batch)
        self.dtype = np.dtype(DTYPES[dtype])
        self.stats = Stats()
        self._parameters = Parameters()
        self._names = _parameter_names(fn)
        # by the id of an instance: the state of its program, and a reference to it
        self._methods: dict[int, tuple[dict[str, Any], Any]] = {}
        self._recordings: dict[Any, list[Recording]] = {}
        self._known_counts: dict[int, tuple[list[bool], list[str]]] = {}  # of arguments: which are batched, and their names
        self._calls = Calls()
        self._pace: Any = None  # what was trained on last, many steps at once, and the seconds that one of them took
        self._scratch: dict[int, Any] = {}  # what its kernels share: see NativeKernel
        self._as_real: set[int] = set()  # arguments whose integers are numbers to the function
        self._around: Any = None  # the surroundings of the function when it was last recorded
        self._last: Routine | None = None
        self._last_recording: Recording | None = None
        self._lock = threading.RLock()
        functools.update_wrapper(self, fn, updated=())

    def __get__(self, instance: Any, owner: Any = None) -> Program:
        """The program of an instance, where this is one of a method: each instance has recordings of its own."""
        if instance is None or not hasattr(self.fn, "__get__"):
            return self
        method = self.fn.__get__(instance, owner)
        if getattr(method, "__self__", None) is not instance:  # a static method
            return self
        if id(instance) not in self._methods:
            self._methods[id(instance)] = self._state_of(method)
        bound = object.__new__(_Method)
        bound.__dict__ = self._methods[id(instance)][0]
        bound.fn = bound.__wrapped__ = method
        return bound

    def _state_of(self, method: Any) -> tuple[dict[str, Any], Any]:
        """A new state for the program of a method's instance, and the reference that forgets it when the instance goes."""
        instance, known = method.__self__, self._methods
        key, kind = id(instance), type(instance).__name__
        try:
            reference = weakref.ref(instance, lambda _: known.pop(key, None))
        except TypeError:
            raise TypeError(f"{self._name} is a compiled method: {kind} needs '__weakref__' among its __slots__") from None
        return vars(_Method(method, self.batch, self.reduce, self.backend, self.dtype.name, self.threads)), reference

    # ----------------------------------------------------------------------------------------------------- asking

    def __call__(self, *args: Any, **named: Any) -> Any:
        """What the function gives: floats, or arrays over a batch, in the structure of its result.

        Arguments may be given by name.  Within another function that is traced or differentiated it is the plain function.
        """
        args = self._by_position(args, named) if named else args
        if is_within():
            return self._inlined(args)
        with self._lock:
            recording, numbers, examples = self._asked("value", args, None)
            return self._result(recording, numbers, examples)

    def value_and_grad(self, *args: Any, wrt: Any = 0, **named: Any) -> tuple[Any, Any]:
        """The value and its gradient by the arguments ``wrt``, a position or a tuple of them, in their structure.

        Without ``reduce`` a batched function gives a value and a gradient for each example; the gradients by arguments that
        the examples share are summed.  TypeError for a function that gives more than one number.
        """
        args = self._by_position(args, named) if named else args
        positions = self._positions(wrt, len(args))
        with self._lock:
            recording, numbers, examples = self._asked("grad", args, positions)
            gradients = self._gradients(recording, positions, numbers, 1, examples)
            value = self._result(recording, numbers, examples)
        return value, (gradients if isinstance(wrt, tuple) else gradients[0])

    def bind(self, *args: Any, wrt: Any = 0, **named: Any) -> Bound:
        """The call ``value_and_grad(*args, wrt=wrt)``, or with ``wrt=None`` the call ``program(*args)``, with its arguments
        bound: for loops where a call's own time counts.

        It reads the numbers of arrays where they lie, at each call anew.  The arrays of the gradient may be those of the
        call before, written anew: take them from each call, and copy what is to be kept.  Whatever else changes is noticed.
        TypeError for arrays whose numbers would have to be copied.

        >>> import numpy as np
        >>> import micrograd
        >>> x = np.array([1.0, 2.0])
        >>> bowl = micrograd.compile(lambda x: sum(v * v for v in x)).bind(x)
        >>> bowl()
        (5.0, array([2., 4.]))
        >>> x -= 0.5 * bowl()[1]
        >>> bowl()
        (0.0, array([0., 0.]))
        """
        return Bound(self, self._by_position(args, named) if named else args, wrt)

    def jacobian(self, *args: Any, wrt: Any = 0, **named: Any) -> Any:
        """All derivatives: the result with a gradient in the place of each number, as :func:`micrograd.jacobian`."""
        args = self._by_position(args, named) if named else args
        positions = self._positions(wrt, len(args))
        with self._lock:
            recording, numbers, examples = self._asked("jacobian", args, positions)
            outs = len(recording.tape.outputs)
            width = sum(recording.gradient_by(p)[0] for p in positions)
            rows = [self._gradients(recording, positions, numbers, outs + i * width, examples) for i in range(outs)]
        return _arranged(
            recording.structure,
            rows if isinstance(wrt, tuple) else [row[0] for row in rows],
            1 if self._per_example(recording) else 0,
        )

    def hvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
        """The Hessian times a vector, as :func:`micrograd.hvp`: the derivative of the gradient in a direction.

        The result has the structure of the argument, and is a tuple of such where there are several.  None is the tangent of
        an argument that stays fixed, such as an integer that ``take`` uses: its place in the result is None too.
        """
        if self.batch is not None:
            raise TypeError("hvp works on programs without batch=")
        if len(primals) > len(self._names) > 0:
            try:
                inspect.signature(self.fn).bind(*primals)
            except TypeError as error:
                raise TypeError(f"hvp: {error}: write hvp((x,), (v,)) for one argument x, (x, y) for two") from None
        if len(primals) != len(tangents):
            raise TypeError(f"hvp takes as many tangents as primals, got {len(tangents)} and {len(primals)}")
        positions = tuple(i for i, tangent in enumerate(tangents) if tangent is not None)
        if not positions:
            raise TypeError("hvp needs the tangent of at least one argument: None is for those that stay fixed")
        with self._lock:
            names = self._argument_names(len(tangents))
            directions = [describe(tangents[i], names[i], False, True) for i in positions]
            if [d.key for d in directions] != [describe(primals[i], names[i], False, True).key for i in positions]:
                raise TypeError(
                    "hvp: tangents must have the structure of the primals: the same containers, lengths and shapes"
                )
            vectors = [part for direction in directions for part in direction.parts]
            recording, numbers, examples = self._asked("hvp", tuple(primals), positions, vectors)
            products = dict(zip(positions, self._gradients(recording, positions, numbers, 0, examples), strict=True))
        return products[0] if len(primals) == 1 else tuple([products.get(i) for i in range(len(primals))])

    def backward(self, *args: Any, **named: Any) -> Any:
        """Add the gradient by the captured parameters into their ``grad``, as ``loss.backward()`` does; give the value."""
        args = self._by_position(args, named) if named else args
        with self._lock:
            recording, numbers, examples = self._asked("grad", args, ())
            recording.reader.add(_array(numbers, 1))
            return self._result(recording, numbers, examples)

    @property
    def parameters(self) -> Parameters:
        """The leaves that the function captured, as one flat array; see :class:`parameters.Parameters`.

        RuntimeError before the first call, as only a recording knows what was captured.
        """
        if not self._recordings and not len(self._parameters):
            raise RuntimeError(f"{self._name} was not recorded yet, so its parameters are not known: call it once before")
        return self._parameters._adopt()

    def _begin_with(self, values: Sequence[Value]) -> None:
        """Let the parameters begin with these, if they are among them, as an optimiser has them in one stretch then."""
        if self._parameters._begin_with(values):
            self._recordings.clear()  # which have the parameters in the order of before
            self._calls.clear()

    def as_objective(self, x0: Any, *args: Any) -> tuple[Any, Any]:
        """``(fun, x0)`` for SciPy: ``scipy.optimize.minimize(*program.as_objective(x0), jac=True)``.

        The search goes over the first argument, of any structure, as one flat array; ``args`` are the others.
        ``fun.unflatten(result.x)`` has the structure again.

        >>> import micrograd
        >>> bowl = micrograd.compile(lambda p: (p["a"] - 1.0) ** 2 + (p["b"] + 2.0) ** 2)
        >>> fun, x0 = bowl.as_objective({"a": 0.0, "b": 0.0})
        >>> fun(x0)
        (5.0, array([-2.,  4.]))
        >>> fun.unflatten([1.0, -2.0])
        {'a': 1.0, 'b': -2.0}
        """
        from micrograd.compile.objective import as_objective

        return as_objective(self, x0, *args)

    def as_residuals(self, x0: Any, *args: Any) -> tuple[Any, Any, Any]:
        """``(fun, x0, jac)`` for SciPy: ``scipy.optimize.least_squares(*program.as_residuals(x0, x, y))``.

        All results of the function are residuals, those of all examples where other arguments than the first are batched.
        ``fun.unflatten(result.x)`` has the structure of x0.
        """
        from micrograd.compile.objective import as_residuals

        return as_residuals(self, x0, *args)

    def save(self, path: Any) -> None:
        """Write what was recorded to a file, for :func:`micrograd.load_program`; see :mod:`micrograd.compile.storage`.

        RuntimeError before the first call; ValueError for a function with arguments or results other than numbers, arrays,
        strings and booleans in lists, tuples and dicts.
        """
        from micrograd.compile.storage import save

        save(self, path)

    # ---------------------------------------------------------------------------------------------------- recording

    def _asked(
        self, what: str, args: tuple[Any, ...], wrt: tuple[int, ...] | None, vectors: Sequence[Any] = ()
    ) -> tuple[Recording, Any, int]:
        """The numbers that a request gives; ``wrt`` is None for none, () for the captured parameters."""
        asked = (what, wrt, *map(id, args))
        call = self._calls.find(asked)
        if call is None or is_within() or self._around.changed() or not call.holds():
            call = self._called(asked, what, args, wrt)
        self._last, self._last_recording = call.routine, call.recording
        shared, lanes = call.routine.kernel.run(call.spaces(vectors), call.examples)
        return call.recording, shared if lanes is None else _numbers(call.routine, shared, lanes), call.examples

    def _called(self, asked: Any, what: str, args: tuple[Any, ...], wrt: tuple[int, ...] | None) -> Call:
        """The call of a request, looked at in full: recorded, differentiated and compiled if there is no routine for it."""
        if is_within():
            raise TypeError(
                f"{_line_outside(sys._getframe(3))}: derivatives of a compiled function cannot be part of another function "
                "that is compiled or differentiated: call the program there, and ask the outer one for its derivatives"
            )
        recording, arguments, examples = self._recorded(args, wrt or ())
        if what in ("grad", "hvp") and not recording.scalar:
            raise TypeError(
                f"{self._name} gives {len(recording.tape.outputs)} numbers, but a gradient is that of one: use jacobian"
            )
        call = Call(args, recording, self._routine(recording, what, wrt), arguments, examples, self.dtype)
        if call.watched:
            self._calls.remember(asked, call)
        return call

    def _routine(self, recording: Recording, what: str, wrt: tuple[int, ...] | None) -> Routine:
        routine = recording.asked.get((what, wrt))
        if routine is None:
            request: Request = (what,)
            if wrt is not None:
                request = what, tuple(space for p in wrt for space in recording.real_spaces(p)) if wrt else (0,)
            routine = recording.asked[what, wrt] = recording.routine(request, self._kernel, self.stats)
        self._last, self._last_recording = routine, recording
        return routine

    def _recorded(self, args: tuple[Any, ...], real: tuple[int, ...]) -> tuple[Recording, list[Argument], int]:
        """The recording that fits some arguments, made if there is none."""
        self._renew()
        return self._fitting(args, real)

    def _renew(self) -> None:
        """Forget what was recorded if what the function reads besides its arguments is not what it was."""
        if self._recordings and self._around.changed():
            self._recordings.clear()
            self._calls.clear()

    def _fitting(self, args: tuple[Any, ...], real: tuple[int, ...]) -> tuple[Recording, list[Argument], int]:
        """The recording that fits some arguments, where all else that the function reads is what it was.

        Integers of a batch that the function uses as numbers are real numbers from then on.
        """
        try:
            return self._found_or_made(args, {*real, *self._as_real})
        except BatchedIntegerError as error:
            if error.argument in self._as_real:
                raise
            self._as_real.add(error.argument)
        return self._recorded(args, real)

    def _found_or_made(self, args: tuple[Any, ...], real: set[int]) -> tuple[Recording, list[Argument], int]:
        if len(args) not in self._known_counts:
            self._known_counts[len(args)] = self._axes(len(args)), self._argument_names(len(args))
        axes, names = self._known_counts[len(args)]
        arguments = [describe(x, names[i], axes[i], i in real) for i, x in enumerate(args)]
        examples = _examples(arguments, axes, names) if self.batch is not None else 1
        key = tuple(argument.key for argument in arguments)
        recording = None
        for known in self._recordings.get(key, ()):
            if not known.trace.frozen or known.fits(arguments):
                recording = known
                break
        if recording is None:
            arguments = [detailed(x, names[i], axes[i], i in real) for i, x in enumerate(args)]
            self._parameters._capture(Surroundings(self.fn).values)
            values = self._parameters.values
            made = self.stats.stage("trace", lambda: _Traced(Recording(self.fn, arguments, axes, self.reduce, values)))
            recording = made.recording
            self.stats.recordings += 1
            self._recordings.setdefault(key, []).append(recording)
            self._parameters._capture(recording.captured)
            self._around = Surroundings(self.fn)  # after the run, which may have filled caches
        if recording.trace.bounds:
            recording.check(arguments)
        return recording, arguments, examples

    def _inlined(self, args: tuple[Any, ...]) -> Any:
        """The plain function within another one that is traced or differentiated."""
        if self.batch is not None:
            raise TypeError(
                f"{self._name} was compiled with batch=, so it cannot be called within another function that is compiled "
                f"or differentiated: call its plain function {self._name}.fn there, for one example"
            )
        return self.fn(*args)

    def _by_position(self, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """The arguments of a call in the function's order; a default takes the place of one that was left out in between."""
        signature = inspect.signature(self.fn)
        given = signature.bind(*args, **named)  # TypeError as Python's
        bare = [name for name in given.arguments if signature.parameters[name].kind in _NAMED_ONLY]
        if bare:
            raise TypeError(
                f"{self._name}: {bare[0]} can be given by name only, but a compiled function takes its arguments by "
                f"position: write it without a * before it, or compile functools.partial(fn, {bare[0]}=...)"
            )
        count = 1 + max(list(signature.parameters).index(name) for name in given.arguments)
        given.apply_defaults()
        return given.args[: max(count, len(args))]

    def _axes(self, count: int) -> list[bool]:
        if self.batch is None or isinstance(self.batch, int):
            return [self.batch is not None] * count
        if len(self.batch) != count:
            raise TypeError(f"batch={self.batch!r} is for {len(self.batch)} arguments, but the call has {count}")
        return [axis is not None for axis in self.batch]

    def _argument_names(self, count: int) -> list[str]:
        found = self._names
        return found[:count] + [f"argument {i}" for i in range(len(found), count)]

    def _positions(self, wrt: Any, count: int) -> tuple[int, ...]:
        if type(wrt) is int and 0 <= wrt < count:
            return (wrt,)
        positions = wrt if isinstance(wrt, tuple) else (wrt,)
        for p in positions:
            if isinstance(p, bool) or not isinstance(p, int) or not -count <= p < count:
                raise ValueError(
                    f"wrt must be the position of one of the {count} arguments, or a tuple of such, got {wrt!r}"
                )
        if not positions:
            raise ValueError("wrt must name at least one argument: backward() takes the gradient by captured parameters")
        return tuple(p % count for p in positions)

    @property
    def _name(self) -> str:
        return getattr(self.fn, "__name__", type(self.fn).__name__)

    def _kernel(self, rolled: Rolled) -> Any:
        """A vector program on the backend that was asked for, or is there."""
        if self.backend != "numpy":
            try:
                return NativeKernel(rolled, self.dtype, self.threads, self._scratch, self.stats)
            except NoCompiler as error:
                if self.backend == "native":
                    raise
                if str(error) not in _warned:
                    _warned.add(str(error))
                    warnings.warn(f"micrograd.compile runs on NumPy: {error}", stacklevel=2)
        from micrograd.compile.numpy_backend import NumpyKernel

        return NumpyKernel(rolled, str(self.dtype))

    # ------------------------------------------------------------------------------------------------------- results

    def _per_example(self, recording: Recording) -> bool:
        return self.reduce is None and any(recording.batched)

    def _result(self, recording: Recording, numbers: Any, examples: int) -> Any:
        """The function's result: floats, or one array over the batch in the place of each number."""
        if recording.one_number:
            return float(numbers[0])
        count = len(recording.tape.outputs)
        if not self._per_example(recording):
            return trees.unflatten(recording.structure, [float(number) for number in numbers[:count]])
        return _arranged(recording.structure, [_over(number, examples) for number in numbers[:count]], 1)

    def _gradients(
        self, recording: Recording, positions: tuple[int, ...], numbers: Any, start: int, examples: int
    ) -> tuple[Any, ...]:
        """Gradients by several arguments, each in its structure, from the numbers that begin at ``start``."""
        gradients = []
        for p in positions:
            count, build, _ = recording.gradient_by(p)
            end = start + count
            if recording.batched[p]:
                rows = [_over(number, examples) for number in numbers[start:end]]
                part = np.stack(rows, axis=-1) if rows else np.zeros((examples, 0), self.dtype)
            else:
                part = _array(numbers, start, end)
            gradients.append(build(part))
            start = end
        return tuple(gradients)

    # ------------------------------------------------------------------------------------------------------- showing

    def _shown(self) -> Routine:
        if self._last is None:
            raise RuntimeError(f"{self._name} has not run yet, so there is no program to show: call it once before")
        return self._last

    @property
    def source(self) -> str:
        """The NumPy program of what was asked last."""
        from micrograd.compile.numpy_backend import source

        return source(self._shown().rolled, str(self.dtype))

    @property
    def c_source(self) -> str:
        """The C program of what was asked last: one self-contained file, whose first comment says how to call it."""
        from micrograd.compile.c_file import c_source

        return c_source(schedule(self._shown().rolled), self.dtype)

    def __str__(self) -> str:
        """The vector program of what was asked last as equations, forward then backward."""
        if self._last is None or self._last_recording is None:
            return repr(self)
        from micrograd.compile.equations import equations

        rolled, recording = self._last.rolled, self._last_recording
        captured = self._shown_names(recording.captured)
        names = {rolled.spaces[0][1] + i: name for i, name in enumerate(captured)}
        return equations(rolled, names)

    def _shown_names(self, captured: Sequence[Value]) -> list[str]:
        """What the equations call captured Values; a program that was loaded has their names from its file."""
        from micrograd.compile.naming import parameter_names

        saved = getattr(self.fn, "parameter_names", None)
        return parameter_names(self.fn, captured) if saved is None else [saved[id(v)] for v in captured]

    def __repr__(self) -> str:
        count = self.stats.recordings
        known = f"{count} recording{'s' * (count != 1)}" if count else "not called yet"
        return f"<compiled {self._name}, {known}>"


class _Method(Program):
    """The program of one instance of a class.

    All that were made for it share their state, and only they hold the instance: it may go when they and others are gone.
    """

    __slots__ = ("__wrapped__", "fn")
    __wrapped__: Any


class _Traced:
    """A recording that shows itself as its tape."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording

    def freeze(self) -> None:
        self.recording.tape.freeze()

    def __str__(self) -> str:
        return str(self.recording.tape)


def _check(fn: Any, batch: Any, reduce: Any, backend: Any, dtype: Any, threads: Any) -> None:
    if not callable(fn):
        raise TypeError(f"compile() takes a function, got {type(fn).__name__}")
    for name, value, allowed in (
        ("backend", backend, BACKENDS),
        ("dtype", dtype, tuple(DTYPES)),
        ("reduce", reduce, REDUCTIONS),
    ):
        if value not in allowed:
            raise ValueError(f"compile(): {name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"compile(): threads must be a whole number from 1, got {threads!r}")
    axes = tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
    if any(axis is not None and (isinstance(axis, bool) or axis != 0) for axis in axes):
        raise ValueError(f"compile(): batch has None (shared) or 0 (one example an entry) for each argument, got {batch!r}")
    if reduce is not None and all(axis is None for axis in axes):
        raise ValueError("compile(): reduce sums over a batch, so it needs batch=, such as batch=(None, 0)")


_NAMED_ONLY = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)


def _parameter_names(fn: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _examples(arguments: list[Argument], axes: list[bool], names: Sequence[str]) -> int:
    """How many examples a batch has; all batched arguments must agree."""
    counts = {name: len(a.parts[0]) if a.parts else 0 for name, a, own in zip(names, arguments, axes, strict=True) if own}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{count} in {name}" for name, count in counts.items())
        raise ValueError(f"all batched arguments need the same number of examples, got {found}")
    examples = next(iter(counts.values()), 1)
    if not examples:
        raise ValueError("an empty batch: expected at least one example")
    return examples


def _numbers(routine: Routine, shared: Any, lanes: Any) -> Any:
    """The outputs in their order: an array, or a list of floats and of arrays over the batch."""
    if lanes is None or not lanes.shape[1]:
        return shared
    columns, singles = iter(lanes.T), iter(shared.tolist())
    return [next(columns) if lane else next(singles) for lane in routine.lanes.tolist()]


def _array(numbers: Any, start: int, end: int | None = None) -> Any:
    part = numbers[start:end]
    return part if isinstance(part, np.ndarray) else np.array(part)


def _over(number: Any, examples: int) -> Any:
    """A number of each example; what all share is repeated."""
    return number.copy() if np.ndim(number) else np.full(examples, float(number))


def _arranged(structure: Any, leaves: list[Any], batch_axes: int) -> Any:
    """The tree of a result; where it is an array, the batch stays in front of its axes."""
    if isinstance(structure, trees.Slot):
        return leaves[structure.index]
    if isinstance(structure, np.ndarray) and structure.dtype == object:
        parts = [_arranged(part, leaves, batch_axes) for part in structure.ravel().tolist()]
        if batch_axes and all(np.ndim(part) for part in parts):
            return np.stack(parts, axis=1).reshape(len(parts[0]), *structure.shape, *parts[0].shape[1:])
        return trees._like_array(structure, parts)
    if isinstance(structure, dict):
        return trees._like_dict(structure, [_arranged(part, leaves, batch_axes) for part in structure.values()])
    if isinstance(structure, (list, tuple)):
        parts = [_arranged(part, leaves, batch_axes) for part in structure]
        return structure._make(parts) if hasattr(structure, "_make") else type(structure)(parts)
    return trees.unflatten(structure, leaves)
