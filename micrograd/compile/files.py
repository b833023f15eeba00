"""Plain files of arrays: NumPy's npz without pickle or compression, with one text in JSON, written all or nothing.

The comment of the archive, its last 64 bytes, is the SHA-256 of all that comes before.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
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
_DIGITS = 64  # of the checksum


def write(path: Path, about: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write a file in the place of an older one; an interruption leaves the older one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(_signed(about, arrays))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} into") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _signed(about: dict[str, Any], arrays: dict[str, Any]) -> bytes:
    """The content of a file: an archive ends with the length of its comment and the comment."""
    buffer = io.BytesIO()
    np.savez(buffer, **{"about": np.array(json.dumps(about)), **arrays})
    archive = buffer.getvalue()[:-2] + _DIGITS.to_bytes(2, "little")
    return archive + _digest(archive)


def _digest(archive: bytes) -> bytes:
    return hashlib.sha256(archive).hexdigest().encode()


def read(path: Path, format: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was written.  ValueError with the fault for a file that is not of this format or not as it was written.

    Not a bit may differ; nothing in the file is run, and none of its parts is larger than the file.
    """
    try:
        content = path.read_bytes()
        if _digest(content[:-_DIGITS]) != content[-_DIGITS:]:
            raise ValueError("it does not have the checksum that it was written with")
        with np.load(io.BytesIO(content), allow_pickle=False) as saved:
            if any(member.compress_type or member.file_size > len(content) for member in saved.zip.infolist()):
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
