"""The native backend: a vector program compiled from C and loaded, with its buffers."""

from __future__ import annotations

import ctypes
import queue
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from micrograd.compile import toolchain
from micrograd.compile.buffers import aligned
from micrograd.compile.vector import LANES, Rolled
from micrograd.compile.writer import CHUNKS, Writer


def _unused() -> int:
    """The count of references that this Python shows for an array in a list of pairs, of which nobody holds a part."""
    for owner, _ in [(np.zeros(1), 0)]:
        return sys.getrefcount(owner)
    return 0


UNUSED = _unused()


class NativeKernel:
    """A compiled program with its buffers."""

    name = "native"

    def __init__(self, rolled: Rolled, dtype: Any, threads: int) -> None:
        writer = Writer(rolled, "double" if dtype == np.float64 else "float")
        self.table = writer.tables()
        self.loaded = toolchain.load(*writer.units())
        self.rolled, self.dtype, self.threads, self.block = rolled, np.dtype(dtype), threads, writer.lanes
        self.c_run = self.loaded.library.mg_run
        self.w = aligned(rolled.shared + 16, self.dtype)
        with np.errstate(over="ignore"):  # in single precision a large number is infinite
            self.w[: len(rolled.constants)] = rolled.constants
        self.lanes = rolled.outputs[rolled.outputs >= LANES]
        first, self.length = writer.results()
        self.picked = slice(first, first + len(rolled.outputs) - len(self.lanes))
        self.pool: list[Any] = []
        self.v = aligned(rolled.lanes * self.block + 64, self.dtype)
        self.s = aligned(rolled.sums[1] - rolled.sums[0] + 1, self.dtype)
        spaces = max(len(rolled.spaces), 1)
        self.pointers, self.indexes = (ctypes.c_void_p * spaces)(), (ctypes.c_void_p * spaces)()
        self.o, self.out, self.examples = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_long(1)
        w, v, sums, t = (ctypes.c_void_p(array.ctypes.data) for array in (self.w, self.v, self.s, self.table))
        self.fixed = (self.pointers, self.indexes, w, self.o, v, sums, t, self.examples, self.out)
        self.kinds = [space.kind == "real" for space, _ in rolled.spaces]
        self.types = [self.dtype if real else np.dtype(np.int64) for real in self.kinds]
        self.held: list[Any] = [None] * len(rolled.spaces)
        self.kept: dict[int, Any] = {}
        self.bytes = self.w.nbytes + self.v.nbytes + self.s.nbytes + self.table.nbytes

    def _fresh(self) -> Any:
        """An array for the outputs: one that nobody holds a part of any more, or a new one."""
        for owner, first in self.pool:
            if sys.getrefcount(owner) == UNUSED:  # all parts of an array refer to its owner
                return owner[first : first + self.length]
        array = aligned(self.length, self.dtype, 1)  # the first is the value, the rest the gradient
        if len(self.pool) < 8:
            self.pool.append((array.base, (array.ctypes.data - array.base.ctypes.data) // self.dtype.itemsize))
        return array

    def run(self, inputs: Sequence[Any], examples: int) -> tuple[Any, Any]:
        """The shared outputs, and those of each example, a row each; the caller may keep both."""
        held = self.held
        for k, array in enumerate(inputs):
            if array is not held[k]:
                self._hold(k, array)
        result, lanes = self._fresh(), None
        self.o.value = result.__array_interface__["data"][0]
        if self.rolled.lanes:
            lanes = np.empty((examples, len(self.lanes)), self.dtype)
            self.out.value, self.examples.value = lanes.__array_interface__["data"][0], examples
        if self.threads > 1 and self.rolled.lanes:
            self._run_threads(examples)
        else:
            self.c_run(*self.fixed)
        return result[self.picked], lanes

    def _hold(self, k: int, array: Any) -> None:
        """Point at the numbers of a space, which must not go away while they are pointed at."""
        usable = array
        if array.dtype is not self.types[k] or not array.flags.c_contiguous:
            with np.errstate(over="ignore"):
                usable = np.ascontiguousarray(array, self.types[k])
        self.held[k] = array if usable is array else None  # a copy is made anew at each call, as the original may change
        self.kept[k] = usable
        (self.pointers if self.kinds[k] else self.indexes)[k] = usable.__array_interface__["data"][0]

    @property
    def address(self) -> int:
        """Where ``mg_run`` lies."""
        return ctypes.cast(self.c_run, ctypes.c_void_p).value or 0

    def addresses(self, inputs: Sequence[Any], first: int = 0) -> tuple[list[Any], Any]:
        """The numbers of the spaces from the first one on as arrays that C reads, and where those lie."""
        kinds = self.types[first : first + len(inputs)]
        usable = [np.ascontiguousarray(array, kind) for array, kind in zip(inputs, kinds, strict=True)]
        return usable, [array.__array_interface__["data"][0] for array in usable]

    def _run_threads(self, examples: int) -> None:
        """The chunks of a batch as ``mg_run`` makes them, each by the next thread that is free."""
        library, (ins, ixs, w, o, _, _, t, count, out) = self.loaded.library, self.fixed
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
