"""Quick calls: a bound call made in C, once it was made so often in Python that compiling it pays.

What is compared is coarser and cheaper than in Python: whether each place that the call depends on holds the very objects
that it held.  Where it does not, Python looks whether they differ.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import operator
import sys
import sysconfig
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from micrograd.compile import parameters, recording, toolchain
from micrograd.compile.calls import STILL
from micrograd.compile.kernels import prelude
from micrograd.compile.surroundings import Surroundings, _bits, _cell

LIST, DICT, NAMES, FUNCTION, CELL, CONTEXT, ARRAY, NUMBERS = range(8)  # as in kernels/call.h
FUNCTIONS = (  # those that it calls, in its order
    *("PyFloat_FromDouble", "PyTuple_Pack", "PyObject_CallNoArgs", "PyEval_SaveThread", "PyEval_RestoreThread"),
    *("Py_DecRef", "PyErr_Fetch", "PyErr_Restore", "PyLong_AsVoidPtr", "PyTuple_GetItem", "PyCFunction_NewEx"),
    *("PyList_Size", "PyList_GetItem", "PyDict_Size", "PyDict_Next", "PyDict_GetItemWithError"),
    *("PyFunction_GetCode", "PyFunction_GetDefaults", "PyFunction_GetKwDefaults", "PyCell_Get", "PyContextVar_Get"),
)
_MISSING = object()


class UnwatchedError(Exception):
    """A place that C cannot look at."""


def quickened(
    run: Any,
    frame: Any,
    results: Any,
    lock: Any,
    python: Callable[[], Any],
    answer: Any,
    finish: Callable[[], Any] | None,
    notes: Notes,
) -> Callable[[], Any]:
    """A function that looks at the places noted, runs ``run`` on ``frame``, and gives the first result, as the first of two
    where there is an ``answer`` or something to ``finish``; it calls ``python`` where a place does not hold what it held.
    Without a ``lock`` other threads have to wait.

    UnwatchedError without a compiler or with another Python than CPython.
    """
    make, functions = _maker()
    objects = [*((lock.acquire, lock.release) if lock else (None, None)), python, answer, finish]
    addresses = [ctypes.cast(run, ctypes.c_void_p).value, ctypes.addressof(frame), results.ctypes.data]
    addresses += [0 if x is None else id(x) for x in objects]
    sizes = [results.dtype == np.float32, object.__basicsize__, len(notes.words)]
    words = np.array([*addresses, *sizes, *notes.words], np.intp)
    return make(functions, (words.ctypes.data, words, run, frame, results, objects, notes.held))  # type: ignore[no-any-return]


@functools.cache
def _maker() -> tuple[Any, Any]:
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise UnwatchedError
    try:
        library = toolchain.load(prelude(frozenset({"call"}))).library
        found = [ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p) for name in FUNCTIONS]
    except (toolchain.NoCompiler, AttributeError):
        raise UnwatchedError from None
    make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object)(("mg_bound", library))
    return make, (ctypes.c_void_p * len(found))(*found)


class Notes:
    """What some places hold now: a kind, how many words follow the place, the place, and those words."""

    def __init__(self) -> None:
        self.words: list[int] = []
        self.held: list[Any] = []  # all that the words refer to
        for variable in recording.WITHIN:
            self._add(CONTEXT, variable, variable.get())

    def _add(self, kind: int, place: Any, *was: Any) -> None:
        self.held += [place, was]
        self.words += [kind, len(was), id(place), *(0 if x is _MISSING else id(x) for x in was)]

    def _names(self, place: dict[str, Any], *names: str) -> None:
        self._add(NAMES, place, *(x for name in names for x in (name, place.get(name, _MISSING))))

    def argument(self, x: Any) -> None:
        """An argument, and all that it holds but the numbers in arrays."""
        kind = type(x)
        if kind is np.ndarray and x.dtype.kind == "f":  # Python looks whether integers are inside of their tables
            self._array(x)
        elif kind in (list, tuple, dict):
            self._container(x)
            for part in x.values() if kind is dict else x:
                self.argument(part)
        elif kind not in STILL:
            raise UnwatchedError

    def parameters(self, reader: parameters.Reader) -> None:
        """The numbers of captured Values, which are read where they lie until Values move."""
        if reader.flat() is None:
            raise UnwatchedError
        self._names(vars(parameters), "_moves")

    def around(self, program: Any) -> None:
        """All that a program's function reads besides its arguments."""
        around = program._around
        if not isinstance(around, Surroundings):  # a training does not look for changes now
            raise UnwatchedError
        self._names(vars(program), "_around")
        for place, names in around._globals.values():
            self._names(place, *sorted(names))
        for _, place, _ in (*around._plain, *around._groups):
            if isinstance(place, types.FunctionType):
                parts = (place.__code__, place.__defaults__, place.__kwdefaults__)
                self._add(FUNCTION, place, *(_MISSING if part is None else part for part in parts))
        for container in around._containers[0]:
            self._container(container)
        for read, place, was in around._probes:
            self._probed(read, place, was)

    def _probed(self, read: Any, place: Any, was: Any) -> None:
        if read is _cell:
            self._add(CELL, place, _cell(place))
        elif read is dict:  # the members of a class, whose dict cannot be got at otherwise
            (members,) = gc.get_referents(place)
            self._container(members)
        elif read is _bits and place.flags.c_contiguous and place.size:
            self._array(place)
            _, _, numbers = was
            self.held.append(numbers)
            self.words += [NUMBERS, 2, place.ctypes.data, len(numbers), np.frombuffer(numbers, np.uint8).ctypes.data]
        elif not (isinstance(place, (dict, list)) and (read is list or isinstance(read, operator.itemgetter))):
            raise UnwatchedError  # those are noted as containers, or as names of a module

    def _container(self, x: Any) -> None:
        if type(x) is dict:
            self._add(DICT, x, *(part for item in x.items() for part in item))
        elif type(x) is list:
            self._add(LIST, x, *x)
        elif type(x) is not tuple:
            raise UnwatchedError

    def _array(self, x: Any) -> None:
        """Where an array lies, and its form."""
        self.held += [x, x.dtype]
        form = [x.ctypes.data, x.ndim, id(x.dtype), *x.shape, *x.strides]
        self.words += [ARRAY, len(form), id(x), *form]
