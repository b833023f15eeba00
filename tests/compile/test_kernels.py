"""The C kernels of the native backend, compiled and held against mpmath and NumPy."""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, oracle

np = oracle("numpy")
mpmath = oracle("mpmath")

FLAGS = ("-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra", "-Werror")
MACHINES = {"native": ("-march=native",), "baseline": ()}
TURNED, EXACT_ROWS, FEW = range(1, 13), (5, 6, 7, 9, 10, 11), range(2, 13)  # what kernels are made for
TYPES = {"double": np.float64, "float": np.float32}
CIRCULAR = ("sin", "cos", "tan")
ONE = (  # functions of one number
    "exp",
    "expm1",
    "log",
    "log1p",
    "log2",
    "log10",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "erf",
    "erfc",
    "sqrt",
    "abs",
)
TWO = ("atan2", "hypot", "pow")
EXACT = {
    "log2": lambda x: mpmath.log(x, 2),
    "log10": lambda x: mpmath.log(x, 10),
    "abs": abs,
}


def sections() -> dict[str, tuple[list[str], str]]:
    """What each section needs, and its text, in the order of emission."""
    found = {}
    for name in ("math.h", "matmul.h"):
        text = (ROOT / "micrograd" / "compile" / "kernels" / name).read_text(encoding="utf-8")
        before, *rest = re.split(r"(?m)^//@ ", text)
        assert before == "", f"{name} has text outside a section"
        for part in rest:
            head, body = part.split("\n", 1)
            section, needs = head.split(": needs")
            found[section] = (needs.split(), body)
    return found


def prelude(real: str, *wanted: str) -> str:
    """The named sections (all, if none is named) and what they need."""
    known, chosen = sections(), set[str]()
    todo = list(wanted or known)
    while todo:
        name = todo.pop()
        if name not in chosen:
            chosen.add(name)
            todo += known[name][0]
    return f"#define real {real}\n" + "".join(body for name, (_, body) in known.items() if name in chosen)


def compiler() -> str:
    found = shutil.which("gcc") or shutil.which("cc")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("CI needs a C compiler")
    if found is None:
        pytest.skip("no C compiler")
    return found


