"""The C text of a vector program: its instructions in three phases, and the function that runs them.

The members of a group or the examples of a batch fill the lanes of a vector.  Matrix products are calls of kernels; the
rest are plain loops for the compiler to vectorise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from micrograd.compile.kernels import declared, needed, prelude
from micrograd.compile.loops import Loops
from micrograd.compile.products import Products
from micrograd.compile.straight import Straight, is_straight
from micrograd.compile.streams import Stream
from micrograd.compile.strips import strips
from micrograd.compile.tables import Tables
from micrograd.compile.vector import LANES, Instruction, Loop, Map, Product, Rolled, Rows, Take
from micrograd.compile.views import strides

HALVED = 4  # functions of a program that is compiled in halves, at least
HIDDEN = '__attribute__((visibility("hidden")))'
STATEMENTS = 60  # in a function: compilers slow down on long ones
CACHE_BYTES, OUTER_CACHE_BYTES = 1 << 18, 1 << 20  # where the numbers of the examples worked on together should stay
CHUNKS = 32  # of a batch: they do not depend on the count of threads, and their sums are added up in order


class Writer(Loops, Products, Straight, Tables):
    """The C text of a program, with numbers of the C type ``real``."""

    def __init__(self, rolled: Rolled, real: str) -> None:
        super().__init__(rolled)
        self.real, self.spans = real, {}
        size = 8 if real == "double" else 4
        self.lanes = 64 // size
        register = self.lanes
        while self.lanes < 64:  # two registers at least, as each number of a matrix then serves two products
            cache = CACHE_BYTES if self.lanes > register else OUTER_CACHE_BYTES
            if rolled.lanes * self.lanes * 2 * size > cache:
                break
            self.lanes *= 2
        self.batch = strips(rolled.batch, rolled.lanes)
        self.written_out = is_straight(rolled)
        found: Any = None
        while found != (found := (len(self.copied), self.results_apart)):
            # written anew where it turned out that leaves have to be copied, or the outputs cannot be apart
            self.parts: list[tuple[str, str]] = []  # the functions of the phases, by name, and their bodies
            self.table, self.table_size, self.scratch = {}, 0, 0
            self.text = self._program()

    def statements(self, instruction: Instruction | Stream) -> str:
        if isinstance(instruction, Loop) and all(isinstance(i, Map) and _is_single(i) for i in instruction.body):
            return self.numbers(instruction)
        if isinstance(instruction, Loop):
            body = "\n".join("{ " + self.statements(i) + " }" for i in instruction.body)
            return f"for (long r = 0; r < {instruction.turns}; r++) {{\n{body} }}"
        if isinstance(instruction, Stream):
            return self.stream(instruction)
        if isinstance(instruction, Map):
            return self.map(instruction)
        if isinstance(instruction, Product):
            return self.product(instruction)
        if isinstance(instruction, Rows):
            return self.rows(instruction)
        if isinstance(instruction, Take):
            return self.take(instruction)
        return self.scatter(instruction)

    def _program(self) -> str:
        rolled, self.packed = self.rolled, set()
        if rolled.lanes:
            before = self._phase("before", rolled.before, [*self.batch, *rolled.after])
            after = self._phase("after", rolled.after, []) + self._results_out()
            batch = self._phase("batch", self.batch, rolled.after)
        else:
            before = self._phase("before", [*rolled.before, *rolled.after], []) + self._results_out()
        copies = "".join(
            f"  memcpy(w + {begin}, in[{space}], {stop - begin} * sizeof(real));\n"
            for begin, stop, space in self.leaves
            if space in self.copied
        )
        start = rolled.sums[0]
        unused = "(void)in; (void)ix; (void)o; (void)s; (void)t;"
        text = [f"{ENTRY.format(name='before')} {{\n  real *const s = w + {start}; {unused}\n{copies}{before}}}\n"]
        if rolled.lanes:
            text.append(self._batch_entry(batch))
            text.append(f"{ENTRY.format(name='after')} {{\n  real *const s = w + {start}; {unused}\n{after}}}\n")
            text.append(RUN_BATCH.format(start=start, sums=rolled.sums[1] - start, chunks=CHUNKS))
        else:
            text.append(RUN)
        head = f"#define real {self.real}\n#define L {self.lanes}\n"
        self.entries = "\n".join(text)
        return "\n".join([head, prelude(frozenset(self.needs)), MACROS, *_functions(self.parts), self.entries])

    def _results_out(self) -> str:
        """Copy the shared outputs into the array of results, where they are not computed there."""
        shared = self.rolled.outputs[self.rolled.outputs < LANES]
        if self.results_apart or not len(shared):
            return ""
        steps = strides(shared)
        place = f"{shared[0]} + {steps[0]} * i" if steps is not None else f"t[{self.tabled(shared)} + i]"
        return f"  for (int i = 0; i < {len(shared)}; i++) o[i] = w[{place}];\n"

    def tables(self) -> Any:
        """The table that the program reads places from."""
        return np.frombuffer(b"".join(self.table) or bytes(4), np.int32)

    def results(self) -> tuple[int, int]:
        """Where the shared outputs begin in the array of results, and how long that is."""
        shared, (start, end) = self.rolled.outputs[self.rolled.outputs < LANES], self.rolled.results
        return (int(shared[0] - start), end - start) if self.results_apart else (0, max(len(shared), 1))

    def units(self) -> list[str]:
        """The same in files that are compiled side by side: the program, in halves where it is long, and the kernels of
        matrix products that it uses."""
        sizes, sections = f"#define real {self.real}\n#define L {self.lanes}\n", prelude(frozenset(self.needs))
        apart = "tiles" in needed(frozenset(self.needs))
        kernels = [f"#define MG_LINKAGE {HIDDEN}\n{sizes}{sections}"] if apart else []
        head = [sizes, declared(sections) if apart else sections, MACROS]
        if len(self.parts) < HALVED:
            return ["\n".join([*head, *_functions(self.parts), self.entries, CALL]), *kernels]
        ends = np.cumsum([len(body) for _, body in self.parts])
        half = int(np.searchsorted(ends, ends[-1] // 2))
        known = [f"{HIDDEN} void {name}(MG_STATE);" for name, _ in self.parts[half:]]
        first = [*head, *known, *_functions(self.parts[:half]), self.entries, CALL]
        return ["\n".join(first), "\n".join([*head, *_functions(self.parts[half:], HIDDEN)]), *kernels]

    def _phase(self, name: str, instructions: Sequence[Instruction], later: Sequence[Instruction]) -> str:
        """Functions of some statements each, and the calls of them; what comes later may read what they write."""
        self.phase, self.later = instructions, later
        if self.written_out:
            bodies = self.straight(instructions, self.statements)
        else:
            starts = range(0, len(instructions), STATEMENTS)
            bodies = ["\n".join(f"{{ {self.statements(i)} }}" for i in instructions[k : k + STATEMENTS]) for k in starts]
        calls = []
        for number, body in enumerate(bodies):
            part = f"{name}_{number}"
            self.parts.append((part, body))
            calls.append(f"  {part}(in, ix, w, o, v, s, t, first, last, count);\n")
        if name == "batch":
            return "".join("  " + call for call in calls)
        return ("  real *const v = 0; const long first = 0, last = 0, count = 0;\n" + "".join(calls)) if calls else ""

    def _batch_entry(self, calls: str) -> str:
        """Blocks of L examples: their inputs are laid side by side, the last example standing in beyond the end."""
        rolled = self.rolled
        lines = []
        for k, (space, _) in enumerate(rolled.spaces):
            if space.batched and space.kind == "real" and space.size and k not in self.packed:
                lines.append(f"    {self.pack(k, '0', str(space.size))}\n")
        outs = rolled.outputs[rolled.outputs >= LANES]
        if len(outs):
            steps = strides(outs)
            source = self.at(outs, steps) if steps is not None else self.lookup(outs, "i")
            lines_out = (
                f"    for (int l = 0; l < count; l++) for (int i = 0; i < {len(outs)}; i++) "
                f"out[{len(outs)} * (first + l) + i] = {source};\n"
            )
        else:
            lines_out = ""
        return (
            f"{BATCH} {{\n  (void)out; (void)o; (void)t; (void)ix; (void)s;\n  const long last = examples - 1;\n"
            f"  for (long first = from; first < to; first += L) {{\n"
            "    const long count = to - first < L ? to - first : L; (void)count;\n"
            f"{''.join(lines)}{calls}{lines_out}  }}\n}}\n"
        )


def _functions(parts: Sequence[tuple[str, str]], linkage: str = "static") -> list[str]:
    return [f"{linkage} void {name}(MG_STATE) {{ MG_USED;\n{body}\n}}\n" for name, body in parts]


def _is_single(i: Map) -> bool:
    """Whether an instruction is of single numbers that all examples share."""
    views = [*i.ins, *(out for out in i.outs if out is not None)]
    return all(view.size == 1 and view.flat[0] < LANES for view in views)


MACROS = """#ifdef __clang__  // without -fopenmp-simd the pragmas are left out, which costs speed and nothing else
#pragma GCC diagnostic ignored "-Wsource-uses-openmp"
#else
#pragma GCC diagnostic ignored "-Wunknown-pragmas"
#endif
#define MG(x) ((real)(x))
#define MG_SIMD _Pragma("omp simd")
#define MG_SUM _Pragma("omp simd reduction(+ : sum)")
#define MG_EXAMPLE (first + l < last ? first + l : last)
#define MG_STATE const real *const *in, const int64_t *const *ix, real *w, real *o, real *v, real *s, const int32_t *t, \\
  long first, long last, long count
