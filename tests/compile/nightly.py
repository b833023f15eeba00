"""The random programs of test_random_programs.py, many of them: ``python tests/compile/nightly.py [count] [seed]``.

By default 20,000 programs.  Prints each program that fails, and fails when one does.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent.parent)]

from checking import CASES, check_bundle  # noqa: E402
from tqdm import tqdm  # noqa: E402

TOGETHER = 10


def main(count: int = 20_000, seed: int = 1_000_000) -> int:
    failures = 0
    for i in tqdm(range(count // TOGETHER), unit="bundle"):
        case = CASES[i % len(CASES)]
        try:
            check_bundle(seed + i, TOGETHER, case)
        except Exception:
            failures += 1
            print(f"\nseed {seed + i}, {case}", file=sys.stderr)
            traceback.print_exc()
    print(f"{count} programs from seed {seed}: {failures} failing bundles")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
