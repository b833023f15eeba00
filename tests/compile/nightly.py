"""The random programs of test_random_programs.py, many of them: ``python tests/compile/nightly.py [count] [seed]``.

By default 20,000 programs, on all cores.  Programs share a C file, which is compiled with few optimisations.  What passed is
noted in a file, so that a run that was interrupted goes on from there.  Prints each program that fails, and fails when one
does; those are tried again at the next run.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sys
import tempfile
import traceback
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]

from checking import CASES, check_bundle  # noqa: E402
from tqdm import tqdm  # noqa: E402

from micrograd.compile import toolchain  # noqa: E402

TOGETHER = 20  # programs that share a native compilation
NOTES = Path(tempfile.gettempdir())


def checked(seed: int) -> tuple[int, str]:
    """A seed, and why its bundle fails; nothing of the compilations is kept."""
    case = CASES[seed % len(CASES)]
    toolchain.FLAGS = tuple({"-O2": "-O1"}.get(flag, flag) for flag in toolchain.FLAGS)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MICROGRAD_CACHE"] = folder
        try:
            check_bundle(seed, TOGETHER, case)
        except Exception:
            return seed, f"seed {seed}, {case}\n{traceback.format_exc()}"
    return seed, ""


def version() -> str:
    """A digest of the compiler and of its tests: what passed counts for these only."""
    files = sorted([*(ROOT / "micrograd").rglob("*.[hp]*"), *Path(__file__).parent.glob("*.py")])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files if file.is_file())).hexdigest()[:16]


def main(count: int = 20_000, seed: int = 1_000_000) -> int:
    notes = NOTES / f"micrograd-nightly-{version()}.txt"
    passed = set(map(int, notes.read_text().split())) if notes.exists() else set()
    wanted = range(seed, seed + count // TOGETHER)
    failures = 0
    with (
        multiprocessing.get_context("spawn").Pool(maxtasksperchild=20) as pool,
        notes.open("a", buffering=1) as note,
        tqdm(total=len(wanted) * TOGETHER, initial=TOGETHER * len(passed.intersection(wanted)), unit="program") as bar,
    ):
        for number, failure in pool.imap_unordered(checked, [s for s in wanted if s not in passed]):
            bar.update(TOGETHER)
            if failure:
                failures += 1
                bar.write(failure, file=sys.stderr)
            else:
                note.write(f"{number}\n")
    print(f"{count} programs from seed {seed}: {failures} failing bundles")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
