"""What all tests share."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


def oracle(name: str) -> ModuleType:
    """An independent library to compare with: where it is missing, a test skips locally and fails in CI."""
    try:
        return importlib.import_module(name)
    except ImportError:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs the oracle {name}")
        pytest.skip(f"{name} is not installed")


def run_fresh(code: str, *flags: str, **environment: str) -> str:
    """Standard output of a program in a fresh Python process; fails when the program does."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,  # a deadlock fails
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