def run(*command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def arrays(name: str) -> str:
    """A C function that applies a kernel to an array."""
    loop = "for (int i = 0; i < n; i++) y[i] = mg_{}(x[i]);"
    body = loop.format(name)
    if name in CIRCULAR:
        body = f"if (mg_far(n, x)) {body} else {loop.format(name + '_near')}"
    return f"void {name}_array(int n, const real *x, real *y) {{ {body} }}\n"


DOORS = (
    "".join(map(arrays, ONE))
    + "".join(f"real {name}_of(real x, real y) {{ return mg_{name}(x, y); }}\n" for name in TWO)
    + """
void mm(int R, int S, int K, const real *A, long ar, long ak, const real *B, long bk, real *C, long cr, int acc) {
  mg_mm(R, S, K, A, ar, ak, B, bk, C, cr, acc);
}
void mt(int R, int S, int K, const real *A, long ar, const real *B, long br, int T, long at, long bt, real *C, long cr,
        long cs, int acc) {
  mg_mt(R, S, K, A, ar, B, br, T, at, bt, C, cr, cs, acc);
}
void mg(int R, int S, int K, const real *A, long ar, long ak, const real *B, long bs, long bk, real *C, long cr,
        long cs, int acc) {
  mg_mg(R, S, K, A, ar, ak, B, bs, bk, C, cr, cs, acc);
}
void mv(int R, int K, const real *A, long ar, const real *x, real *C, long cr, int acc) {
  mg_mv(R, K, A, ar, x, C, cr, acc);
}
real sum(int n, const real *x) { return mg_sum(n, x); }
real largest(int n, const real *x) { return mg_largest(n, x); }
real dot(int n, const real *a, long sa, const real *b, long sb) { return mg_dot(n, a, sa, b, sb); }
"""
    + "".join(f"MG_TURNED({rows})\n" for rows in TURNED)
    + "".join(f"MG_EXACT({rows})\n" for rows in EXACT_ROWS)
    + """
#define TURNED(rows) case rows: mg_turned_##rows(S, K, A, ar, B, br, C, cr, acc); break;
void turned(int rows, int S, int K, const real *A, long ar, const real *B, long br, real *C, long cr, int acc) {
"""
    + f"  switch (rows) {{ {' '.join(f'TURNED({rows})' for rows in TURNED)} }}\n}}\n"
    + """
#define EXACT(rows) case rows: mg_exact_##rows(S, K, A, ar, ak, B, bk, C, cr, acc); break;
void exact(int rows, int S, int K, const real *A, long ar, long ak, const real *B, long bk, real *C, long cr, int acc) {
"""
    + f"  switch (rows) {{ {' '.join(f'EXACT({rows})' for rows in EXACT_ROWS)} }}\n}}\n"
    + "".join(f"MG_FEW({depth})\n" for depth in FEW)
    + """
#define FEW(depth) case depth: mg_few_##depth(R, S, A, ar, ak, B, bk, C, cr, acc); break;
void few(int depth, int R, int S, const real *A, long ar, long ak, const real *B, long bk, real *C, long cr, int acc) {
"""
    + f"  switch (depth) {{ {' '.join(f'FEW({depth})' for depth in FEW)} }}\n}}\n"
)


class Kernels:
    """All kernels in one shared object, called with NumPy arrays; a wrong argument type would be a wrong test."""

    def __init__(self, folder: Path, real: str, machine: str, *flags: str) -> None:
        self.built_for, self.dtype = (real, machine), TYPES[real]
        self.tolerance = 1e-12 if real == "double" else 2e-5
        self.real = ctypes.c_double if real == "double" else ctypes.c_float
        target = str(folder / "kernels.so")
        run(
            compiler(),
            *FLAGS,
            *MACHINES[machine],
            *flags,
            "-fPIC",
            "-shared",
            "-x",
            "c",
            "-",
            "-o",
            target,
            "-lm",
            text=prelude(real) + DOORS,
        )
        self.library = ctypes.CDLL(target)

    def apply(self, name: str, x: Any) -> Any:
        x = np.ascontiguousarray(x, self.dtype)
        y = np.empty_like(x)
        self.call(f"{name}_array", x.size, x, y)
        return y

    def call(self, name: str, *args: Any) -> float:
        function = getattr(self.library, name)
        function.restype = self.real
        return float(function(*[a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else a for a in args]))

    def close(self, got: Any, want: Any) -> bool:
        return bool(np.allclose(got, want, rtol=self.tolerance, atol=20 * self.tolerance))


@pytest.fixture(scope="module", params=list(itertools.product(TYPES, MACHINES)), ids="-".join)
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return Kernels(tmp_path_factory.mktemp("kernels"), *request.param)


def points(name: str, dtype: Any) -> Any:
    """Arguments over the whole domain: every exponent, both signs, near 0 and 1, and where results over- and underflow."""
    rng = np.random.default_rng(len(name))
    single = dtype == np.float32

    def powers(low: float, high: float) -> Any:
        return np.exp2(rng.uniform(low, high, 100)) * rng.choice([-1, 1], 100)

    x = np.concatenate(
        [
            powers(*((-148, 127.9) if single else (-1073, 1023.9))),
            powers(-30, 4),
            rng.uniform(-3, 3, 200),
            rng.uniform(*((-104, 89) if single else (-746, 710)), 100),
            1 + powers(-20, -1),
        ]
    )
    if name in CIRCULAR:
        x = np.concatenate([x, rng.integers(-60_000, 60_000, 100) * (np.pi / 2), rng.uniform(-1e5, 1e5, 100)])
    x = x.astype(dtype)
    domain = {"acosh": x >= 1, "log1p": x > -1} | dict.fromkeys(("asin", "acos", "atanh"), abs(x) < 1)
    domain["erfc"] = abs(x) < 30
    domain |= dict.fromkeys(("log", "log2", "log10", "sqrt"), x > 0)
    return x[domain.get(name, slice(None))]


def ulps(got: float, want: Any, dtype: Any) -> float:
    """The distance in units of the last place of the exact result."""
    info = np.finfo(dtype)
    if np.isinf(got):
        return 0.0 if want * mpmath.sign(got) > float(info.max) else np.inf
    digits = info.nmant + 1
    smallest = int(info.minexp) - info.nmant
    place = max(mpmath.frexp(want)[1] - digits, smallest) if want else smallest
    return float(abs(mpmath.mpf(got) - want) / mpmath.ldexp(1, place))


@pytest.mark.parametrize("name", ONE)
def test_a_function_is_within_two_units_of_the_last_place(kernels: Kernels, name: str) -> None:
    x = points(name, kernels.dtype)
    assert x.size > 100
    exact = EXACT.get(name, getattr(mpmath, name, None))
    with mpmath.workprec(140):
        errors = [
            ulps(float(y), exact(mpmath.mpf(float(a))), kernels.dtype)
            for a, y in zip(x, kernels.apply(name, x), strict=True)
        ]
    worst = int(np.argmax(errors))
    allowed = 8 if name == "erfc" else 2  # erfc is whatever libm has
    assert errors[worst] <= allowed, (name, float(x[worst]), errors[worst])


@pytest.fixture(scope="module")
def uncontracted(kernels: Kernels, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """The same kernels, where the compiler may not fuse what is not written fused."""
    return Kernels(tmp_path_factory.mktemp("kernels"), *kernels.built_for, "-ffp-contract=off")


@pytest.mark.parametrize("name", ONE)
def test_a_function_does_not_depend_on_what_the_compiler_fuses(kernels: Kernels, uncontracted: Kernels, name: str) -> None:
    x = points(name, kernels.dtype)
    np.testing.assert_array_equal(kernels.apply(name, x), uncontracted.apply(name, x))
    assert {kernels.apply(name, x[i : i + 1])[0] for i in range(40)} == set(kernels.apply(name, x)[:40])


INF, NAN = float("inf"), float("nan")
ENDS = {
    "exp": {INF: INF, -INF: 0.0, 0.0: 1.0, 1e4: INF, -1e4: 0.0},
    "expm1": {INF: INF, -INF: -1.0, 1e4: INF, -1e4: -1.0},
    "log": {0.0: -INF, 1.0: 0.0, INF: INF, -INF: NAN, -1.0: NAN},
    "log2": {0.0: -INF, 1.0: 0.0, 8.0: 3.0, 0.125: -3.0, INF: INF, -INF: NAN, -1.0: NAN},
    "log10": {0.0: -INF, 1.0: 0.0, 1000.0: 3.0, INF: INF, -INF: NAN, -1.0: NAN},
    "log1p": {-1.0: -INF, INF: INF, -INF: NAN, -2.0: NAN},
    "sin": {INF: NAN, -INF: NAN},
    "cos": {INF: NAN, -INF: NAN, 0.0: 1.0},
    "tan": {INF: NAN, -INF: NAN},
    "asin": {1.5: NAN, -1.5: NAN, INF: NAN, -INF: NAN},
    "acos": {1.0: 0.0, 1.5: NAN, -1.5: NAN, INF: NAN, -INF: NAN},
    "sinh": {INF: INF, -INF: -INF, 1e4: INF, -1e4: -INF},
    "cosh": {INF: INF, -INF: INF, 0.0: 1.0, 1e4: INF, -1e4: INF},
    "tanh": {INF: 1.0, -INF: -1.0, 1e4: 1.0},
    "asinh": {INF: INF, -INF: -INF},
    "acosh": {1.0: 0.0, INF: INF, 0.5: NAN, -3.0: NAN, -INF: NAN},
    "atanh": {1.0: INF, -1.0: -INF, 2.0: NAN, -2.0: NAN, INF: NAN, -INF: NAN},
    "erf": {INF: 1.0, -INF: -1.0},
    "erfc": {INF: 0.0, -INF: 2.0},
    "sqrt": {INF: INF, -1.0: NAN, -INF: NAN},
    "abs": {-INF: INF, -0.0: 0.0},
}
ODD = ("expm1", "log1p", "sin", "tan", "asin", "atan", "sinh", "tanh", "asinh", "atanh", "erf", "sqrt")


@pytest.mark.parametrize("name", ONE)
def test_infinities_zeros_and_nan_are_as_in_ieee_754(kernels: Kernels, name: str) -> None:
    table = ENDS.get(name, {})
    if 0.0 in table:
        assert kernels.apply(name, np.array([-0.0]))[0] == table[0.0]
    got = kernels.apply(name, np.array([*table, NAN]))
    np.testing.assert_array_equal(got, np.array([*table.values(), NAN], kernels.dtype))
    if name in ODD:
        zeros = kernels.apply(name, np.array([0.0, -0.0]))
        assert (zeros == 0).all()
        assert list(np.signbit(zeros)) == [False, True]


def test_functions_of_two_numbers_are_the_ones_of_libm(kernels: Kernels) -> None:
    for name, want in {"atan2": np.arctan2, "hypot": np.hypot, "pow": np.power}.items():
        assert kernels.close(kernels.call(f"{name}_of", kernels.real(1.25), kernels.real(-2.5)), want(1.25, -2.5))


def strided(rng: Any, dtype: Any, *shape: int) -> Any:
    """A view whose last axis has unit stride inside rows that are longer, at any alignment."""
    pad, shift = rng.integers(0, 4, 2)
    whole = rng.normal(size=(*shape[:-1], shape[-1] + pad + shift)).astype(dtype)
    return whole[..., shift : shift + shape[-1]]


def steps(array: Any) -> list[ctypes.c_long]:
    return [ctypes.c_long(s // array.itemsize) for s in array.strides]


def check_product(kernels: Kernels, out: Any, product: Any, acc: int, call: Any) -> None:
    """The call writes the product into the view `out`, or adds it, and touches nothing around the view."""
    inside = np.zeros(out.base.shape, bool)
    start = (out.ctypes.data - out.base.ctypes.data) // out.itemsize
    view = np.lib.stride_tricks.as_strided(inside.reshape(-1)[start:], out.shape, [s // out.itemsize for s in out.strides])
    view[...] = True
    before = out.base.copy()
    want = product + acc * out
    call()
    assert kernels.close(out, want)
    np.testing.assert_array_equal(out.base[~inside], before[~inside])


def sizes(rng: Any) -> tuple[int, int, int]:
    return int(rng.integers(1, 16)), int(rng.integers(1, 80)), int(rng.integers(0, 20))


@pytest.mark.parametrize("seed", range(40))
def test_mm_is_the_matrix_product(kernels: Kernels, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns, depth = sizes(rng)
    a, b = strided(rng, kernels.dtype, rows, depth), strided(rng, kernels.dtype, depth, columns)
    if seed % 2:
        a = strided(rng, kernels.dtype, depth, rows).T
    out, acc = strided(rng, kernels.dtype, rows + 1, columns)[:rows], seed % 3 % 2
    (ar, ak), (bk, _), (cr, _) = steps(a), steps(b), steps(out)
    check_product(kernels, out, a @ b, acc, lambda: kernels.call("mm", rows, columns, depth, a, ar, ak, b, bk, out, cr, acc))


@pytest.mark.parametrize("shape", [(1, 48, 784), (50, 1, 784), (50, 8, 70), (7, 130, 1), (50, 64, 8)], ids=str)
def test_mm_and_mt_of_the_sizes_of_a_network(kernels: Kernels, shape: tuple[int, int, int]) -> None:
    rows, columns, depth = shape
    rng = np.random.default_rng(0)
    a, b, c = (
        strided(rng, kernels.dtype, rows, depth),
        strided(rng, kernels.dtype, depth, columns),
        strided(rng, kernels.dtype, columns, depth),
    )
    out = strided(rng, kernels.dtype, rows, columns)
    (ar, ak), (bk, _), (cr, cs), (br, _), zero = steps(a), steps(b), steps(out), steps(c), ctypes.c_long(0)
    check_product(kernels, out, a @ b, 0, lambda: kernels.call("mm", *shape, a, ar, ak, b, bk, out, cr, 0))
    check_product(kernels, out, a @ c.T, 1, lambda: kernels.call("mt", *shape, a, ar, c, br, 1, zero, zero, out, cr, cs, 1))


@pytest.mark.parametrize("rows", TURNED)
def test_turned_is_a_product_of_rows_with_rows(kernels: Kernels, rows: int) -> None:
    rng = np.random.default_rng(rows)
    for columns, depth, acc in [(8, 8, 0), (64, 16, 1), (16, 64, 0), (27, 16, 0), (9, 8, 0), (48, 24, 1), (15, 40, 0)]:
        a, b = strided(rng, kernels.dtype, rows, depth), strided(rng, kernels.dtype, columns, depth)
        out = strided(rng, kernels.dtype, rows + 1, columns)[:rows]
        (ar, _), (br, _), (cr, _) = steps(a), steps(b), steps(out)
        call = functools.partial(kernels.call, "turned", rows, columns, depth, a, ar, b, br, out, cr, acc)
        check_product(kernels, out, a @ b.T, acc, call)


@pytest.mark.parametrize(
    ("kernel", "count"), [*(("exact", rows) for rows in EXACT_ROWS), *(("few", depth) for depth in FEW)]
)
def test_a_kernel_made_for_a_count_is_the_matrix_product(kernels: Kernels, kernel: str, count: int) -> None:
    rng = np.random.default_rng(count)
    for other, columns, acc in [(13, 16, 0), (64, 16, 1), (16, 64, 0), (27, 27, 1), (4, 20, 1), (1, 71, 0), (15, 33, 1)]:
        rows, depth = (count, other) if kernel == "exact" else (other, count)
        a, b = strided(rng, kernels.dtype, rows, depth), strided(rng, kernels.dtype, depth, columns)
        if columns % 3:
            a = strided(rng, kernels.dtype, depth, rows).T
        out = strided(rng, kernels.dtype, rows + 1, columns)[:rows]
        (ar, ak), (bk, _), (cr, _) = steps(a), steps(b), steps(out)
        sizes = (columns, depth) if kernel == "exact" else (rows, columns)
        call = functools.partial(kernels.call, kernel, count, *sizes, a, ar, ak, b, bk, out, cr, acc)
        check_product(kernels, out, a @ b, acc, call)


@pytest.mark.parametrize(("rows", "depth"), [(1, 5), (4, 3), (3, 8), (4, 8), (9, 16), (50, 784), (10, 50), (7, 21)], ids=str)
@pytest.mark.parametrize("acc", [0, 1])
def test_mv_is_a_matrix_times_a_vector(kernels: Kernels, rows: int, depth: int, acc: int) -> None:
    rng = np.random.default_rng(rows)
    a, x = strided(rng, kernels.dtype, rows, depth), strided(rng, kernels.dtype, depth, 1)[:, 0].copy()
    out = strided(rng, kernels.dtype, rows, 3)[:, 1]
    (ar, _), (cr,) = steps(a), steps(out)
    check_product(kernels, out, a @ x, acc, lambda: kernels.call("mv", rows, depth, a, ar, x, out, cr, acc))


@pytest.mark.parametrize(("rows", "depth", "row"), [(4, 16, 16), (9, 40, 48), (6, 37, 64), (12, 784, 784)], ids=str)
def test_mv_gives_the_same_bits_wherever_its_rows_begin(kernels: Kernels, rows: int, depth: int, row: int) -> None:
    rng = np.random.default_rng(rows)
    a, x = rng.normal(size=(rows, depth)).astype(kernels.dtype), rng.normal(size=depth).astype(kernels.dtype)
    a[:, 0], a[0, -1], x[1] = -0.0, np.inf, -0.0
    found = set()
    for offset in range(17):
        room = np.full(rows * row + 64, np.nan, kernels.dtype)  # neighbours must not be read
        there = room[offset : offset + rows * row].reshape(rows, row)[:, :depth]
        there[:] = a
        out = np.zeros(rows, kernels.dtype)
        (ar, _), (cr,) = steps(there), steps(out)
        kernels.call("mv", rows, depth, there, ar, x, out, cr, 0)
        found.add(out.tobytes())
    assert len(found) == 1


@pytest.mark.parametrize("seed", range(40))
def test_mt_contracts_the_two_last_axes_of_both_operands(kernels: Kernels, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns, depth = sizes(rng)
    times = int(rng.integers(1, 12))
    a, b = strided(rng, kernels.dtype, rows, times, depth), strided(rng, kernels.dtype, columns, times, depth)
    wide = strided(rng, kernels.dtype, rows + 1, columns)[:rows]
    out = [
        wide,
        strided(rng, kernels.dtype, columns + 1, rows)[:columns].T,
        strided(rng, kernels.dtype, rows, 2 * columns)[:, ::2],
    ][seed % 3]
    acc = seed // 3 % 2
    (ar, at, _), (br, bt, _), (cr, cs) = steps(a), steps(b), steps(out)
    check_product(
        kernels,
        out,
        np.einsum("rtk,stk->rs", a, b),
        acc,
        lambda: kernels.call("mt", rows, columns, depth, a, ar, b, br, times, at, bt, out, cr, cs, acc),
    )


@pytest.mark.parametrize("seed", range(20))
def test_mg_takes_any_strides(kernels: Kernels, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns, depth = sizes(rng)
    a, b = strided(rng, kernels.dtype, depth, 2 * rows)[:, ::2].T, strided(rng, kernels.dtype, columns, depth)
    out, acc = strided(rng, kernels.dtype, columns, rows).T, seed % 2
    (ar, ak), (bs, bk), (cr, cs) = steps(a), steps(b), steps(out)
    check_product(
        kernels, out, a @ b.T, acc, lambda: kernels.call("mg", rows, columns, depth, a, ar, ak, b, bs, bk, out, cr, cs, acc)
    )


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 8, 9, 31, 32, 33, 63, 64, 65, 127, 128, 200, 1000])
def test_sum_and_dot_of_any_length_and_stride(kernels: Kernels, n: int) -> None:
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=2 * n).astype(kernels.dtype), rng.normal(size=3 * n).astype(kernels.dtype)
    assert kernels.close(kernels.call("sum", n, x), x[:n].sum())
    assert kernels.close(kernels.call("dot", n, x, ctypes.c_long(1), y, ctypes.c_long(1)), x[:n] @ y[:n])
    assert kernels.close(kernels.call("dot", n, x, ctypes.c_long(2), y, ctypes.c_long(3)), x[::2] @ y[::3])


@pytest.mark.parametrize("n", [16, 17, 19, 24, 25, 31, 32, 33, 64, 65, 100])
def test_the_largest_number_wherever_it_is_and_none_that_is_no_number(kernels: Kernels, n: int) -> None:
    x = np.random.default_rng(n).normal(size=n).astype(kernels.dtype)
    for place in range(n):
        y = x.copy()
        for number in (9.0, np.inf, np.nan):
            y[place] = number
            np.testing.assert_equal(kernels.call("largest", n, y), number)
    assert kernels.call("largest", n, np.full(n, -np.inf, kernels.dtype)) == -np.inf
    for first, last in itertools.combinations(range(0, n, 3), 2):  # of zeros it is the last
        y = np.full(n, -1.0, kernels.dtype)
        for sign in (1.0, -1.0):
            y[first], y[last] = np.copysign(0.0, -sign), np.copysign(0.0, sign)
            assert np.copysign(1.0, kernels.call("largest", n, y)) == sign


def test_results_do_not_depend_on_alignment(kernels: Kernels) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(13, 20)).astype(kernels.dtype), rng.normal(size=(20, 37)).astype(kernels.dtype)
    seen = set()
    for shift in range(9):
        p, q, out = (np.empty(size + shift, kernels.dtype)[shift:] for size in (260, 740, 481))
        p[:], q[:] = a.ravel(), b.ravel()
        twenty, columns, one, zero = (ctypes.c_long(n) for n in (20, 37, 1, 0))
        kernels.call("mm", 13, 37, 20, p, twenty, one, q, columns, out, columns, 0)
        first = out.tobytes()
        kernels.call("mt", 13, 37, 20, p, twenty, q, twenty, 1, zero, zero, out, columns, one, 0)
        seen.add((first, out.tobytes(), kernels.call("sum", 740, q), kernels.call("dot", 260, p, one, q, one)))
    assert len(seen) == 1


@pytest.mark.parametrize("real", TYPES)
def test_every_section_compiles_with_what_it_needs_and_without_a_warning(real: str) -> None:
    known = list(sections())
    for name, (needs, _) in sections().items():
        assert all(known.index(n) < known.index(name) for n in needs), f"{name} comes before what it needs"
        run(compiler(), *FLAGS, "-fsyntax-only", "-x", "c", "-", text=prelude(real, name))
    assert {*ONE, *TWO} - {"sqrt", "abs"} <= set(known)


@pytest.mark.parametrize("real", TYPES)
def test_loops_over_functions_are_vectorised(real: str) -> None:
    if platform.machine() != "x86_64" or "Free Software Foundation" not in run(compiler(), "--version"):
        pytest.skip("the report is read from GCC on x86-64")
    head, names = prelude(real), [name for name in ONE if name != "erfc"]
    text = head + "".join(map(arrays, names))
    report = run(
        compiler(), *FLAGS, "-mavx2", "-mfma", "-fopt-info-vec-optimized", "-S", "-x", "c", "-", "-o", os.devnull, text=text
    )
    lines = {int(n) for n in re.findall(r"<stdin>:(\d+):\d+: optimized: loop vectorized", report)}
    first = head.count("\n") + 1
    assert [name for line, name in enumerate(names, first) if line not in lines] == []


CHECKED = """
#include <stdio.h>
#include <stdlib.h>
static real *fresh(int n) {  // exactly n numbers, so that the sanitizer sees a step outside
  real *x = malloc((n ? n : 1) * sizeof(real));
  for (int i = 0; i < n; i++) x[i] = (real)(i * 7 % 11 - 5);
  return x;
}
int main(void) {
  int bad = 0;
  for (int R = 1; R < 13; R++)
    for (int S = 1; S < 70; S += S < 35 ? 1 : 5)
      for (int K = 0; K < 40; K += K < 3 ? 1 : 9) {
        real *a = fresh(R * K), *b = fresh(K * S), *c = fresh(R * S), *d = fresh(R * S), *e = fresh(R * S);
        mg_mm(R, S, K, a, K, 1, b, S, c, S, 1);
        mg_mt(R, S, K, a, K, b, K, 1, 0, 0, d, S, 1, 0);
        mg_mg(R, S, K, a, K, 1, b, 1, S, e, S, 1, 1);
        for (int i = 0; i < R * S; i++) {
          real sum = 0;
          for (int k = 0; k < K; k++) sum += a[i / S * K + k] * b[i % S * K + k];
          bad += c[i] != e[i] || d[i] != sum;  // small whole numbers: exact in any order
        }
        bad += mg_sum(R * S, c) != mg_sum(R * S, e);
        if (R * S >= MG_LANES) bad += mg_largest(R * S, c) != mg_largest(R * S, e);
        free(a), free(b), free(c), free(d), free(e);
      }
  const real odd[] = {0,  -(real)0, 1,     -1,         (real)1e-40, (real)0.3,    50,
                      -50, 1000,    -1000, (real)1e30, MG_INFINITY, -MG_INFINITY, MG_NAN};
  for (unsigned i = 0; i < sizeof odd / sizeof *odd; i++) {
    volatile real y = 0;
    APPLY
    (void)y;
  }
  printf("%d wrong", bad);
  return 0;
}
"""


@pytest.mark.parametrize("real", TYPES)
def test_kernels_run_clean_under_the_sanitizers(real: str, tmp_path: Path) -> None:
    program = CHECKED.replace("APPLY", "\n".join(f"y += mg_{name}(odd[i]);" for name in ONE))
    target = str(tmp_path / "checked")
    flags = ("-std=gnu11", "-O1", "-march=native", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    run(compiler(), *flags, "-x", "c", "-", "-o", target, "-lm", text=prelude(real) + program)
    assert run(target) == "0 wrong"