#define MG_USED (void)in, (void)ix, (void)w, (void)o, (void)v, (void)s, (void)t, (void)first, (void)last, (void)count
"""
ENTRY = "void mg_{name}(const real *const *in, const int64_t *const *ix, real *w, real *o, const int32_t *t)"
BATCH = (
    "void mg_batch(const real *const *in, const int64_t *const *ix, real *w, real *o, real *v, real *s, "
    "const int32_t *t, long from, long to, "
    "long examples, real *out)"
)
RUN_HEAD = (
    "void mg_run(const real *const *in, const int64_t *const *ix, real *w, real *o, real *v, real *s, "
    "const int32_t *t, long examples, real *out)"
)
NUMBERS, OUTPUTS, EXAMPLES, EACH = 2, 3, 7, 8  # the arguments of mg_run, by number, that change from call to call
CALL = """// The same with its arguments in an array, for who calls it from a language that takes long over each.
void mg_call(void *const *a) { mg_run(a[0], a[1], a[2], a[3], a[4], a[5], a[6], (long)(intptr_t)a[7], a[8]); }
"""
RUN = f"""{RUN_HEAD} {{
  (void)v, (void)s, (void)examples, (void)out;
  mg_before(in, ix, w, o, t);
}}
"""
RUN_BATCH = f"""{RUN_HEAD} {{{{
  const long blocks = (examples + L - 1) / L, chunks = blocks < {{chunks}} ? blocks : {{chunks}};
  mg_before(in, ix, w, o, t);
  memset(w + {{start}}, 0, {{sums}} * sizeof(real));
  for (long c = 0; c < chunks; c++) {{{{
    const long from = blocks * c / chunks * L, to = c + 1 < chunks ? blocks * (c + 1) / chunks * L : examples;
    if (c) memset(s, 0, {{sums}} * sizeof(real));
    mg_batch(in, ix, w, o, v, c ? s : w + {{start}}, t, from, to, examples, out);
    for (long i = 0; c && i < {{sums}}; i++) w[{{start}} + i] += s[i];
  }}}}
  mg_after(in, ix, w, o, t);
}}}}
"""
