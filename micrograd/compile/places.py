"""Places: how the C text of a program names a number, a row or a matrix of its buffers.

Numbers that all examples share lie in ``w``, those of each example in ``v``, ``L`` examples side by side; sums over the
examples lie in ``s``, results in ``o``, and leaves that nothing else is read with where the caller has them, in ``in``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from micrograd.compile.dialect import number
from micrograd.compile.vector import LANES, Rolled
from micrograd.compile.views import Nest


class Places:
    """The buffers of a program, and a table of the places that follow no rule."""

    def __init__(self, rolled: Rolled) -> None:
        self.rolled = rolled
        self.table: dict[bytes, int] = {}  # where integers that stand in it begin
        self.table_size = 0
        self.needs: set[str] = {"base"}  # the sections of the kernels that are used
        self.leaves = [
            (base, base + space.size, k)
            for k, (space, base) in enumerate(rolled.spaces)
            if space.kind == "real" and not space.batched and space.size
        ]
        self.copied: set[int] = set()  # spaces that some table reaches into: they are copied next to the other numbers
        shared, (start, end) = rolled.outputs[rolled.outputs < LANES], rolled.results
        # whether the outputs lie side by side in an array of their own, which the caller gets; else they are copied there
        inside = len(shared) and start <= shared[0] and shared[-1] < end
        self.results_apart = bool(inside and (np.diff(shared) == 1).all())
        self._copy(rolled.outputs)

    def at(self, addresses: Any, steps: tuple[int, ...], loops: Sequence[str] = "ijk") -> str:
        """A number of a view with constant steps, within its loops."""
        first = int(addresses.flat[0])
        terms = [v if s == 1 else f"{s} * {v}" for s, v in zip(steps, loops, strict=False) if s] + turn(addresses)
        if first >= LANES:
            where = " + ".join([str(first - LANES), *terms])
            return f"v[({where}) * L + l]" if terms else f"v[{where} * L + l]"
        base, start = self.base(addresses)
        return f"{base}[{' + '.join([str(first - start), *terms])}]"

    def base(self, addresses: Any, looked_up: bool = False) -> tuple[str, int]:
        """The array that some shared numbers lie in, and the address where it begins."""
        if getattr(addresses, "shift", 0):
            addresses = np.concatenate(
                [np.asarray(addresses).ravel(), np.asarray(addresses).ravel() + addresses.shift * (addresses.turns - 1)]
            )
        found = self._array(int(addresses.flat[0]), int(addresses.min()), int(addresses.max()), looked_up)
        if found is None:
            self._copy(addresses)
        return found or ("w", 0)

    def place(self, address: int) -> str:
        """One shared number."""
        base, start = self._array(address, address, address) or ("w", 0)
        return f"{base}[{address - start}]"

    def _array(self, first: int, low: int, high: int, looked_up: bool = False) -> tuple[str, int] | None:
        """The array that shared numbers between two addresses lie in, and where it begins; None for that of all others."""
        start, end = self.rolled.sums
        if start <= first < end and (not looked_up or start <= low <= high < end):
            return "s", start
        begin, stop = self.rolled.results
        if self.results_apart and begin <= low <= high < stop:
            return "o", begin
        for begin, stop, space in self.leaves:
            if begin <= low <= high < stop and space not in self.copied:
                return f"in[{space}]", begin
        return None

    def _copy(self, addresses: Any) -> None:
        """Note that leaves or outputs are read together with other numbers, or through a table."""
        begin, stop = self.rolled.results
        if self.results_apart and addresses is not self.rolled.outputs and ((begin <= addresses) & (addresses < stop)).any():
            self.results_apart = False
        for begin, stop, space in self.leaves:
            if space not in self.copied and ((begin <= addresses) & (addresses < stop)).any():
                self.copied.add(space)

    def pointer(self, addresses: Any) -> str:
        """A pointer to the first number of a view with constant steps."""
        first, moved = int(addresses.flat[0]), turn(addresses)
        if first >= LANES:
            return f"v + ({' + '.join([f'{first - LANES}L', *moved])}) * L"
        base, start = self.base(addresses)
        return " + ".join([f"{base} + {first - start}", *moved])

    def listed(self, addresses: Any) -> tuple[str, str]:
        """The array that shared numbers without constant steps lie in, and the list of their places."""
        flat, moved = np.asarray(addresses).ravel(), turn(addresses)
        last = flat + addresses.shift * (addresses.turns - 1) if moved else flat
        base, begin = self.base(np.concatenate([flat, last]), looked_up=True)
        return " + ".join([base, *moved]), f"t + {self.tabled(flat - begin)}"

    def lookup(self, addresses: Any, index: str) -> str:
        """A number of a view without constant steps: its place stands in a table."""
        flat = np.asarray(addresses).ravel()
        lanes = flat[0] >= LANES
        name, begin = "v", LANES
        if not lanes:
            moved = flat + addresses.shift * (addresses.turns - 1) if turn(addresses) else flat
            name, begin = self.base(np.concatenate([flat, moved]), looked_up=True)
        at = self.tabled(flat - begin)
        place = " + ".join([f"t[{at} + {index}]", *turn(addresses)])
        return f"v[(long)({place}) * L + l]" if lanes else f"{name}[{place}]"

    def tabled(self, numbers: Any) -> int:
        """The place in the table of these numbers."""
        entry = np.asarray(numbers, dtype=np.int32).tobytes()
        if entry not in self.table:
            self.table[entry] = self.table_size
            self.table_size += len(entry) // 4
        return self.table[entry]

    def view(self, addresses: Any, loops: Nest, number: int) -> str:
        """A number of a view of a nest."""
        steps = loops.steps[number]
        if steps is not None:
            return self.at(addresses.reshape(loops.lengths), steps)
        return self.lookup(addresses, "i")

    def constant(self, addresses: Any) -> str | None:
        """The literal of a view that is one constant of the program."""
        first = addresses.flat[0]
        if turn(addresses):
            return None
        constants = self.rolled.constants
        return number(float(constants[first])) if first < len(constants) and (addresses == first).all() else None

    def loops(self, lengths: Sequence[int], body: str, lanes: bool, names: str = "ijk") -> str:
        """Loops around a body; the innermost one has no dependences between its turns."""
        heads = [f"for (int {v} = 0; {v} < {n}; {v}++)" for v, n in zip(names, lengths, strict=False)]
        if lanes:
            heads.append("for (int l = 0; l < L; l++)")
        if not heads:
            return f"{{ {body} }}"
        return " ".join([*heads[:-1], "{"]) + f"\nMG_SIMD\n{heads[-1]} {{ {body} }}" + ("\n}" if len(heads) >= 1 else "")

    def need(self, code: Sequence[tuple[str, str]]) -> None:
        self.needs |= called(code)

    def call(self, name: str, *args: Any) -> str:
        self.needs.add(name)
        return f"mg_{name}({', '.join(map(str, args))});"


def called(code: Sequence[tuple[str, str]]) -> set[str]:
    """The sections of the kernels that some lines of code call."""
    return {name for _, text in code for name in re.findall(r"mg_(\w+)\(", text)}


def turn(addresses: Any) -> list[str]:
    """How far a loop over turns has moved a view."""
    shift = getattr(addresses, "shift", 0)
    return [f"{shift}L * r"] if shift else []
