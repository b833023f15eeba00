"""What the tests of the compiler's face share."""

from __future__ import annotations

from typing import Any

import numpy as np

BACKENDS = ["numpy", "native"]


def close(found: Any, expected: Any, what: object = "") -> None:
    """Equal to a few units in the last place, infinities and nans in the same places."""
    np.testing.assert_allclose(
        np.asarray(found, float), np.asarray(expected, float), rtol=2e-15 * 50, atol=1e-15, err_msg=str(what)
    )


def recordings(program: Any) -> int:
    """How often the function was run to record it."""
    return program.stats.recordings  # type: ignore[no-any-return]
