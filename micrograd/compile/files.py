"""Plain files of arrays: NumPy's npz without pickle or compression, with one text in JSON, written all or nothing."""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

_FAULTS = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, EOFError, MemoryError, SyntaxError, RecursionError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError),
)


def write(path: Path, about: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write a file in the place of an older one; an interruption leaves the older one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **{"about": np.array(json.dumps(about)), **arrays})
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def read(path: Path, format: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was written.  ValueError with the fault for a file that is not of this format or not as it was written.

    The parts carry checksums, nothing in them is run, and none is larger than the file.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as saved:
            if any(member.compress_type or member.file_size > path.stat().st_size for member in saved.zip.infolist()):
                raise ValueError("its parts are not as they were written")
            arrays = {name: saved[name] for name in saved.files}
        about = json.loads(str(arrays.pop("about")))
        if about["format"] != format:
            raise ValueError(f"its format is {about['format']!r}, expected {format!r}")
    except FileNotFoundError:
        raise
    except _FAULTS as error:
        raise ValueError(str(error) or type(error).__name__) from None
    return about, arrays
