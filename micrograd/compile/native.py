"""The native backend: a vector program compiled from C and loaded, with its buffers."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import queue
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from micrograd.compile import interpreter, toolchain
from micrograd.compile.buffers import aligned
from micrograd.compile.vector import LANES, Rolled
from micrograd.compile.writer import CHUNKS, EACH, EXAMPLES, NUMBERS, OUTPUTS, Writer


def _unused() -> int:
    """The count of references that this Python shows for an array in a list of tuples, of which nobody holds a part."""
    for owner, _, _ in [(np.zeros(1), 0, 0)]:
        return sys.getrefcount(owner)
    return 0


UNUSED = _unused()


class NativeKernel:
    """A compiled program with its buffers.

    The numbers of the examples worked on together are scratch, which kernels share that never run at the same time: what one
    leaves in the processor's cache the next one writes over there.  ``scratch`` has it by its size.

    A small program is not compiled before that pays, or its address is asked for: see :mod:`interpreter`.
    """

    name = "native"
    # what changes when the compiled program takes over
    loaded: toolchain.Loaded
    c_call: Any
    frame: Any  # the arguments of mg_run
    at_frame: Any
    w: Any
    v: Any
    table: Any
    length: int  # of an array for results
    picked: slice  # the shared outputs in it
    pool: list[tuple[Any, slice, int]]  # such arrays: the owner, which part is it, and where it lies
    bytes: int
    block: int  # examples that are worked on together

    def __init__(self, rolled: Rolled, dtype: Any, threads: int, scratch: dict[int, Any], stats: Any) -> None:
        self.rolled, self.dtype, self.threads, self.scratch, self.stats = rolled, np.dtype(dtype), threads, scratch, stats
        self.real = "double" if dtype == np.float64 else "float"
        self.lanes = rolled.outputs[rolled.outputs >= LANES]
        self.s = aligned(rolled.sums[1] - rolled.sums[0] + 1, self.dtype)
        spaces = max(len(rolled.spaces), 1)
        self.pointers, self.indexes = (ctypes.c_void_p * spaces)(), (ctypes.c_void_p * spaces)()
        self.sizes = [space.size for space, _ in rolled.spaces]
        self.kinds = [space.kind == "real" for space, _ in rolled.spaces]
        self.types = [self.dtype if real else np.dtype(np.int64) for real in self.kinds]
        self.held: list[Any] = [None] * len(rolled.spaces)
        self.forms: list[Any] = [None] * len(rolled.spaces)
        self.present: Any = None  # the last inputs, where all of them are pointed at
        self.kept: dict[int, Any] = {}
        code = interpreter.code(rolled)
        self.flags = interpreter.EXACT if code else ()
        self.runs = code.runs if code else 0  # how often the interpreter runs it, the last time included
        if code is None:
            self._write()
        else:
            self._interpret(code)

    def _interpret(self, code: interpreter.Code) -> None:
        """Begin on the interpreter."""
        loaded = toolchain.load(interpreter.source(self.real), extra=self.flags)
        numbers = self._numbers(code.end, code.start, code.literals)
        self._run_by(loaded, numbers, code.rows, np.zeros(1, np.int32), (0, len(self.rolled.outputs)))

    def _write(self) -> None:
        """Write the program in C, and run what that compiles to from now on."""
        writer = Writer(self.rolled, self.real)
        loaded = toolchain.load(*writer.units(), extra=self.flags)
        self.block = writer.lanes
        size = 1 << (self.rolled.lanes * self.block + 64).bit_length()
        known = size in self.scratch
        if not known:
            self.scratch[size] = aligned(size, self.dtype)
        numbers = self._numbers(self.rolled.shared + 16, 0, ())
        self._run_by(loaded, numbers, self.scratch[size], writer.tables(), writer.results())
        self.bytes -= self.scratch[size].nbytes * known  # another kernel has counted it

    def _numbers(self, size: int, start: int, literals: Sequence[float]) -> Any:
        """The numbers of a program, of which there are the constants, and literals from ``start`` on."""
        numbers = aligned(size, self.dtype)
        with np.errstate(over="ignore"):  # in single precision a large number is infinite
            numbers[start : start + len(literals)] = literals
            numbers[: len(self.rolled.constants)] = self.rolled.constants
        return numbers

    def _run_by(self, loaded: toolchain.Loaded, w: Any, v: Any, table: Any, results: tuple[int, int]) -> None:
        """Let a loaded program run with these buffers, and results from the first of so many numbers on."""
        places = w.ctypes.data, None, v.ctypes.data, self.s.ctypes.data, table.ctypes.data
        pointers, indexes = map(ctypes.addressof, (self.pointers, self.indexes))
        frame = (ctypes.c_void_p * 9)(pointers, indexes, *places, 1, None)
        first, length = results
        self.stats.compiler_calls += not loaded.cached
        vars(self).update(  # in one go: where that is interrupted, all is as it was
            loaded=loaded,
            c_call=loaded.library.mg_call,
            frame=frame,
            at_frame=ctypes.byref(frame),
            w=w,
            v=v,
            table=table,
            length=length,
            picked=slice(first, first + len(self.rolled.outputs) - len(self.lanes)),
            pool=[],
            bytes=sum(array.nbytes for array in (w, v, self.s, table)),
        )

    def compile(self) -> None:
        """End with the interpreter; where there is no compiler any more it stays."""
        if self.runs:
            with contextlib.suppress(toolchain.NoCompiler):
                self._write()
            self.runs = 0  # not before: where the compiler is interrupted, the next run calls it again

    def _fresh(self) -> Any:
        """The outputs of the next run: a part of an array that nobody holds a part of any more, or of a new one."""
        for owner, part, at in self.pool:
            if sys.getrefcount(owner) == UNUSED:  # all parts of an array refer to its owner
                self.frame[OUTPUTS] = at
                return owner[part]
        array = aligned(self.length, self.dtype, 1)  # the first is the value, the rest the gradient
        owner, at = array.base, array.ctypes.data
        first = (at - owner.ctypes.data) // self.dtype.itemsize
        part = slice(first + self.picked.start, first + self.picked.stop)
        if len(self.pool) < 8:
            self.pool.append((owner, part, at))
        self.frame[OUTPUTS] = at
        return owner[part]

    def run(self, inputs: Sequence[Any], examples: int) -> tuple[Any, Any]:
        """The shared outputs, and those of each example, a row each, None if there are none; the caller may keep both."""
        if self.runs == 1:
            self.compile()  # before inputs are pointed at: a signal's handler may run the program while the compiler works
        elif self.runs:
            self.runs -= 1
        if inputs is not self.present:
            self._hold(inputs)
        result, lanes = self._fresh(), None
        self.frame[EXAMPLES] = examples
        if len(self.lanes):
            lanes = np.empty((examples, len(self.lanes)), self.dtype)
            self.frame[EACH] = lanes.ctypes.data
        if self.threads > 1 and self.rolled.lanes:
            self._run_threads(examples)
        else:
            self.c_call(self.at_frame)
        return result, lanes

    def bind(self, inputs: Sequence[Any], examples: int, brief: bool) -> tuple[Any, Any, Any] | None:
        """What runs the program on these inputs, where they lie, its argument, and the array of the shared outputs; None
        where inputs are copied at each run, or outputs are those of each example.

        A ``brief`` run has numbers of its own and keeps all other threads waiting, so that it needs no lock.
        """
        self.compile()
        self._hold(inputs)
        if self.present is None or len(self.lanes) or (self.threads > 1 and self.rolled.lanes):
            return None
        result, spaces = self._fresh(), len(self.pointers)
        # the arguments of mg_run, and the tables that the first two of them point to, which other calls change
        frame = (ctypes.c_void_p * (9 + 2 * spaces))(None, None, *self.frame[2:], *self.pointers, *self.indexes)
        tables = ctypes.addressof(frame) + 9 * ctypes.sizeof(ctypes.c_void_p)
        frame[0], frame[1] = tables, tables + spaces * ctypes.sizeof(ctypes.c_void_p)
        frame[EXAMPLES] = examples
        if not brief:
            return self.c_call, frame, result
        numbers = aligned(len(self.w), self.dtype)
        numbers[:] = self.w
        frame[NUMBERS] = numbers.ctypes.data
        vars(frame)["numbers"] = numbers  # live as long
        return ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(("mg_call", self.loaded.library)), frame, result

    def _hold(self, inputs: Sequence[Any]) -> None:
        """Point at the numbers of all spaces, which must not go away while they are pointed at."""
        present: Any = inputs
        for k, array in enumerate(inputs):
            if not self.sizes[k]:
                continue
            at = array.__array_interface__["data"][0]
            form = array.dtype, array.strides, at
            if array is self.held[k] and form == self.forms[k]:
                continue
            usable = array
            if array.dtype is not self.types[k] or not array.flags.c_contiguous:
                with np.errstate(over="ignore"):
                    usable = np.ascontiguousarray(array, self.types[k])
                present = None  # a copy is made anew at each call, as the original may change
            self.held[k], self.forms[k] = array if usable is array else None, form
            self.kept[k] = usable
            if usable is not array:
                at = usable.__array_interface__["data"][0]
            (self.pointers if self.kinds[k] else self.indexes)[k] = at
        self.present = present

    @property
    def address(self) -> int:
        """Where ``mg_run`` lies."""
        self.compile()
        return ctypes.cast(self.loaded.library.mg_run, ctypes.c_void_p).value or 0

    @functools.cached_property
    def entry(self) -> Any:
        """The kernel as a training in C calls it: an mg_program, with an array for its results."""
        self.compile()
        self.driven = results = aligned(self.length, self.dtype, 1)
        buffers = (self.w, results, self.v, self.s, self.table)
        at = results.ctypes.data + self.picked.start * self.dtype.itemsize
        return np.array([self.address, *(b.ctypes.data for b in buffers), at, at + self.dtype.itemsize], np.uintp)

    def addresses(self, inputs: Sequence[Any], first: int = 0) -> tuple[list[Any], Any]:
        """The numbers of the spaces from the first one on as arrays that C reads, and where those lie."""
        kinds = self.types[first : first + len(inputs)]
        usable = [np.ascontiguousarray(array, kind) for array, kind in zip(inputs, kinds, strict=True)]
        return usable, [array.__array_interface__["data"][0] for array in usable]

    def _run_threads(self, examples: int) -> None:
        """The chunks of a batch as ``mg_run`` makes them, each by the next thread that is free."""
        library, count = self.loaded.library, ctypes.c_long(examples)
        ins, ixs, w, o, _, _, t, _, out = map(ctypes.c_void_p, self.frame)
        start, end = self.rolled.sums
        blocks = -(-examples // self.block)
        chunks = min(blocks, CHUNKS)
        edges = [blocks * i // chunks * self.block for i in range(chunks)] + [examples]
        width = -(-max(end - start, 1) // 8) * 8
        sums = aligned(chunks * width, self.dtype).reshape(chunks, width)[:, : max(end - start, 1)]
        free = queue.SimpleQueue[Any]()
        for _ in range(min(self.threads, chunks)):
            free.put(aligned(len(self.v), self.dtype))

        def work(chunk: int) -> None:
            v = free.get()
            s, first, last = sums[chunk].ctypes.data, edges[chunk], edges[chunk + 1]
            library.mg_batch(
                *(ins, ixs, w, o, ctypes.c_void_p(v.ctypes.data), ctypes.c_void_p(s), t),
                *(ctypes.c_long(first), ctypes.c_long(last), count, out),
            )
            free.put(v)

        library.mg_before(ins, ixs, w, o, t)
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(work, range(chunks)))
        if end > start:
            total = sums[0]
            for chunk in sums[1:]:
                total += chunk
            self.w[start:end] = total
        library.mg_after(ins, ixs, w, o, t)
