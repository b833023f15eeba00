"""Stretches of a training in C: many steps of native programs and of an optimiser's rule in one call.

A step in Python costs tens of microseconds besides its numbers, as much as a small network does.  Where a program is native
and the optimiser works on its array, ``fit`` hands over as many steps as take some hundredths of a second.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from micrograd.compile import parameters
from micrograd.compile.buffers import aligned
from micrograd.compile.native import NativeKernel
from micrograd.compile.program import Program
from micrograd.compile.recording import Recording
from micrograd.optim import Optimizer

JOB = np.dtype([("program", np.uintp), ("inputs", np.uintp), ("examples", np.int64)])  # mg_job
Job = tuple[int, int, int]


class NotNativeError(Exception):
    """A program or an optimiser that has to be run step by step."""


class Driver:
    """Runs steps of one training.  What it prepares for an example is kept until the program has changed."""

    def __init__(self, program: Program, optimizer: Optimizer) -> None:
        self.program, self.optimizer = program, optimizer
        self.forget()

    def forget(self) -> None:
        """Drop all that was prepared."""
        self.moves = parameters._moves
        self.known: dict[int, Job] = {}  # by the number of an example
        self.held: list[Any] = []  # the arrays that jobs point at
        self.programs: dict[int, tuple[Any, Any, Any]] = {}  # by id of the kernel: it, its mg_program and its results

    def look(self) -> None:
        """Forget what was prepared for a program that would be recorded anew."""
        if self.program._around.changed():
            self.forget()

    def train(self, steps: Sequence[Sequence[Job]], settings: Sequence[tuple[float, ...]]) -> list[float] | None:
        """Do steps of some jobs each with these settings of the rule, and give their losses; None without a compiler."""
        optimizer = self.optimizer
        arrays = *optimizer._arrays(), *(optimizer.state[name] for name in optimizer.memories)  # type: ignore[misc]
        jobs = np.array([job for step in steps for job in step], JOB)
        firsts = np.cumsum([0, *map(len, steps)], dtype=np.int64)
        losses: list[float] = []
        for _, alike in itertools.groupby(range(len(steps)), lambda k: tuple(map(bool, settings[k]))):
            chosen = list(alike)
            rows = np.array([settings[k] for k in chosen])
            found = optimizer._stepper.train(optimizer._rule, rows, arrays, jobs, firsts[chosen[0] :])
            if found is None:
                return None
            losses += found.tolist()
        return losses

    def jobs(self, make: Callable[[], Any]) -> Any:
        """What ``make`` prepares; once more if new parameters moved all others meanwhile."""
        with self.program._lock:
            while True:
                if self.moves != parameters._moves:
                    self.forget()
                made = make()
                if self.moves == parameters._moves:
                    return made

    def single(self, number: int, args: tuple[Any, ...]) -> Job:
        """The job of an example by its number."""
        job = self.known.get(number)
        if job is None:
            (job,) = self.batch(args, 1, 1)
            self.known[number] = job
        return job

    def batch(self, args: tuple[Any, ...], steps: int, examples: int) -> list[Job]:
        """The jobs of batches that lie one after another in the arguments."""
        recording, arguments, _ = self.program._recorded(args, ())
        kernel, entry, _ = self._program(recording)
        arrays, places = kernel.addresses(recording.inputs(arguments, examples))
        table = places[None]
        if steps > 1:
            spaces = [space for space, _ in kernel.rolled.spaces]
            ahead = [a.itemsize * space.size * examples * space.batched for a, space in zip(arrays, spaces, strict=True)]
            table = places + np.arange(steps, dtype=np.uintp)[:, None] * np.array(ahead, np.uintp)
        self.held += [arrays, table]
        return [(entry, int(table.ctypes.data + k * table.strides[0]), examples) for k in range(steps)]

    def _program(self, recording: Recording) -> tuple[Any, int, Any]:
        """A recording's kernel, and the address of its mg_program.  NotNativeError if there is none to have."""
        kernel = self.program._routine(recording, "grad", ()).kernel
        known = self.programs.get(id(kernel))
        if known is None:
            if not self._fits(recording, kernel):
                raise NotNativeError
            results = aligned(kernel.length, kernel.dtype, 1)
            buffers = (kernel.w, results, kernel.v, kernel.s, kernel.table)
            at = results.ctypes.data + kernel.picked.start * kernel.dtype.itemsize
            entry = np.array([kernel.address, *(b.ctypes.data for b in buffers), at, at + 8], np.uintp)
            known = self.programs[id(kernel)] = kernel, entry.ctypes.data, (results, entry)
        return known

    def _fits(self, recording: Recording, kernel: Any) -> bool:
        """Whether a kernel gives the gradient by just the array that the optimiser moves."""
        mine, moved = recording.reader.flat(), self.optimizer._arrays()
        return (
            isinstance(kernel, NativeKernel)
            and (kernel.dtype, kernel.threads) == (np.float64, 1)
            and not len(kernel.lanes)
            and mine is not None
            and moved is not None
            and (mine[0].ctypes.data, len(mine[0])) == (moved[0].ctypes.data, len(moved[0]))
        )
